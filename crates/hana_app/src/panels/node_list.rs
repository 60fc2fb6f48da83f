use bevy::prelude::*;
use hana_console::{DashboardRow, time_since};
use hana_engine::roster::NodeView;
use hana_network::unix_ms;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;

use crate::input::mouse::OnClick;
use crate::model::app_model::AppModel;
use crate::panels::panel::{Panel, redraw};
use crate::theme;

/// The list of nodes, grouped by host.
#[derive(PartialEq)]
pub(crate) struct NodeListView {
    rows: Vec<NodeRow>,
}

#[derive(PartialEq)]
struct NodeRow {
    name: String,
    /// Whether the row is a host, which is indented less than the nodes that run there.
    is_host: bool,
    is_selected: bool,
    /// The state of the node, if it is known.
    status: Option<NodeStatus>,
}

/// The part of a node's state that its row shows, so that other changes do not redraw it.
#[derive(PartialEq)]
struct NodeStatus {
    node: NodeId,
    icon: IconSource,
    state: String,
    since: String,
    fps: String,
    /// The heights of the frame bars, in pixels.
    bars: Vec<u8>,
    restarts: u32,
    remarks: String,
}

/// The source of a row's icon and colour.
#[derive(Clone)]
struct IconSource(NodeView);

impl PartialEq for IconSource {
    fn eq(&self, other: &Self) -> bool {
        (self.0.state, self.0.acknowledged) == (other.0.state, other.0.acknowledged)
    }
}

/// Maximum height of a frame's bar, in pixels, and the frame time that reaches it.
const MAX_BAR_HEIGHT: u8 = 20;
const MAX_BAR_US: u64 = 50_000;
const MAX_BARS: usize = 20;

pub(super) fn draw(
    panel: Single<(Entity, &mut Panel<NodeListView>)>,
    model: Res<AppModel>,
    mut commands: Commands,
) {
    redraw(panel, NodeListView::new(&model, unix_ms()), &mut commands, spawn);
}

impl NodeListView {
    fn new(model: &AppModel, now_ms: u64) -> Self {
        let selected = model.selected().map(|view| &view.node);
        let rows = model.dashboard.rows(|_| true);
        let row = |row: &DashboardRow<'_>| {
            let (name, is_host, view) = match row {
                DashboardRow::Host(host, daemon) => (host.to_string(), true, *daemon),
                DashboardRow::Node(view) => (view.node.to_string(), false, Some(*view)),
            };
            let is_selected = selected.is_some() && row.node() == selected;
            NodeRow {
                name,
                is_host,
                is_selected,
                status: view.map(|view| NodeStatus::new(view, model, now_ms)),
            }
        };
        Self { rows: rows.iter().map(row).collect() }
    }
}

impl NodeStatus {
    fn new(view: &NodeView, model: &AppModel, now_ms: u64) -> Self {
        let bar = |time: u64| {
            let height = time.saturating_mul(MAX_BAR_HEIGHT.into()) / MAX_BAR_US;
            u8::try_from(height).unwrap_or(MAX_BAR_HEIGHT).clamp(1, MAX_BAR_HEIGHT)
        };
        let times: Vec<u64> = model.dashboard.frame_times(&view.node).collect();
        let first =
            if view.is_drawing() { times.len().saturating_sub(MAX_BARS) } else { times.len() };
        let mut remarks = vec![];
        if let Some(active) = view.in_force {
            remarks.push(active.to_string());
        }
        if view.acknowledged {
            remarks.push("acknowledged".into());
        }
        if !matches!(view.role, Role::Visualization | Role::Daemon) {
            remarks.push(view.role.to_string());
            let claims = model.operators.claims.get(&view.node).copied().unwrap_or_default();
            if claims > 0 {
                remarks.push(format!("claims {claims}"));
            }
            if let Some(note) = model.operators.notes.get(&view.node) {
                remarks.push(format!("\u{201c}{note}\u{201d}"));
            }
        }
        Self {
            node: view.node.clone(),
            icon: IconSource(view.clone()),
            state: view.state.as_str().replace('_', " "),
            since: time_since(view.since_ms, now_ms),
            fps: view
                .fps
                .filter(|_| view.is_drawing())
                .map(|fps| format!("{fps:.0} fps"))
                .unwrap_or_default(),
            bars: times[first..].iter().map(|time| bar(*time)).collect(),
            restarts: view.restarts,
            remarks: remarks.join(", "),
        }
    }
}

fn spawn(view: &NodeListView, parent: &mut ChildSpawnerCommands) {
    if view.rows.is_empty() {
        parent.spawn(theme::text(
            "No nodes yet. Start a daemon with `hanad` on each machine of the show.",
            theme::MEDIUM,
            theme::MUTED,
        ));
    }
    for row in &view.rows {
        let background = if row.is_selected { theme::SELECTED } else { Color::NONE };
        let indent = if row.is_host { 4 } else { 22 };
        let mut line = parent.spawn((
            Node {
                height: px(theme::ROW_HEIGHT),
                flex_shrink: 0.0,
                align_items: AlignItems::Center,
                column_gap: px(10),
                padding: UiRect::new(px(indent), px(8), px(0), px(0)),
                border_radius: BorderRadius::all(px(4)),
                overflow: Overflow::clip(),
                ..default()
            },
            BackgroundColor(background),
        ));
        if let Some(status) = &row.status {
            line.insert(OnClick::Select(status.node.clone()));
        }
        line.with_children(|line| spawn_row(row, line));
    }
}

