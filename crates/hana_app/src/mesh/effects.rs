use std::time::Instant;

use bevy::prelude::*;
use hana_plugin::{CommandCompleted, MeshCommands as HanaMesh};
use hana_protocol::message::Control;
use hana_protocol::wire::error_chain;

use crate::model::app_model::AppModel;
use crate::model::effect::AppEffect;

pub(crate) fn plugin(app: &mut App) {
    app.add_observer(tell_outcome);
}

/// Carries out the operator's action on the mesh.
pub(crate) fn carry_out(deed: AppEffect, mesh: &mut HanaMesh) {
    match deed {
        AppEffect::Do(remedy, view) => mesh.remedy(remedy, &view),
        AppEffect::ForAll(remedy, views) => views.iter().for_each(|view| mesh.remedy(remedy, view)),
        AppEffect::Take(node, names) => mesh.take(&node, names),
        AppEffect::Release(node, names) => mesh.release(&node, names),
        AppEffect::TakeOver(apps) => {
            for app in apps {
                mesh.take_over(&app);
            }
        },
        AppEffect::Note(text) => mesh.note(&text),
    }
}

fn tell_outcome(answered: On<CommandCompleted>, mut desk: ResMut<AppModel>) {
    let CommandCompleted { node, command, outcome } = answered.event();
    // A command to a daemon is about another node.
    let about = match command {
        Control::Restart(restart) => &restart.node,
        Control::Stop(stop) => &stop.node,
        Control::Acknowledge(ignore) => &ignore.node,
        _ => node,
    };
    let what = command.name();
    let said = match outcome {
        Ok(()) => format!("{what} {about}: done"),
        Err(problem) => format!("{what} {about}: {}", error_chain(problem)),
    };
    desk.notice(said, Instant::now());
}
