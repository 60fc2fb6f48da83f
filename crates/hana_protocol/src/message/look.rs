use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::parameter::modulator::Modulator;
use crate::parameter::parameter::ParameterName;
use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// All current values of a visualization, on `hana/<viz>/look` (state).
///
/// Published on change, at most ten times a second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// The value of each parameter, by name.
    pub parameters: BTreeMap<ParameterName, f32>,
    /// The modulator of each modulated parameter, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub modulators: BTreeMap<ParameterName, Modulator>,
    /// The panic override in force.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub in_force: Option<Override>,
}

/// A panic override, which takes precedence over everything that is played, until the command `resume`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Override {
    /// The look does not change; values that arrive during the freeze are shown after it.
    Freeze,
    /// The screen is black; played values continue to be applied.
    Blackout,
}

impl Override {
    /// Returns the name as in JSON.
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
    /// Five times the publication rate of ten per second.
    const MAX_PER_SECOND: u32 = 50;
    const NAME: &'static str = "look";
}
