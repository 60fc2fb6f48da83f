use hana_protocol::id::NodeId;
use hana_protocol::schema::Incompatibility;

/// A sender whose schema of a message type is incompatible with this node's.
///
/// Its messages on that topic are no longer decoded until it restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaMismatch {
    /// The topic.
    pub topic: String,
    /// The sender of the unreadable messages.
    pub sender: NodeId,
    /// The version that the sender announces.
    pub version: u32,
    /// Where the schemas differ, most significant first; never empty.
    pub differences: Vec<Incompatibility>,
    /// A description of the differences.
    pub text: String,
}
