//! The output of all commands.
//!
//! If output fails, a command fails with one line on standard error. If the reader of the output has closed it, a
//! command ends without an error, as in `hana nodes | head`. A program that continues to play, such as a bridge,
//! drops output that cannot be written.

use std::sync::OnceLock;
use std::time::Duration;
use std::{fmt, io};

use anyhow::Context;
use hana_output::{DroppingWriter, Stream};
use serde::Serialize;
use thiserror::Error;

/// The reason why output is no longer possible.
#[derive(Debug, Error)]
pub(crate) enum OutputError {
    /// The reader of the output has closed it, which is not a failure.
    #[error("standard output is closed")]
    ReaderGone,
    #[error("cannot write to standard output; free disk space or redirect it")]
    Unwritable(#[source] io::Error),
}

/// How long the last lines on standard error may take to be written.
const LAST_LINES: Duration = Duration::from_millis(500);

static STDERR: OnceLock<DroppingWriter> = OnceLock::new();

/// Prepares standard error: from now on, no line written to it waits for a reader.
pub(crate) fn start() -> anyhow::Result<DroppingWriter> {
    let stderr =
        DroppingWriter::start(Stream::Stderr).context("cannot start a thread for output")?;
    Ok(STDERR.get_or_init(|| stderr).clone())
}

/// Writes a line to standard error, or drops it if it cannot be written.
pub(crate) fn warn(line: impl fmt::Display) {
    let line = format!("hana: {line}\n");
    match STDERR.get() {
        Some(stderr) => stderr.push(line),
        None => drop(Stream::Stderr.write_all(line.as_bytes())),
    }
}

/// Waits a moment for the last lines on standard error.
pub(crate) fn flush() {
    if let Some(stderr) = STDERR.get() {
        stderr.flush_within(LAST_LINES);
    }
}

/// The format in which a command prints its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Text for people.
    Text,
    /// One line of JSON for each result.
    Json,
    /// Only errors.
    Nothing,
}

/// Prints a result in the requested format.
pub(crate) fn print<T: Serialize + ?Sized>(
    format: Format,
    result: &T,
    for_people: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    let line = match format {
        Format::Text => for_people(),
        Format::Json => serde_json::to_string(result).context("cannot write the result as JSON")?,
        Format::Nothing => return Ok(()),
    };
    write(&format!("{line}\n"))?;
    Ok(())
}

/// Whether output to a stream may have colours: only on a terminal, and not with `NO_COLOR`.
pub(crate) fn has_colours(stream: Stream) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes a text to standard output as it is.
pub(crate) fn write(text: &str) -> Result<(), OutputError> {
    Stream::Stdout.write_all(text.as_bytes()).map_err(|error| {
        if Stream::Stdout.is_closed_by(&error) {
            OutputError::ReaderGone
        } else {
            OutputError::Unwritable(error)
        }
    })
}

/// Returns an error once standard output is closed, for commands that may write nothing for long.
pub(crate) fn check_reader() -> Result<(), OutputError> {
    if Stream::Stdout.is_closed() { Err(OutputError::ReaderGone) } else { Ok(()) }
}

/// Whether a command ended because the reader of its output has closed it.
pub(crate) fn is_reader_gone(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(OutputError::ReaderGone))
}

/// Standard output of a program that continues even if its output fails.
#[derive(Debug)]
pub(crate) struct LastingOutput(DroppingWriter);

impl LastingOutput {
    pub(crate) fn start() -> anyhow::Result<Self> {
        Ok(Self(DroppingWriter::start(Stream::Stdout).context("cannot start a thread for output")?))
    }

    pub(crate) fn line(&self, line: impl fmt::Display) {
        self.0.push(format!("{line}\n"));
    }

    /// Writes a text as it is.
    pub(crate) fn text(&self, text: String) {
        self.0.push(text);
    }

    pub(crate) fn flush(&self) {
        self.0.flush_within(LAST_LINES);
    }
}
