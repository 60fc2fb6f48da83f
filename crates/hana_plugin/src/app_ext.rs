use bevy_app::{App, Last, PreUpdate};
use bevy_ecs::component::Mutable;
use bevy_ecs::prelude::*;
use hana_protocol::contract::Topics;
use hana_protocol::contract::routes::{Publishable, ReceivedBy};
use hana_protocol::id::role;
use hana_protocol::wire::CustomMessage;

use crate::persist;
use crate::persist::Persist;
use crate::sets::{FrameSystems, HanaSystems};
use crate::topics::{subscriptions, topic_writer};
use crate::visualization::active_override::ActiveOverride;
use crate::visualization::parameters::ParameterStruct;
use crate::visualization::shared_parameters::{DeclaredParameters, receive, send};

/// Methods of [`App`] that declare what a program publishes, subscribes to and keeps.
///
/// Call them anywhere before the app runs: in `main`, or in the `build` of any plugin, before or after
/// [`VisualizationPlugin`](crate::visualization::visualization_plugin::VisualizationPlugin) or
/// [`ControllerPlugin`](crate::controller::controller_plugin::ControllerPlugin) is added. In a program with both
/// plugins, the visualization publishes and subscribes.
pub trait HanaAppExt {
    /// Declares that the program publishes a custom message type, or sends it to one node or to all nodes of a kind.
    ///
    /// Publish and send messages with [`TopicWriter<M>`](crate::topics::topic_writer::TopicWriter).
    fn publish<M>(&mut self) -> &mut Self
    where
        M: CustomMessage + Publishable<role::Visualization> + Publishable<role::App>;

    /// Subscribes to a custom message type: every published message, and messages sent to this program or to its
    /// kind.
    ///
    /// The kind of a program is the `id` with which its plugin was created. Read the messages as
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
        M: hana_protocol::wire::Message + ReceivedBy<role::App>;

    /// Makes the fields of another resource parameters of the visualization, in addition to those of its plugin.
    ///
    /// Inserts the resource, unless the program has already inserted it. Of two fields of the same name in different
    /// structs, only the field of the struct that was added first is a parameter; the other field is reported as an
    /// error.
    fn add_parameters<P>(&mut self) -> &mut Self
    where
        P: Resource<Mutability = Mutable> + ParameterStruct;

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
        M: hana_protocol::wire::Message + ReceivedBy<role::App>,
    {
        subscriptions::subscribe_topics(self, topics.into());
        self
    }

    fn add_parameters<P>(&mut self) -> &mut Self
    where
        P: Resource<Mutability = Mutable> + ParameterStruct,
    {
        if DeclaredParameters::add::<P>(self) {
            let receive = receive::<P>.in_set(HanaSystems::Receive).after(FrameSystems::Begin);
            self.add_systems(PreUpdate, receive.run_if(resource_exists::<ActiveOverride>))
                .add_systems(Last, send::<P>.before(FrameSystems::End));
        }
        self
    }

    fn persist<S: Persist>(&mut self) -> &mut Self {
        persist::register::<S>(self);
        self
    }
}
