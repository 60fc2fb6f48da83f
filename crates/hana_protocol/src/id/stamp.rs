use serde::{Deserialize, Serialize};

use crate::id::node_id::NodeId;

/// A hybrid-logical-clock timestamp of a write or claim. By stamps, all nodes put concurrent writes in the same
/// order.
///
/// Stamps are ordered by time, then by the count within the millisecond, then by node, so that stamps of different
/// nodes are never equal. On the wire an array: `[1760000000000, 0, "app-h1"]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "StampWire", into = "StampWire")]
pub struct Stamp {
    /// Unix milliseconds: the author's clock, or a larger time that the author has received from another node.
    pub ms: u64,
    /// The number of this stamp among the author's stamps with the same `ms`, from 0.
    pub count: u32,
    /// The author.
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
