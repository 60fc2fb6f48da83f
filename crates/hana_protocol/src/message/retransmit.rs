use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// How far a node has come on its topics, on `hana/<node>/sent`.
///
/// Said a few times after something was sent there, so that the loss of a last message, after which nothing comes, is
/// noticed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceHeartbeat {
    /// Of each key the number of the newest message, and for how long it has been sent, in microseconds.
    pub newest: BTreeMap<String, (u64, u64)>,
}

impl SequenceHeartbeat {
    /// Keys in one message at most; of more, the rest follows in another.
    pub const MAX_KEYS: usize = 64;
}

impl Message for SequenceHeartbeat {
    const LANE: Lane = Lane::UnreliableUnordered;
    const MAX_BYTES: usize = 16 * 1024;
    /// Ten times a second at most, of each 64 keys.
    const MAX_PER_SECOND: u32 = 200;
    const NAME: &'static str = "sent";
}

/// Asks a node for messages that it has sent and that did not arrive, on `hana/<node>/resend`.
///
/// The node answers with each message that it still has, as it was sent, with its envelope; and with one [`RetransmitEnd`],
/// which has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetransmitRequest {
    /// The key they were sent on.
    pub key: String,
    /// The run of the node that sent them.
    pub instance: u64,
    /// The first and the last number of each stretch that is missing.
    pub missing: Vec<(u64, u64)>,
    /// The number of the message that `listening_us` is counted back from: the first that who asks has heard or heard of.
    /// Left out, it is counted back from when the question arrives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<u64>,
    /// For how long who asks had been listening when he heard that message, in microseconds: what was sent longer before it
    /// was not for him. A length of time and no time of day, so that the two clocks need not agree; counted from a
    /// message and not from the question, so that it does not matter how long the question is under way.
    pub listening_us: u64,
}

impl RetransmitRequest {
    /// Messages in one answer at most; what is missing still is asked for again.
    pub const MAX_MESSAGES: u64 = 256;
    /// Stretches in one question at most.
    pub const MAX_STRETCHES: usize = 64;

    /// Whether this number is asked for.
    #[must_use]
    pub fn asks_for(&self, sequence: u64) -> bool {
        self.missing.iter().any(|(first, last)| (*first..=*last).contains(&sequence))
    }
}

impl Message for RetransmitRequest {
    const LANE: Lane = Lane::ReliableUnordered;
    const MAX_BYTES: usize = 4096;
    /// Of each receiver: four questions a second for each of 250 topics.
    const MAX_PER_SECOND: u32 = 1000;
    const NAME: &'static str = "resend";
}

/// What a node says of messages that it was asked for. All below the larger number will not come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetransmitEnd {
    /// All before this one were sent before who asks was listening.
    pub first_for_you: u64,
    /// All before this one are not kept any more.
    pub first_kept: u64,
}
