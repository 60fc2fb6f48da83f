use bevy::prelude::*;
use hana_console::DashboardRow;
use hana_engine::roster::NodeView;
use hana_network::unix_ms;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;

use crate::input::mouse::Selects;
use crate::model::app_model::AppModel;
use crate::panels::panel::{Panel, show, since};
use crate::theme;

/// The list of nodes, by host.
#[derive(PartialEq)]
pub(crate) struct ListView {
    rows: Vec<Row>,
}

#[derive(PartialEq)]
struct Row {
    name: String,
    /// Whether the line is a host, which is indented less than the nodes that run there.
    is_host: bool,
    is_selected: bool,
    /// The state that the line shows, if it is known.
    view: Option<ListedState>,
}

/// The part of a node's state that its line shows, so that other changes do not redraw it.
#[derive(PartialEq)]
struct ListedState {
    node: NodeId,
    sign: SignOf,
    state: String,
    since: String,
    fps: String,
    /// Heights of bars, in pixels.
    bars: Vec<u8>,
    restarts: u32,
    remark: String,
}

/// The source of a line's icon and colour.
#[derive(Clone)]
struct SignOf(NodeView);

impl PartialEq for SignOf {
    fn eq(&self, other: &Self) -> bool {
        (self.0.state, self.0.acknowledged) == (other.0.state, other.0.acknowledged)
    }
}

/// Maximum height of a frame's bar, reached at a twentieth of a second.
const BAR: u8 = 20;
const FULL_BAR_US: u64 = 50_000;
const BARS: usize = 20;

pub(super) fn draw(
    place: Single<(Entity, &mut Panel<ListView>)>,
    desk: Res<AppModel>,
    mut commands: Commands,
) {
    show(place, ListView::of(&desk, unix_ms()), &mut commands, spawn);
}

impl ListView {
    fn of(desk: &AppModel, now_ms: u64) -> Self {
        let selected = desk.selected().map(|view| &view.node);
        let rows = desk.overview.rows(|_| true);
        let row = |row: &DashboardRow<'_>| {
            let (name, is_host, view) = match row {
                DashboardRow::Host(host, daemon) => (host.to_string(), true, *daemon),
                DashboardRow::Node(view) => (view.node.to_string(), false, Some(*view)),
            };
            let is_selected = selected.is_some() && row.node() == selected;
            Row {
                name,
                is_host,
                is_selected,
                view: view.map(|view| ListedState::of(view, desk, now_ms)),
            }
        };
        Self { rows: rows.iter().map(row).collect() }
    }
}

impl ListedState {
    fn of(view: &NodeView, desk: &AppModel, now_ms: u64) -> Self {
        let bar = |time: u64| {
            let height = time.saturating_mul(BAR.into()) / FULL_BAR_US;
            u8::try_from(height).unwrap_or(BAR).clamp(1, BAR)
        };
        let times: Vec<u64> = desk.overview.frame_times(&view.node).collect();
        let shown = if view.is_drawing() { times.len().saturating_sub(BARS) } else { times.len() };
        let mut remarks = vec![];
        if let Some(what) = view.in_force {
            remarks.push(what.to_string());
        }
        if view.acknowledged {
            remarks.push("ignored".into());
        }
        if !matches!(view.role, Role::Visualization | Role::Daemon) {
            remarks.push(view.role.to_string());
            let taken = desk.operators.taken.get(&view.node).copied().unwrap_or_default();
            if taken > 0 {
                remarks.push(format!("holds {taken}"));
            }
            if let Some(note) = desk.operators.notes.get(&view.node) {
                remarks.push(format!("\u{201c}{note}\u{201d}"));
            }
        }
        Self {
            node: view.node.clone(),
            sign: SignOf(view.clone()),
            state: view.state.as_str().replace('_', " "),
            since: since(view.since_ms, now_ms),
            fps: view
                .fps
                .filter(|_| view.is_drawing())
                .map(|fps| format!("{fps:.0} fps"))
                .unwrap_or_default(),
            bars: times[shown..].iter().map(|time| bar(*time)).collect(),
            restarts: view.restarts,
            remark: remarks.join(", "),
        }
    }
}

fn spawn(picture: &ListView, parent: &mut ChildSpawnerCommands) {
    if picture.rows.is_empty() {
        parent.spawn(theme::text(
            "Nobody is there yet. Start a daemon with `hanad` on each machine of the show.",
            theme::MIDDLE,
            theme::FAINT,
        ));
    }
    for row in &picture.rows {
        let ground = if row.is_selected { theme::CHOSEN } else { Color::NONE };
        let indent = if row.is_host { 4 } else { 22 };
        let mut line = parent.spawn((
            Node {
                height: px(theme::ROW),
                flex_shrink: 0.0,
                align_items: AlignItems::Center,
                column_gap: px(10),
                padding: UiRect::new(px(indent), px(8), px(0), px(0)),
                border_radius: BorderRadius::all(px(4)),
                overflow: Overflow::clip(),
                ..default()
            },
            BackgroundColor(ground),
        ));
        if let Some(told) = &row.view {
            line.insert((Button, Selects(told.node.clone())));
        }
        line.with_children(|line| spawn_row(row, line));
    }
}

fn spawn_row(row: &Row, line: &mut ChildSpawnerCommands) {
    let name = if row.is_host { theme::FAINT } else { theme::TEXT };
    let cell = |width: f32| Node {
        width: px(width),
        flex_shrink: 0.0,
        overflow: Overflow::clip(),
        ..default()
    };
    let Some(told) = &row.view else {
        line.spawn((cell(200.0), children![theme::line(&row.name, theme::MIDDLE, name)]));
        line.spawn(theme::line("no daemon", theme::SMALL, theme::FAINT));
        return;
    };
    let view = &told.sign.0;
    let colour = theme::of_state(view);
    line.spawn(theme::sign(view, 14.0));
    let width = if row.is_host { 198.0 } else { 180.0 };
    line.spawn((cell(width), children![theme::line(&row.name, theme::MIDDLE, name)]));
    line.spawn((cell(140.0), children![theme::line(&told.state, theme::MIDDLE, colour)]));
    line.spawn((cell(86.0), children![theme::line(&told.since, theme::SMALL, theme::FAINT)]));
    line.spawn((cell(64.0), children![theme::line(&told.fps, theme::SMALL, theme::TEXT)]));
    line.spawn(Node {
        height: px(f32::from(BAR)),
        width: px(84),
        flex_shrink: 0.0,
        align_items: AlignItems::End,
        column_gap: px(1),
        ..default()
    })
    .with_children(|bars| {
        for height in &told.bars {
            let colour = if *height >= BAR { theme::CARE } else { theme::WELL };
            let bar = Node { width: px(3), height: px(f32::from(*height)), ..default() };
            bars.spawn((bar, BackgroundColor(colour)));
        }
    });
    if told.restarts > 0 {
        let times = if told.restarts == 1 {
            "restarted once".into()
        } else {
            format!("restarted {} times", told.restarts)
        };
        line.spawn(theme::line(times, theme::SMALL, theme::CARE));
    }
    line.spawn(theme::line(&told.remark, theme::SMALL, theme::FAINT));
}
