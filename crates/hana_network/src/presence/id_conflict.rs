use std::fmt;

use hana_protocol::id::NodeId;

/// Another, older node has the id of this node, so this one has left the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdConflict {
    /// The id of both nodes.
    pub node: NodeId,
    /// Host and process id of the other node, if it replied.
    pub holder: Option<(NodeId, u32)>,
}

/// Where the node with an id runs.
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
