use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::Lane;
use crate::Message;
use crate::ParameterName;

/// All current values of a visualization, on `hana/<viz>/look`: state, on change, at most ten times a second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// Name and value of each parameter.
    pub parameters: BTreeMap<ParameterName, f32>,
}

impl Message for Look {
    const LANE: Lane = Lane::ReliableOrdered;
    /// Five times the ten a second at which it is published.
    const MAX_PER_SECOND: u32 = 50;
    const NAME: &'static str = "look";
}
