use std::collections::BTreeMap;

use hana_protocol::id::NodeId;

/// The apps of the mesh: their claims, the parameters that they left behind, and the notes of their operators.
#[derive(Default, Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operators {
    /// The id of this app, once it has joined.
    pub(crate) own_id: Option<NodeId>,
    /// Apps that have disconnected, each with the number of parameters that it left behind.
    pub(crate) abandoned: BTreeMap<NodeId, usize>,
    /// The current notes, by the app that published them.
    pub(crate) notes: BTreeMap<NodeId, String>,
    /// The number of parameters that each app has claimed.
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
