use std::time::Instant;

use bevy::prelude::*;
use hana_plugin::{ClaimKept, ClaimLost, ClaimRejected, MeshCommands, MeshSession, NoteReceived};
use hana_protocol::id::role;

use crate::app_systems::AppSystems;
use crate::model::app_model::AppModel;
use crate::model::operators::Operators;

pub(crate) fn plugin(app: &mut App) {
    app.add_systems(Update, update.in_set(AppSystems::Sync))
        .add_observer(show_claim_lost)
        .add_observer(show_claim_kept)
        .add_observer(show_claim_rejected)
        .add_observer(show_note);
}

fn update(session: Res<MeshSession<role::App>>, mesh: MeshCommands, mut model: ResMut<AppModel>) {
    let own_id = session.node().map(|node| node.id().clone());
    let operators = mesh.claims().map_or_else(Operators::default, |claims| {
        let views = model.dashboard.views().iter();
        let controllers =
            views.filter(|view| matches!(view.role, role::Role::App | role::Role::Bridge));
        let notes = claims.notes().map(|(app, text)| (app.clone(), text.into()));
        Operators {
            own_id,
            abandoned: claims.left_behind(),
            notes: notes.collect(),
            claims: controllers
                .map(|view| (view.node.clone(), claims.claims_of(&view.node).count()))
                .collect(),
        }
    });
    if model.operators != operators {
        model.operators = operators;
    }
}

fn show_claim_lost(lost: On<ClaimLost>, mut model: ResMut<AppModel>) {
    let ClaimLost { node, parameter, by, apart } = lost.event();
    let cause = if *apart { "; both had claimed it while disconnected" } else { "" };
    model.notify(format!("{by} took over {parameter} of {node}{cause}"), Instant::now());
}

fn show_claim_kept(kept: On<ClaimKept>, mut model: ResMut<AppModel>) {
    let ClaimKept { node, parameter, from } = kept.event();
    model.notify(
        format!("you keep {parameter} of {node}; {from} had claimed it too while disconnected"),
        Instant::now(),
    );
}

fn show_claim_rejected(rejected: On<ClaimRejected>, mut model: ResMut<AppModel>) {
    let ClaimRejected { node, reason, .. } = rejected.event();
    model.notify(format!("{node} rejected the claim: {reason}"), Instant::now());
}

fn show_note(received: On<NoteReceived>, mut model: ResMut<AppModel>) {
    let NoteReceived { app, text } = received.event();
    if !text.is_empty() {
        model.notify(format!("{app}: {text}"), Instant::now());
    }
}
