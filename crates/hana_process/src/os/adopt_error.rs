use std::io;

use thiserror::Error;

/// The error of a failed adoption.
#[derive(Debug, Error)]
pub enum AdoptError {
    /// The process has ended. Another process that reuses its id is not adopted.
    #[error("process {pid} has ended")]
    Gone {
        /// The id of the ended process.
        pid: u32,
    },
    /// This platform does not support adoption.
    #[error("cannot adopt process {pid} on this platform; end it by hand, then start it again")]
    Unsupported {
        /// The process id.
        pid: u32,
    },
    /// The operating system refused.
    #[error("cannot watch a running process: {0}")]
    System(#[source] io::Error),
}
