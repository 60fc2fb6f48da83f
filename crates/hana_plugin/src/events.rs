//! What happens between a program and the mesh, as Bevy events: watch them with observers.
//!
//! Of the connection: [`Connected`], [`DaemonLost`], [`Disconnected`], [`JoinFailed`], [`IdTaken`]. Of messages:
//! [`DecodeFailed`], [`MessageRefused`], [`MessageDropped`], [`QueueFull`], [`PeerIncompatible`]. None of them ends
//! or halts anything, and whoever does not watch misses nothing but the news.

use bevy_ecs::prelude::*;
use hana_network::{
    AttachMode, Diagnostic, Diagnostics, DisconnectedBy, IdConflict, QueueKind, SchemaMismatch,
};
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::wire::codec::{DecodeError, PayloadError};

/// The program is on the mesh: it has joined, is back, or is on it by another way than before.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// The role of the node: a program with both plugins has two.
    pub role: Role,
    /// The id it has there.
    pub node: NodeId,
    /// The way.
    pub way: AttachMode,
}

/// The daemon that the program was behind is gone. It waits for it for five seconds, then goes on without it;
/// [`Connected`] tells which.
#[derive(Event, Debug, Clone, Copy, PartialEq, Eq)]
pub struct DaemonLost {
    /// The role of the node: a program with both plugins has two.
    pub role: Role,
}

/// The program was on the mesh, and is off it.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct Disconnected {
    /// The role of the node: a program with both plugins has two.
    pub role: Role,
    /// Whose doing it is. After [`DisconnectedBy::Error`] it comes back by itself.
    pub by: DisconnectedBy,
    /// Why, and what to do, in plain words.
    pub reason: String,
}

/// The program could not join the mesh. It tries again by itself, unless that cannot help, as when its id is taken
/// ([`IdTaken`] is triggered too).
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct JoinFailed {
    /// The role of the node: a program with both plugins has two.
    pub role: Role,
    /// Why, and what to do, in plain words.
    pub reason: String,
    /// Whether it tries again by itself.
    pub tries_again: bool,
}

/// Another node has the program's id, and had it first: the program did not join, or has left. It does not try again
/// by itself.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct IdTaken {
    /// The role of the node: a program with both plugins has two.
    pub role: Role,
    /// The id.
    pub node: NodeId,
    /// Host and process id of the other, if it says so.
    pub holder: Option<(NodeId, u32)>,
}

/// A message came that cannot be read. The same from one sender on one key is told once a frame at most.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct DecodeFailed {
    /// The key it came on.
    pub key: String,
    /// Who sent it; `None` if it did not say.
    pub sender: Option<NodeId>,
    /// The message type it should have been.
    pub message: &'static str,
    /// The field that is missing or does not fit, such as `energy`; `None` if it is the message as a whole.
    pub field: Option<String>,
    /// All of that in plain words.
    pub reason: String,
}

/// A message came that can be read, and was not taken: a value that its parameter does not have, more than is taken
/// of one sender, in the name of another.
#[derive(Event, Debug, Clone, PartialEq)]
pub struct MessageRefused {
    /// The key it came on.
    pub key: String,
    /// Who sent it; `None` if it did not say.
    pub sender: Option<NodeId>,
    /// What is wrong with it. Its text says what to do.
    pub problem: Diagnostic,
}

/// Messages to this program, or of it, were dropped.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct MessageDropped {
    /// Where.
    pub queue: QueueKind,
    /// The key.
    pub key: String,
    /// How many, since it was told last.
    pub count: u64,
}

/// The queue of a reliable lane is full: what the program wanted to send was given back to it.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct QueueFull {
    /// The key.
    pub key: String,
    /// How many messages, since it was told last.
    pub count: u64,
}

/// Another program sends messages of a type in a shape that this program cannot read.
///
/// Nothing more of it is read on that topic until it has been started again; everything else goes on.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct PeerIncompatible(pub SchemaMismatch);

/// Troubles that are told in a frame at most; the others are told in the next ones.
const IN_A_FRAME: usize = 8;

impl IdTaken {
    pub(crate) fn by(IdConflict { node, holder }: IdConflict, role: Role) -> Self {
        Self { role, node, holder }
    }
}

/// Tells what has gone wrong since the last frame; whether there may be more of it.
pub(crate) fn tell_problems(problems: &Diagnostics, commands: &mut Commands) -> bool {
    for _ in 0..IN_A_FRAME {
        let Some(problem) = problems.try_recv() else { return false };
        tell(problem, commands);
    }
    true
}

fn tell(problem: Diagnostic, commands: &mut Commands) {
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
        // They are told as dropped on the way.
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
