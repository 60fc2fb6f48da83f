use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::parameter::modulator::Modulator;
use crate::parameter::parameter::ParameterName;
use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// All current values of a visualization, on `hana/<viz>/look`: state, on change, at most ten times a second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// Name and value of each parameter.
    pub parameters: BTreeMap<ParameterName, f32>,
    /// Those that move by themselves: name and recipe of each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub recipes: BTreeMap<ParameterName, Modulator>,
    /// What a person has put in force over what is played.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub in_force: Option<Override>,
}

/// What a person can put in force over all that is played, until it is taken back with `resume`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Override {
    /// The look stays as it was; what is played is taken, and shown afterwards.
    Freeze,
    /// Black is drawn; what is played goes on underneath.
    Blackout,
}

impl Override {
    /// Its name, as JSON has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Blackout => "blackout",
        }
    }
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Message for Look {
    const LANE: Lane = Lane::ReliableOrdered;
    /// Five times the ten a second at which it is published.
    const MAX_PER_SECOND: u32 = 50;
    const NAME: &'static str = "look";
}
