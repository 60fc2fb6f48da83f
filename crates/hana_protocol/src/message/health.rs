use std::collections::BTreeMap;

use hana_time::sanitize_line;
use serde::{Deserialize, Serialize};

use crate::id::node_id::NodeId;
use crate::message::play_status::PlayStatus;
use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// The state of a node, which it publishes ten times a second on `hana/<node>/health`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// The frames of a node that draws or otherwise works in a loop.
    ///
    /// A node without a loop omits this and is judged by its presence alone.
    #[serde(default)]
    pub frames: Option<Frames>,
    /// The reason why a visualization runs without a window, such as "DISPLAY is not set".
    ///
    /// A node that omits this has a window, or does not report on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headless: Option<String>,
    /// Milliseconds since the node joined.
    pub uptime_ms: u64,
    /// Resident memory of the process in bytes; 0 if the platform does not report it.
    #[serde(default)]
    pub memory_bytes: u64,
    /// Messages that the node sent, received and dropped since it joined.
    #[serde(default)]
    pub counters: Counters,
    /// The same by lane; lanes without traffic are omitted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lanes: BTreeMap<Lane, LaneTraffic>,
    /// Message faults by peer, the most frequent first; at most [`Health::MAX_TROUBLES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<MessageFault>,
    /// The visualizations that the node plays, and the state of each play session; at most [`Health::MAX_PLAYS`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub plays: BTreeMap<NodeId, PlayStatus>,
}

impl Health {
    /// Maximum number of reported play sessions.
    pub const MAX_PLAYS: usize = 64;
    /// Maximum number of reported message faults.
    pub const MAX_TROUBLES: usize = 8;
    /// Maximum length of `headless` in characters; longer text is cut.
    pub const MAX_HEADLESS: usize = 300;

    /// Returns what an operator should know about the node although it runs; empty if there is nothing.
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
    /// Dropped because a queue was full.
    pub dropped: u64,
    /// Replaced by a newer message of the same key before it was sent or read.
    pub coalesced: u64,
    /// Missing at first, retransmitted, and delivered.
    pub recovered: u64,
    /// Never received.
    pub missed: u64,
    /// Received twice or after a newer message, and dropped.
    pub late: u64,
}

/// Messages of one peer that were not delivered, or only late.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageFault {
    /// The sender that the messages name.
    pub peer: NodeId,
    /// The lane.
    pub lane: Lane,
    /// The kind of fault.
    pub cause: MessageFaultCause,
    /// Number of messages since the node joined.
    pub count: u64,
}

/// The reason why a message was not delivered, or only late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageFaultCause {
    /// It was never received.
    Missed,
    /// It was received after a retransmission.
    Recovered,
    /// It was received twice or after a newer message.
    Late,
    /// The program did not keep up, and its queue was full.
    Dropped,
    /// It could not be used.
    Malformed,
    /// It exceeded the rate limit of its sender.
    Limited,
    /// Another node sent it in the sender's name.
    Impersonated,
    /// It was played while another controller owned the parameter.
    Held,
}

impl MessageFaultCause {
    /// Returns one or two words for tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Recovered => "recovered",
            Self::Late => "late",
            Self::Dropped => "dropped",
            Self::Malformed => "unusable",
            Self::Limited => "too many",
            Self::Impersonated => "impersonated",
            Self::Held => "owned by another controller",
        }
    }
}

/// The frames of a node's main loop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Frames {
    /// Frames since the node joined. Incremented by the render loop itself, never by a network thread.
    pub count: u64,
    /// Frames per second over the last second.
    pub fps: f32,
    /// The longest frame of the last second, in microseconds.
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
    /// Dropped because a queue was full.
    pub dropped: u64,
    /// Replaced by a newer value of the same key before it was sent or read: only the newest value matters.
    #[serde(default)]
    pub coalesced: u64,
    /// Missing at first, retransmitted, and delivered.
    #[serde(default)]
    pub recovered: u64,
    /// Sequence numbers that were never received.
    pub missed: u64,
    /// Received twice or after a newer message, and dropped.
    pub late: u64,
    /// Unusable: undecodable, of the wrong type, too large, or out of range.
    pub malformed: u64,
    /// Above the rate limit per sender and key, and dropped unread.
    #[serde(default)]
    pub limited: u64,
    /// Sent by another node on a key that only its owner may publish, and dropped unread.
    #[serde(default)]
    pub impersonated: u64,
    /// Changes that arrived after their beat and were carried out at once.
    #[serde(default)]
    pub overdue: u64,
    /// Values that were played while another controller owned the parameter, and not applied.
    #[serde(default)]
    pub held: u64,
    /// Messages of another protocol, such as OSC, that the operating system dropped before a bridge read them.
    #[serde(default)]
    pub input_lost: u64,
}

impl Counters {
    /// Whether messages were lost or unusable.
    ///
    /// Late and dropped messages are not errors: only the newest value matters, and a copy may arrive by a second path.
    /// Refused values of parameters with another owner are not errors either.
    #[must_use]
    pub const fn has_errors(&self) -> bool {
        self.missed + self.malformed + self.limited + self.impersonated + self.input_lost > 0
    }
}

impl Message for Health {
    const LANE: Lane = Lane::UnreliableSequenced;
    /// Mostly for play sessions, whose node ids vary in length.
    const MAX_BYTES: usize = 16 * 1024;
    /// Five times the ten heartbeats of a second.
    const MAX_PER_SECOND: u32 = 50;
    const NAME: &'static str = "health";
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn headless_reason_is_cut_and_shown_as_remark() {
        assert_eq!(Health::default().remark(), "");
        let headless = Health { headless: Some("x".repeat(1000)), ..Health::default() };
        assert!(headless.remark().chars().count() < Health::MAX_HEADLESS + 50);
    }

    #[test]
    fn late_and_dropped_messages_are_no_errors() {
        let counters = Counters { late: 1, dropped: 1, held: 1, ..Counters::default() };
        assert!(!counters.has_errors());
        assert!(Counters { missed: 1, ..counters }.has_errors());
    }

    #[test]
    fn counters_of_an_older_node_decode_with_zeros() {
        let json =
            r#"{"sent": 1, "received": 2, "dropped": 0, "missed": 0, "late": 0, "malformed": 0}"#;
        let counters: Counters = serde_json::from_str(json).unwrap();
        assert_eq!((counters.sent, counters.received, counters.input_lost), (1, 2, 0));
    }
}
