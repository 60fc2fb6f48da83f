//! Finds the cause of a crash in the last output of a program.

use hana_time::sanitize_line;

/// The longest reason, in characters. The log contains the complete text.
const MAX_CHARACTERS: usize = 300;
/// The most lines of one message.
const MAX_LINES: usize = 4;
/// The number of last lines, without backtraces, that are searched for a panic message or an error of `main`.
const SEARCHED_LINES: usize = 14;
/// The most lines between two panics of one chain. A panic often makes other threads panic, and the first one is the
/// cause.
const MAX_CHAIN_LINES: usize = 8;

/// Returns the cause of an end from the last lines of output, or `None` if there are no lines.
///
/// The cause is the message of a panic, otherwise the error that `main` returned, otherwise the last line of
/// level `ERROR`, otherwise the last line.
pub(crate) fn last_words<'a>(lines: impl Iterator<Item = &'a str>) -> Option<String> {
    let end = end_of(lines);
    let words = explicit(&end)
        .or_else(|| end.iter().rev().find(|line| !is_hint(line)).cloned())
        .or_else(|| end.last().cloned())?;
    in_one_line(&words)
}

/// Returns the cause only if a line clearly reports an error, for programs that may not have crashed.
pub(crate) fn error_words<'a>(lines: impl Iterator<Item = &'a str>) -> Option<String> {
    in_one_line(&explicit(&end_of(lines))?)
}

/// Returns the last lines, without backtraces.
fn end_of<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut lines: Vec<String> = lines
        .map(plain)
        .map(|line| line.trim_end().to_owned())
        .filter(|line| !line.trim().is_empty() && !is_backtrace(line))
        .collect();
    lines.split_off(lines.len().saturating_sub(SEARCHED_LINES))
}

fn explicit(end: &[String]) -> Option<String> {
    panic_message(end).or_else(|| error_of_main(end)).or_else(|| error_line(end))
}

fn in_one_line(words: &str) -> Option<String> {
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    (!words.is_empty()).then(|| sanitize_line(&words, MAX_CHARACTERS))
}

/// Removes the escape sequences for colours.
fn plain(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            // The sequence is skipped up to and including the letter that ends it.
            characters.by_ref().find(char::is_ascii_alphabetic);
        } else if !character.is_control() || character == '\t' {
            plain.push(character);
        }
    }
    plain
}

fn is_panic(line: &str) -> bool {
    line.trim_start().starts_with("thread '") && line.contains("panicked at")
}

/// Returns whether the line is a debugging hint that a runtime adds to an error message.
fn is_hint(line: &str) -> bool {
    let line = line.trim_start();
    ["note: ", "stack backtrace:", "Stack backtrace:", "Aborted", "(core dumped)"]
        .iter()
        .any(|hint| line.starts_with(hint))
        || line.starts_with("Encountered a panic in")
}

/// Returns whether the line is part of a Rust backtrace: `  12: std::panicking` or `   at /rustc/...`.
fn is_backtrace(line: &str) -> bool {
    let Some(indented) = line.strip_prefix("  ") else { return false };
    let trimmed = indented.trim_start();
    let after_number = trimmed.trim_start_matches(|of: char| of.is_ascii_digit());
    let is_frame = after_number.len() < trimmed.len() && after_number.starts_with(": ");
    trimmed.starts_with("at /")
        || trimmed.starts_with("at ./")
        || (is_frame && after_number.contains("::"))
}

fn panic_message(lines: &[String]) -> Option<String> {
    let panics = lines.iter().enumerate().filter(|(_, line)| is_panic(line));
    let first = panics.map(|(place, _)| place).rev().reduce(|later, earlier| {
        if later - earlier <= MAX_CHAIN_LINES { earlier } else { later }
    })?;
    let header = lines.get(first)?;
    let in_header =
        header.split_once("panicked at '").and_then(|(_, rest)| rest.rsplit_once("', "));
    if let Some((message, _)) = in_header {
        return Some(message.to_owned());
    }
    let message: Vec<&str> = lines
        .iter()
        .skip(first + 1)
        .take_while(|line| !is_hint(line) && !is_panic(line))
        .take(MAX_LINES)
        .map(|line| line.trim())
        .collect();
    (!message.is_empty()).then(|| message.join(" "))
}

