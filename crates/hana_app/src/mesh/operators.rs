use std::time::Instant;

use bevy::prelude::*;
use hana_plugin::{
    ClaimKept, ClaimLost, ClaimRejected, MeshCommands as HanaMesh, MeshSession, NoteReceived,
};
use hana_protocol::id::role;

use crate::app_systems::AppSystems;
use crate::model::app_model::AppModel;
use crate::model::operators::Operators;

pub(crate) fn plugin(app: &mut App) {
    app.add_systems(Update, look.in_set(AppSystems::Look))
        .add_observer(tell_taken)
        .add_observer(tell_kept)
        .add_observer(tell_refused)
        .add_observer(tell_noted);
}

fn look(link: Res<MeshSession<role::App>>, mesh: HanaMesh, mut desk: ResMut<AppModel>) {
    let own = link.node().map(|node| node.id().clone());
    let operators = mesh.claims().map_or_else(Operators::default, |claims| {
        let views = desk.overview.views().iter();
        let taken = views
            .filter(|view| matches!(view.role, role::Role::App | role::Role::Bridge))
            .map(|view| (view.node.clone(), claims.claims_of(&view.node).count()));
        let notes = claims.notes().map(|(app, text)| (app.clone(), text.into()));
        Operators {
            own,
            left: claims.left_behind(),
            notes: notes.collect(),
            taken: taken.collect(),
        }
    });
    if desk.operators != operators {
        desk.operators = operators;
    }
}

fn tell_taken(taken: On<ClaimLost>, mut desk: ResMut<AppModel>) {
    let ClaimLost { node, parameter, by, apart } = taken.event();
    let apart = if *apart { ", which both had taken while you were apart" } else { "" };
    desk.notice(format!("{by} has {parameter} of {node} now{apart}"), Instant::now());
}

fn tell_kept(kept: On<ClaimKept>, mut desk: ResMut<AppModel>) {
    let ClaimKept { node, parameter, from } = kept.event();
    desk.notice(
        format!("{from} had taken {parameter} of {node} too while you were apart; it is yours"),
        Instant::now(),
    );
}

fn tell_refused(refused: On<ClaimRejected>, mut desk: ResMut<AppModel>) {
    let ClaimRejected { node, reason, .. } = refused.event();
    desk.notice(format!("{node} refuses: {reason}"), Instant::now());
}

fn tell_noted(noted: On<NoteReceived>, mut desk: ResMut<AppModel>) {
    let NoteReceived { app, text } = noted.event();
    if !text.is_empty() {
        desk.notice(format!("{app}: {text}"), Instant::now());
    }
}
