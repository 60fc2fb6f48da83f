//! Bevy events of the connection and of messages: watch them with observers.
//!
//! About the connection: [`Connected`], [`DaemonLost`], [`Disconnected`], [`JoinFailed`], [`IdTaken`]. About
//! messages: [`DecodeFailed`], [`MessageRefused`], [`MessageDropped`], [`QueueFull`], [`PeerIncompatible`]. They only
//! inform: a program may leave any of them unobserved.

use bevy_ecs::prelude::*;
use hana_network::{
    AttachMode, Diagnostic, Diagnostics, DisconnectedBy, IdConflict, QueueKind, SchemaMismatch,
};
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::wire::codec::{DecodeError, PayloadError};

/// The program is on the mesh: it has joined, has reconnected, or has changed its attach mode.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// The role of the node. A program with both plugins has two nodes.
    pub role: Role,
    /// The program's id on the mesh.
    pub node: NodeId,
    /// The attach mode.
    pub attach_mode: AttachMode,
}

/// The program has lost its daemon. It waits five seconds for the daemon, then continues without it.
///
/// The next [`Connected`] reports by its attach mode whether the daemon returned.
#[derive(Event, Debug, Clone, Copy, PartialEq, Eq)]
pub struct DaemonLost {
    /// The role of the node. A program with both plugins has two nodes.
    pub role: Role,
}

/// The program has lost its connection to the mesh.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct Disconnected {
    /// The role of the node. A program with both plugins has two nodes.
    pub role: Role,
    /// The cause. After [`DisconnectedBy::NoNetwork`] the program rejoins automatically.
    pub by: DisconnectedBy,
    /// The reason, and what to do, in plain words.
    pub reason: String,
}

/// The program could not join the mesh.
///
/// The program retries automatically, unless a retry cannot succeed, for example because its id is taken ([`IdTaken`]
/// is triggered too).
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct JoinFailed {
    /// The role of the node. A program with both plugins has two nodes.
    pub role: Role,
    /// The reason, and what to do, in plain words.
    pub reason: String,
    /// Whether the program retries automatically.
    pub retries: bool,
}

/// Another node already uses the program's id: the program did not join, or has left. The program does not retry.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct IdTaken {
    /// The role of the node. A program with both plugins has two nodes.
    pub role: Role,
    /// The id that is taken.
    pub node: NodeId,
    /// Host and process id of the other node, if known.
    pub holder: Option<(NodeId, u32)>,
}

/// A received message cannot be decoded. Triggered at most once a frame for each sender and key.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct DecodeFailed {
    /// The key of the message.
    pub key: String,
    /// The sender; `None` if the message does not name one.
    pub sender: Option<NodeId>,
    /// The expected message type.
    pub message: &'static str,
    /// The field that is missing or does not fit, such as `energy`; `None` if the problem concerns the message as a
    /// whole.
    pub field: Option<String>,
    /// The complete reason, in plain words.
    pub reason: String,
}

/// A message was decoded and refused.
///
/// For example, it sets a value that its parameter does not have, exceeds the limit for one sender, or uses the name
/// of another node.
#[derive(Event, Debug, Clone, PartialEq)]
pub struct MessageRefused {
    /// The key of the message.
    pub key: String,
    /// The sender; `None` if the message does not name one.
    pub sender: Option<NodeId>,
    /// The problem. Its text also explains what to do.
    pub problem: Diagnostic,
}

/// Messages to or from this program were dropped.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct MessageDropped {
    /// The queue that dropped them.
    pub queue: QueueKind,
    /// The key.
    pub key: String,
    /// The number of messages since the last report.
    pub count: u64,
}

/// The queue of a reliable lane is full: the message was returned to the program.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct QueueFull {
    /// The key.
    pub key: String,
    /// The number of messages since the last report.
    pub count: u64,
}

/// Another program sends messages of a type in a form that this program cannot read.
///
/// The other program's messages on that topic are dropped until it restarts. Other messages are not affected.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct PeerIncompatible(pub SchemaMismatch);

/// The visualization was requested to exit.
///
/// The plugin exits the program, unless `VisualizationPlugin::without_exit_on_shutdown` was called.
#[derive(Event, Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownRequested;

/// Maximum number of problems reported in a frame; the rest follow in the next frames.
const MAX_PER_FRAME: usize = 8;

impl IdTaken {
    pub(crate) fn by(IdConflict { node, holder }: IdConflict, role: Role) -> Self {
        Self { role, node, holder }
    }
}

/// Reports the problems found since the last frame. Returns whether there may be more.
pub(crate) fn report_problems(problems: &Diagnostics, commands: &mut Commands) -> bool {
    for _ in 0..MAX_PER_FRAME {
        let Some(problem) = problems.try_recv() else { return false };
        report(problem, commands);
    }
    true
}

fn report(problem: Diagnostic, commands: &mut Commands) {
    match problem {
        Diagnostic::DecodeFailed(error) => {
            let reason = error.to_string();
            let DecodeError { key, sender, message, problem } = error;
            let field = match problem {
                PayloadError::Field { field, .. } if !field.is_empty() => Some(field),
                _ => None,
            };
            commands.trigger(DecodeFailed { key, sender, message, field, reason });
        },
        Diagnostic::Dropped { key, queue, count } => {
            commands.trigger(MessageDropped { queue, key, count });
        },
        Diagnostic::QueueFull { key, count } => commands.trigger(QueueFull { key, count }),
        // Lost messages are also reported as dropped, with `QueueKind::Network`.
        Diagnostic::Lost { .. } => {},
        Diagnostic::PeerIncompatible { mismatch, .. } => {
            commands.trigger(PeerIncompatible(mismatch));
        },
        problem => commands.trigger(MessageRefused {
            key: problem.key().into(),
            sender: problem.sender().cloned(),
            problem,
        }),
    }
}
