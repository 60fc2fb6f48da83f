use std::collections::BTreeMap;

use hana_protocol::id::NodeId;

/// The apps as known here: their claims, parameters that they left behind, and notes of their operators.
#[derive(Default, Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operators {
    /// This app, once it has joined.
    pub(crate) own_id: Option<NodeId>,
    /// Apps that have disconnected, and how many parameters they left behind.
    pub(crate) abandoned: BTreeMap<NodeId, usize>,
    /// The current notes, by the app that published them.
    pub(crate) notes: BTreeMap<NodeId, String>,
    /// How many parameters each app has claimed.
    pub(crate) claims: BTreeMap<NodeId, usize>,
}

impl Operators {
    /// Describes the parameters that can be taken over, if there are any.
    pub(crate) fn describe_abandoned(&self) -> Option<String> {
        let (first, _) = self.abandoned.first_key_value()?;
        let parameters = match self.abandoned.values().sum() {
            1 => "1 parameter".into(),
            count => format!("{count} parameters"),
        };
        let others = match self.abandoned.len() - 1 {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        Some(format!("take over {parameters} of {first}{others}"))
    }
}
