use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::node_id::NodeId;
use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// Who a daemon has lost and still waits for, on `hana/<host>/lost` (state): what somebody who comes later
/// could not know, since what is lost says nothing itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostPeers {
    /// Hosts, with what was there.
    #[serde(default)]
    pub hosts: Vec<LostHost>,
    /// Visualizations that are gone without a word while their host is there, and that no daemon launched.
    #[serde(default)]
    pub nodes: Vec<LostNode>,
}

impl LostPeers {
    /// The same with each of its times told otherwise.
    #[must_use]
    pub fn with_times(mut self, time: impl Fn(u64) -> u64) -> Self {
        for host in &mut self.hosts {
            host.since_ms = time(host.since_ms);
        }
        for node in &mut self.nodes {
            node.since_ms = time(node.since_ms);
        }
        self
    }
}

/// A host that is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostHost {
    /// The host.
    pub host: NodeId,
    /// Why.
    pub cause: LossCause,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// The visualizations that were there.
    #[serde(default)]
    pub nodes: Vec<NodeId>,
}

/// A visualization that is lost alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostNode {
    /// The visualization.
    pub node: NodeId,
    /// The host it was on.
    pub host: NodeId,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
}

/// Why a host is not on the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossCause {
    /// Silence: the machine does not answer at all.
    HostLost,
    /// The machine answers and refuses: its daemon is gone, what draws there may well go on.
    DaemonLost,
    /// Something answers where its daemon listened, and yet it is not on the mesh as seen from here.
    OffMesh,
}

impl LossCause {
    /// Its name, as JSON has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HostLost => "host_lost",
            Self::DaemonLost => "daemon_lost",
            Self::OffMesh => "off_mesh",
        }
    }

    /// What it means for a host, in plain words.
    #[must_use]
    pub fn in_words(self, host: &NodeId) -> String {
        match self {
            Self::HostLost => format!(
                "host_lost: the machine '{host}' does not answer: it is off, unplugged, or cut off from here"
            ),
            Self::DaemonLost => format!(
                "daemon_lost: no hanad runs on '{host}' any more, though the machine answers; what draws there goes on; start hanad there again"
            ),
            Self::OffMesh => format!(
                "off_mesh: '{host}' answers, but is not on the mesh as seen from here: it is joining, or is in another show"
            ),
        }
    }
}

impl fmt::Display for LossCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Message for LostPeers {
    const LANE: Lane = Lane::ReliableOrdered;
    /// Changes seldom; each change is said four times.
    const MAX_PER_SECOND: u32 = 100;
    const NAME: &'static str = "lost";
}
