use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::node_id::NodeId;
use crate::id::stamp::Stamp;
use crate::parameter::parameter::ParameterName;
use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// The owners of a visualization's parameters, on `hana/<viz>/owners` (state).
///
/// Published on change, at most ten times a second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterOwners {
    /// The current owner of each parameter; for some parameters without a current owner, the last owner.
    ///
    /// If a parameter has two entries, the first is the current owner. The second owner regains the parameter when
    /// the first pauses.
    #[serde(default)]
    pub owners: Vec<Ownership>,
    /// The contributors to each mixed parameter.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mixed: BTreeMap<ParameterName, Vec<NodeId>>,
    /// The announced priority of each app, unless the priority is 0.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub priorities: BTreeMap<NodeId, Priority>,
}

/// The current or past ownership of a parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ownership {
    /// The parameter.
    pub parameter: ParameterName,
    /// The owner.
    pub by: NodeId,
    /// The kind of ownership.
    pub how: OwnershipKind,
    /// The priority of the ownership.
    #[serde(default, skip_serializing_if = "Priority::is_usual")]
    pub priority: Priority,
    /// The time of the claim; `None` if the owner only plays the parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Stamp>,
}

/// The kind of ownership of a parameter, current or past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnershipKind {
    /// The app owns the parameter by playing it, until it pauses.
    Active,
    /// The app owns the parameter by a claim, until it releases the parameter, another app takes it, or the app
    /// disappears.
    Claimed,
    /// No longer owned: the app disappeared.
    Abandoned,
    /// No longer owned: the app released the parameter, or took it from another app only for a single `set`.
    Released,
}

/// The priority of an app, 0 by default.
///
/// An app that plays a parameter immediately takes it from an owner with a lower priority.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Priority(pub i8);

/// The error that another app owns a parameter that an app tried to play, set or claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}", self.in_words())]
pub struct OwnedByOther {
    /// The parameter.
    pub parameter: ParameterName,
    /// The owner.
    pub by: NodeId,
    /// The kind of ownership.
    pub how: OwnershipKind,
}

impl Priority {
    /// Whether this is the default priority.
    // Takes a reference, since serde's `skip_serializing_if` passes a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    #[must_use]
    pub const fn is_usual(&self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl OwnershipKind {
    /// Whether the ownership is current.
    #[must_use]
    pub const fn is_held(self) -> bool {
        matches!(self, Self::Active | Self::Claimed)
    }
}

impl ParameterOwners {
    /// Returns the owner of a parameter, if any.
    #[must_use]
    pub fn owner_of(&self, parameter: &ParameterName) -> Option<&Ownership> {
        self.owners.iter().find(|held| held.parameter == *parameter && held.how.is_held())
    }

    /// Returns the last owner of a parameter, if that app disappeared and the parameter has had no owner since.
    #[must_use]
    pub fn left_by(&self, parameter: &ParameterName) -> Option<&NodeId> {
        let of = self.owners.iter().find(|held| held.parameter == *parameter)?;
        (of.how == OwnershipKind::Abandoned).then_some(&of.by)
    }
}

impl OwnedByOther {
    fn in_words(&self) -> String {
        let Self { parameter, by, how } = self;
        match how {
            OwnershipKind::Active => {
                format!("'{by}' plays {parameter}; wait until it pauses, or take it")
            },
            OwnershipKind::Claimed => {
                format!("'{by}' has taken {parameter}; wait until it is released, or take it")
            },
            OwnershipKind::Abandoned | OwnershipKind::Released => {
                format!("'{by}' has taken {parameter} meanwhile; pause, or take it again")
            },
        }
    }
}

impl Message for ParameterOwners {
    const LANE: Lane = Lane::ReliableOrdered;
    /// Room for the ownership of every parameter of a large visualization, with long names.
    const MAX_BYTES: usize = 256 * 1024;
    /// Five times the publication rate of ten per second.
    const MAX_PER_SECOND: u32 = 50;
    const NAME: &'static str = "owners";
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn first_current_entry_is_the_owner() {
        let json = r#"{"owners": [
            {"parameter": "zoom", "by": "desk", "how": "active", "priority": 5},
            {"parameter": "zoom", "by": "app", "how": "claimed", "stamp": [1, 0, "app"]},
            {"parameter": "hue", "by": "app", "how": "abandoned"}]}"#;
        let owners: ParameterOwners = serde_json::from_str(json).unwrap();
        let name = |name| ParameterName::new(name).unwrap();
        assert_eq!(owners.owner_of(&name("zoom")).unwrap().by.as_str(), "desk");
        assert_eq!(owners.owner_of(&name("hue")), None);
        assert_eq!(owners.left_by(&name("hue")).unwrap().as_str(), "app");
        assert_eq!(owners.left_by(&name("zoom")), None);
    }
}
