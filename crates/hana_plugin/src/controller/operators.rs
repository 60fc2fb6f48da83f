//! Who plays what, and what operators tell each other: [`MeshCommands`](crate::controller::mesh_commands::MeshCommands) takes and releases, these events tell what
//! comes of it.

use std::time::Duration;

use bevy_app::{App, AppExit, Last, PreUpdate};
use bevy_ecs::prelude::*;
use hana_engine::ownership::ClaimEvent;
use hana_network::OwnershipClient;
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::OwnershipKind;
use hana_protocol::parameter::ParameterName;

use crate::controller::nodes;
use crate::controller::nodes::Nodes;
use crate::session::{MeshSession, has_just_joined};
use crate::sets::HanaSystems;

/// Somebody else holds a parameter than before, or nobody.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct OwnerChanged {
    /// The visualization.
    pub node: NodeId,
    /// The parameter.
    pub parameter: ParameterName,
    /// Who held it before.
    pub before: Option<NodeId>,
    /// Who holds it now, and how; none if it is free.
    pub now: Option<(NodeId, OwnershipKind)>,
}

/// Somebody has what this app had taken.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct ClaimLost {
    /// The visualization.
    pub node: NodeId,
    /// The parameter.
    pub parameter: ParameterName,
    /// Who has it.
    pub by: NodeId,
    /// Both had taken it without knowing of each other, as in a network that was parted, and his take counts.
    pub apart: bool,
}

/// Somebody else had taken what this app had taken, without knowing of it; this app's take counts.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct ClaimKept {
    /// The visualization.
    pub node: NodeId,
    /// The parameter.
    pub parameter: ParameterName,
    /// Who had taken it too.
    pub from: NodeId,
}

/// A visualization does not let this app take parameters.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct ClaimRejected {
    /// The visualization.
    pub node: NodeId,
    /// The parameters.
    pub parameters: Vec<ParameterName>,
    /// Why, in its words.
    pub reason: String,
}

/// An operator has written a note for the others.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct NoteReceived {
    /// The app he wrote it at.
    pub app: NodeId,
    /// His words; empty when he took them back.
    pub text: String,
}

/// This app as one of those who play together, once it has joined.
#[derive(Resource, Default)]
pub(crate) struct OwnOperator(pub(crate) Option<OwnershipClient>);

/// How long letting go, and leaving the mesh, may hold up the end of the program.
const GOODBYE: Duration = Duration::from_millis(300);

pub(crate) fn build(app: &mut App) {
    app.init_resource::<OwnOperator>()
        .add_systems(
            PreUpdate,
            (begin.run_if(has_just_joined::<role::App>), play_together)
                .chain()
                .in_set(HanaSystems::Receive)
                .after(nodes::update),
        )
        .add_systems(Last, let_go.run_if(on_message::<AppExit>));
}

fn begin(link: Res<MeshSession<role::App>>, mut own: ResMut<OwnOperator>) {
    own.0 = link.node().map(hana_network::Node::operator);
}

fn play_together(nodes: Res<Nodes>, mut own: ResMut<OwnOperator>, mut commands: Commands) {
    let (Some(operator), Some(roster)) = (&mut own.0, nodes.roster()) else { return };
    for news in operator.poll(roster) {
        match news {
            ClaimEvent::HolderChanged { node, parameter, before, now } => {
                commands.trigger(OwnerChanged { node, parameter, before, now });
            },
            ClaimEvent::TakenFromYou { node, parameter, by, apart } => {
                tracing::info!("'{by}' has {parameter} of '{node}' now");
                commands.trigger(ClaimLost { node, parameter, by, apart });
            },
            ClaimEvent::KeptByYou { node, parameter, from } => {
                commands.trigger(ClaimKept { node, parameter, from });
            },
            ClaimEvent::Refused { node, parameters, reason } => {
                tracing::warn!("not taken: '{node}' refuses: {reason}");
                commands.trigger(ClaimRejected { node, parameters, reason });
            },
            ClaimEvent::Noted { app, text } => commands.trigger(NoteReceived { app, text }),
        }
    }
}

/// Who ends in good order keeps nobody waiting for what he held.
fn let_go(mut own: ResMut<OwnOperator>, mut link: ResMut<MeshSession<role::App>>) {
    let Some(operator) = &mut own.0 else { return };
    let Some(node) = link.node() else { return };
    if operator.wishes().wishes_of(node.id()).next().is_none() {
        return;
    }
    operator.release_all();
    if let Some(node) = link.take_node() {
        // A link that is gone shall not hold the window open.
        node.leave().wait(GOODBYE).ok();
    }
}
