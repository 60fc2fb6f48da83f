use serde::{Deserialize, Serialize};

use crate::id::node_id::NodeId;
use crate::id::role::Role;
use crate::message::custom_message_info::CustomMessageInfo;
use crate::parameter::parameter::Parameter;
use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// What a node is, on `hana/<node>/info`. State: whoever comes late asks for it and gets it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// The node.
    pub node: NodeId,
    /// The id that its program gives itself: `ripples-2` is of the kind `ripples`. What does not say is of a
    /// kind of its own, named as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<NodeId>,
    /// Its role.
    pub role: Role,
    /// The host it runs on: the id of that host's daemon, whether one runs or not.
    pub host: NodeId,
    /// Its process id on that host.
    pub pid: u32,
    /// Which run of it: Unix microseconds of its joining.
    pub instance: u64,
    /// When it joined, Unix milliseconds.
    pub started_ms: u64,
    /// The version of hana it is built with.
    pub version: String,
    /// The name of its program.
    #[serde(default)]
    pub program: String,
    /// Its parameters, in its own order; empty for what cannot be played.
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    /// The custom message types it publishes or hears.
    #[serde(default)]
    pub messages: Vec<CustomMessageInfo>,
    /// Where it listens for play links, as Zenoh endpoints; empty for what cannot be played.
    #[serde(default)]
    pub play: Vec<String>,
    /// Where a daemon listens, as Zenoh endpoints: who misses it knocks there. Empty for all others.
    #[serde(default)]
    pub listen: Vec<String>,
}

impl Message for NodeInfo {
    const LANE: Lane = Lane::ReliableOrdered;
    /// Four times that of others: it has the schemas of all custom messages of the node.
    const MAX_BYTES: usize = 256 * 1024;
    /// Said on joining, and three times more; five times that for who changes it at run time.
    const MAX_PER_SECOND: u32 = 50;
    const NAME: &'static str = "info";
}

impl NodeInfo {
    /// The id that its program gives itself.
    #[must_use]
    pub fn kind(&self) -> &NodeId {
        self.kind.as_ref().unwrap_or(&self.node)
    }
}
