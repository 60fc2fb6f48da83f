use std::marker::PhantomData;
use std::ops::Deref;

use bevy_ecs::prelude::*;
use hana_network::{AttachMode, ConnectionState, DisconnectedBy};
use hana_protocol::id::role::NodeRole;

/// Whether the node of the role `R` is on the mesh.
///
/// `NodeConnectivity<role::Visualization>` is kept up to date by [`VisualizationPlugin`],
/// `NodeConnectivity<role::App>` by [`ControllerPlugin`], before [`HanaSystems::Receive`] in `PreUpdate`. A program
/// with both plugins has both resources. It derefs to [`Connectivity`].
///
/// The run conditions [`is_connected`], [`has_daemon`], [`just_connected`] and [`just_disconnected`] read it:
/// `draw_dimmed.run_if(not(is_connected::<role::Visualization>))`.
///
/// [`ControllerPlugin`]: crate::controller::controller_plugin::ControllerPlugin
/// [`HanaSystems::Receive`]: crate::sets::HanaSystems::Receive
/// [`VisualizationPlugin`]: crate::visualization::visualization_plugin::VisualizationPlugin
#[derive(Resource, Debug)]
pub struct NodeConnectivity<R: NodeRole> {
    now: Connectivity,
    role: PhantomData<fn(R)>,
}

/// Whether a node is on the mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Connectivity {
    /// The node is joining for the first time.
    #[default]
    Joining,
    /// The node is on the mesh.
    Connected {
        /// The attach mode of the node.
        attach_mode: AttachMode,
    },
    /// The node's daemon is gone; after five seconds, the node continues without it.
    DaemonLost,
    /// The node is not on the mesh.
    Disconnected {
        /// The cause. After [`DisconnectedBy::NoNetwork`] the node rejoins automatically.
        by: DisconnectedBy,
        /// The reason, and what to do, in plain words.
        reason: String,
    },
}

impl Connectivity {
    /// Whether the node is on the mesh.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        matches!(self, Self::Connected { .. })
    }

    /// Whether the node is on the mesh through the daemon of this machine.
    #[must_use]
    pub const fn has_daemon(&self) -> bool {
        matches!(self, Self::Connected { attach_mode: AttachMode::ViaDaemon })
    }
}

impl<R: NodeRole> NodeConnectivity<R> {
    pub(crate) const fn new(now: Connectivity) -> Self {
        Self { now, role: PhantomData }
    }

    /// Sets the state; triggers change detection only if the state differs.
    pub(crate) fn set(of: &mut Mut<Self>, now: Connectivity) {
        if of.now != now {
            of.now = now;
        }
    }
}

impl<R: NodeRole> Default for NodeConnectivity<R> {
    fn default() -> Self {
        Self::new(Connectivity::default())
    }
}

impl<R: NodeRole> Deref for NodeConnectivity<R> {
    type Target = Connectivity;

    fn deref(&self) -> &Connectivity {
        &self.now
    }
}

impl From<ConnectionState> for Connectivity {
    fn from(connection: ConnectionState) -> Self {
        match connection {
            ConnectionState::Connected { mode } => Self::Connected { attach_mode: mode },
            ConnectionState::DaemonLost => Self::DaemonLost,
            ConnectionState::Disconnected { by, reason } => Self::Disconnected { by, reason },
        }
    }
}

/// A run condition: the node of the role `R` is on the mesh.
#[must_use]
pub fn is_connected<R: NodeRole>(connectivity: Option<Res<NodeConnectivity<R>>>) -> bool {
    connectivity.is_some_and(|connectivity| connectivity.is_connected())
}

/// A run condition: the node of the role `R` is on the mesh through the daemon of this machine.
#[must_use]
pub fn has_daemon<R: NodeRole>(connectivity: Option<Res<NodeConnectivity<R>>>) -> bool {
    connectivity.is_some_and(|connectivity| connectivity.has_daemon())
}

/// A run condition: the node of the role `R` is on the mesh, and was not when the condition last ran.
#[must_use]
pub fn just_connected<R: NodeRole>(
    connectivity: Option<Res<NodeConnectivity<R>>>,
    mut was: Local<bool>,
) -> bool {
    let is = is_connected(connectivity);
    let before = std::mem::replace(&mut *was, is);
    is && !before
}

/// A run condition: the node of the role `R` is not on the mesh, and was when the condition last ran.
#[must_use]
pub fn just_disconnected<R: NodeRole>(
    connectivity: Option<Res<NodeConnectivity<R>>>,
    mut was: Local<bool>,
) -> bool {
    let is = is_connected(connectivity);
    let before = std::mem::replace(&mut *was, is);
    !is && before
}

#[cfg(test)]
mod tests {
    use bevy_app::{App, Update};
    use hana_protocol::id::role::{App as AppRole, Visualization};

    use super::*;

    #[derive(Resource, Default)]
    struct Ran(Vec<&'static str>);

    #[test]
    fn run_conditions_follow_the_connection() {
        let ran = |what: &'static str| move |mut ran: ResMut<Ran>| ran.0.push(what);
        let mut app = App::new();
        app.init_resource::<Ran>().add_systems(
            Update,
            (
                ran("just connected").run_if(just_connected::<Visualization>),
                ran("connected").run_if(is_connected::<Visualization>),
                ran("daemon").run_if(has_daemon::<Visualization>),
                ran("just disconnected").run_if(just_disconnected::<Visualization>),
            )
                .chain(),
        );
        let mut run = |connectivity: Option<Connectivity>| {
            if let Some(connectivity) = connectivity {
                app.insert_resource(NodeConnectivity::<Visualization>::new(connectivity));
            }
            app.update();
            std::mem::take(&mut app.world_mut().resource_mut::<Ran>().0)
        };
        let connected = |attach_mode| Some(Connectivity::Connected { attach_mode });
        assert!(run(None).is_empty(), "without the plugin none of them holds");
        assert!(run(Some(Connectivity::Joining)).is_empty());
        let way = AttachMode::ViaDaemon;
        assert_eq!(run(connected(way)), ["just connected", "connected", "daemon"]);
        assert_eq!(run(connected(way)), ["connected", "daemon"]);
        assert_eq!(run(Some(Connectivity::DaemonLost)), ["just disconnected"]);
        assert!(run(Some(Connectivity::DaemonLost)).is_empty());
        assert_eq!(run(connected(AttachMode::Peer)), ["just connected", "connected"]);
    }

    #[test]
    fn each_node_of_a_program_has_its_own_connectivity() {
        let ran = |what: &'static str| move |mut ran: ResMut<Ran>| ran.0.push(what);
        let mut app = App::new();
        let away =
            Connectivity::Disconnected { by: DisconnectedBy::NoNetwork, reason: "off".into() };
        app.init_resource::<Ran>()
            .insert_resource(NodeConnectivity::<AppRole>::new(away))
            .insert_resource(NodeConnectivity::<Visualization>::new(Connectivity::Connected {
                attach_mode: AttachMode::ViaDaemon,
            }))
            .add_systems(
                Update,
                (
                    ran("app").run_if(is_connected::<AppRole>),
                    ran("visualization").run_if(is_connected::<Visualization>),
                ),
            );
        app.update();
        assert_eq!(app.world().resource::<Ran>().0, ["visualization"]);
    }
}
