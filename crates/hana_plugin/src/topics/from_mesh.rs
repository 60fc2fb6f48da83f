use bevy_ecs::prelude::*;
use hana_protocol::contract::Recipients;
use hana_protocol::id::{NodeId, TopicName};
use hana_protocol::wire::Envelope;
use serde_json::Value;

/// A message received from the mesh, as a Bevy message: read it with `MessageReader<FromMesh<M>>`.
#[derive(Message, Debug, Clone, PartialEq, Eq)]
pub struct FromMesh<M: Send + Sync + 'static> {
    /// The key on which it arrived.
    pub key: String,
    /// The sender, its instance, the sequence number and the time of sending; `None` if a foreign program omits them.
    pub envelope: Option<Envelope>,
    /// The message.
    pub message: M,
}

impl<M: Send + Sync + 'static> FromMesh<M> {
    /// Returns the sender; `None` if a foreign program does not name itself.
    #[must_use]
    pub fn sender(&self) -> Option<&NodeId> {
        self.envelope.as_ref().map(|envelope| &envelope.from)
    }

    /// Returns the recipients: this program, all nodes of its kind, or all subscribers of the sender's topic.
    ///
    /// Returns `None` if the message is not a custom message.
    #[must_use]
    pub fn recipients(&self) -> Option<Recipients> {
        Recipients::of_key(&self.key)
    }
}

/// A custom message as it was published, of a type that this program need not define.
///
/// Read it with `MessageReader<DynamicFromMesh>`. The sender's
/// [`MeshNode::info`](crate::controller::nodes::MeshNode::info) describes it: name, version and fields.
#[derive(Message, Debug, Clone, PartialEq, Eq)]
pub struct DynamicFromMesh {
    /// The node to which the topic belongs.
    pub node: NodeId,
    /// The topic.
    pub topic: TopicName,
    /// The sender, its instance, the sequence number and the time of sending; `None` if a foreign program omits them.
    pub envelope: Option<Envelope>,
    /// The message.
    pub value: Value,
}
