use std::collections::BTreeMap;

use hana_time::sanitize_line;
use serde::{Deserialize, Serialize};

use crate::id::node_id::NodeId;
use crate::message::play_status::PlayStatus;
use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// What a node says of itself ten times a second, on `hana/<node>/health`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Its frames, if it draws or otherwise works in a loop. A node without a loop leaves it out and is
    /// judged by its presence alone.
    #[serde(default)]
    pub frames: Option<Frames>,
    /// Why nothing of it is on a screen, of a visualization that runs without a window: the cause, such as "DISPLAY is not
    /// set". A node that leaves it out has a window, or reports nothing about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headless: Option<String>,
    /// Milliseconds since it joined.
    pub uptime_ms: u64,
    /// Resident memory of its process in bytes; 0 where the platform does not tell.
    #[serde(default)]
    pub memory_bytes: u64,
    /// What it sent, received and threw away since it joined.
    #[serde(default)]
    pub counters: Counters,
    /// The same by lane; lanes on which nothing happened are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lanes: BTreeMap<Lane, LaneTraffic>,
    /// With whom it has or had trouble, the most first; at most [`Health::MAX_TROUBLES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<MessageFault>,
    /// The visualizations that it plays, and how; at most [`Health::MAX_PLAYS`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub plays: BTreeMap<NodeId, PlayStatus>,
}

impl Health {
    /// More play sessions than this are not told.
    pub const MAX_PLAYS: usize = 64;
    /// More troubles than this are not told.
    pub const MAX_TROUBLES: usize = 8;
    /// Characters of `headless`; what is longer is cut.
    pub const MAX_HEADLESS: usize = 300;

    /// What a person should know of the node although it runs; empty if there is nothing.
    #[must_use]
    pub fn remark(&self) -> String {
        self.headless.as_ref().map_or_else(String::new, |cause| {
            format!("headless, no window: {}", sanitize_line(cause, Self::MAX_HEADLESS))
        })
    }
}

/// Messages of one lane, counted since the node joined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LaneTraffic {
    /// Handed to the network.
    pub sent: u64,
    /// Delivered to the program.
    pub received: u64,
    /// Thrown away because a queue was full.
    pub dropped: u64,
    /// Replaced by a newer one of the same key, before it was sent or read.
    pub coalesced: u64,
    /// Missing at first, asked for, and delivered.
    pub recovered: u64,
    /// Never came.
    pub missed: u64,
    /// Arrived twice, or after a newer one, and thrown away.
    pub late: u64,
}

/// Messages of one sender that did not become what they were meant to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageFault {
    /// Who sent them, as they say.
    pub peer: NodeId,
    /// On which lane.
    pub lane: Lane,
    /// What became of them.
    pub cause: MessageFaultCause,
    /// How many, since the node joined.
    pub count: u64,
}

/// What becomes of a message that is not delivered, or not at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageFaultCause {
    /// It never came.
    Missed,
    /// It came when it was asked for.
    Recovered,
    /// It came twice, or after a newer one.
    Late,
    /// The program did not keep up, and its queue was full.
    Dropped,
    /// It could not be used.
    Malformed,
    /// It was over the rate of its sender.
    Limited,
    /// Somebody else said it in the sender's name.
    Impersonated,
    /// It was played while somebody else held the parameter.
    Held,
}

impl MessageFaultCause {
    /// In a word or two, for tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Recovered => "recovered",
            Self::Late => "late",
            Self::Dropped => "dropped",
            Self::Malformed => "unusable",
            Self::Limited => "too many",
            Self::Impersonated => "in a false name",
            Self::Held => "held by another",
        }
    }
}

/// The loop of a node that draws.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Frames {
    /// Frames since it joined. Bumped by the render loop itself, never by a network thread.
    pub count: u64,
    /// Frames per second over the last second.
    pub fps: f32,
    /// Longest frame of the last second in microseconds.
    #[serde(default)]
    pub max_us: u64,
}

/// Messages counted since the node joined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Handed to the network.
    pub sent: u64,
    /// Delivered to the program.
    pub received: u64,
    /// Thrown away because a queue was full.
    pub dropped: u64,
    /// Replaced by a newer one of the same key, before it was sent or read: of a value only the newest matters.
    #[serde(default)]
    pub coalesced: u64,
    /// Missing at first, asked for, and delivered.
    #[serde(default)]
    pub recovered: u64,
    /// Sequence numbers that never came.
    pub missed: u64,
    /// Arrived twice, or after a newer one, and thrown away.
    pub late: u64,
    /// Not understood: undecodable, of the wrong type, too large, out of range.
    pub malformed: u64,
    /// Over the rate that is taken of one sender on one key, and thrown away unread.
    #[serde(default)]
    pub limited: u64,
    /// Said by somebody else in the name of a node that speaks for itself alone, and thrown away unread.
    #[serde(default)]
    pub impersonated: u64,
    /// Changes whose beat was over when they came, and which were carried out at once.
    #[serde(default)]
    pub overdue: u64,
    /// Values that were played while somebody else held their parameters, and not taken.
    #[serde(default)]
    pub held: u64,
    /// Messages of another protocol, such as OSC, that the operating system dropped before a bridge could read them.
    #[serde(default)]
    pub input_lost: u64,
}

impl Counters {
    /// Whether messages never came or could not be used. What was late or dropped is no error: of a value only
    /// the newest matters, and a copy may come by a second way. What somebody else held was meant to be refused.
    #[must_use]
    pub const fn has_errors(&self) -> bool {
        self.missed + self.malformed + self.limited + self.impersonated + self.input_lost > 0
    }
}

impl Message for Health {
    const LANE: Lane = Lane::UnreliableSequenced;
    /// Most of it for play sessions, under names of any length.
    const MAX_BYTES: usize = 16 * 1024;
    /// Five times the ten beats of a second.
    const MAX_PER_SECOND: u32 = 50;
    const NAME: &'static str = "health";
}
