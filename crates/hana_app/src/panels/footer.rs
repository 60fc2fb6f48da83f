use bevy::prelude::*;

use crate::input::mouse::Answers;
use crate::model::app_model::AppModel;
use crate::model::key::Key;
use crate::model::operators::Operators;
use crate::panels::panel::{Panel, show};
use crate::theme;

/// The line at the bottom: a question, the last notice, or the available keys.
#[derive(PartialEq)]
pub(crate) struct FooterView {
    question: Option<String>,
    notice: Option<String>,
    /// The note that is being typed.
    writing: Option<String>,
    /// The parameters left behind by vanished apps, in words.
    left: Option<String>,
}

/// Describes the parameters that can be taken over.
fn left(operators: &Operators) -> Option<String> {
    let (first, count) = operators.left.first_key_value()?;
    let more = match operators.left.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!("take over the {count} that {first}{more} left"))
}

pub(super) fn place() -> impl Bundle {
    (
        Node {
            height: px(44),
            flex_shrink: 0.0,
            align_items: AlignItems::Center,
            column_gap: px(18),
            padding: UiRect::horizontal(px(theme::GAP)),
            border: UiRect::top(px(1)),
            overflow: Overflow::clip(),
            ..default()
        },
        BackgroundColor(theme::PANEL),
        BorderColor::all(theme::LINE),
    )
}

pub(super) fn draw(
    place: Single<(Entity, &mut Panel<FooterView>)>,
    desk: Res<AppModel>,
    mut commands: Commands,
) {
    let question = desk.question.as_ref();
    let picture = FooterView {
        question: question.map(|(remedy, node)| format!("{} {node}, which runs?", remedy.name())),
        notice: desk.noticed().map(String::from),
        writing: desk.writing.clone(),
        left: left(&desk.operators),
    };
    show(place, picture, &mut commands, spawn);
}

fn spawn(picture: &FooterView, parent: &mut ChildSpawnerCommands) {
    if let Some(question) = &picture.question {
        parent.spawn(theme::line(question.clone(), theme::MIDDLE, theme::CARE));
        for (key, text) in [('y', "Y  yes"), ('n', "N  no")] {
            parent.spawn((
                Button,
                Answers(Key::Letter(key)),
                Node { padding: UiRect::axes(px(10), px(4)), ..default() },
                BackgroundColor(theme::GROUND),
                children![theme::line(text, theme::MIDDLE, theme::CARE)],
            ));
        }
        return;
    }
    if let Some(text) = &picture.writing {
        parent.spawn(theme::line("note to all:", theme::MIDDLE, theme::FAINT));
        parent.spawn(theme::line(format!("{text}_"), theme::MIDDLE, theme::TEXT));
        parent.spawn(theme::line("Enter tells it, Escape does not", theme::SMALL, theme::FAINT));
        return;
    }
    if let Some(notice) = &picture.notice {
        parent.spawn(theme::line(notice.clone(), theme::MIDDLE, theme::TEXT));
        return;
    }
    if let Some(left) = &picture.left {
        parent.spawn((
            Button,
            Answers(Key::Letter('o')),
            Node { column_gap: px(8), align_items: AlignItems::Center, ..default() },
            children![
                theme::line("O", theme::MIDDLE, theme::CARE),
                theme::line(left.clone(), theme::MIDDLE, theme::CARE),
            ],
        ));
    }
    for (keys, text) in [
        ("Up Down", "choose"),
        ("T", "take, release"),
        ("N", "note to all"),
        ("Shift+H", "freeze all"),
        ("Shift+B", "black all"),
        ("Shift+U", "resume all"),
    ] {
        parent.spawn((
            Node { column_gap: px(8), align_items: AlignItems::Center, ..default() },
            children![
                theme::line(keys, theme::SMALL, theme::CARE),
                theme::line(text, theme::SMALL, theme::FAINT),
            ],
        ));
    }
}
