//! The commands on standard input: JSON from the daemon, words from a person at a terminal.

use std::io::{BufRead, Read};
use std::sync::mpsc::SyncSender;
use std::{io, thread};

use hana_time::LinkOrder;

/// The text at the end of `--help`.
pub(crate) const HELP: &str = "\
Commands, one per line on standard input:
  tempo BPM        set the tempo of the whole session, 20 to 999
  play | pause     start or pause the whole session
  quantum BEATS    set the length of the bar, for this host alone
  quit             leave the session and exit
or the same as JSON, such as {\"tempo\": {\"bpm\": 133}}.

Ableton Link needs UDP: multicast on port 20808, and unicast between free ports.";

/// The longest line that is read; the rest of a longer line is read as the next line.
const MAX_LINE_BYTES: u64 = 4096;

/// An item of input.
#[derive(Debug, PartialEq)]
pub(crate) enum LinkInput {
    /// A command to carry out.
    Command(LinkOrder),
    /// A line that is not a command, with the reason.
    Invalid(String),
    /// The end of the input: the program must exit.
    End,
}

/// Starts a thread that reads lines until the input is closed, and then sends [`LinkInput::End`].
pub(crate) fn read_from_stdin(input_tx: SyncSender<LinkInput>) -> io::Result<()> {
    thread::Builder::new().name("commands".into()).spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut line = vec![];
        loop {
            line.clear();
            // A read error is permanent, and counts as the end.
            let read =
                stdin.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line).unwrap_or(0);
            let input = if read == 0 {
                Some(LinkInput::End)
            } else {
                parse(&String::from_utf8_lossy(&line))
            };
            let is_end = input == Some(LinkInput::End);
            if let Some(input) = input
                && input_tx.send(input).is_err()
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
fn parse(line: &str) -> Option<LinkInput> {
    let line = line.trim();
    if line.is_empty() {
        return None;
    }
    if line == "quit" {
        return Some(LinkInput::End);
    }
    let command = if line.starts_with('{') {
        LinkOrder::parse(line).map_err(|error| error.to_string())
    } else {
        parse_words(line)
    };
    Some(command.map_or_else(LinkInput::Invalid, LinkInput::Command))
}

fn parse_words(line: &str) -> Result<LinkOrder, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number =
        |word: &str| word.parse().map_err(|_| format!("'{}' is not a number", word.escape_debug()));
    let command = match *words {
        ["tempo", bpm] => LinkOrder::Tempo { bpm: number(bpm)? },
        ["quantum", beats] => LinkOrder::Quantum { beats: number(beats)? },
        ["play"] => LinkOrder::Play {},
        ["pause"] => LinkOrder::Pause {},
        _ => {
            return Err(
                "unknown command; use `tempo BPM`, `play`, `pause`, `quantum BEATS` or `quit`"
                    .into(),
            );
        },
    };
    command.check().map_err(|error| error.to_string())?;
    Ok(command)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_and_json_give_the_same_commands() {
        for (words, json) in [
            ("tempo 133", r#"{"tempo":{"bpm":133}}"#),
            ("  quantum   7 ", r#"{"quantum":{"beats":7}}"#),
            ("play", r#"{"play":{}}"#),
            ("pause\r", r#"{"pause":{}}"#),
        ] {
            let Some(LinkInput::Command(command)) = parse(words) else { panic!("{words}") };
            assert_eq!(parse(json), Some(LinkInput::Command(command)));
        }
        assert_eq!(parse("quit"), Some(LinkInput::End));
        assert_eq!(parse(" \n"), None);
    }

    #[test]
    fn invalid_lines_are_answered_with_what_is_valid() {
        for (line, word) in [
            ("tempo 1000", "from 20 to 999"),
            ("tempo fast", "'fast' is not a number"),
            ("tempo nan", "from 20 to 999"),
            ("quantum 0", "no length of a bar"),
            ("faster", "use `tempo BPM`"),
            ("{", "both must be of one version"),
        ] {
            let Some(LinkInput::Invalid(problem)) = parse(line) else { panic!("{line}") };
            assert!(problem.contains(word), "{line}: {problem}");
        }
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn no_line_panics(line in ".{0,100}") {
            parse(&line);
        }
    }
}
