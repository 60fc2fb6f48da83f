use std::fmt;

use hana_protocol::id::NodeId;

/// The conflict with an older node that has the same id, because of which this node has left the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdConflict {
    /// The id of both nodes.
    pub node: NodeId,
    /// The host and process id of the other node, if it replied.
    pub holder: Option<(NodeId, u32)>,
}

/// The host and process of the node that has an id.
pub(crate) struct IdHolder {
    pub(crate) host: NodeId,
    pub(crate) pid: u32,
}

impl IdConflict {
    pub(crate) fn new(node: NodeId, holder: Option<IdHolder>) -> Self {
        Self { node, holder: holder.map(|IdHolder { host, pid }| (host, pid)) }
    }
}

impl fmt::Display for IdConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the id '{}' is taken ", self.node)?;
        match &self.holder {
            Some((host, pid)) => write!(f, "by process {pid} on host '{host}'")?,
            None => f.write_str("by a node that does not reply")?,
        }
        f.write_str(
            "; set another one here: HANA_NODE=... for a program, HANA_HOST=... for a machine (a cloned disk has the hostname of its original)",
        )
    }
}
