use bevy_app::App;
use bevy_app::Plugin;
use bevy_app::PreUpdate;
use bevy_ecs::prelude::*;
use hana_network::NodeConfig;
use hana_protocol::CustomMessage;
use hana_protocol::Message;
use hana_protocol::NodeId;
use hana_protocol::Topics;
use hana_protocol::role;
use hana_protocol::route::Publishable;
use hana_protocol::route::ReceivedBy;

use crate::HanaSystems;
use crate::MeshLink;
use crate::link::begin_frame;
use crate::mesh;
use crate::nodes;
use crate::notices;
use crate::operators;
use crate::timeline;
use crate::topics::TopicRegistrations;

/// Puts a program onto the mesh from which others are played.
///
/// Every node is an entity with a [`MeshNode`](crate::MeshNode), and stays that entity across a disconnect;
/// [`Mesh`](crate::Mesh) starts, stops, sets and plays.
pub struct AppPlugin {
    id: String,
    draws_notices: bool,
    topics: TopicRegistrations<role::App>,
}

impl AppPlugin {
    /// An app named `id`: `[a-z0-9][a-z0-9_-]{0,62}`; anything else is made into that.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self { id: id.into(), draws_notices: true, topics: TopicRegistrations::default() }
    }

    /// Leaves it to the program to show what is wrong ([`Notices`](crate::Notices)), or not to show it.
    #[must_use]
    pub const fn without_notices(mut self) -> Self {
        self.draws_notices = false;
        self
    }

    /// Publishes a message type of its own, or sends it to one program or all of a kind: write it with
    /// [`TopicWriter<M>`](crate::TopicWriter).
    #[must_use]
    pub fn publishes<M: CustomMessage + Publishable<role::App>>(mut self) -> Self {
        self.topics.publish::<M>();
        self
    }

    /// Hears a custom message type: what anybody publishes, what is sent to this app, and what is sent to all of
    /// its kind. Read it as [`FromMesh<M>`](crate::FromMesh).
    #[must_use]
    pub fn hears_custom<M: CustomMessage + ReceivedBy<role::App>>(mut self) -> Self {
        self.topics.hear_custom::<M>();
        self
    }

    /// Hears every custom message that is published, also of types that it does not have: read them as
    /// [`AnyFromMesh`](crate::AnyFromMesh). [`Mesh::send_value`](crate::Mesh::send_value) sends such messages.
    #[must_use]
    pub fn hears_any(mut self) -> Self {
        self.topics.hear_values();
        self
    }

    /// Hears any topics that an app may: events, logs, health, or a visualization's own. Read them as
    /// [`FromMesh<M>`](crate::FromMesh). One set of topics for each message type.
    #[must_use]
    pub fn hears<M: Message + ReceivedBy<role::App>>(
        mut self,
        topics: impl Into<Topics<M>>,
    ) -> Self {
        self.topics.hear(topics.into());
        self
    }
}

impl Plugin for AppPlugin {
    fn build(&self, app: &mut App) {
        let id = NodeId::new(&self.id).unwrap_or_else(|_| NodeId::from_hostname(&self.id));
        let config = NodeConfig::from_environment(id).map(|config| self.topics.announce(config));
        // Of a program with two nodes the visualization has the id that a daemon gave the program.
        let is_second = app.world().contains_resource::<MeshLink<role::Visualization>>();
        let config = if is_second { config.map(NodeConfig::with_own_id) } else { config };
        MeshLink::<role::App>::build(app, config);
        app.add_systems(PreUpdate, begin_frame::<role::App>.in_set(HanaSystems::Receive));
        timeline::build_frame_end(app);
        notices::build(app, self.draws_notices);
        nodes::build(app);
        mesh::build(app);
        operators::build(app);
        self.topics.build(app);
    }
}
