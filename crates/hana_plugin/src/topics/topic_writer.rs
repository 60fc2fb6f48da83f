use std::time::Duration;

use bevy_app::App;
use bevy_ecs::prelude::*;
use hana_network::{Diagnostic, Diagnostics, MessageSender, PublishError};
use hana_protocol::contract::routes::Publishable;
use hana_protocol::id::role::NodeRole;
use hana_protocol::id::{NodeId, TopicName, role};
use hana_protocol::message::Direction;
use hana_protocol::wire::{CustomMessage, Lane};

use crate::session::{Joined, MeshSession};
use crate::topics::pending_sends::PendingSends;
use crate::topics::topic_registry::TopicRegistry;

/// Publishes and sends messages of the type `M`, once the program is on the mesh.
///
/// [`publish`](crate::app_ext::HanaAppExt::publish) inserts this resource.
#[derive(Resource)]
pub struct TopicWriter<M: Send + Sync + 'static> {
    sender: Option<MessageSender<M>>,
    problems: Diagnostics,
    pending: PendingSends,
}

/// How long a node may take to reply to a message.
pub(crate) const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

impl<M: Send + Sync + 'static> FromWorld for TopicWriter<M> {
    fn from_world(world: &mut World) -> Self {
        let pending = world.get_resource_or_init::<PendingSends>().clone();
        Self { sender: None, problems: Diagnostics::default(), pending }
    }
}

impl<M: CustomMessage> TopicWriter<M> {
    /// Publishes a message on the program's own topic.
    ///
    /// Does not block. Before the program has joined, there are no subscribers, and the message is dropped.
    ///
    /// # Errors
    ///
    /// When the queue of a reliable lane is full, or the message cannot be encoded or is too large.
    pub fn publish(&self, message: &M) -> Result<(), PublishError> {
        self.hand_over(|sender| sender.publish(message))
    }

    /// Sends a message to one node. Does not block.
    ///
    /// On a reliable lane [`MessageDelivered`](crate::topics::pending_sends::MessageDelivered) reports within two
    /// seconds whether the message was accepted; on the other lanes there is no reply.
    ///
    /// # Errors
    ///
    /// On an unreliable lane, when the message cannot be encoded or is too large.
    pub fn send_to(&self, node: &NodeId, message: &M) -> Result<(), PublishError> {
        match M::LANE {
            Lane::ReliableOrdered | Lane::ReliableUnordered => {
                let sender = self.sender.as_ref();
                let reply = sender.map(|sender| sender.send_to(node, message, REPLY_TIMEOUT));
                self.pending.add(node, TopicName::of::<M>(), reply);
                Ok(())
            },
            Lane::UnreliableSequenced | Lane::UnreliableUnordered => {
                self.hand_over(|sender| sender.send_unconfirmed(node, message))
            },
        }
    }

    /// Sends a message to all programs of a kind: all instances of the programs that were given the id `kind`.
    ///
    /// Does not block; there is no reply.
    ///
    /// # Errors
    ///
    /// When the queue of a reliable lane is full, or the message cannot be encoded or is too large.
    pub fn send_to_kind(&self, kind: &NodeId, message: &M) -> Result<(), PublishError> {
        self.hand_over(|sender| sender.send_to_kind(kind, message))
    }

    /// Calls `send` with the sender. Also reports a full queue to observers of
    /// [`QueueFull`](crate::events::QueueFull).
    fn hand_over(
        &self,
        send: impl FnOnce(&MessageSender<M>) -> Result<(), PublishError>,
    ) -> Result<(), PublishError> {
        let outcome = self.sender.as_ref().map_or(Ok(()), send);
        if let Err(PublishError::QueueFull { key }) = &outcome {
            self.problems.report(Diagnostic::QueueFull { key: key.clone(), count: 1 });
        }
        outcome
    }
}

/// Announces that the program publishes the type, and inserts its writer.
pub(crate) fn publish<M>(app: &mut App)
where
    M: CustomMessage + Publishable<role::Visualization> + Publishable<role::App>,
{
    if TopicRegistry::add::<M>(app, Direction::Published) {
        app.init_resource::<TopicWriter<M>>()
            .add_observer(connect::<M, role::Visualization>)
            .add_observer(connect::<M, role::App>);
    }
}

fn connect<M: CustomMessage + Publishable<R>, R: NodeRole>(
    _: On<Joined<R>>,
    session: Res<MeshSession<R>>,
    registry: Res<TopicRegistry>,
    mut writer: ResMut<TopicWriter<M>>,
) {
    if let Some(node) = session.node().filter(|_| registry.is_carried_by(R::ROLE)) {
        writer.sender = Some(node.message_sender());
        writer.problems = node.diagnostics().clone();
    }
}
