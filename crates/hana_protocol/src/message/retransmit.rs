use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// The newest sequence numbers of a node's topics, on `hana/<node>/last_sent`.
///
/// Published a few times after the last message on a topic, so that receivers can detect the loss of that message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceHeartbeat {
    /// The number of the newest message on each key, and the time since it was sent, in microseconds.
    pub newest: BTreeMap<String, (u64, u64)>,
}

impl SequenceHeartbeat {
    /// Maximum number of keys in one message; further keys follow in another message.
    pub const MAX_KEYS: usize = 64;
}

impl Message for SequenceHeartbeat {
    const LANE: Lane = Lane::UnreliableUnordered;
    const MAX_BYTES: usize = 16 * 1024;
    /// At most ten messages a second for each 64 keys.
    const MAX_PER_SECOND: u32 = 200;
    const NAME: &'static str = "last_sent";
}

/// A request for messages that a node sent and the receiver missed, on `hana/<node>/retransmit`.
///
/// The node replies with each requested message that it still has, in its original envelope, and with one
/// [`RetransmitEnd`], which has no envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetransmitRequest {
    /// The key of the messages.
    pub key: String,
    /// The instance of the node that sent them.
    pub instance: u64,
    /// The ranges of missing sequence numbers, each as its first and last number.
    pub missing: Vec<(u64, u64)>,
    /// The sequence number of the first message that the requester received or learned of.
    ///
    /// `subscribed_for_us` counts back from that message.
    ///
    /// If omitted, `subscribed_for_us` counts back from the arrival of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor_sequence: Option<u64>,
    /// The time between subscribing and receiving (or learning of) `anchor_sequence`, in microseconds.
    ///
    /// A message sent more than this duration before `anchor_sequence` predates the subscription. Since this is a
    /// duration, the two clocks need not agree. Since it counts from a message instead of the request, the transit
    /// time of the request does not matter.
    pub subscribed_for_us: u64,
}

impl RetransmitRequest {
    /// Maximum number of messages in one reply; the requester sends another request for the rest.
    pub const MAX_MESSAGES: u64 = 256;
    /// Maximum number of ranges in one request.
    pub const MAX_RANGES: usize = 64;

    /// Whether the request includes this sequence number.
    #[must_use]
    pub fn includes(&self, sequence: u64) -> bool {
        self.missing.iter().any(|(first, last)| (*first..=*last).contains(&sequence))
    }
}

impl Message for RetransmitRequest {
    const LANE: Lane = Lane::ReliableUnordered;
    const MAX_BYTES: usize = 4096;
    /// Per receiver: four requests a second for each of 250 topics.
    const MAX_PER_SECOND: u32 = 1000;
    const NAME: &'static str = "retransmit";
}

/// The end of a retransmission. Messages numbered below the larger of its two fields will not be retransmitted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetransmitEnd {
    /// The first message that was sent after the requester subscribed.
    pub first_after_join: u64,
    /// The oldest message that the node still keeps.
    pub first_available: u64,
}
