use std::fmt;

use serde::{Deserialize, Serialize};

/// A delivery promise. Each message type has one, so that the right lane is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Every message once, in order: control, events.
    ReliableOrdered,
    /// Every message once, never waiting for another one: logs, one-off events.
    ReliableUnordered,
    /// The newest wins; an older one is never delivered after a newer: modulation, health.
    UnreliableSequenced,
    /// May be lost; no promise of order: sparks, previews.
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

    /// The lane's name, as `keyexprs.md` and `info` have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReliableOrdered => "reliable_ordered",
            Self::ReliableUnordered => "reliable_unordered",
            Self::UnreliableSequenced => "unreliable_sequenced",
            Self::UnreliableUnordered => "unreliable_unordered",
        }
    }

    /// Whether every message arrives, as long as its publisher has it.
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        matches!(self, Self::ReliableOrdered | Self::ReliableUnordered)
    }

    /// Whether an older message is thrown away once a newer one has been delivered.
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
