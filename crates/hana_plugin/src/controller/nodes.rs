use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::time::{Duration, Instant};

use bevy_app::{App, PreUpdate};
use bevy_ecs::prelude::*;
use bevy_ecs::query::QueryData;
use bevy_reflect::Reflect;
use hana_engine::roster::{NodeView, Roster, RosterChange};
use hana_network::{MeshObserver, unix_ms};
use hana_protocol::id::role::Role;
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{NodeInfo, Override, ProcessState};
use hana_protocol::parameter::ParameterName;

use crate::session::{Joined, MeshSession};
use crate::sets::HanaSystems;

/// All known data of a node, as a component of its entity: its line in `hana nodes`, and its announcement.
///
/// This component changes ten times a second. The components [`NodeIdentity`], [`NodeState`], [`NodeHealth`],
/// [`NodeLook`] and [`Online`] of the same entity change only when their own data does. [`NodeChanged`] is triggered
/// when the node's state, its presence or its announcement has changed.
#[derive(Component, Debug, Clone, PartialEq)]
pub struct MeshNode {
    view: NodeView,
    info: Option<NodeInfo>,
}

impl MeshNode {
    /// Returns the node's announcement: its parameters and message types.
    #[must_use]
    pub const fn info(&self) -> Option<&NodeInfo> {
        self.info.as_ref()
    }
}

impl Deref for MeshNode {
    type Target = NodeView;

    fn deref(&self) -> &NodeView {
        &self.view
    }
}

/// The identity of a node: a component that changes only when the node runs on another host, or as another process.
#[derive(Component, Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The node.
    pub node: NodeId,
    /// Its role.
    pub role: Role,
    /// Its host; `None` until the node publishes it.
    pub host: Option<NodeId>,
    /// Its process id on its host.
    pub pid: Option<u32>,
}

/// The state of a node: a component that changes when the state, its reason, or the override in force changes.
#[derive(Component, Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// The state.
    pub state: ProcessState,
    /// The reason for its state, in plain words; empty when all is well.
    pub reason: String,
    /// The time at which the state began, in Unix milliseconds.
    pub since_ms: u64,
    /// The override that an operator has put in force.
    pub active_override: Option<Override>,
}

/// The measurements of a node: a component that changes ten times a second.
#[derive(Component, Reflect, Debug, Clone, Default, PartialEq)]
#[reflect(Component)]
pub struct NodeHealth {
    /// Frames per second.
    pub fps: Option<f32>,
    /// The longest frame of the last second, in microseconds.
    pub frame_max_us: Option<u64>,
    /// Seconds since the node joined.
    pub uptime_s: u64,
}

/// The look of a visualization: a component that changes when one of its parameters does.
#[derive(Component, Debug, Clone, Default, PartialEq)]
pub struct NodeLook(
    /// The current value of each parameter, by name.
    pub BTreeMap<ParameterName, f32>,
);

/// The components of a node's entity, all but [`Online`].
#[derive(Bundle)]
struct NodeComponents {
    identity: NodeIdentity,
    state: NodeState,
    health: NodeHealth,
    look: NodeLook,
    node: MeshNode,
}

/// The components of [`NodeComponents`], in a query.
#[derive(QueryData)]
#[query_data(mutable)]
pub(crate) struct ShownNode {
    identity: &'static mut NodeIdentity,
    state: &'static mut NodeState,
    health: &'static mut NodeHealth,
    look: &'static mut NodeLook,
    node: &'static mut MeshNode,
}

impl NodeComponents {
    fn of(view: NodeView, info: Option<NodeInfo>) -> Self {
        Self {
            identity: NodeIdentity {
                node: view.node.clone(),
                role: view.role,
                host: view.host.clone(),
                pid: view.pid,
            },
            state: NodeState {
                state: view.state,
                reason: view.reason.clone(),
                since_ms: view.since_ms,
                active_override: view.in_force,
            },
            health: NodeHealth {
                fps: view.fps,
                frame_max_us: view.frame_max_us,
                uptime_s: view.uptime_s,
            },
            look: NodeLook(view.parameters.clone().unwrap_or_default()),
            node: MeshNode { view, info },
        }
    }
}

impl ShownNodeItem<'_, '_> {
    /// Replaces only the components that differ, so that change detection is not triggered for the others.
    fn update(&mut self, now: NodeComponents) {
        self.identity.set_if_neq(now.identity);
        self.state.set_if_neq(now.state);
        self.health.set_if_neq(now.health);
        self.look.set_if_neq(now.look);
        self.node.set_if_neq(now.node);
    }
}

/// A marker component: the node is currently on the mesh.
#[derive(Component, Reflect, Debug, Clone, Copy, PartialEq, Eq)]
#[reflect(Component)]
pub struct Online;

/// A new node has appeared; its entity has a [`MeshNode`].
#[derive(EntityEvent, Debug, Clone, Copy)]
pub struct NodeAdded {
    /// The node's entity.
    pub entity: Entity,
}

/// A node has changed: its state, its presence, its look, or its description.
#[derive(EntityEvent, Debug, Clone, Copy)]
pub struct NodeChanged {
    /// The node's entity.
    pub entity: Entity,
}

/// A node is forgotten; its entity is despawned after this event.
#[derive(EntityEvent, Debug, Clone, Copy)]
pub struct NodeRemoved {
    /// The node's entity.
    pub entity: Entity,
}

/// Interval between two health reports of a node.
const HEALTH_INTERVAL: Duration = Duration::from_millis(100);

