use std::time::Instant;

use bevy::input::ButtonState;
use bevy::input::keyboard::{Key, KeyboardInput};
use bevy::prelude::*;

use crate::app_systems::AppSystems;
use crate::model::app_model::AppModel;
use crate::model::effect::AppEffect;
use crate::model::key::{AppKey, NoteKey};

pub(crate) fn plugin(app: &mut App) {
    app.add_systems(Update, handle_keys.in_set(AppSystems::Input));
}

fn handle_keys(
    mut inputs: MessageReader<KeyboardInput>,
    mut model: ResMut<AppModel>,
    mut effects: MessageWriter<AppEffect>,
) {
    for input in inputs.read().filter(|input| input.state == ButtonState::Pressed) {
        let effect = if model.note_draft.is_some() {
            note_key(&input.logical_key).and_then(|key| model.edit_note(key))
        } else {
            // A key that is held down keeps moving the selection; any other action happens only once.
            app_key(&input.logical_key)
                .filter(|key| !input.repeat || matches!(key, AppKey::Step(_)))
                .and_then(|key| model.handle_key(key, Instant::now()))
        };
        effects.write_batch(effect);
    }
}

/// Returns the meaning of a key while a note is being typed.
fn note_key(key: &Key) -> Option<NoteKey> {
    Some(match key {
        Key::Enter => NoteKey::Enter,
        Key::Escape => NoteKey::Escape,
        Key::Backspace => NoteKey::Backspace,
        Key::Space => NoteKey::Text(" ".into()),
        Key::Character(text) => NoteKey::Text(text.to_string()),
        _ => return None,
    })
}

fn app_key(key: &Key) -> Option<AppKey> {
    Some(match key {
        Key::ArrowUp => AppKey::Step(-1),
        Key::ArrowDown => AppKey::Step(1),
        Key::Home => AppKey::Step(isize::MIN),
        Key::End => AppKey::Step(isize::MAX),
        Key::Escape => AppKey::Escape,
        Key::Character(text) => {
            let letter = text.chars().next()?;
            if letter.is_uppercase() {
                AppKey::ForAll(letter.to_ascii_lowercase())
            } else {
                AppKey::Letter(letter)
            }
        },
        _ => return None,
    })
}
