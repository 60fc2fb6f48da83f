use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// Why there is nothing to tell.
#[derive(Debug, Error)]
pub enum BenchError {
    /// Beside a show, both would be measured, and the show would be disturbed.
    #[error(
        "a daemon runs on this machine; a bench measures alone: end it first (Ctrl-C, or `hana service remove`), and start it again afterwards"
    )]
    DaemonRuns,
    /// A program that is measured is not beside this one.
    #[error("{} is not there; build the whole workspace: `cargo build --release --workspace`", .0.display())]
    NoProgram(PathBuf),
    /// The operating system refused something.
    #[error("{doing}: {problem}")]
    System {
        /// What was tried.
        doing: String,
        /// What it said.
        #[source]
        problem: io::Error,
    },
    /// Zenoh, of the reference.
    #[error("the reference: {doing}: {problem}")]
    Raw {
        /// What was tried.
        doing: &'static str,
        /// Zenoh's own words.
        problem: String,
    },
    /// Our own side of the network.
    #[error("{doing}: {problem}")]
    Network {
        /// What was tried.
        doing: &'static str,
        /// What came of it.
        problem: String,
    },
    /// Something did not come.
    #[error("waited {} s for {awaited}; last seen: {seen}", .waited.as_secs())]
    NotWithin {
        /// What.
        awaited: String,
        /// What was to be seen instead.
        seen: String,
        /// How long.
        waited: Duration,
    },
    /// A person ended it.
    #[error("interrupted; what was started has ended")]
    Interrupted,
    /// This operating system has no way to freeze a process from outside.
    #[error(
        "processes are killed and frozen by signals, which this system does not have: measured on Linux and macOS only"
    )]
    NoSignals,
}

impl BenchError {
    pub(crate) fn system(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |problem| Self::System { doing, problem }
    }

    pub(crate) fn raw<E: ToString>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |problem| Self::Raw { doing, problem: problem.to_string() }
    }

    pub(crate) fn network<E: ToString>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |problem| Self::Network { doing, problem: problem.to_string() }
    }
}
