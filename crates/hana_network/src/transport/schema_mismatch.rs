use hana_protocol::id::NodeId;
use hana_protocol::schema::Incompatibility;

/// A sender whose schema of a message type is incompatible with that of this node.
///
/// The messages of the sender on that topic are not decoded until the sender restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaMismatch {
    /// The topic of the messages.
    pub topic: String,
    /// The sender of the unreadable messages.
    pub sender: NodeId,
    /// The version of the schema that the sender announces.
    pub version: u32,
    /// The differences between the schemas, the most significant first; never empty.
    pub differences: Vec<Incompatibility>,
    /// The differences as text.
    pub text: String,
}
