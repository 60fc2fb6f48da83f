use serde::{Deserialize, Serialize};

use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// One line of a process's output, on `hana/<host>/log/<viz>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The line's number in the output of this instance of the process, from 0. A gap means that lines were not sent.
    pub number: u64,
    /// The output to which the line was written.
    pub stream: Stream,
    /// The line without its line ending, cut to 4 KiB; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// An output of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output and standard error, which share one file so that their order is kept.
    Output,
    /// Lines that the daemon adds about the process.
    Daemon,
}

impl Message for LogLine {
    const LANE: Lane = Lane::ReliableUnordered;
    /// A daemon publishes at most 200 lines ten times a second.
    const MAX_PER_SECOND: u32 = 5000;
    const NAME: &'static str = "log";
}
