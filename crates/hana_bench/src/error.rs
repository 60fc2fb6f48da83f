use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// An error that prevents a result.
#[derive(Debug, Error)]
pub(crate) enum BenchError {
    /// A daemon already runs on this machine. It would be measured too, and its show would be disturbed.
    #[error(
        "a daemon runs on this machine and would be measured too; stop it first (Ctrl-C, or `hana service remove`)"
    )]
    DaemonRuns,
    /// A program to be measured is not in the directory of this program.
    #[error("{} does not exist; build the whole workspace: `cargo build --release --workspace`", .0.display())]
    NoProgram(PathBuf),
    /// The operating system refused an operation.
    #[error("{doing}: {problem}")]
    System {
        /// The operation.
        doing: String,
        /// The operating system's error.
        #[source]
        problem: io::Error,
    },
    /// A Zenoh error of the reference.
    #[error("the reference: {doing}: {problem}")]
    Baseline {
        /// The operation.
        doing: &'static str,
        /// Zenoh's message.
        problem: String,
    },
    /// A network error of hana itself.
    #[error("{doing}: {problem}")]
    Network {
        /// The operation.
        doing: &'static str,
        /// The error message.
        problem: String,
    },
    /// An expected state did not occur in time.
    #[error("waited {} s for {awaited}; last seen: {seen}", .waited.as_secs())]
    NotWithin {
        /// The expected state.
        awaited: String,
        /// The last observed state.
        seen: String,
        /// The time waited.
        waited: Duration,
    },
    /// The operator interrupted the bench.
    #[error("interrupted; all processes of the bench have ended")]
    Interrupted,
    /// This operating system cannot suspend another process.
    #[cfg(not(unix))]
    #[error("this measurement needs signals; run it on Linux or macOS")]
    NoSignals,
}

impl BenchError {
    pub(crate) fn system(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |problem| Self::System { doing, problem }
    }

    pub(crate) fn baseline<E: ToString>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |problem| Self::Baseline { doing, problem: problem.to_string() }
    }

    pub(crate) fn network<E: ToString>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |problem| Self::Network { doing, problem: problem.to_string() }
    }
}
