use serde::{Deserialize, Serialize};

use crate::id::node_id::NodeId;
use crate::id::stamp::Stamp;
use crate::message::parameter_owners::Priority;
use crate::parameter::parameter::ParameterName;
use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// The operator state that an app or a bridge shares with other controllers, on `hana/<app>/operator` (state).
///
/// Claims and notes are two replicated maps that every app writes (`LwwMap` in `hana_engine`). Each app publishes its
/// own entries and those of apps that are absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorState {
    /// The priority of the app.
    #[serde(default)]
    pub priority: Priority,
    /// Current and ended claims.
    #[serde(default)]
    pub claims: Vec<Claim>,
    /// Notes between operators.
    #[serde(default)]
    pub notes: Vec<Note>,
}

/// A claim by which an app wants to keep a parameter; may have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The app.
    pub app: NodeId,
    /// The visualization.
    pub node: NodeId,
    /// The parameter.
    pub parameter: ParameterName,
    /// The priority of the claim.
    #[serde(default, skip_serializing_if = "Priority::is_usual")]
    pub priority: Priority,
    /// Whether the claim is over: the app released the parameter, or another app took it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ended: bool,
    /// The new owner, if another app took the parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<NodeId>,
    /// The time and author of this entry.
    pub stamp: Stamp,
}

/// A note from one operator to the other operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The app in which the note was written.
    pub app: NodeId,
    /// The text; empty once the note is withdrawn.
    pub text: String,
    /// The time and author of this entry.
    pub stamp: Stamp,
}

// Takes a reference, since serde's `skip_serializing_if` passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl OperatorState {
    /// Maximum number of claims, ended ones included; the newest are kept.
    pub const MAX_CLAIMS: usize = 1024;
    /// Maximum number of notes, one per app; the newest are kept.
    pub const MAX_NOTES: usize = 64;
    /// Maximum length of a note in characters.
    pub const MAX_NOTE: usize = 280;
}

impl Message for OperatorState {
    const LANE: Lane = Lane::ReliableOrdered;
    /// Room for a thousand claims with names of typical length.
    const MAX_BYTES: usize = 256 * 1024;
    /// Five times the publication rate of ten per second.
    const MAX_PER_SECOND: u32 = 50;
    const NAME: &'static str = "operator";
}
