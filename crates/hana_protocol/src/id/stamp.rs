use serde::{Deserialize, Serialize};

use crate::id::node_id::NodeId;

/// When somebody wrote or took something, so that all agree which of two was later.
///
/// Ordered by the time first, then by a count within one millisecond, then by who it was, so that two stamps of different
/// nodes are never equal. On the wire an array: `[1760000000000, 0, "app-h1"]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "StampWire", into = "StampWire")]
pub struct Stamp {
    /// Unix milliseconds: by the clock of whoever made it, or of somebody whose clock is ahead and of whom it had heard.
    pub ms: u64,
    /// Which one within that millisecond, from 0.
    pub count: u32,
    /// Who made it.
    pub by: NodeId,
}

#[derive(Serialize, Deserialize)]
struct StampWire(u64, u32, NodeId);

impl From<StampWire> for Stamp {
    fn from(StampWire(ms, count, by): StampWire) -> Self {
        Self { ms, count, by }
    }
}

impl From<Stamp> for StampWire {
    fn from(Stamp { ms, count, by }: Stamp) -> Self {
        Self(ms, count, by)
    }
}
