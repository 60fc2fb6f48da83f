use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::node_id::NodeId;
use crate::id::stamp::Stamp;
use crate::parameter::parameter::ParameterName;
use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// Who holds which parameter of a visualization, on `hana/<viz>/holders`: state, on change, at most ten times a second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterOwners {
    /// Of each parameter that somebody holds, who; of others, who held it last, where that matters. Where two are told of
    /// one parameter, the first holds it, and the second has it again when the first pauses.
    #[serde(default)]
    pub holders: Vec<Ownership>,
    /// Who contributes to which mixed parameter.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mixed: BTreeMap<ParameterName, Vec<NodeId>>,
    /// The apps that have told it a priority other than 0.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub priorities: BTreeMap<NodeId, Priority>,
}

/// That somebody holds a parameter, or held it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ownership {
    /// The parameter.
    pub parameter: ParameterName,
    /// Who.
    pub by: NodeId,
    /// How.
    pub how: OwnershipKind,
    /// With which priority.
    #[serde(default, skip_serializing_if = "Priority::is_usual")]
    pub priority: Priority,
    /// When it was taken; none of who only plays it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Stamp>,
}

/// How somebody holds a parameter, or ceased to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnershipKind {
    /// By playing it, until he pauses.
    Plays,
    /// He has taken it, until he releases it, somebody else takes it or he vanishes.
    Taken,
    /// No more: he has vanished.
    Left,
    /// No more: he has released it, or set it in passing after it was taken from others.
    Released,
}

/// How much the word of an app counts beside that of others: the higher takes at once, by playing, what a lower one holds.
/// 0 unless it says otherwise.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Priority(pub i8);

/// Whether one at a time plays a parameter, or all who like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// One at a time holds it.
    #[default]
    One,
    /// All who play it are added up: each moves it as far from its default as if he were alone. Nobody holds it.
    Mix,
}

/// Somebody else holds what one would play, set or take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}", self.in_words())]
pub struct OwnedByOther {
    /// The parameter.
    pub parameter: ParameterName,
    /// Who holds it.
    pub by: NodeId,
    /// How.
    pub how: OwnershipKind,
}

impl Priority {
    /// Whether it is the one that everybody has who does not say otherwise.
    // Serde wants a reference.
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

impl Sharing {
    /// Whether one at a time plays it.
    // Serde wants a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    #[must_use]
    pub const fn is_one(&self) -> bool {
        matches!(self, Self::One)
    }
}

impl OwnershipKind {
    /// Whether it is held, or was.
    #[must_use]
    pub const fn is_held(self) -> bool {
        matches!(self, Self::Plays | Self::Taken)
    }
}

impl ParameterOwners {
    /// Who holds a parameter, if anybody does.
    #[must_use]
    pub fn holder_of(&self, parameter: &ParameterName) -> Option<&Ownership> {
        self.holders.iter().find(|held| held.parameter == *parameter && held.how.is_held())
    }

    /// Who had a parameter last and has vanished, if nobody has held it since.
    #[must_use]
    pub fn left_by(&self, parameter: &ParameterName) -> Option<&NodeId> {
        let of = self.holders.iter().find(|held| held.parameter == *parameter)?;
        (of.how == OwnershipKind::Left).then_some(&of.by)
    }
}

impl OwnedByOther {
    fn in_words(&self) -> String {
        let Self { parameter, by, how } = self;
        match how {
            OwnershipKind::Plays => {
                format!("'{by}' plays {parameter}; wait until it pauses, or take it")
            },
            OwnershipKind::Taken => {
                format!("'{by}' has taken {parameter}; wait until it is released, or take it")
            },
            OwnershipKind::Left | OwnershipKind::Released => {
                format!("'{by}' has taken {parameter} meanwhile; pause, or take it again")
            },
        }
    }
}

impl Message for ParameterOwners {
    const LANE: Lane = Lane::ReliableOrdered;
    /// Every parameter of a large visualization, held under long names.
    const MAX_BYTES: usize = 256 * 1024;
    /// Five times the ten a second at which it is published.
    const MAX_PER_SECOND: u32 = 50;
    const NAME: &'static str = "holders";
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_two_holds_it_and_who_let_go_does_not() {
        let json = r#"{"holders": [
            {"parameter": "zoom", "by": "desk", "how": "plays", "priority": 5},
            {"parameter": "zoom", "by": "app", "how": "taken", "stamp": [1, 0, "app"]},
            {"parameter": "hue", "by": "app", "how": "left"}]}"#;
        let holders: ParameterOwners = serde_json::from_str(json).unwrap();
        let name = |name| ParameterName::new(name).unwrap();
        assert_eq!(holders.holder_of(&name("zoom")).unwrap().by.as_str(), "desk");
        assert_eq!(holders.holder_of(&name("hue")), None);
        assert_eq!(holders.left_by(&name("hue")).unwrap().as_str(), "app");
        assert_eq!(holders.left_by(&name("zoom")), None);
    }
}
