//! The orders on standard input: the daemon's lines of JSON, and words for a person at a terminal.

use std::io::{BufRead, Read};
use std::sync::mpsc::SyncSender;
use std::{io, thread};

use hana_time::LinkOrder;

/// The text at the end of `--help`.
pub(crate) const HELP: &str = "\
Orders, one a line on standard input:
  tempo BPM        another tempo, for the whole session; 20 to 999
  play | pause     the whole session plays, or stands still
  quantum BEATS    bars of another length, here alone
  quit             leave
or the same as JSON, such as {\"tempo\": {\"bpm\": 133}}.

Needs UDP, as all of Ableton Link does: multicast on port 20808, and from free port to free port.";

/// The longest line that is read; the rest of a longer line is read as the next line.
const LONGEST: u64 = 4096;

/// An item of input.
#[derive(Debug, PartialEq)]
pub(crate) enum LinkInput {
    /// An order to carry out.
    Order(LinkOrder),
    /// A line that is not an order, and why.
    Nonsense(String),
    /// The end of the input: the program must exit.
    End,
}

/// Starts a thread that reads lines until the input is closed, and then reports its end.
pub(crate) fn read_from_stdin(tells: SyncSender<LinkInput>) -> io::Result<()> {
    thread::Builder::new().name("orders".into()).spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut line = vec![];
        loop {
            line.clear();
            // A read error is permanent, and counts as the end.
            let read = stdin.by_ref().take(LONGEST).read_until(b'\n', &mut line).unwrap_or(0);
            let heard = if read == 0 {
                Some(LinkInput::End)
            } else {
                hear(&String::from_utf8_lossy(&line))
            };
            let is_end = heard == Some(LinkInput::End);
            if let Some(heard) = heard
                && tells.send(heard).is_err()
            {
                return;
            }
            if is_end {
                return;
            }
        }
    })?;
    Ok(())
}

/// Parses a line; returns `None` if it is empty.
fn hear(line: &str) -> Option<LinkInput> {
    let line = line.trim();
    if line.is_empty() {
        return None;
    }
    if line == "quit" {
        return Some(LinkInput::End);
    }
    let order = if line.starts_with('{') {
        LinkOrder::parse(line).map_err(|problem| problem.to_string())
    } else {
        by_word(line)
    };
    Some(order.map_or_else(LinkInput::Nonsense, LinkInput::Order))
}

fn by_word(line: &str) -> Result<LinkOrder, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number =
        |word: &str| word.parse().map_err(|_| format!("'{}' is no number", word.escape_debug()));
    let order = match *words {
        ["tempo", bpm] => LinkOrder::Tempo { bpm: number(bpm)? },
        ["quantum", beats] => LinkOrder::Quantum { beats: number(beats)? },
        ["play"] => LinkOrder::Play {},
        ["pause"] => LinkOrder::Pause {},
        _ => return Err("say `tempo BPM`, `play`, `pause`, `quantum BEATS` or `quit`".into()),
    };
    order.check().map_err(|problem| problem.to_string())?;
    Ok(order)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_person_and_the_daemon_say_the_same_in_their_own_words() {
        for (words, json) in [
            ("tempo 133", r#"{"tempo":{"bpm":133}}"#),
            ("  quantum   7 ", r#"{"quantum":{"beats":7}}"#),
            ("play", r#"{"play":{}}"#),
            ("pause\r", r#"{"pause":{}}"#),
        ] {
            let Some(LinkInput::Order(order)) = hear(words) else { panic!("{words}") };
            assert_eq!(hear(json), Some(LinkInput::Order(order)));
        }
        assert_eq!(hear("quit"), Some(LinkInput::End));
        assert_eq!(hear(" \n"), None);
    }

    #[test]
    fn what_cannot_be_is_answered_with_what_can() {
        for (line, word) in [
            ("tempo 1000", "from 20 to 999"),
            ("tempo fast", "'fast' is no number"),
            ("tempo nan", "from 20 to 999"),
            ("quantum 0", "no length of a bar"),
            ("faster", "say `tempo BPM`"),
            ("{", "both must be of one version"),
        ] {
            let Some(LinkInput::Nonsense(problem)) = hear(line) else { panic!("{line}") };
            assert!(problem.contains(word), "{line}: {problem}");
        }
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn no_line_makes_it_panic(line in ".{0,100}") {
            hear(&line);
        }
    }
}
