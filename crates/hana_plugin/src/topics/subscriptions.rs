use bevy_app::{App, PreUpdate};
use bevy_ecs::prelude::*;
use hana_network::{Node, Received};
use hana_protocol::contract::routes::ReceivedBy;
use hana_protocol::contract::{Key, Topics};
use hana_protocol::id::role;
use hana_protocol::id::role::NodeRole;
use hana_protocol::message::Direction;
use hana_protocol::wire::CustomMessage;

use crate::session::{Joined, MeshSession};
use crate::sets::HanaSystems;
use crate::topics::from_mesh::{DynamicFromMesh, FromMesh};
use crate::topics::topic_registry::TopicRegistry;

/// A function that returns the next received message, if there is one.
type MessageSource<T> = Box<dyn Fn() -> Option<T> + Send + Sync>;

/// The subscriptions that deliver Bevy messages of the type `T`, each in its own slot.
#[derive(Resource)]
struct Subscriptions<T: Message>(Vec<Option<MessageSource<T>>>);

impl<T: Message> Subscriptions<T> {
    /// Adds an empty slot for a subscription, and returns the index of the slot.
    fn add(app: &mut App) -> usize {
        if !app.world().contains_resource::<Self>() {
            app.add_message::<T>()
                .insert_resource(Self(vec![]))
                .add_systems(PreUpdate, deliver::<T>.in_set(HanaSystems::Receive));
        }
        let places = &mut app.world_mut().resource_mut::<Self>().0;
        places.push(None);
        places.len() - 1
    }
}

/// Subscribes to messages of a custom type: published by any node, or sent to this program or to its kind.
pub(crate) fn subscribe<M>(app: &mut App)
where
    M: CustomMessage + ReceivedBy<role::Visualization> + ReceivedBy<role::App>,
{
    if TopicRegistry::add::<M>(app, Direction::Subscribed) {
        let place = Subscriptions::<FromMesh<M>>::add(app);
        open_on_join(app, place, OpenedBy::Carrier, custom::<M, role::Visualization>);
        open_on_join(app, place, OpenedBy::Carrier, custom::<M, role::App>);
    }
}

/// Subscribes to every published custom message of any type.
pub(crate) fn subscribe_all(app: &mut App) {
    if TopicRegistry::mark::<DynamicFromMesh>(app, Direction::Subscribed) {
        let place = Subscriptions::<DynamicFromMesh>::add(app);
        open_on_join(app, place, OpenedBy::Carrier, dynamic::<role::Visualization>);
        open_on_join(app, place, OpenedBy::Carrier, dynamic::<role::App>);
    }
}

/// Subscribes the controller to topics of the contract.
pub(crate) fn subscribe_topics<M>(app: &mut App, topics: Topics<M>)
where
    M: hana_protocol::wire::Message + ReceivedBy<role::App>,
{
    let place = Subscriptions::<FromMesh<M>>::add(app);
    open_on_join(app, place, OpenedBy::Controller, move |node: &Node<role::App>| {
        let subscription = node.subscribe(topics.clone());
        Box::new(move || subscription.try_recv().map(FromMesh::from))
    });
}

/// The node of the program that opens a subscription.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OpenedBy {
    /// The node that carries the custom topics.
    Carrier,
    /// The controller, which opens subscriptions to topics of the contract.
    Controller,
}

/// Opens the subscription whenever the node of the role `R` joins.
fn open_on_join<R: NodeRole, T: Message>(
    app: &mut App,
    place: usize,
    by: OpenedBy,
    open: impl Fn(&Node<R>) -> MessageSource<T> + Send + Sync + 'static,
) {
    app.add_observer(
        move |_: On<Joined<R>>,
              session: Res<MeshSession<R>>,
              registry: Option<Res<TopicRegistry>>,
              mut subscriptions: ResMut<Subscriptions<T>>| {
            let is_carrier = || registry.is_some_and(|topics| topics.is_carried_by(R::ROLE));
            if by == OpenedBy::Controller || is_carrier() {
                subscriptions.0[place] = session.node().map(&open);
            }
        },
    );
}

fn custom<M: CustomMessage + ReceivedBy<R>, R: NodeRole>(
    node: &Node<R>,
) -> MessageSource<FromMesh<M>> {
    let subscription = node.subscribe_custom::<M>();
    Box::new(move || subscription.try_recv().map(FromMesh::from))
}

fn dynamic<R: NodeRole>(node: &Node<R>) -> MessageSource<DynamicFromMesh> {
    let subscription = node.subscribe_json(None);
    Box::new(move || {
        loop {
            let Received { key, envelope, message: value } = subscription.try_recv()?;
            if let Some(Key::Custom { node, topic }) = Key::parse(&key) {
                return Some(DynamicFromMesh { node, topic, envelope, value });
            }
        }
    })
}

impl<M: Send + Sync + 'static> From<Received<M>> for FromMesh<M> {
    fn from(Received { key, envelope, message }: Received<M>) -> Self {
        Self { key, envelope, message }
    }
}

fn deliver<T: Message>(subscriptions: Res<Subscriptions<T>>, mut messages: MessageWriter<T>) {
    for next in subscriptions.0.iter().flatten() {
        messages.write_batch(std::iter::from_fn(next));
    }
}
