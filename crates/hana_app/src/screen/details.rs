use std::collections::BTreeMap;

use bevy::prelude::*;
use bevy::ui::RelativeCursorPosition;
use hana_console::OperatorAction;
use hana_engine::roster::NodeView;
use hana_network::unix_ms;
use hana_plugin::MeshNode;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::message::OwnershipKind;
use hana_protocol::parameter::format::{hex_of_rgb, word_of_value};
use hana_protocol::parameter::{ColourPart, Parameter, ParameterKind, Sharing};

use super::{Panel, show, since};
use crate::desk::AppModel;
use crate::logs::Logs;
use crate::mouse::{Offers, Takes};
use crate::sliders::{Slider, along};
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

/// The widths of the columns before and after a slider.
const NAME: f32 = 96.0;
const VALUE: f32 = 72.0;
const HOLDER: f32 = 96.0;
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
            spawn_slider(parent, selected, parameter, *value);
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

/// A button for a remedy, with its key.
pub(super) fn button(remedy: OperatorAction, view: &NodeView) -> impl Bundle {
    (
        Button,
        Offers(remedy, view.node.clone()),
        Node {
            padding: UiRect::axes(px(10), px(5)),
            border: UiRect::all(px(1)),
            border_radius: BorderRadius::all(px(4)),
            column_gap: px(8),
            ..default()
        },
        BorderColor::all(theme::LINE),
        BackgroundColor(theme::GROUND),
        children![
            theme::line(remedy.key().to_ascii_uppercase(), theme::MIDDLE, theme::CARE),
            theme::line(remedy.name(), theme::MIDDLE, theme::TEXT),
        ],
    )
}

/// Returns the colour whose parts begin here, and its name.
fn colour_at(sliders: &[(Parameter, f32)]) -> Option<(&str, [f32; 3])> {
    let [red, green, blue, ..] = sliders else { return None };
    let part = |(parameter, _): &'_ (Parameter, f32)| match &parameter.kind {
        ParameterKind::Colour { of, part } => Some((of.clone(), *part)),
        _ => None,
    };
    let ParameterKind::Colour { of, .. } = &red.0.kind else { return None };
    let wanted = ColourPart::ALL.map(|part| Some((of.clone(), part)));
    ([part(red), part(green), part(blue)] == wanted)
        .then_some((of.as_str(), [red.1, green.1, blue.1]))
}

fn row() -> Node {
    Node {
        height: px(30),
        flex_shrink: 0.0,
        align_items: AlignItems::Center,
        column_gap: px(10),
        ..default()
    }
}

fn cell(width: f32) -> Node {
    Node { width: px(width), flex_shrink: 0.0, overflow: Overflow::clip(), ..default() }
}

/// Spawns a swatch of a colour, above its three parts.
fn spawn_swatch(parent: &mut ChildSpawnerCommands, name: &str, colour: [f32; 3]) {
    let [red, green, blue] = colour;
    parent.spawn((
        row(),
        children![
            (cell(NAME), children![theme::line(name, theme::MIDDLE, theme::TEXT)]),
            (
                Node {
                    height: px(20),
                    flex_grow: 1.0,
                    border_radius: BorderRadius::all(px(4)),
                    ..default()
                },
                BackgroundColor(Color::srgb(red, green, blue)),
            ),
            (
                cell(VALUE + 10.0 + HOLDER),
                children![theme::line(hex_of_rgb(colour), theme::SMALL, theme::TEXT)]
            ),
        ],
    ));
}

fn spawn_slider(
    parent: &mut ChildSpawnerCommands,
    selected: &Selected,
    parameter: &Parameter,
    value: f32,
) {
    let Selected { view, own, .. } = selected;
    let (name, colour) = match &parameter.kind {
        ParameterKind::Colour { part, .. } => (format!("  {part}"), theme::FAINT),
        _ => (parameter.name.to_string(), theme::TEXT),
    };
    let (begins, ends) = played(parameter, value);
    parent.spawn((
        row(),
        children![
            (cell(NAME), children![theme::line(name, theme::MIDDLE, colour)]),
            (
                Slider { node: view.node.clone(), parameter: parameter.clone(), value },
                RelativeCursorPosition::default(),
                Node {
                    height: px(20),
                    flex_grow: 1.0,
                    border_radius: BorderRadius::all(px(4)),
                    overflow: Overflow::clip(),
                    ..default()
                },
                BackgroundColor(theme::LINE),
                children![(
                    Node {
                        margin: UiRect::left(percent(100.0 * begins)),
                        width: percent(100.0 * (ends - begins)),
                        height: percent(100),
                        ..default()
                    },
                    BackgroundColor(theme::PLAYED),
                )],
            ),
            (
                cell(VALUE),
                children![theme::line(word_of_value(parameter, value), theme::MIDDLE, theme::TEXT)]
            ),
            holder(view, own.as_ref(), parameter),
        ],
    ));
}

/// The owner of a parameter, beside its slider: a click claims or releases the parameter.
fn holder(view: &NodeView, own: Option<&NodeId>, parameter: &Parameter) -> impl Bundle {
    let name = &parameter.name;
    let is_own = own.is_some() && view.taken_by(name) == own;
    let (text, colour) = match (parameter.sharing, view.owner_of(name)) {
        (Sharing::Mix, _) => {
            let count = view.mixed.get(name).map_or(0, Vec::len);
            (format!("mixed, {count}"), theme::FAINT)
        },
        (Sharing::One, Some(_)) if is_own => ("yours".into(), theme::TEXT),
        (Sharing::One, Some(held)) if held.how == OwnershipKind::Claimed => {
            (held.by.to_string(), theme::CARE)
        },
        (Sharing::One, Some(held)) => (format!("({})", held.by), theme::FAINT),
        (Sharing::One, None) => ("take".into(), theme::LINE),
    };
    let (node, parameter) = (view.node.clone(), name.clone());
    (
        Button,
        Takes { node, parameter, is_own },
        cell(HOLDER),
        children![theme::line(text, theme::SMALL, colour)],
    )
}

/// Returns the filled part of a slider's track, 0 to 1; for a choice, the segment of the chosen value.
fn played(parameter: &Parameter, value: f32) -> (f32, f32) {
    match &parameter.kind {
        ParameterKind::Choice(_) => {
            let count = parameter.max - parameter.min + 1.0;
            let index = value.round() - parameter.min;
            (index / count, (index + 1.0) / count)
        },
        _ => (0.0, along(parameter, value)),
    }
}
