//! Events about parameter owners and operators' notes.
//!
//! They report the outcome of the claims and releases made by
//! [`MeshCommands`](crate::controller::mesh_commands::MeshCommands).

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
use crate::session::{Joined, MeshSession};
use crate::sets::HanaSystems;

/// The owner of a parameter has changed.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct OwnerChanged {
    /// The visualization.
    pub node: NodeId,
    /// The parameter.
    pub parameter: ParameterName,
    /// The previous owner.
    pub before: Option<NodeId>,
    /// The current owner, and the kind of ownership; `None` if the parameter is free.
    pub now: Option<(NodeId, OwnershipKind)>,
}

/// Another controller owns a parameter that this app had claimed.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct ClaimLost {
    /// The visualization.
    pub node: NodeId,
    /// The parameter.
    pub parameter: ParameterName,
    /// The new owner.
    pub by: NodeId,
    /// Whether both controllers claimed the parameter without receiving each other's claim, as in a partitioned
    /// network.
    pub apart: bool,
}

/// Another controller had claimed the same parameter concurrently; this app's claim won.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct ClaimKept {
    /// The visualization.
    pub node: NodeId,
    /// The parameter.
    pub parameter: ParameterName,
    /// The other claimant.
    pub from: NodeId,
}

/// A visualization rejects this app's claim.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct ClaimRejected {
    /// The visualization.
    pub node: NodeId,
    /// The parameters.
    pub parameters: Vec<ParameterName>,
    /// The reason, in the visualization's words.
    pub reason: String,
}

/// An operator has written a note for the other operators.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct NoteReceived {
    /// The app in which the note was written.
    pub app: NodeId,
    /// The note; empty when it was withdrawn.
    pub text: String,
}

/// This app's claims as a controller, once it has joined.
#[derive(Resource, Default)]
pub(crate) struct OwnOperator(pub(crate) Option<OwnershipClient>);

/// How long releasing parameters and leaving the mesh may delay the exit of the program.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(300);

pub(crate) fn build(app: &mut App) {
    app.init_resource::<OwnOperator>()
        .add_observer(start)
        .add_systems(PreUpdate, report_claims.in_set(HanaSystems::Receive).after(nodes::update))
        .add_systems(Last, release_on_exit.run_if(on_message::<AppExit>));
}

fn start(
    _: On<Joined<role::App>>,
    session: Res<MeshSession<role::App>>,
    mut own: ResMut<OwnOperator>,
) {
    own.0 = session.node().map(hana_network::Node::ownership_client);
}

fn report_claims(nodes: Res<Nodes>, mut own: ResMut<OwnOperator>, mut commands: Commands) {
    let (Some(operator), Some(roster)) = (&mut own.0, nodes.roster()) else { return };
    for event in operator.poll(roster) {
        match event {
            ClaimEvent::OwnerChanged { node, parameter, before, now } => {
                commands.trigger(OwnerChanged { node, parameter, before, now });
            },
            ClaimEvent::Lost { node, parameter, by, apart } => {
                tracing::info!("'{by}' preempted {parameter} of '{node}'");
                commands.trigger(ClaimLost { node, parameter, by, apart });
            },
            ClaimEvent::Retained { node, parameter, from } => {
                commands.trigger(ClaimKept { node, parameter, from });
            },
            ClaimEvent::Refused { node, parameters, reason } => {
                tracing::warn!("'{node}' rejects the claim: {reason}");
                commands.trigger(ClaimRejected { node, parameters, reason });
            },
            ClaimEvent::NoteChanged { app, text } => commands.trigger(NoteReceived { app, text }),
        }
    }
}

/// Releases all parameters on a clean exit, so that other controllers need not wait for the timeout.
fn release_on_exit(mut own: ResMut<OwnOperator>, mut session: ResMut<MeshSession<role::App>>) {
    let Some(operator) = &mut own.0 else { return };
    let Some(node) = session.node() else { return };
    if operator.claims().claims_of(node.id()).next().is_none() {
        return;
    }
    operator.release_all();
    if let Some(node) = session.take_node() {
        // A failed connection must not keep the window open.
        node.leave().wait(LEAVE_TIMEOUT).ok();
    }
}
