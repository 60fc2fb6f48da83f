use bevy_app::App;
use hana_protocol::contract::Topics;
use hana_protocol::contract::routes::{Publishable, ReceivedBy};
use hana_protocol::id::role;
use hana_protocol::wire::{CustomMessage, Message};

use crate::persist;
use crate::persist::Persist;
use crate::topics::{subscriptions, topic_writer};

/// Methods of [`App`] that declare what a program publishes, subscribes to and keeps.
///
/// Call them anywhere before the app runs: in `main`, or in the `build` of any plugin, before or after
/// [`VisualizationPlugin`](crate::visualization::visualization_plugin::VisualizationPlugin) or
/// [`ControllerPlugin`](crate::controller::controller_plugin::ControllerPlugin) is added. In a program with both,
/// the visualization publishes and subscribes.
pub trait HanaAppExt {
    /// Publishes a custom message type, or sends it to one node or to all of a kind.
    ///
    /// Write it with [`TopicWriter<M>`](crate::topics::topic_writer::TopicWriter).
    fn publish<M>(&mut self) -> &mut Self
    where
        M: CustomMessage + Publishable<role::Visualization> + Publishable<role::App>;

    /// Subscribes to a custom message type: every published message, and those sent to this program or to its kind.
    ///
    /// Its kind is the `id` that its plugin was created with. Read
    /// [`FromMesh<M>`](crate::topics::from_mesh::FromMesh); observe
    /// [`PeerIncompatible`](crate::events::PeerIncompatible) to learn which node sends messages that cannot be read.
    fn subscribe<M>(&mut self) -> &mut Self
    where
        M: CustomMessage + ReceivedBy<role::Visualization> + ReceivedBy<role::App>;

    /// Subscribes to every published custom message, including types that the program does not define.
    ///
    /// Read them as [`DynamicFromMesh`](crate::topics::from_mesh::DynamicFromMesh).
    fn subscribe_all(&mut self) -> &mut Self;

    /// Subscribes a controller to topics of the mesh: events, logs, health, or a visualization's own.
    ///
    /// Read them as [`FromMesh<M>`](crate::topics::from_mesh::FromMesh).
    fn subscribe_topics<M>(&mut self, topics: impl Into<Topics<M>>) -> &mut Self
    where
        M: Message + ReceivedBy<role::App>;

    /// Saves a resource, so that the next instance of the program has its value after a crash or a restart.
    fn persist<S: Persist>(&mut self) -> &mut Self;
}

impl HanaAppExt for App {
    fn publish<M>(&mut self) -> &mut Self
    where
        M: CustomMessage + Publishable<role::Visualization> + Publishable<role::App>,
    {
        topic_writer::publish::<M>(self);
        self
    }

    fn subscribe<M>(&mut self) -> &mut Self
    where
        M: CustomMessage + ReceivedBy<role::Visualization> + ReceivedBy<role::App>,
    {
        subscriptions::subscribe::<M>(self);
        self
    }

    fn subscribe_all(&mut self) -> &mut Self {
        subscriptions::subscribe_all(self);
        self
    }

    fn subscribe_topics<M>(&mut self, topics: impl Into<Topics<M>>) -> &mut Self
    where
        M: Message + ReceivedBy<role::App>,
    {
        subscriptions::subscribe_topics(self, topics.into());
        self
    }

    fn persist<S: Persist>(&mut self) -> &mut Self {
        persist::register::<S>(self);
        self
    }
}
