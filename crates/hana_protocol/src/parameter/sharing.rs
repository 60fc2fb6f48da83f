use serde::{Deserialize, Serialize};

/// How several controllers share a parameter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// One controller at a time owns the parameter.
    #[default]
    One,
    /// All contributions are added: each moves the parameter from its default as it would alone. The parameter has no
    /// owner.
    Mix,
}

impl Sharing {
    /// Whether one controller at a time owns the parameter.
    // Takes a reference, since serde's `skip_serializing_if` passes a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    #[must_use]
    pub const fn is_one(&self) -> bool {
        matches!(self, Self::One)
    }
}
