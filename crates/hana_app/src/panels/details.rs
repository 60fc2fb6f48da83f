use std::collections::BTreeMap;

use bevy::prelude::*;
use hana_console::{OperatorAction, time_since};
use hana_engine::roster::NodeView;
use hana_network::unix_ms;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::parameter::{Parameter, ParameterKind};

use crate::mesh::logs::Logs;
use crate::mesh::nodes::SelectedParameters;
use crate::model::app_model::AppModel;
use crate::panels::action_button::action_button;
use crate::panels::panel::{Panel, redraw};
use crate::panels::parameter_row::{colour_at, spawn_slider, spawn_swatch};
use crate::theme;

/// The details of the selected node.
#[derive(PartialEq)]
pub(crate) struct DetailsView {
    selected: Option<SelectedView>,
}

#[derive(PartialEq)]
struct SelectedView {
    /// The node, without the fields that change all the time; those are shown as separate texts.
    view: NodeView,
    since: String,
    /// The most frequent message problems, in words.
    problems: Vec<String>,
    sliders: Vec<(Parameter, f32)>,
    /// This app's id, once it has joined.
    own_id: Option<NodeId>,
    actions: Vec<OperatorAction>,
    log: Vec<String>,
    is_log_open: bool,
}

/// Maximum number of play sessions listed one by one.
const MAX_SESSIONS: usize = 3;
/// Maximum number of message problems shown.
const MAX_PROBLEMS: usize = 3;
/// The height of two lines of buttons.
const BUTTONS_HEIGHT: f32 = 76.0;
/// Numbers of log lines: below the sliders, and when the log fills the details area.
const LOG_LINES: usize = 6;
const OPEN_LOG_LINES: usize = 40;

pub(super) fn draw(
    panel: Single<(Entity, &mut Panel<DetailsView>)>,
    model: Res<AppModel>,
    parameters: Res<SelectedParameters>,
    mut logs: ResMut<Logs>,
    mut commands: Commands,
) {
    let line_count = if model.is_log_open { OPEN_LOG_LINES } else { LOG_LINES };
    let selected = model.selected().map(|view| SelectedView {
        own_id: model.operators.own_id.clone(),
        log: logs.last(&view.node, line_count),
        is_log_open: model.is_log_open,
        ..SelectedView::new(view, &parameters.0)
    });
    redraw(panel, DetailsView { selected }, &mut commands, spawn);
}

