use bevy_app::{App, Last, Plugin, PreUpdate};
use bevy_ecs::prelude::*;
use hana_network::NodeConfig;
use hana_protocol::id::{NodeId, role};

use crate::controller::{mesh_commands, nodes, operators};
use crate::notices::notice_reports;
use crate::session::{MeshSession, begin_frame};
use crate::sets::HanaSystems;
use crate::topics::topic_registry;

/// Puts a program onto the mesh as a controller of other nodes.
///
/// Every node is an entity with a [`MeshNode`](crate::controller::nodes::MeshNode), which survives a disconnect;
/// [`MeshCommands`](crate::controller::mesh_commands::MeshCommands) starts, stops, sets and plays.
pub struct ControllerPlugin {
    id: String,
    draws_notices: bool,
}

impl ControllerPlugin {
    /// Creates an app named `id`, which matches `[a-z0-9][a-z0-9_-]{0,62}`; any other string is converted to
    /// that form.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self { id: id.into(), draws_notices: true }
    }

    /// Disables the drawing of notices. The program may show them itself; see
    /// [`Notices`](crate::notices::notices::Notices).
    #[must_use]
    pub const fn without_notices(mut self) -> Self {
        self.draws_notices = false;
        self
    }
}

impl Plugin for ControllerPlugin {
    fn build(&self, app: &mut App) {
        let id = NodeId::new(&self.id).unwrap_or_else(|_| NodeId::from_hostname(&self.id));
        let config = NodeConfig::from_environment(id);
        // In a program with two nodes, the visualization gets the id that a daemon assigned.
        let is_second = app.world().contains_resource::<MeshSession<role::Visualization>>();
        let config = if is_second { config.map(NodeConfig::with_own_id) } else { config };
        MeshSession::<role::App>::build(app, config);
        app.add_systems(PreUpdate, begin_frame::<role::App>.in_set(HanaSystems::Receive))
            .add_systems(Last, |mut session: ResMut<MeshSession<role::App>>| {
                session.frame_clock.frame_ends();
            });
        notice_reports::build(app, self.draws_notices);
        nodes::build(app);
        mesh_commands::build(app);
        operators::build(app);
        topic_registry::build::<role::App>(app);
    }
}
