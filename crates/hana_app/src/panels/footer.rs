use bevy::prelude::*;

use crate::input::mouse::OnClick;
use crate::model::app_model::AppModel;
use crate::model::key::AppKey;
use crate::panels::panel::{Panel, redraw};
use crate::theme;

/// The line at the bottom: a question, the note that is being typed, the last notice, or the available keys.
#[derive(PartialEq, Eq)]
pub(crate) enum FooterView {
    Question(String),
    NoteDraft(String),
    Notice(String),
    Keys {
        /// The parameters that can be taken over, in words.
        abandoned: Option<String>,
    },
}

/// The keys, each with its effect.
const KEYS: [(&str, &str); 6] = [
    ("Up Down", "select"),
    ("T", "claim, release"),
    ("N", "note to all"),
    ("Shift+H", "freeze all"),
    ("Shift+B", "blackout all"),
    ("Shift+U", "resume all"),
];

impl FooterView {
    fn new(model: &AppModel) -> Self {
        let note = || model.note_draft.clone().map(Self::NoteDraft);
        let notice = || model.notice().map(|text| Self::Notice(text.into()));
        let question = model.question().map(Self::Question);
        question
            .or_else(note)
            .or_else(notice)
            .unwrap_or_else(|| Self::Keys { abandoned: model.operators.describe_abandoned() })
    }
}

pub(super) fn layout() -> impl Bundle {
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
        BorderColor::all(theme::BORDER),
    )
}

pub(super) fn draw(
    panel: Single<(Entity, &mut Panel<FooterView>)>,
    model: Res<AppModel>,
    mut commands: Commands,
) {
    redraw(panel, FooterView::new(&model), &mut commands, spawn);
}

fn spawn(view: &FooterView, parent: &mut ChildSpawnerCommands) {
    match view {
        FooterView::Question(question) => {
            parent.spawn(theme::line(question, theme::MEDIUM, theme::WARNING));
            for (key, text) in [('y', "Y  yes"), ('n', "N  no")] {
                parent.spawn((
                    OnClick::Press(AppKey::Letter(key)),
                    Node { padding: UiRect::axes(px(10), px(4)), ..default() },
                    BackgroundColor(theme::BACKGROUND),
                    children![theme::line(text, theme::MEDIUM, theme::WARNING)],
                ));
            }
        },
        FooterView::NoteDraft(text) => {
            parent.spawn(theme::line("note to all:", theme::MEDIUM, theme::MUTED));
            parent.spawn(theme::line(format!("{text}_"), theme::MEDIUM, theme::TEXT));
            parent.spawn(theme::line("Enter: send   Esc: cancel", theme::SMALL, theme::MUTED));
        },
        FooterView::Notice(text) => {
            parent.spawn(theme::line(text, theme::MEDIUM, theme::TEXT));
        },
        FooterView::Keys { abandoned } => {
            if let Some(abandoned) = abandoned {
                parent.spawn((
                    OnClick::Press(AppKey::Letter('o')),
                    key_hint("O", abandoned, theme::MEDIUM, theme::WARNING),
                ));
            }
            for (key, text) in KEYS {
                parent.spawn(key_hint(key, text, theme::SMALL, theme::MUTED));
            }
        },
    }
}

/// Returns a key with its effect.
fn key_hint(key: &str, text: &str, size: f32, colour: Color) -> impl Bundle + use<> {
    (
        Node { column_gap: px(8), align_items: AlignItems::Center, ..default() },
        children![
            theme::line(key.to_owned(), size, theme::WARNING),
            theme::line(text.to_owned(), size, colour),
        ],
    )
}