/// All known nodes, for the app's systems.
#[derive(Resource, Default)]
pub(crate) struct Nodes {
    watch: Option<MeshObserver>,
    /// The time at which the measurements were last updated.
    refreshed: Option<Instant>,
    entities: HashMap<NodeId, Entity>,
}

impl Nodes {
    /// Returns the roster of all nodes, once this app has joined.
    pub(crate) fn roster(&self) -> Option<&Roster> {
        self.watch.as_ref().map(MeshObserver::roster)
    }

    /// Returns a node's announcement.
    pub(crate) fn info(&self, node: &NodeId) -> Option<&NodeInfo> {
        self.watch.as_ref()?.roster().info(node)
    }

    /// Returns the announcements of the nodes of a kind that are on the mesh.
    pub(crate) fn of_kind(&self, kind: &NodeId) -> impl Iterator<Item = &NodeInfo> {
        let roster = self.watch.as_ref().map(MeshObserver::roster);
        self.entities
            .keys()
            .filter_map(move |node| roster.filter(|roster| roster.is_present(node))?.info(node))
            .filter(move |info| info.kind() == kind)
    }
}

pub(crate) fn build(app: &mut App) {
    app.register_type::<NodeHealth>()
        .register_type::<Online>()
        .init_resource::<Nodes>()
        .add_observer(watch)
        .add_systems(PreUpdate, update.in_set(HanaSystems::Receive));
}

fn watch(_: On<Joined<role::App>>, session: Res<MeshSession<role::App>>, mut nodes: ResMut<Nodes>) {
    nodes.watch = session.node().map(hana_network::Node::watch_mesh);
}

pub(crate) fn update(
    mut nodes: ResMut<Nodes>,
    mut shown: Query<ShownNode>,
    mut commands: Commands,
) {
    let Nodes { watch: Some(watch), refreshed, entities } = &mut *nodes else { return };
    let changes = watch.poll();
    let roster = watch.roster();
    let components = |node: &NodeId| {
        let view = roster.view(node, unix_ms())?;
        Some(NodeComponents::of(view, roster.info(node).cloned()))
    };
    // Measurements change with every health report, and are updated at that rate instead of in every frame.
    if refreshed.is_none_or(|at| at.elapsed() >= HEALTH_INTERVAL) {
        *refreshed = Some(Instant::now());
        for (node, entity) in &*entities {
            if let Ok(mut known) = shown.get_mut(*entity)
                && let Some(now) = components(node)
            {
                known.update(now);
            }
        }
    }
    for change in changes {
        match change {
            RosterChange::Added(node) | RosterChange::Changed(node) => {
                let Some(now) = components(&node) else { continue };
                let present = roster.is_present(&node);
                let known = entities.get(&node).copied();
                let entity = known.unwrap_or_else(|| commands.spawn_empty().id());
                entities.insert(node, entity);
                let mut entity_commands = commands.entity(entity);
                if let Ok(mut known) = shown.get_mut(entity) {
                    known.update(now);
                } else {
                    entity_commands.insert(now);
                }
                if present {
                    entity_commands.insert(Online);
                } else {
                    entity_commands.remove::<Online>();
                }
                if known.is_some() {
                    commands.trigger(NodeChanged { entity });
                } else {
                    commands.trigger(NodeAdded { entity });
                }
            },
            RosterChange::Removed(node) => {
                let Some(entity) = entities.remove(&node) else { continue };
                commands.trigger(NodeRemoved { entity });
                commands.entity(entity).despawn();
            },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bevy_ecs::system::RunSystemOnce;

    use super::*;

    fn view(fps: f32, state: ProcessState) -> NodeView {
        NodeView {
            node: NodeId::new("ripples").unwrap(),
            role: Role::Visualization,
            host: None,
            state,
            reason: String::new(),
            since_ms: 0,
            pid: None,
            uptime_s: 0,
            frame: None,
            fps: Some(fps),
            frame_max_us: None,
            restarts: 0,
            launched: false,
            acknowledged: false,
            in_force: None,
            owners: vec![],
            mixed: BTreeMap::new(),
            note: None,
            plays: BTreeMap::new(),
            played_by: BTreeMap::new(),
            counters: None,
            lanes: BTreeMap::new(),
            troubles: vec![],
            parameters: None,
            playing: vec![],
        }
    }

    #[test]
    fn only_the_components_that_differ_have_changed() {
        let mut world = World::new();
        let first = NodeComponents::of(view(60.0, ProcessState::Running), None);
        let entity = world.spawn(first).id();
        let update = |world: &mut World, now: NodeView| {
            world.clear_trackers();
            let update = move |mut nodes: Query<ShownNode>| {
                nodes.single_mut().unwrap().update(NodeComponents::of(now.clone(), None));
            };
            world.run_system_once(update).unwrap();
            let node = world.entity(entity);
            [
                node.get_ref::<NodeIdentity>().unwrap().is_changed(),
                node.get_ref::<NodeState>().unwrap().is_changed(),
                node.get_ref::<NodeHealth>().unwrap().is_changed(),
                node.get_ref::<MeshNode>().unwrap().is_changed(),
            ]
        };
        let same = view(60.0, ProcessState::Running);
        assert_eq!(update(&mut world, same), [false; 4]);
        let faster = view(61.0, ProcessState::Running);
        assert_eq!(update(&mut world, faster), [false, false, true, true]);
        let crashed = view(61.0, ProcessState::Crashed);
        assert_eq!(update(&mut world, crashed), [false, true, false, true]);
    }
}
