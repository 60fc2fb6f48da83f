use std::collections::HashMap;
use std::ops::Deref;
use std::time::{Duration, Instant};

use bevy_app::{App, PreUpdate};
use bevy_ecs::prelude::*;
use hana_engine::roster::{NodeView, Roster, RosterChange};
use hana_network::{MeshObserver, unix_ms};
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::NodeInfo;

use crate::session::{Joined, MeshSession};
use crate::sets::HanaSystems;

/// A node of the mesh as a component of its entity: what `hana nodes` shows, and what the node announces.
///
/// Updated ten times a second. [`NodeChanged`] is only triggered when the node's state, its presence or its
/// description has changed.
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

/// The node is on the mesh right now.
#[derive(Component, Debug, Clone, Copy, PartialEq, Eq)]
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

/// A node is forgotten; its entity is despawned after this.
#[derive(EntityEvent, Debug, Clone, Copy)]
pub struct NodeRemoved {
    /// The node's entity.
    pub entity: Entity,
}

/// How often a node reports its health.
const BEAT: Duration = Duration::from_millis(100);

/// All known nodes, for the app's systems.
#[derive(Resource, Default)]
pub(crate) struct Nodes {
    watch: Option<MeshObserver>,
    /// When the figures were last updated.
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
    app.init_resource::<Nodes>()
        .add_observer(watch)
        .add_systems(PreUpdate, update.in_set(HanaSystems::Receive));
}

fn watch(_: On<Joined<role::App>>, link: Res<MeshSession<role::App>>, mut nodes: ResMut<Nodes>) {
    nodes.watch = link.node().map(hana_network::Node::watch_mesh);
}

pub(crate) fn update(
    mut nodes: ResMut<Nodes>,
    mut shown: Query<&mut MeshNode>,
    mut commands: Commands,
) {
    let Nodes { watch: Some(watch), refreshed, entities } = &mut *nodes else { return };
    let changes = watch.poll();
    let roster = watch.roster();
    let component = |node: &NodeId| {
        let view = roster.view(node, unix_ms())?;
        Some(MeshNode { view, info: roster.info(node).cloned() })
    };
    // Figures change with every health report, and are updated at that rate, not with every frame.
    if refreshed.is_none_or(|at| at.elapsed() >= BEAT) {
        *refreshed = Some(Instant::now());
        for (node, entity) in &*entities {
            if let Ok(mut known) = shown.get_mut(*entity)
                && let Some(now) = component(node)
            {
                known.set_if_neq(now);
            }
        }
    }
    for change in changes {
        match change {
            RosterChange::Added(node) | RosterChange::Changed(node) => {
                let Some(component) = component(&node) else { continue };
                let present = roster.is_present(&node);
                let known = entities.get(&node).copied();
                let entity = known.unwrap_or_else(|| commands.spawn_empty().id());
                entities.insert(node, entity);
                let mut entity_commands = commands.entity(entity);
                entity_commands.insert(component);
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
