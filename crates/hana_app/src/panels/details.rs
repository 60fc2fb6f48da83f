use std::collections::BTreeMap;

use bevy::prelude::*;
use hana_console::OperatorAction;
use hana_engine::roster::NodeView;
use hana_network::unix_ms;
use hana_plugin::MeshNode;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::parameter::{Parameter, ParameterKind};

use crate::mesh::logs::Logs;
use crate::model::app_model::AppModel;
use crate::panels::action_button::button;
use crate::panels::panel::{Panel, show, since};
use crate::panels::parameter_row::{colour_at, spawn_slider, spawn_swatch};
use crate::theme;

/// The details of the selected node.
#[derive(PartialEq)]
pub(crate) struct DetailsView {
    selected: Option<Selected>,
}

#[derive(PartialEq)]
struct Selected {
    /// The node, without the fields that change all the time; those are shown as separate texts.
    view: NodeView,
    since: String,
    /// The message problems, in words.
    troubles: Vec<String>,
    sliders: Vec<(Parameter, f32)>,
    /// This app.
    own: Option<NodeId>,
    offered: Vec<OperatorAction>,
    log: Vec<String>,
    is_log_open: bool,
}

/// Maximum number of play sessions listed one by one.
const SESSIONS: usize = 3;
/// Maximum number of problems shown.
const TROUBLES: usize = 3;
/// The height of two lines of buttons.
const BUTTONS: f32 = 76.0;
/// Log lines shown below the sliders, and when the log fills the details area.
const LINES: usize = 6;
const LINES_OPEN: usize = 40;

pub(super) fn draw(
    place: Single<(Entity, &mut Panel<DetailsView>)>,
    desk: Res<AppModel>,
    nodes: Query<&MeshNode>,
    mut logs: ResMut<Logs>,
    mut commands: Commands,
) {
    let selected = desk.selected().map(|view| {
        let info = nodes.iter().find(|node| node.node == view.node).and_then(MeshNode::info);
        let parameters = info.map(|info| info.parameters.as_slice()).unwrap_or_default();
        let lines = if desk.is_log_open { LINES_OPEN } else { LINES };
        let log = logs.last(&view.node, lines);
        Selected {
            own: desk.operators.own.clone(),
            ..Selected::of(view, parameters, log, desk.is_log_open)
        }
    });
    show(place, DetailsView { selected }, &mut commands, spawn);
}

impl Selected {
    fn of(view: &NodeView, parameters: &[Parameter], log: Vec<String>, is_log_open: bool) -> Self {
        let value = |parameter: &Parameter| {
            let values = view.parameters.as_ref();
            values.and_then(|values| values.get(&parameter.name)).copied()
        };
        let mut sliders: Vec<(Parameter, f32)> = if view.state.is_alive() {
            let with_value = |one: &Parameter| value(one).map(|value| (one.clone(), value));
            parameters.iter().filter_map(with_value).collect()
        } else {
            vec![]
        };
        // Sorted by name; a colour's parts in the order in which a colour is written.
        let place = |parameter: &Parameter| match &parameter.kind {
            ParameterKind::Colour { of, part } => (of.clone(), Some(*part)),
            _ => (parameter.name.to_string(), None),
        };
        sliders.sort_by_cached_key(|(parameter, _)| place(parameter));
        Self {
            since: since(view.since_ms, unix_ms()),
            troubles: view.troubles_in_words().take(TROUBLES).collect(),
            sliders,
            own: None,
            offered: OperatorAction::ALL
                .into_iter()
                .filter(|remedy| remedy.is_offered(view))
                .collect(),
            log,
            is_log_open,
            view: NodeView {
                frame: None,
                fps: None,
                frame_max_us: None,
                uptime_s: 0,
                lanes: BTreeMap::new(),
                troubles: vec![],
                parameters: None,
                playing: vec![],
                ..view.clone()
            },
        }
    }
}

fn spawn(picture: &DetailsView, parent: &mut ChildSpawnerCommands) {
    let Some(selected) = &picture.selected else { return };
    let Selected { view, since, .. } = selected;
    let colour = theme::of_state(view);
    let row = || Node { column_gap: px(10), align_items: AlignItems::Center, ..default() };
    parent.spawn((
        row(),
        children![
            theme::sign(view, 18.0),
            theme::line(view.node.as_str(), theme::LARGE, theme::TEXT),
        ],
    ));
    let state = view.state.as_str().replace('_', " ");
    parent.spawn(theme::text(format!("{state} for {since}"), theme::MIDDLE, colour));
    if !view.reason.is_empty() {
        parent.spawn(theme::text(view.reason.clone(), theme::MIDDLE, colour));
    }
    if view.state.is_alarming() {
        parent.spawn(theme::text(view.state.advice(), theme::SMALL, theme::FAINT));
    }
    let host = view.host.as_ref().map_or_else(String::new, |host| format!("on {host}"));
    let pid = view.pid.map_or_else(String::new, |pid| format!(", process {pid}"));
    parent.spawn(theme::line(format!("{} {host}{pid}", view.role), theme::SMALL, theme::FAINT));
    let mut sessions = view.sessions_in_words(SESSIONS);
    if sessions.is_empty() && view.role == Role::Visualization {
        // Always one line, so that the sliders below do not move when the operator begins to play.
        sessions.push_str("played by nobody");
    }
    if !sessions.is_empty() {
        parent.spawn(theme::line(sessions, theme::SMALL, theme::FAINT));
    }
    if !selected.troubles.is_empty() {
        let troubles = format!("messages: {}", selected.troubles.join(", "));
        parent.spawn(theme::text(troubles, theme::SMALL, theme::FAINT));
    }
    parent
        .spawn(Node {
            flex_wrap: FlexWrap::Wrap,
            column_gap: px(8),
            row_gap: px(8),
            align_content: AlignContent::FlexStart,
            margin: UiRect::vertical(px(theme::GAP)),
            // Always two lines, so that the controls below do not move under the operator's hand.
            min_height: px(BUTTONS),
            flex_shrink: 0.0,
            ..default()
        })
        .with_children(|buttons| {
            for remedy in &selected.offered {
                buttons.spawn(button(*remedy, view));
            }
        });
    if !selected.is_log_open {
        for (index, (parameter, value)) in selected.sliders.iter().enumerate() {
            if let Some((name, colour)) = colour_at(&selected.sliders[index..]) {
                spawn_swatch(parent, name, colour);
            }
            spawn_slider(parent, view, selected.own.as_ref(), parameter, *value);
        }
    }
    if !selected.log.is_empty() {
        let head = if selected.is_log_open { "its log (L closes it)" } else { "its last words" };
        parent.spawn((
            Node { margin: UiRect::top(px(theme::GAP)), ..default() },
            children![theme::line(head, theme::SMALL, theme::FAINT)],
        ));
    }
    for line in &selected.log {
        parent.spawn(theme::text(line.clone(), theme::TINY, theme::FAINT));
    }
}
