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
    /// Messages counted by lane; lanes without traffic are omitted.
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

    /// Returns a remark for operators about a running node, such as that it has no window; empty if there is none.
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
    /// Messages handed to the network.
    pub sent: u64,
    /// Messages delivered to the program.
    pub received: u64,
    /// Messages dropped because a queue was full.
    pub dropped: u64,
    /// Messages replaced by a newer message on the same key before they were sent or read.
    pub coalesced: u64,
    /// Messages that were missing at first, then retransmitted and delivered.
    pub recovered: u64,
    /// Messages that were never received.
    pub missed: u64,
    /// Messages dropped because they arrived twice or after a newer message.
    pub late: u64,
}

/// The number of messages of one peer on one lane that had the same fault.
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

/// The fault of a message: the reason why it was not delivered, or was delivered only after a retransmission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageFaultCause {
    /// The message was never received.
    Missed,
    /// The message was received after a retransmission.
    Recovered,
    /// The message was received twice or after a newer message.
    Late,
    /// The program did not keep up, and its queue was full.
    Dropped,
    /// The message could not be used.
    Malformed,
    /// The message exceeded the rate limit of its sender.
    Limited,
    /// Another node sent the message in the sender's name.
    Impersonated,
    /// The message played a parameter that another controller owned.
    Held,
}

impl MessageFaultCause {
    /// Returns a short description for tables.
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
    /// Frames since the node joined. Only the render loop increments this count, never a network thread.
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
    /// Messages handed to the network.
    pub sent: u64,
    /// Messages delivered to the program.
    pub received: u64,
    /// Messages dropped because a queue was full.
    pub dropped: u64,
    /// Messages replaced by a newer message on the same key before they were sent or read: only the newest value
    /// matters.
    #[serde(default)]
    pub coalesced: u64,
    /// Messages that were missing at first, then retransmitted and delivered.
    #[serde(default)]
    pub recovered: u64,
    /// Sequence numbers that were never received.
    pub missed: u64,
    /// Messages dropped because they arrived twice or after a newer message.
    pub late: u64,
    /// Messages that could not be used: undecodable, of the wrong type, too large, or out of range.
    pub malformed: u64,
    /// Messages above the rate limit per sender and key, which were dropped without being decoded.
    #[serde(default)]
    pub limited: u64,
    /// Messages dropped without being decoded because another node sent them on a key that only its owner may publish
    /// on.
    #[serde(default)]
    pub impersonated: u64,
    /// Changes that arrived after their beat and took effect immediately.
    #[serde(default)]
    pub overdue: u64,
    /// Played values that were not applied because another controller owned the parameter.
    #[serde(default)]
    pub held: u64,
    /// Messages of another protocol, such as OSC, that the operating system dropped before a bridge read them.
    #[serde(default)]
    pub input_lost: u64,
}

impl Counters {
    /// Whether messages were lost or unusable.
    ///
    /// Late and dropped messages are not errors: only the newest value matters, and a copy may arrive by a second
    /// path. Values that were not applied because another controller owned the parameter are not errors either.
    #[must_use]
    pub const fn has_errors(&self) -> bool {
        self.missed + self.malformed + self.limited + self.impersonated + self.input_lost > 0
    }
}

impl Message for Health {
    const LANE: Lane = Lane::UnreliableSequenced;
    /// Room mainly for the play sessions, whose node ids vary in length.
    const MAX_BYTES: usize = 16 * 1024;
    /// Five times the normal rate of ten per second.
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
