use bevy::prelude::*;
use hana_console::OperatorAction;
use hana_engine::roster::NodeView;
use hana_protocol::id::NodeId;

use crate::mesh::logs::Logs;
use crate::model::app_model::AppModel;
use crate::panels::action_button::action_button;
use crate::panels::panel::{Panel, redraw};
use crate::theme;

/// The recent faults, above everything else: the newest at the bottom, where the operator looks.
#[derive(PartialEq)]
pub(crate) struct ToastStackView {
    toasts: Vec<ToastView>,
    /// The number of further toasts that are not shown.
    hidden: usize,
}

#[derive(PartialEq)]
struct ToastView {
    text: String,
    is_resolved: bool,
    /// Advice and actions, if the keys act on this toast.
    help: Option<ToastHelp>,
}

#[derive(PartialEq)]
struct ToastHelp {
    node: NodeId,
    advice: &'static str,
    actions: Vec<OperatorAction>,
    recent_output: Vec<String>,
}

/// Maximum number of toasts shown at once; an operator reads no more.
const MAX_TOASTS: usize = 3;
/// Number of log lines shown in a toast.
const LOG_LINES: usize = 2;

impl ToastHelp {
    fn new(view: &NodeView, logs: &mut Logs) -> Self {
        Self {
            node: view.node.clone(),
            advice: view.state.advice(),
            actions: OperatorAction::available(view).collect(),
            recent_output: logs.last(&view.node, LOG_LINES),
        }
    }
}

pub(super) fn layout() -> impl Bundle {
    (
        Node {
            position_type: PositionType::Absolute,
            right: px(theme::GAP),
            bottom: px(56),
            width: percent(52),
            max_width: px(640),
            flex_direction: FlexDirection::Column,
            row_gap: px(8),
            ..default()
        },
        GlobalZIndex(1),
    )
}

pub(super) fn draw(
    panel: Single<(Entity, &mut Panel<ToastStackView>)>,
    model: Res<AppModel>,
    mut logs: ResMut<Logs>,
    mut commands: Commands,
) {
    let all = model.toasts.all();
    let active = model.toasts.active().map(|toast| &toast.node);
    let toasts = all.iter().take(MAX_TOASTS).rev().map(|toast| {
        let target = active.filter(|node| **node == toast.node);
        let view = target.and_then(|node| model.dashboard.view(node));
        ToastView {
            text: toast.text.clone(),
            is_resolved: toast.resolved_at.is_some(),
            help: view.map(|view| ToastHelp::new(view, &mut logs)),
        }
    });
    let view =
        ToastStackView { toasts: toasts.collect(), hidden: all.len().saturating_sub(MAX_TOASTS) };
    redraw(panel, view, &mut commands, spawn);
}

fn spawn(view: &ToastStackView, parent: &mut ChildSpawnerCommands) {
    if view.hidden > 0 {
        let hidden = format!("and {} more in the list", view.hidden);
        parent.spawn(theme::line(hidden, theme::SMALL, theme::ERROR));
    }
    for toast in &view.toasts {
        let (colour, background) = if toast.is_resolved {
            (theme::SUCCESS, theme::SUCCESS_BACKGROUND)
        } else {
            (theme::ERROR, theme::ERROR_BACKGROUND)
        };
        parent
            .spawn((
                Node {
                    flex_direction: FlexDirection::Column,
                    row_gap: px(6),
                    padding: UiRect::all(px(theme::GAP)),
                    border: UiRect::left(px(6)),
                    border_radius: BorderRadius::all(px(4)),
                    overflow: Overflow::clip(),
                    ..default()
                },
                BackgroundColor(background),
                BorderColor::all(colour),
            ))
            .with_children(|card| spawn_toast(toast, colour, card));
    }
}

fn spawn_toast(toast: &ToastView, colour: Color, card: &mut ChildSpawnerCommands) {
    card.spawn(theme::text(&toast.text, theme::MEDIUM, theme::TEXT));
    let Some(help) = &toast.help else { return };
    card.spawn(theme::text(help.advice, theme::SMALL, colour));
    for line in &help.recent_output {
        card.spawn(theme::line(line, theme::TINY, theme::MUTED));
    }
    card.spawn(Node { flex_wrap: FlexWrap::Wrap, column_gap: px(8), row_gap: px(8), ..default() })
        .with_children(|buttons| {
            for action in &help.actions {
                buttons.spawn(action_button(*action, &help.node));
            }
            buttons.spawn((
                Node { padding: UiRect::axes(px(6), px(6)), ..default() },
                children![theme::line("Esc: dismiss", theme::SMALL, theme::MUTED)],
            ));
        });
}
