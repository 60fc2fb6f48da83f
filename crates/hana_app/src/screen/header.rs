use bevy::prelude::*;
use hana_plugin::JoinFailed;
use hana_plugin::Joined;
use hana_plugin::MeshLink;
use hana_protocol::role;

use super::Part;
use super::show;
use crate::desk::Desk;
use crate::theme;

/// The line at the top: which show, how many there are, how many are in trouble.
#[derive(PartialEq)]
pub(crate) struct Picture {
    show: Option<String>,
    nodes: usize,
    trouble: usize,
    /// Why this app is not on the mesh, if it is not.
    away: Option<String>,
}

/// Why this app is not on the mesh.
#[derive(Resource, Default)]
pub(crate) struct Away(Option<String>);

pub(crate) fn plugin(app: &mut App) {
    app.insert_resource(Away(Some("joining the mesh".into())))
        .add_observer(|_: On<Joined>, mut away: ResMut<Away>| away.0 = None)
        .add_observer(|failed: On<JoinFailed>, mut away: ResMut<Away>| {
            away.0 = Some(format!("not on the mesh: {}", failed.event().reason));
        });
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
    place: Single<(Entity, &mut Part<Picture>)>,
    desk: Res<Desk>,
    away: Res<Away>,
    link: Res<MeshLink<role::App>>,
    mut commands: Commands,
) {
    let picture = Picture {
        show: link.node().and_then(|node| node.network().show.as_ref()).map(ToString::to_string),
        nodes: desk.overview.views().len(),
        trouble: desk.overview.alarms().count(),
        away: away.0.clone(),
    };
    show(place, picture, &mut commands, spawn);
}

fn spawn(picture: &Picture, parent: &mut ChildSpawnerCommands) {
    let Picture { show, nodes, trouble, away } = picture;
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
}
