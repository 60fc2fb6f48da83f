use hana_protocol::id::NodeId;
use thiserror::Error;

use crate::presence::id_conflict::IdConflict;
use crate::session::session_kind::SessionError;

/// A reason why a node could not join.
#[derive(Debug, Error)]
pub enum JoinError {
    /// Another node has this id.
    #[error("{0}")]
    IdTaken(IdConflict),
    /// A daemon already runs on this machine.
    #[error(
        "a daemon runs on this machine already: '{node}', process {pid}; a machine has only one"
    )]
    SecondDaemon {
        /// The id of that daemon.
        node: NodeId,
        /// The process id of that daemon.
        pid: u32,
    },
    /// No session could be opened.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The info of this node is too large, or other nodes could not read it.
    #[error(
        "cannot publish the info of this node: {problem}; simplify its custom message types, or divide them among several programs"
    )]
    Info {
        /// The error of encoding or decoding the info.
        problem: String,
    },
    /// No thread could be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}
