use std::time::Instant;

use bevy::prelude::*;
use hana_console::describe_outcome;
use hana_plugin::{CommandCompleted, MeshCommands};
use hana_protocol::message::Control;

use crate::app_systems::AppSystems;
use crate::model::app_model::AppModel;
use crate::model::effect::AppEffect;

pub(crate) fn plugin(app: &mut App) {
    app.add_systems(Update, apply_effects.in_set(AppSystems::Apply)).add_observer(show_outcome);
}

fn apply_effects(mut effects: MessageReader<AppEffect>, mut mesh: MeshCommands) {
    for effect in effects.read().cloned() {
        match effect {
            AppEffect::Act(action, view) => {
                action.dispatch(&view, &mut mesh);
            },
            AppEffect::ActOnAll(action, views) => {
                for view in &views {
                    action.dispatch(view, &mut mesh);
                }
            },
            AppEffect::Play(node, parameter, value) => mesh.play(&node, &parameter, value),
            AppEffect::Claim(node, parameters) => mesh.claim(&node, parameters),
            AppEffect::Release(node, parameters) => mesh.release(&node, parameters),
            AppEffect::TakeOver(apps) => {
                for app in apps {
                    mesh.take_over(&app);
                }
            },
            AppEffect::PublishNote(text) => mesh.note(&text),
        }
    }
}

fn show_outcome(completed: On<CommandCompleted>, mut model: ResMut<AppModel>) {
    let CommandCompleted { node, command, outcome, .. } = completed.event();
    // A command to a daemon concerns another node.
    let about = match command {
        Control::Restart(restart) => &restart.node,
        Control::Stop(stop) => &stop.node,
        Control::Acknowledge(acknowledge) => &acknowledge.node,
        _ => node,
    };
    model.notify(describe_outcome(command.name(), about, outcome), Instant::now());
}
