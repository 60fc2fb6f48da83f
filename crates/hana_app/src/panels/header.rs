use bevy::prelude::*;
use hana_network::local_us;
use hana_plugin::{Connectivity, MeshSession, NodeConnectivity};
use hana_protocol::id::role;
use hana_protocol::message::HostTimeline;

use crate::model::app_model::AppModel;
use crate::panels::panel::{Panel, show};
use crate::theme;

/// The line at the top: the show, the number of nodes and of faults, and the beat.
#[derive(PartialEq)]
pub(crate) struct HeaderView {
    show: Option<String>,
    nodes: usize,
    trouble: usize,
    /// Why this app is not on the mesh, if it is not.
    away: Option<String>,
    /// Tempo, bar and beat, and their source.
    time: Option<(String, String)>,
}

/// Returns why this app is not on the mesh, or `None` if it is.
fn away(connectivity: &Connectivity) -> Option<String> {
    match connectivity {
        Connectivity::Joining => Some("joining the mesh".into()),
        Connectivity::Connected { .. } => None,
        Connectivity::DaemonLost => {
            Some("the daemon of this machine is gone; going on without it in 5 s".into())
        },
        Connectivity::Disconnected { reason, .. } => Some(format!("not on the mesh: {reason}")),
    }
}

/// Returns tempo, bar and beat, and their source, once they are known.
fn time(node: &hana_network::Node<role::App>) -> Option<(String, String)> {
    let now = local_us();
    let (timeline, said) = (node.timeline().at(now)?, node.timeline().said()?);
    Some((HostTimeline::beat_in_words(&timeline, now), said.source_in_words()))
}

pub(super) fn place() -> impl Bundle {
    (
        Node {
            height: px(48),
            flex_shrink: 0.0,
            align_items: AlignItems::Center,
            column_gap: px(24),
            padding: UiRect::horizontal(px(theme::GAP)),
            border: UiRect::bottom(px(1)),
            overflow: Overflow::clip(),
            ..default()
        },
        BackgroundColor(theme::PANEL),
        BorderColor::all(theme::LINE),
    )
}

pub(super) fn draw(
    place: Single<(Entity, &mut Panel<HeaderView>)>,
    desk: Res<AppModel>,
    connectivity: Res<NodeConnectivity<role::App>>,
    link: Res<MeshSession<role::App>>,
    mut commands: Commands,
) {
    let picture = HeaderView {
        show: link.node().and_then(|node| node.network().show.as_ref()).map(ToString::to_string),
        nodes: desk.overview.views().len(),
        trouble: desk.overview.alarms().count(),
        away: away(&connectivity),
        time: link.node().and_then(time),
    };
    show(place, picture, &mut commands, spawn);
}

fn spawn(picture: &HeaderView, parent: &mut ChildSpawnerCommands) {
    let HeaderView { show, nodes, trouble, away, time } = picture;
    parent.spawn(theme::line("hana", theme::LARGE, theme::TEXT));
    if let Some(show) = show {
        parent.spawn(theme::line(format!("show {show}"), theme::MIDDLE, theme::TEXT));
    }
    if let Some(away) = away {
        parent.spawn(theme::line(away.clone(), theme::MIDDLE, theme::CARE));
        return;
    }
    parent.spawn(theme::line(format!("{nodes} nodes"), theme::MIDDLE, theme::FAINT));
    let (how, colour) = match trouble {
        0 => ("all is well".into(), theme::WELL),
        many => (format!("{many} in trouble"), theme::TROUBLE),
    };
    parent.spawn(theme::line(how, theme::MIDDLE, colour));
    if let Some((beat, source)) = time {
        parent.spawn(theme::line(beat.clone(), theme::MIDDLE, theme::TEXT));
        parent.spawn(theme::line(source.clone(), theme::MIDDLE, theme::FAINT));
    }
}
