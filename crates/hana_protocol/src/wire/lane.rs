use std::fmt;

use serde::{Deserialize, Serialize};

/// A delivery guarantee. Each message type declares its lane, so a sender need not choose one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Delivers every message exactly once and in order: control, events.
    ReliableOrdered,
    /// Delivers every message exactly once; no message waits for another message: logs, one-off events.
    ReliableUnordered,
    /// Delivers the newest message, and never an older message after a newer message: modulation, health.
    UnreliableSequenced,
    /// May lose and reorder messages: sparks, previews.
    UnreliableUnordered,
}

impl Lane {
    /// All lanes.
    pub const ALL: [Self; 4] = [
        Self::ReliableOrdered,
        Self::ReliableUnordered,
        Self::UnreliableSequenced,
        Self::UnreliableUnordered,
    ];

    /// Returns the lane's name as in `keyexprs.md` and `info`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReliableOrdered => "reliable_ordered",
            Self::ReliableUnordered => "reliable_unordered",
            Self::UnreliableSequenced => "unreliable_sequenced",
            Self::UnreliableUnordered => "unreliable_unordered",
        }
    }

    /// Whether the lane delivers every message that its publisher still stores for retransmission.
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        matches!(self, Self::ReliableOrdered | Self::ReliableUnordered)
    }

    /// Whether an older message is dropped once a newer one has been delivered.
    #[must_use]
    pub const fn drops_older(self) -> bool {
        matches!(self, Self::UnreliableSequenced)
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