impl SelectedView {
    fn new(view: &NodeView, parameters: &[Parameter]) -> Self {
        let value = |parameter: &Parameter| {
            let values = view.parameters.as_ref();
            values.and_then(|values| values.get(&parameter.name)).copied()
        };
        let mut sliders: Vec<(Parameter, f32)> = if view.state.is_alive() {
            let with_value = |parameter: &Parameter| Some((parameter.clone(), value(parameter)?));
            parameters.iter().filter_map(with_value).collect()
        } else {
            vec![]
        };
        // Parameters are sorted by group and name, and a colour's parts in the order in which a colour is written.
        let position = |parameter: &Parameter| match &parameter.kind {
            ParameterKind::Colour { of, part } => (of.clone(), Some(*part)),
            _ => (parameter.name.to_string(), None),
        };
        sliders.sort_by_cached_key(|(parameter, _)| (parameter.group.clone(), position(parameter)));
        Self {
            since: time_since(view.since_ms, unix_ms()),
            problems: view.troubles_in_words().take(MAX_PROBLEMS).collect(),
            sliders,
            own_id: None,
            actions: OperatorAction::available(view).collect(),
            log: vec![],
            is_log_open: false,
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

fn spawn(details: &DetailsView, parent: &mut ChildSpawnerCommands) {
    let Some(selected) = &details.selected else { return };
    let SelectedView { view, since, .. } = selected;
    let colour = theme::state_colour(view);
    let row = || Node { column_gap: px(10), align_items: AlignItems::Center, ..default() };
    parent.spawn((
        row(),
        children![
            theme::state_icon(view, 18.0),
            theme::line(view.node.as_str(), theme::LARGE, theme::TEXT),
        ],
    ));
    let state = view.state.as_str().replace('_', " ");
    parent.spawn(theme::text(format!("{state} for {since}"), theme::MEDIUM, colour));
    if !view.reason.is_empty() {
        parent.spawn(theme::text(view.reason.clone(), theme::MEDIUM, colour));
    }
    if view.state.is_alarming() {
        parent.spawn(theme::text(view.state.advice(), theme::SMALL, theme::MUTED));
    }
    let host = view.host.as_ref().map_or_else(String::new, |host| format!("on {host}"));
    let pid = view.pid.map_or_else(String::new, |pid| format!(", process {pid}"));
    parent.spawn(theme::line(format!("{} {host}{pid}", view.role), theme::SMALL, theme::MUTED));
    let mut sessions = view.sessions_in_words(MAX_SESSIONS);
    if sessions.is_empty() && view.role == Role::Visualization {
        // The sessions always take one line, so that the sliders below do not move when the operator begins to play.
        sessions.push_str("not played");
    }
    if !sessions.is_empty() {
        parent.spawn(theme::line(sessions, theme::SMALL, theme::MUTED));
    }
    if !selected.problems.is_empty() {
        let problems = format!("messages: {}", selected.problems.join(", "));
        parent.spawn(theme::text(problems, theme::SMALL, theme::MUTED));
    }
    parent
        .spawn(Node {
            flex_wrap: FlexWrap::Wrap,
            column_gap: px(8),
            row_gap: px(8),
            align_content: AlignContent::FlexStart,
            margin: UiRect::vertical(px(theme::GAP)),
            // The buttons always take two lines, so that the controls below do not move under the operator's hand.
            min_height: px(BUTTONS_HEIGHT),
            flex_shrink: 0.0,
            ..default()
        })
        .with_children(|buttons| {
            for action in &selected.actions {
                buttons.spawn(action_button(*action, &view.node));
            }
        });
    if !selected.is_log_open {
        let mut group = "";
        for (index, (parameter, value)) in selected.sliders.iter().enumerate() {
            if parameter.group != group {
                group = &parameter.group;
                parent.spawn(theme::line(group, theme::SMALL, theme::MUTED));
            }
            if let Some((name, colour)) = colour_at(&selected.sliders[index..]) {
                spawn_swatch(parent, name, colour);
            }
            spawn_slider(parent, view, selected.own_id.as_ref(), parameter, *value);
        }
    }
    if !selected.log.is_empty() {
        let title = if selected.is_log_open { "log (L: close)" } else { "recent output" };
        parent.spawn((
            Node { margin: UiRect::top(px(theme::GAP)), ..default() },
            children![theme::line(title, theme::SMALL, theme::MUTED)],
        ));
    }
    for line in &selected.log {
        parent.spawn(theme::text(line.clone(), theme::TINY, theme::MUTED));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hana_protocol::message::ProcessState;
    use hana_protocol::parameter::{ColourPart, ParameterName};

    use super::*;
    use crate::test_views;

    fn view(state: ProcessState, parameters: &[Parameter]) -> NodeView {
        let values = parameters.iter().map(|parameter| (parameter.name.clone(), 0.0));
        NodeView { parameters: Some(values.collect()), ..test_views::view("a", state) }
    }

    fn texts(details: &DetailsView) -> Vec<String> {
        let mut world = World::new();
        world.commands().spawn_empty().with_children(|parent| spawn(details, parent));
        world.flush();
        world.query::<&Text>().iter(&world).map(|text| text.0.clone()).collect()
    }

    #[test]
    fn sliders_are_sorted_by_name_and_colour_part() {
        let parameter = |name: &str| Parameter::new(ParameterName::new(name).unwrap(), 0.0);
        let part = |name: &str, part| Parameter {
            kind: ParameterKind::Colour { of: "tint".into(), part },
            ..parameter(name)
        };
        let announced = [
            parameter("zoom"),
            part("tint_b", ColourPart::Blue),
            part("tint_g", ColourPart::Green),
            part("tint_r", ColourPart::Red),
            parameter("hue"),
        ];
        let names = |state| {
            let selected = SelectedView::new(&view(state, &announced), &announced);
            selected.sliders.iter().map(|(of, _)| of.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(ProcessState::Running), ["hue", "tint_r", "tint_g", "tint_b", "zoom"]);
        assert!(names(ProcessState::Crashed).is_empty(), "nothing to play");
    }

    #[test]
    fn parameters_without_value_have_no_slider() {
        let zoom = Parameter::new(ParameterName::new("zoom").unwrap(), 0.0);
        let selected = SelectedView::new(&view(ProcessState::Running, &[]), &[zoom]);
        assert!(selected.sliders.is_empty());
    }

    #[test]
    fn changing_figures_do_not_redraw_the_details() {
        let shown = |fps| {
            let view = view(ProcessState::Running, &[]);
            let view = NodeView { fps: Some(fps), frame: Some(9), uptime_s: 7, ..view };
            SelectedView { since: String::new(), ..SelectedView::new(&view, &[]) }
        };
        assert!(shown(60.0) == shown(59.0));
    }

    #[test]
    fn open_log_replaces_the_sliders() {
        let zoom = [Parameter::new(ParameterName::new("zoom").unwrap(), 0.0)];
        let details = |is_log_open| DetailsView {
            selected: Some(SelectedView {
                log: vec!["started".into()],
                is_log_open,
                ..SelectedView::new(&view(ProcessState::Running, &zoom), &zoom)
            }),
        };
        let closed = texts(&details(false));
        assert!(closed.contains(&"zoom".to_owned()));
        assert_eq!(closed[closed.len() - 2..], ["recent output", "started"]);
        let open = texts(&details(true));
        assert!(!open.contains(&"zoom".to_owned()));
        assert_eq!(open[open.len() - 2..], ["log (L: close)", "started"]);
    }
}
