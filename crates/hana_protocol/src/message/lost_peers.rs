use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::node_id::NodeId;
use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// The peers that a daemon has lost and still waits for, on `hana/<host>/lost_peers` (state).
///
/// A lost peer publishes nothing, so a node that joins later can learn of it only from this message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostPeers {
    /// Lost hosts, each with its visualizations.
    #[serde(default)]
    pub hosts: Vec<LostHost>,
    /// Visualizations that disappeared without a `closed` event while their host is up, and that no daemon launched.
    #[serde(default)]
    pub nodes: Vec<LostNode>,
}

impl LostPeers {
    /// Converts all times in the message with `time`.
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

/// A lost host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostHost {
    /// The host.
    pub host: NodeId,
    /// The cause of the loss.
    pub cause: LossCause,
    /// The time of the loss, in Unix milliseconds.
    pub since_ms: u64,
    /// The visualizations on the host.
    #[serde(default)]
    pub nodes: Vec<NodeId>,
}

/// A visualization that was lost while its host is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostNode {
    /// The visualization.
    pub node: NodeId,
    /// Its host.
    pub host: NodeId,
    /// The time of the loss, in Unix milliseconds.
    pub since_ms: u64,
}

/// The reason why a host is not on the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossCause {
    /// The host does not respond at all.
    HostLost,
    /// The host refuses connections: its daemon is gone, while its visualizations may still run.
    DaemonLost,
    /// A process accepts connections at the daemon's endpoint, but the host is not on the mesh as this daemon sees
    /// it.
    OffMesh,
}

impl LossCause {
    /// Returns the name as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HostLost => "host_lost",
            Self::DaemonLost => "daemon_lost",
            Self::OffMesh => "off_mesh",
        }
    }

    /// Explains the cause for `host`.
    #[must_use]
    pub fn in_words(self, host: &NodeId) -> String {
        match self {
            Self::HostLost => format!(
                "host_lost: the machine '{host}' does not respond: it is off, unplugged, or unreachable from here"
            ),
            Self::DaemonLost => format!(
                "daemon_lost: hanad no longer runs on '{host}', but the machine responds; its visualizations continue; start hanad there again"
            ),
            Self::OffMesh => format!(
                "off_mesh: '{host}' responds, but is not visible on the mesh from here: it is joining, or belongs to another show"
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
    /// The message changes seldom; each change is published four times.
    const MAX_PER_SECOND: u32 = 100;
    const NAME: &'static str = "lost_peers";
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_of_hosts_and_nodes_are_converted() {
        let json = r#"{"hosts": [{"host": "h1", "cause": "off_mesh", "since_ms": 5}],
            "nodes": [{"node": "pulse", "host": "h2", "since_ms": 7}]}"#;
        let lost: LostPeers = serde_json::from_str(json).unwrap();
        let lost = lost.with_times(|ms| ms + 1);
        assert_eq!((lost.hosts[0].since_ms, lost.nodes[0].since_ms), (6, 8));
        assert_eq!(lost.hosts[0].cause, LossCause::OffMesh);
    }

    #[test]
    fn explanation_starts_with_the_name_of_the_cause() {
        let host = NodeId::new("h1").unwrap();
        for cause in [LossCause::HostLost, LossCause::DaemonLost, LossCause::OffMesh] {
            let text = cause.in_words(&host);
            assert!(text.starts_with(cause.as_str()) && text.contains("'h1'"), "{text}");
        }
    }
}
