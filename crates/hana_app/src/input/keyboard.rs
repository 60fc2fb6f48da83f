use std::time::Instant;

use bevy::input::ButtonState;
use bevy::input::keyboard::{Key as Typed, KeyboardInput};
use bevy::prelude::*;
use hana_plugin::MeshCommands as HanaMesh;

use crate::app_systems::AppSystems;
use crate::mesh::effects::carry_out;
use crate::model::app_model::AppModel;
use crate::model::key::{Key, Typed as Letters};

pub(crate) fn plugin(app: &mut App) {
    app.add_systems(Update, press.in_set(AppSystems::Act));
}

fn press(mut typed: MessageReader<KeyboardInput>, mut desk: ResMut<AppModel>, mut mesh: HanaMesh) {
    for input in typed.read() {
        if input.state != ButtonState::Pressed {
            continue;
        }
        if desk.writing.is_some() {
            let deed = letters(&input.logical_key).and_then(|typed| desk.write(typed));
            if let Some(deed) = deed {
                carry_out(deed, &mut mesh);
            }
            continue;
        }
        let Some(key) = meaning(&input.logical_key) else { continue };
        // A key that is held down keeps moving the selection; any other action happens only once.
        if input.repeat && !matches!(key, Key::Step(_)) {
            continue;
        }
        if let Some(deed) = desk.press(key, Instant::now()) {
            carry_out(deed, &mut mesh);
        }
    }
}

/// Returns the meaning of a key while a note is being typed.
fn letters(typed: &Typed) -> Option<Letters> {
    Some(match typed {
        Typed::Enter => Letters::Enter,
        Typed::Escape => Letters::Escape,
        Typed::Backspace => Letters::Backspace,
        Typed::Space => Letters::Text(" ".into()),
        Typed::Character(text) => Letters::Text(text.to_string()),
        _ => return None,
    })
}

fn meaning(typed: &Typed) -> Option<Key> {
    Some(match typed {
        Typed::ArrowUp => Key::Step(-1),
        Typed::ArrowDown => Key::Step(1),
        Typed::Home => Key::Step(isize::MIN),
        Typed::End => Key::Step(isize::MAX),
        Typed::Escape => Key::Escape,
        Typed::Character(text) => {
            let letter = text.chars().next()?;
            if letter.is_uppercase() {
                Key::ForAll(letter.to_ascii_lowercase())
            } else {
                Key::Letter(letter)
            }
        },
        _ => return None,
    })
}
