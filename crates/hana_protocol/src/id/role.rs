//! The roles of a node. The role decides at compile time which messages a node may send and receive
//! (see [`crate::contract::routes`]), so each role is a type as well as a value.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The role of a node as a value, as in keys, `info` and lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A controller with a window for an operator.
    App,
    /// A program that draws.
    Visualization,
    /// The process on every host that discovers, launches and monitors visualizations.
    Daemon,
    /// A controller that translates between the mesh and another protocol or device: OSC, MIDI, a lighting desk.
    Bridge,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 4] = [Self::App, Self::Visualization, Self::Daemon, Self::Bridge];

    /// Returns the role's name as in keys and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Visualization => "visualization",
            Self::Daemon => "daemon",
            Self::Bridge => "bridge",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| UnknownRole { text: text.into() })
    }
}

/// The error that a string is not the name of a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a role; the roles are app, visualization, daemon and bridge")]
pub struct UnknownRole {
    /// The string.
    pub text: String,
}

/// A role as a type. Sealed: the implementors correspond to the variants of [`Role`].
pub trait NodeRole: sealed::Sealed + Send + Sync + 'static {
    /// The same role as a value.
    const ROLE: Role;
}

/// The role [`Role::App`] as a type.
#[derive(Debug, Clone, Copy)]
pub enum App {}
/// The role [`Role::Visualization`] as a type.
#[derive(Debug, Clone, Copy)]
pub enum Visualization {}
/// The role [`Role::Daemon`] as a type.
#[derive(Debug, Clone, Copy)]
pub enum Daemon {}
/// The role [`Role::Bridge`] as a type.
#[derive(Debug, Clone, Copy)]
pub enum Bridge {}

impl NodeRole for App {
    const ROLE: Role = Role::App;
}
impl NodeRole for Visualization {
    const ROLE: Role = Role::Visualization;
}
impl NodeRole for Daemon {
    const ROLE: Role = Role::Daemon;
}
impl NodeRole for Bridge {
    const ROLE: Role = Role::Bridge;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::id::role::App {}
    impl Sealed for crate::id::role::Visualization {}
    impl Sealed for crate::id::role::Daemon {}
    impl Sealed for crate::id::role::Bridge {}
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn role_round_trips_through_its_name() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
    }

    #[test]
    fn unknown_role_is_refused_with_the_valid_ones() {
        let error = "king".parse::<Role>().unwrap_err().to_string();
        assert!(Role::ALL.iter().all(|role| error.contains(role.as_str())), "{error}");
    }
}
