use bevy::prelude::*;
use hana_network::{Node, local_us};
use hana_plugin::{Connectivity, MeshSession, NodeConnectivity};
use hana_protocol::id::role;
use hana_protocol::message::HostTimeline;

use crate::app_systems::AppSystems;

/// This app's connection to the mesh, and the beat.
#[derive(Resource, Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MeshStatus {
    /// The name of the show, if it has one.
    pub(crate) show: Option<String>,
    /// The reason why this app is not on the mesh; `None` if it is.
    pub(crate) problem: Option<String>,
    /// Tempo, bar and beat, and their source.
    pub(crate) beat: Option<(String, String)>,
}

pub(crate) fn plugin(app: &mut App) {
    app.init_resource::<MeshStatus>().add_systems(Update, update.in_set(AppSystems::Sync));
}

fn update(
    connectivity: Res<NodeConnectivity<role::App>>,
    session: Res<MeshSession<role::App>>,
    mut status: ResMut<MeshStatus>,
) {
    let node = session.node();
    let show = node.and_then(|node| node.network().show.as_ref()).map(ToString::to_string);
    *status = MeshStatus { show, problem: problem(&connectivity), beat: node.and_then(beat) };
}

/// Returns the reason why this app is not on the mesh, or `None` if it is.
fn problem(connectivity: &Connectivity) -> Option<String> {
    match connectivity {
        Connectivity::Joining => Some("joining the mesh".into()),
        Connectivity::Connected { .. } => None,
        Connectivity::DaemonLost => {
            Some("lost the daemon of this machine; rejoining without it in 5 s".into())
        },
        Connectivity::Disconnected { reason, .. } => Some(format!("not on the mesh: {reason}")),
    }
}

/// Returns tempo, bar and beat, and their source, once they are known.
fn beat(node: &Node<role::App>) -> Option<(String, String)> {
    let now = local_us();
    let (timeline, published) = (node.timeline().at(now)?, node.timeline().last_published()?);
    Some((HostTimeline::beat_in_words(&timeline, now), published.source_in_words()))
}