fn spawn_row(row: &NodeRow, line: &mut ChildSpawnerCommands) {
    let name_colour = if row.is_host { theme::MUTED } else { theme::TEXT };
    let cell = |width: f32| Node {
        width: px(width),
        flex_shrink: 0.0,
        overflow: Overflow::clip(),
        ..default()
    };
    let Some(status) = &row.status else {
        line.spawn((cell(200.0), children![theme::line(&row.name, theme::MEDIUM, name_colour)]));
        line.spawn(theme::line("no daemon", theme::SMALL, theme::MUTED));
        return;
    };
    let view = &status.icon.0;
    let colour = theme::state_colour(view);
    line.spawn(theme::state_icon(view, 14.0));
    let width = if row.is_host { 198.0 } else { 180.0 };
    line.spawn((cell(width), children![theme::line(&row.name, theme::MEDIUM, name_colour)]));
    line.spawn((cell(140.0), children![theme::line(&status.state, theme::MEDIUM, colour)]));
    line.spawn((cell(86.0), children![theme::line(&status.since, theme::SMALL, theme::MUTED)]));
    line.spawn((cell(64.0), children![theme::line(&status.fps, theme::SMALL, theme::TEXT)]));
    line.spawn(Node {
        height: px(f32::from(MAX_BAR_HEIGHT)),
        width: px(84),
        flex_shrink: 0.0,
        align_items: AlignItems::End,
        column_gap: px(1),
        ..default()
    })
    .with_children(|bars| {
        for height in &status.bars {
            let colour = if *height >= MAX_BAR_HEIGHT { theme::WARNING } else { theme::SUCCESS };
            let bar = Node { width: px(3), height: px(f32::from(*height)), ..default() };
            bars.spawn((bar, BackgroundColor(colour)));
        }
    });
    if status.restarts > 0 {
        let times = if status.restarts == 1 {
            "restarted once".into()
        } else {
            format!("restarted {} times", status.restarts)
        };
        line.spawn(theme::line(times, theme::SMALL, theme::WARNING));
    }
    line.spawn(theme::line(&status.remarks, theme::SMALL, theme::MUTED));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use hana_protocol::message::{Override, ProcessState};

    use super::*;
    use crate::test_views::{id, view};

    fn list(views: Vec<NodeView>, change: impl FnOnce(&mut AppModel)) -> NodeListView {
        let mut model = AppModel::default();
        model.update(views, Instant::now());
        change(&mut model);
        NodeListView::new(&model, 61_000)
    }

    #[test]
    fn rows_are_grouped_by_host_and_mark_the_selection() {
        let running = ProcessState::Running;
        let views = vec![view("h1", running), view("a", running), view("b", ProcessState::Slow)];
        let list = list(views, |model| model.select(&id("a")));
        let rows: Vec<_> =
            list.rows.iter().map(|row| (row.name.as_str(), row.is_host, row.is_selected)).collect();
        assert_eq!(rows, [("h1", true, false), ("b", false, false), ("a", false, true)]);
    }

    #[test]
    fn hosts_without_daemon_have_no_status() {
        let list = list(vec![view("a", ProcessState::Running)], |_| ());
        assert!(list.rows[0].is_host && list.rows[0].status.is_none());
    }

    #[test]
    fn status_shows_age_frame_rate_and_frame_times() {
        let stalled =
            NodeView { frame_max_us: Some(1_000_000), ..view("a", ProcessState::Running) };
        let list = list(vec![stalled, view("b", ProcessState::Crashed)], |_| ());
        let status = |name: &str| {
            list.rows.iter().find(|row| row.name == name).unwrap().status.as_ref().unwrap()
        };
        assert_eq!((status("a").since.as_str(), status("a").fps.as_str()), ("1m01s", "60 fps"));
        assert_eq!(status("a").bars, [MAX_BAR_HEIGHT], "a long frame fills the bar");
        assert_eq!((status("b").fps.as_str(), status("b").bars.len()), ("", 0));
    }

    #[test]
    fn remarks_name_overrides_claims_and_notes() {
        let running = ProcessState::Running;
        let black = NodeView { in_force: Some(Override::Blackout), ..view("a", running) };
        let ignored = NodeView { acknowledged: true, ..view("b", ProcessState::Slow) };
        let app = NodeView { role: Role::App, ..view("foh", running) };
        let list = list(vec![black, ignored, app], |model| {
            model.operators.claims = [(id("foh"), 3)].into();
            model.operators.notes = [(id("foh"), "cue 7".into())].into();
        });
        let remarks = |name: &str| {
            let row = list.rows.iter().find(|row| row.name == name).unwrap();
            row.status.as_ref().unwrap().remarks.as_str()
        };
        assert_eq!([remarks("a"), remarks("b")], ["blackout", "acknowledged"]);
        assert_eq!(remarks("foh"), "app, claims 3, \u{201c}cue 7\u{201d}");
    }

    #[test]
    fn equal_states_do_not_redraw_the_icon() {
        let source = |state, fps| IconSource(NodeView { fps: Some(fps), ..view("a", state) });
        assert!(source(ProcessState::Running, 60.0) == source(ProcessState::Running, 30.0));
        assert!(source(ProcessState::Running, 60.0) != source(ProcessState::Slow, 60.0));
    }
}
