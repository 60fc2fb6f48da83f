use std::time::Instant;

use bevy::prelude::*;
use hana_plugin::{CommandAnswered, Mesh as HanaMesh};
use hana_protocol::message::Control;
use hana_protocol::wire::in_full;

use crate::desk::{Deed, Desk};

pub(crate) fn plugin(app: &mut App) {
    app.add_observer(tell_outcome);
}

/// Does to the mesh what the operator asked for.
pub(crate) fn carry_out(deed: Deed, mesh: &mut HanaMesh) {
    match deed {
        Deed::Do(remedy, view) => mesh.remedy(remedy, &view),
        Deed::ForAll(remedy, views) => views.iter().for_each(|view| mesh.remedy(remedy, view)),
        Deed::Take(node, names) => mesh.take(&node, names),
        Deed::Release(node, names) => mesh.release(&node, names),
        Deed::TakeOver(apps) => {
            for app in apps {
                mesh.take_over(&app);
            }
        },
        Deed::Note(text) => mesh.note(&text),
    }
}

fn tell_outcome(answered: On<CommandAnswered>, mut desk: ResMut<Desk>) {
    let CommandAnswered { node, command, outcome } = answered.event();
    // A daemon is told about somebody else.
    let about = match command {
        Control::Restart(restart) => &restart.node,
        Control::Stop(stop) => &stop.node,
        Control::Ignore(ignore) => &ignore.node,
        _ => node,
    };
    let what = command.name();
    let said = match outcome {
        Ok(()) => format!("{what} {about}: done"),
        Err(problem) => format!("{what} {about}: {}", in_full(problem)),
    };
    desk.notice(said, Instant::now());
}
