use bevy::prelude::*;

use crate::mesh::status::MeshStatus;
use crate::model::app_model::AppModel;
use crate::panels::panel::{Panel, redraw};
use crate::theme;

/// The line at the top: the show, the number of nodes and of faults, and the beat.
#[derive(PartialEq)]
pub(crate) struct HeaderView {
    status: MeshStatus,
    nodes: usize,
    summary: String,
    has_faults: bool,
}

pub(super) fn layout() -> impl Bundle {
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
        BorderColor::all(theme::BORDER),
    )
}

pub(super) fn draw(
    panel: Single<(Entity, &mut Panel<HeaderView>)>,
    model: Res<AppModel>,
    status: Res<MeshStatus>,
    mut commands: Commands,
) {
    let view = HeaderView {
        status: status.clone(),
        nodes: model.dashboard.views().len(),
        summary: model.dashboard.summary(),
        has_faults: model.dashboard.alarms().next().is_some(),
    };
    redraw(panel, view, &mut commands, spawn);
}

fn spawn(view: &HeaderView, parent: &mut ChildSpawnerCommands) {
    let HeaderView { status: MeshStatus { show, problem, beat }, nodes, summary, has_faults } =
        view;
    parent.spawn(theme::line("hana", theme::LARGE, theme::TEXT));
    if let Some(show) = show {
        parent.spawn(theme::line(format!("show {show}"), theme::MEDIUM, theme::TEXT));
    }
    if let Some(problem) = problem {
        parent.spawn(theme::line(problem, theme::MEDIUM, theme::WARNING));
        return;
    }
    parent.spawn(theme::line(format!("{nodes} nodes"), theme::MEDIUM, theme::MUTED));
    let colour = if *has_faults { theme::ERROR } else { theme::SUCCESS };
    parent.spawn(theme::line(summary, theme::MEDIUM, colour));
    if let Some((beat, source)) = beat {
        parent.spawn(theme::line(beat, theme::MEDIUM, theme::TEXT));
        parent.spawn(theme::line(source, theme::MEDIUM, theme::MUTED));
    }
}
