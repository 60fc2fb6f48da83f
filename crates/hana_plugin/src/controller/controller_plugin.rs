use bevy_app::{App, Last, Plugin, PreUpdate};
use bevy_ecs::prelude::*;
use hana_network::NodeConfig;
use hana_protocol::contract::Topics;
use hana_protocol::contract::routes::{Publishable, ReceivedBy};
use hana_protocol::id::{NodeId, role};
use hana_protocol::wire::{CustomMessage, Message};

use crate::controller::{mesh_commands, nodes, operators};
use crate::notices::notice_reports;
use crate::session::{MeshSession, begin_frame};
use crate::sets::HanaSystems;
use crate::topics::topics::TopicRegistrations;

/// Puts a program onto the mesh as a controller of other nodes.
///
/// Every node is an entity with a [`MeshNode`](crate::controller::nodes::MeshNode), and stays that entity across a
/// disconnect; [`MeshCommands`](crate::controller::mesh_commands::MeshCommands) starts, stops, sets and plays.
pub struct ControllerPlugin {
    id: String,
    draws_notices: bool,
    topics: TopicRegistrations<role::App>,
}

impl ControllerPlugin {
    /// Creates an app named `id`, which matches `[a-z0-9][a-z0-9_-]{0,62}`; any other string is converted to
    /// that form.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self { id: id.into(), draws_notices: true, topics: TopicRegistrations::default() }
    }

    /// Draws no notices: the program shows them itself ([`Notices`](crate::notices::notices::Notices)), or
    /// not at all.
    #[must_use]
    pub const fn without_notices(mut self) -> Self {
        self.draws_notices = false;
        self
    }

    /// Publishes a custom message type, or sends it to one node or to all of a kind.
    ///
    /// Write it with [`TopicWriter<M>`](crate::topics::topics::TopicWriter).
    #[must_use]
    pub fn publishes<M: CustomMessage + Publishable<role::App>>(mut self) -> Self {
        self.topics.publish::<M>();
        self
    }

    /// Subscribes to a custom message type: every published message, and those sent to this app or to its kind.
    ///
    /// Read it as [`FromMesh<M>`](crate::topics::topics::FromMesh).
    #[must_use]
    pub fn hears_custom<M: CustomMessage + ReceivedBy<role::App>>(mut self) -> Self {
        self.topics.hear_custom::<M>();
        self
    }

    /// Subscribes to every published custom message, including types that the app does not define.
    ///
    /// Read them as [`DynamicFromMesh`](crate::topics::topics::DynamicFromMesh).
    /// [`MeshCommands::send_value`](crate::controller::mesh_commands::MeshCommands::send_value) sends such messages.
    #[must_use]
    pub fn hears_any(mut self) -> Self {
        self.topics.hear_values();
        self
    }

    /// Subscribes to any topics that an app may receive: events, logs, health, or a visualization's own.
    ///
    /// Read them as [`FromMesh<M>`](crate::topics::topics::FromMesh). One set of topics for each message type.
    #[must_use]
    pub fn hears<M: Message + ReceivedBy<role::App>>(
        mut self,
        topics: impl Into<Topics<M>>,
    ) -> Self {
        self.topics.hear(topics.into());
        self
    }
}

impl Plugin for ControllerPlugin {
    fn build(&self, app: &mut App) {
        let id = NodeId::new(&self.id).unwrap_or_else(|_| NodeId::from_hostname(&self.id));
        let config = NodeConfig::from_environment(id).map(|config| self.topics.announce(config));
        // In a program with two nodes, the visualization gets the id that a daemon assigned.
        let is_second = app.world().contains_resource::<MeshSession<role::Visualization>>();
        let config = if is_second { config.map(NodeConfig::with_own_id) } else { config };
        MeshSession::<role::App>::build(app, config);
        app.add_systems(PreUpdate, begin_frame::<role::App>.in_set(HanaSystems::Receive))
            .add_systems(Last, |mut link: ResMut<MeshSession<role::App>>| link.pace.frame_ends());
        notice_reports::build(app, self.draws_notices);
        nodes::build(app);
        mesh_commands::build(app);
        operators::build(app);
        self.topics.build(app);
    }
}