/// Returns the error that `main` returned: `Error: joining the mesh`, `Caused by:`, and the causes.
fn error_of_main(lines: &[String]) -> Option<String> {
    let first = lines.iter().rposition(|line| line.starts_with("Error: "))?;
    let message = lines.iter().skip(first).take_while(|line| !is_hint(line)).take(MAX_LINES + 1);
    let parts: Vec<&str> = message
        .map(|line| line.trim().trim_start_matches("Error: "))
        .filter(|line| *line != "Caused by:")
        .map(|line| match line.split_once(": ") {
            Some((number, cause)) if number.parse::<u8>().is_ok() => cause,
            _ => line,
        })
        .collect();
    Some(parts.join(": "))
}

/// Returns the last line that a logger wrote with the level `ERROR`.
fn error_line(lines: &[String]) -> Option<String> {
    lines.iter().rev().find(|line| line.contains(" ERROR ") || line.starts_with("ERROR ")).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(output: &str) -> String {
        last_words(output.lines()).unwrap_or_default()
    }

    #[test]
    fn panic_is_reported_by_its_message_without_the_hint() {
        let output = "INFO starting\n\nthread 'main' (4711) panicked at bevy_winit/src/lib.rs:146:14:\n\
            Failed to build event loop: Os(\"neither WAYLAND_DISPLAY nor DISPLAY is set\")\n\
            note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
        assert_eq!(
            of(output),
            "Failed to build event loop: Os(\"neither WAYLAND_DISPLAY nor DISPLAY is set\")"
        );
        assert_eq!(of("thread 'main' panicked at 'boom', src/main.rs:3:5"), "boom");
    }

    #[test]
    fn first_of_several_panics_gives_the_cause() {
        let output = "thread 'Compute Task Pool (0)' panicked at src/render.rs:1:1:\n\
            Unable to find a GPU! Make sure you have installed required drivers!\n\
            note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n\
            Encountered a panic in system `draw`!\n\
            thread 'main' panicked at src/app.rs:2:2:\ncalled `Result::unwrap()` on an `Err` value\n";
        assert_eq!(
            of(output),
            "Unable to find a GPU! Make sure you have installed required drivers!"
        );
    }

    #[test]
    fn backtrace_does_not_hide_the_message() {
        let frame = "  7: std::rt::lang_start\n             at /rustc/abc/rt.rs:1:1\n";
        let frames = frame.repeat(40);
        let output = format!(
            "thread 'main' panicked at src/main.rs:1:1:\nboom\nstack backtrace:\n{frames}note: Some details are omitted\n"
        );
        assert_eq!(of(&output), "boom");
    }

    #[test]
    fn error_of_main_is_reported_with_its_causes() {
        let output = "working\nError: joining the mesh\n\nCaused by:\n    0: opening\n    1: the port 7447 is in use\n";
        assert_eq!(of(output), "joining the mesh: opening: the port 7447 is in use");
    }

    #[test]
    fn other_programs_are_reported_by_their_last_line() {
        let missing = "ripples: error while loading shared libraries: libxkb.so.0: cannot open";
        assert_eq!(of(missing), missing);
        assert_eq!(
            of("Traceback (most recent call last):\n  File \"a.py\", line 1\nKeyError: 'x'\n\n"),
            "KeyError: 'x'"
        );
        assert_eq!(
            of("\u{1b}[31m ERROR bridge: no device\u{1b}[0m\nclosing"),
            "ERROR bridge: no device"
        );
        assert_eq!(of("\n  \n"), "");
        assert!(of(&"x".repeat(5_000)).chars().count() <= MAX_CHARACTERS + 1);
    }
}
