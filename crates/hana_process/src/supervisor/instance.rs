use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of an instance of a process, counted from 1.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Instance(u32);

impl Instance {
    /// The first instance.
    pub(super) const FIRST: Self = Self(1);

    /// Creates the instance with this number, to continue the count of an earlier daemon.
    #[must_use]
    pub const fn numbered(number: u32) -> Self {
        Self(number)
    }

    /// Returns the number, from 1, or 0 before the first instance.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    pub(super) const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {}", self.0)
    }
}
