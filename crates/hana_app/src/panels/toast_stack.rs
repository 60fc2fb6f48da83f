use bevy::prelude::*;
use hana_console::OperatorAction;
use hana_engine::roster::NodeView;

use crate::mesh::logs::Logs;
use crate::model::app_model::AppModel;
use crate::panels::action_button::button;
use crate::panels::panel::{Panel, show};
use crate::theme;

/// The recent faults, above everything else: the newest at the bottom, where the operator looks.
#[derive(PartialEq)]
pub(crate) struct ToastStackView {
    toasts: Vec<Shown>,
    /// The number of further toasts that are not shown.
    more: usize,
}

#[derive(PartialEq)]
struct Shown {
    text: String,
    is_solved: bool,
    /// The node and its remedies, if the keys act on this toast.
    offered: Option<(Box<NodeView>, Vec<OperatorAction>)>,
    last_words: Vec<String>,
}

/// Maximum number of toasts shown at once; an operator reads no more.
const MOST: usize = 3;
/// Log lines shown in a toast.
const WORDS: usize = 2;

pub(super) fn place() -> impl Bundle {
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
    place: Single<(Entity, &mut Panel<ToastStackView>)>,
    desk: Res<AppModel>,
    mut logs: ResMut<Logs>,
    mut commands: Commands,
) {
    let all = desk.toasts.all();
    let pressing = desk.toasts.pressing().map(|toast| &toast.node);
    let toasts = all
        .iter()
        .take(MOST)
        .rev()
        .map(|toast| {
            let has_keys = pressing == Some(&toast.node);
            let view = desk.overview.view(&toast.node).filter(|_| has_keys);
            Shown {
                text: toast.text.clone(),
                is_solved: toast.solved.is_some(),
                offered: view.map(offered),
                last_words: if has_keys { logs.last(&toast.node, WORDS) } else { vec![] },
            }
        })
        .collect();
    let picture = ToastStackView { toasts, more: all.len().saturating_sub(MOST) };
    show(place, picture, &mut commands, spawn);
}

fn offered(view: &NodeView) -> (Box<NodeView>, Vec<OperatorAction>) {
    let remedies =
        OperatorAction::ALL.into_iter().filter(|remedy| remedy.is_offered(view)).collect();
    // Its figures change all the time, and are not shown here.
    let view = NodeView {
        frame: None,
        fps: None,
        frame_max_us: None,
        uptime_s: 0,
        parameters: None,
        playing: vec![],
        ..view.clone()
    };
    (Box::new(view), remedies)
}

fn spawn(picture: &ToastStackView, parent: &mut ChildSpawnerCommands) {
    if picture.more > 0 {
        let more = format!("and {} more in the list", picture.more);
        parent.spawn(theme::line(more, theme::SMALL, theme::TROUBLE));
    }
    for toast in &picture.toasts {
        let (colour, ground) = if toast.is_solved {
            (theme::WELL, theme::WELL_GROUND)
        } else {
            (theme::TROUBLE, theme::TROUBLE_GROUND)
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
                BackgroundColor(ground),
                BorderColor::all(colour),
            ))
            .with_children(|card| spawn_card(toast, colour, card));
    }
}

fn spawn_card(toast: &Shown, colour: Color, card: &mut ChildSpawnerCommands) {
    card.spawn(theme::text(toast.text.clone(), theme::MIDDLE, theme::TEXT));
    let Some((view, remedies)) = &toast.offered else { return };
    card.spawn(theme::text(view.state.advice(), theme::SMALL, colour));
    for line in &toast.last_words {
        card.spawn(theme::line(line.clone(), theme::TINY, theme::FAINT));
    }
    card.spawn(Node { flex_wrap: FlexWrap::Wrap, column_gap: px(8), row_gap: px(8), ..default() })
        .with_children(|buttons| {
            for remedy in remedies {
                buttons.spawn(button(*remedy, view));
            }
            buttons.spawn((
                Node { padding: UiRect::axes(px(6), px(6)), ..default() },
                children![theme::line("Esc puts it aside", theme::SMALL, theme::FAINT)],
            ));
        });
}
