use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bevy_app::{App, PreUpdate};
use bevy_ecs::prelude::*;
use hana_network::{
    CustomSubscription, Diagnostic, Diagnostics, MessageSender, NodeConfig, PublishError, Received,
    Subscription,
};
use hana_protocol::contract::routes::{Publishable, ReceivedBy};
use hana_protocol::contract::{Key, Recipients, Topics};
use hana_protocol::id::role::NodeRole;
use hana_protocol::id::{NodeId, TopicName};
use hana_protocol::message::Direction;
use hana_protocol::wire::{CustomMessage, Envelope, Lane};
use serde_json::Value;

use crate::session::{MeshSession, has_just_joined};
use crate::sets::HanaSystems;
use crate::topics::pending_sends::PendingSends;

/// A message received from the mesh, as a Bevy message: read it with `MessageReader<FromMesh<M>>`.
#[derive(Message, Debug, Clone, PartialEq, Eq)]
pub struct FromMesh<M: Send + Sync + 'static> {
    /// The key on which it arrived.
    pub key: String,
    /// The sender, its instance, the sequence number and the time; `None` from a foreign program.
    pub envelope: Option<Envelope>,
    /// The message.
    pub message: M,
}

impl<M: Send + Sync + 'static> FromMesh<M> {
    /// Returns the recipients: this program, all of its kind, or all subscribers of the sender's topic.
    ///
    /// `None` for a message that is not a custom one.
    #[must_use]
    pub fn audience(&self) -> Option<Recipients> {
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
    /// The sender, its instance, the sequence number and the time; `None` from a foreign program.
    pub envelope: Option<Envelope>,
    /// The message.
    pub value: Value,
}

/// Publishes and sends messages of the type `M`, once the program is on the mesh.
#[derive(Resource)]
pub struct TopicWriter<M: Send + Sync + 'static> {
    courier: Option<MessageSender<M>>,
    problems: Diagnostics,
    sendings: PendingSends,
}

/// How long a node may take to reply to a message.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);

impl<M: CustomMessage> TopicWriter<M> {
    /// Publishes a message on the program's own topic.
    ///
    /// Does not block. Before the program has joined, there are no subscribers, and the message is dropped.
    ///
    /// # Errors
    ///
    /// When the queue of a reliable lane is full, or the message cannot be written or is too large.
    pub fn publish(&self, message: &M) -> Result<(), PublishError> {
        self.hand_over(|courier| courier.publish(message))
    }

    /// Sends a message to one node. Does not block.
    ///
    /// On a reliable lane [`MessageDelivered`](crate::topics::pending_sends::MessageDelivered) reports within
    /// two seconds whether it was accepted; on the others there is no reply.
    ///
    /// # Errors
    ///
    /// On an unreliable lane, when the message cannot be written or is too large.
    pub fn send_to(&self, node: &NodeId, message: &M) -> Result<(), PublishError> {
        let courier = self.courier.as_ref();
        match M::LANE {
            Lane::ReliableOrdered | Lane::ReliableUnordered => {
                let question = courier.map(|courier| courier.send_to(node, message, DEADLINE));
                self.sendings.add(node, TopicName::of::<M>(), question);
                Ok(())
            },
            Lane::UnreliableSequenced | Lane::UnreliableUnordered => {
                self.hand_over(|courier| courier.send_unconfirmed(node, message))
            },
        }
    }

    /// Sends a message to all programs of a kind: all instances of the programs that were given the id `kind`.
    ///
    /// Does not block; there is no reply.
    ///
    /// # Errors
    ///
    /// When the queue of a reliable lane is full, or the message cannot be written or is too large.
    pub fn send_to_kind(&self, kind: &NodeId, message: &M) -> Result<(), PublishError> {
        self.hand_over(|courier| courier.send_to_kind(kind, message))
    }

    /// Also reports a full queue, for programs that observe [`QueueFull`](crate::events::QueueFull).
    fn hand_over(
        &self,
        act: impl FnOnce(&MessageSender<M>) -> Result<(), PublishError>,
    ) -> Result<(), PublishError> {
        let handed = self.courier.as_ref().map_or(Ok(()), act);
        if let Err(PublishError::QueueFull { key }) = &handed {
            self.problems.report(Diagnostic::QueueFull { key: key.clone(), count: 1 });
        }
        handed
    }
}

type Build = dyn Fn(&mut App) + Send + Sync;
type Announce = dyn Fn(NodeConfig) -> NodeConfig + Send + Sync;

/// The topics registered with a plugin before it is built.
pub(crate) struct TopicRegistrations<R> {
    build: Vec<Arc<Build>>,
    announce: Vec<Arc<Announce>>,
    role: PhantomData<fn(R)>,
}

impl<R> Default for TopicRegistrations<R> {
    fn default() -> Self {
        Self { build: vec![], announce: vec![], role: PhantomData }
    }
}

/// The subscription of a node of the role `R`; a program may have two nodes.
#[derive(Resource)]
struct Source<S: Send + Sync + 'static, R: NodeRole> {
    inbox: Option<S>,
    role: PhantomData<fn(R)>,
}

type Subscribed<M, R> = Source<Subscription<Received<M>>, R>;
type HeardTopic<M, R> = Source<CustomSubscription<M>, R>;
/// A type of its own beside [`Subscribed`], which may carry values too.
type HeardValues<R> = Source<Values, R>;

