//! The daemon's own log, and the output of the processes.

pub(crate) mod last_words;
pub(crate) mod log;
pub(crate) mod process_output;
