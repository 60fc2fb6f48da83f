use std::collections::BTreeMap;

use hana_protocol::id::NodeId;

/// The other apps as known here: parameters that they left behind, and notes of their operators.
#[derive(Default, Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operators {
    /// This app, once it has joined.
    pub(crate) own: Option<NodeId>,
    /// Apps that have vanished, and how many parameters they left behind.
    pub(crate) left: BTreeMap<NodeId, usize>,
    /// The current notes, by the app that published them.
    pub(crate) notes: BTreeMap<NodeId, String>,
    /// How many parameters each app has claimed.
    pub(crate) taken: BTreeMap<NodeId, usize>,
}
