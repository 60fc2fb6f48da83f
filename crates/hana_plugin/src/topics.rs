use std::marker::PhantomData;
use std::sync::Arc;

use bevy_app::App;
use bevy_app::PreUpdate;
use bevy_ecs::prelude::*;
use hana_network::NodeConfig;
use hana_network::PublishError;
use hana_network::Publisher;
use hana_network::Received;
use hana_network::Subscription;
use hana_protocol::CustomMessage;
use hana_protocol::Envelope;
use hana_protocol::NodeId;
use hana_protocol::Topic;
use hana_protocol::Topics;
use hana_protocol::role::NodeRole;
use hana_protocol::route::Publishable;
use hana_protocol::route::ReceivedBy;

use crate::HanaSystems;
use crate::MeshLink;
use crate::link::has_just_joined;

/// A message that came over the mesh, as a Bevy message: read it with `MessageReader<FromMesh<M>>`.
#[derive(Message, Debug, Clone, PartialEq, Eq)]
pub struct FromMesh<M: Send + Sync + 'static> {
    /// The key it came on.
    pub key: String,
    /// Who sent it, in which run, in which place, when; `None` from a foreign program.
    pub envelope: Option<Envelope>,
    /// The message.
    pub message: M,
}

/// Publishes messages of the type `M` on the program's own topic, once it is on the mesh.
#[derive(Resource)]
pub struct TopicWriter<M: Send + Sync + 'static> {
    publisher: Option<Publisher<M>>,
}

impl<M: hana_protocol::Message> TopicWriter<M> {
    /// Hands a message to the network. Does not block; before the program has joined, nothing is there to
    /// hear it, and it is dropped.
    ///
    /// # Errors
    ///
    /// When the queue of a reliable lane is full, or the message cannot be written or is too large.
    pub fn publish(&self, message: &M) -> Result<(), PublishError> {
        self.publisher.as_ref().map_or(Ok(()), |publisher| publisher.publish(message))
    }
}

type Build = dyn Fn(&mut App) + Send + Sync;
type Announce = dyn Fn(NodeConfig) -> NodeConfig + Send + Sync;

/// The topics that a plugin was told of, collected before it is built.
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

#[derive(Resource)]
struct Heard<M: Send + Sync + 'static>(Option<Subscription<Received<M>>>);

impl<R: NodeRole> TopicRegistrations<R> {
    pub(crate) fn publish<M: CustomMessage + Publishable<R>>(&mut self) {
        self.announce.push(Arc::new(NodeConfig::with_message::<M>));
        self.build.push(Arc::new(|app| {
            app.insert_resource(TopicWriter::<M> { publisher: None }).add_systems(
                PreUpdate,
                (|link: Res<MeshLink<R>>, mut writer: ResMut<TopicWriter<M>>| {
                    writer.publisher = link.node().map(|node| {
                        let own: NodeId = node.id().clone();
                        node.publisher(&Topic::<M>::custom(own))
                    });
                })
                .run_if(has_just_joined::<R>)
                .in_set(HanaSystems::Receive),
            );
        }));
    }

    pub(crate) fn hear_announced<M: CustomMessage + ReceivedBy<R>>(&mut self, topics: Topics<M>) {
        self.announce.push(Arc::new(NodeConfig::with_message::<M>));
        self.hear(topics);
    }

    pub(crate) fn hear<M: hana_protocol::Message + ReceivedBy<R>>(&mut self, topics: Topics<M>) {
        self.build.push(Arc::new(move |app| {
            let topics = topics.clone();
            app.add_message::<FromMesh<M>>().insert_resource(Heard::<M>(None)).add_systems(
                PreUpdate,
                (
                    (move |link: Res<MeshLink<R>>, mut heard: ResMut<Heard<M>>| {
                        heard.0 = link.node().map(|node| node.subscribe(topics.clone()));
                    })
                    .run_if(has_just_joined::<R>),
                    drain::<M>,
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

fn drain<M: hana_protocol::Message>(
    heard: Res<Heard<M>>,
    mut messages: MessageWriter<FromMesh<M>>,
) {
    let Some(subscription) = &heard.0 else { return };
    while let Some(Received { key, envelope, message }) = subscription.try_recv() {
        messages.write(FromMesh { key, envelope, message });
    }
}
