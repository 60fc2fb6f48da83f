use hana_protocol::id::NodeId;
use thiserror::Error;

use crate::presence::id_conflict::IdConflict;
use crate::session::session_kind::SessionError;

/// Why a node could not join.
#[derive(Debug, Error)]
pub enum JoinError {
    /// Another node has this id.
    #[error("{0}")]
    IdTaken(IdConflict),
    /// This machine already has a daemon.
    #[error(
        "a daemon runs on this machine already: '{node}', process {pid}; a machine has only one"
    )]
    SecondDaemon {
        /// Id of that daemon.
        node: NodeId,
        /// Process id of that daemon.
        pid: u32,
    },
    /// No session could be opened.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The node info is too large, or other nodes could not read it.
    #[error(
        "cannot publish the info of this node: {problem}; simplify its custom message types, or divide them among several programs"
    )]
    Info {
        /// The encoding or decoding problem.
        problem: String,
    },
    /// No thread could be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}
