use serde::{Deserialize, Serialize};

use crate::id::node_id::NodeId;
use crate::id::stamp::Stamp;
use crate::message::parameter_owners::Priority;
use crate::parameter::parameter::ParameterName;
use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// What an app or a bridge tells the others of how it plays, on `hana/<app>/session`: state.
///
/// Wishes and notes are two maps that all apps write and all have (`LwwMap` in `hana_engine`). Each app tells
/// what it has written itself, and what those wrote who are not there to say it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorState {
    /// How much its word counts.
    #[serde(default)]
    pub priority: Priority,
    /// Who has taken what and wants to keep it, and who no more.
    #[serde(default)]
    pub wishes: Vec<Claim>,
    /// What operators have told each other.
    #[serde(default)]
    pub notes: Vec<Note>,
}

/// That an app has taken a parameter and wants to keep it, or no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The app.
    pub app: NodeId,
    /// The visualization.
    pub node: NodeId,
    /// The parameter.
    pub parameter: ParameterName,
    /// With which priority it was taken.
    #[serde(default, skip_serializing_if = "Priority::is_usual")]
    pub priority: Priority,
    /// It is over: the app has released it, or it was taken from it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ended: bool,
    /// Who has the parameter instead, if it was taken from the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<NodeId>,
    /// When that was, and who says so.
    pub stamp: Stamp,
}

/// A word from one operator to the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The app it was written at.
    pub app: NodeId,
    /// The words; empty when they were taken back.
    pub text: String,
    /// When, and who says so.
    pub stamp: Stamp,
}

// Serde wants a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl OperatorState {
    /// Wishes that are kept, those that have ended among them; of more, the newest.
    pub const MAX_WISHES: usize = 1024;
    /// Notes that are kept, one of each app; of more, the newest.
    pub const MAX_NOTES: usize = 64;
    /// Characters of a note.
    pub const MAX_NOTE: usize = 280;
}

impl Message for OperatorState {
    const LANE: Lane = Lane::ReliableOrdered;
    /// A thousand wishes under names of a usual length.
    const MAX_BYTES: usize = 256 * 1024;
    /// Five times the ten a second at which it is published.
    const MAX_PER_SECOND: u32 = 50;
    const NAME: &'static str = "session";
}