/// Custom messages of any type.
struct Values(Subscription<Received<Value>>);

impl<S: Send + Sync + 'static, R: NodeRole> Source<S, R> {
    const NONE: Self = Self { inbox: None, role: PhantomData };
}

impl<R: NodeRole> TopicRegistrations<R> {
    pub(crate) fn publish<M: CustomMessage + Publishable<R>>(&mut self) {
        self.announce.push(Arc::new(|config| config.with_message::<M>(Direction::Published)));
        self.build.push(Arc::new(|app| {
            if app.world().contains_resource::<TopicWriter<M>>() {
                // The program's other node publishes the message: it is published once.
                return;
            }
            app.init_resource::<PendingSends>();
            let sendings = app.world().resource::<PendingSends>().clone();
            app.insert_resource(TopicWriter::<M> {
                courier: None,
                problems: Diagnostics::default(),
                sendings,
            })
            .add_systems(
                PreUpdate,
                (|link: Res<MeshSession<R>>, mut writer: ResMut<TopicWriter<M>>| {
                    if let Some(node) = link.node() {
                        writer.courier = Some(node.message_sender());
                        writer.problems = node.diagnostics().clone();
                    }
                })
                .run_if(has_just_joined::<R>)
                .in_set(HanaSystems::Receive),
            );
        }));
    }

    /// Subscribes to a custom type: published by any node, sent to this program, or to all of its kind.
    pub(crate) fn hear_custom<M: CustomMessage + ReceivedBy<R>>(&mut self) {
        self.announce.push(Arc::new(|config| config.with_message::<M>(Direction::Subscribed)));
        self.build.push(Arc::new(|app| {
            app.add_message::<FromMesh<M>>().insert_resource(HeardTopic::<M, R>::NONE).add_systems(
                PreUpdate,
                (
                    (|link: Res<MeshSession<R>>, mut heard: ResMut<HeardTopic<M, R>>| {
                        heard.inbox = link.node().map(hana_network::Node::subscribe_custom);
                    })
                    .run_if(has_just_joined::<R>),
                    drain_heard::<M, R>,
                )
                    .chain()
                    .in_set(HanaSystems::Receive),
            );
        }));
    }

    pub(crate) fn hear<M: hana_protocol::wire::Message + ReceivedBy<R>>(
        &mut self,
        topics: Topics<M>,
    ) {
        self.build.push(Arc::new(move |app| {
            let topics = topics.clone();
            app.add_message::<FromMesh<M>>().insert_resource(Subscribed::<M, R>::NONE).add_systems(
                PreUpdate,
                (
                    (move |link: Res<MeshSession<R>>, mut heard: ResMut<Subscribed<M, R>>| {
                        heard.inbox = link.node().map(|node| node.subscribe(topics.clone()));
                    })
                    .run_if(has_just_joined::<R>),
                    drain_subscribed::<M, R>,
                )
                    .chain()
                    .in_set(HanaSystems::Receive),
            );
        }));
    }

    /// Subscribes to every published custom message, whatever its type.
    pub(crate) fn hear_values(&mut self) {
        self.build.push(Arc::new(|app| {
            app.add_message::<DynamicFromMesh>()
                .insert_resource(HeardValues::<R>::NONE)
                .add_systems(
                    PreUpdate,
                    (
                        (|link: Res<MeshSession<R>>, mut heard: ResMut<HeardValues<R>>| {
                            heard.inbox = link.node().map(|node| Values(node.subscribe_json(None)));
                        })
                        .run_if(has_just_joined::<R>),
                        drain_values::<R>,
                    )
                        .chain()
                        .in_set(HanaSystems::Receive),
                );
        }));
    }

    pub(crate) fn announce(&self, config: NodeConfig) -> NodeConfig {
        self.announce.iter().fold(config, |config, announce| announce(config))
    }

    pub(crate) fn build(&self, app: &mut App) {
        for build in &self.build {
            build(app);
        }
    }
}

fn drain_subscribed<M: hana_protocol::wire::Message, R: NodeRole>(
    heard: Res<Subscribed<M, R>>,
    mut messages: MessageWriter<FromMesh<M>>,
) {
    let Some(subscription) = &heard.inbox else { return };
    while let Some(Received { key, envelope, message }) = subscription.try_recv() {
        messages.write(FromMesh { key, envelope, message });
    }
}

fn drain_heard<M: CustomMessage, R: NodeRole>(
    heard: Res<HeardTopic<M, R>>,
    mut messages: MessageWriter<FromMesh<M>>,
) {
    let Some(heard) = &heard.inbox else { return };
    while let Some(Received { key, envelope, message }) = heard.try_recv() {
        messages.write(FromMesh { key, envelope, message });
    }
}

fn drain_values<R: NodeRole>(
    heard: Res<HeardValues<R>>,
    mut messages: MessageWriter<DynamicFromMesh>,
) {
    let Some(Values(heard)) = &heard.inbox else { return };
    while let Some(Received { key, envelope, message: value }) = heard.try_recv() {
        if let Some(Key::Custom { node, topic }) = Key::parse(&key) {
            messages.write(DynamicFromMesh { node, topic, envelope, value });
        }
    }
}
