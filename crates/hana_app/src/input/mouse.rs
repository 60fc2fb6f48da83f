use std::time::Instant;

use bevy::input::mouse::{MouseScrollUnit, MouseWheel};
use bevy::prelude::*;
use hana_console::OperatorAction;
use hana_plugin::MeshCommands as HanaMesh;
use hana_protocol::id::NodeId;
use hana_protocol::parameter::ParameterName;

use crate::app_systems::AppSystems;
use crate::mesh::effects::carry_out;
use crate::model::app_model::AppModel;
use crate::model::key::Key;
use crate::theme;

/// A line of the list: a click selects its node.
#[derive(Component)]
pub(crate) struct Selects(pub(crate) NodeId);

/// A button for a remedy: a click requests it.
#[derive(Component)]
pub(crate) struct Offers(pub(crate) OperatorAction, pub(crate) NodeId);

/// A button with an answer to a question: a click gives it.
#[derive(Component)]
pub(crate) struct Answers(pub(crate) Key);

/// The owner of a parameter: a click claims or releases the parameter.
#[derive(Component)]
pub(crate) struct Takes {
    pub(crate) node: NodeId,
    pub(crate) parameter: ParameterName,
    /// Whether this app owns it.
    pub(crate) is_own: bool,
}

/// An area that the wheel scrolls.
#[derive(Component)]
pub(crate) struct Scrolls;

pub(crate) fn plugin(app: &mut App) {
    app.add_systems(Update, (select, click, take, answer, scroll).in_set(AppSystems::Act));
}

fn select(rows: Query<(&Interaction, &Selects), Changed<Interaction>>, mut desk: ResMut<AppModel>) {
    for (interaction, Selects(node)) in &rows {
        if *interaction == Interaction::Pressed {
            desk.select(node);
        }
    }
}

fn click(
    offers: Query<(&Interaction, &Offers), Changed<Interaction>>,
    mut desk: ResMut<AppModel>,
    mut mesh: HanaMesh,
) {
    for (interaction, Offers(remedy, node)) in &offers {
        if *interaction != Interaction::Pressed {
            continue;
        }
        let Some(view) = desk.overview.view(node).cloned() else { continue };
        if let Some(deed) = desk.ask_for(*remedy, view, Instant::now()) {
            carry_out(deed, &mut mesh);
        }
    }
}

fn take(owners: Query<(&Interaction, &Takes), Changed<Interaction>>, mut mesh: HanaMesh) {
    for (interaction, Takes { node, parameter, is_own }) in &owners {
        if *interaction != Interaction::Pressed {
            continue;
        }
        if *is_own {
            mesh.release(node, [parameter.clone()]);
        } else {
            mesh.take(node, [parameter.clone()]);
        }
    }
}

fn answer(
    answers: Query<(&Interaction, &Answers), Changed<Interaction>>,
    mut desk: ResMut<AppModel>,
    mut mesh: HanaMesh,
) {
    for (interaction, Answers(key)) in &answers {
        if *interaction == Interaction::Pressed
            && let Some(deed) = desk.press(*key, Instant::now())
        {
            carry_out(deed, &mut mesh);
        }
    }
}

fn scroll(
    mut wheel: MessageReader<MouseWheel>,
    mut scrolled: Query<(&mut ScrollPosition, &ComputedNode), With<Scrolls>>,
) {
    let turned: f32 = wheel
        .read()
        .map(|turn| match turn.unit {
            MouseScrollUnit::Line => turn.y * theme::ROW,
            MouseScrollUnit::Pixel => turn.y,
        })
        .sum();
    if turned == 0.0 {
        return;
    }
    for (mut position, node) in &mut scrolled {
        let scale = node.inverse_scale_factor();
        let most = ((node.content_size().y - node.size().y) * scale).max(0.0);
        position.y = (position.y - turned).clamp(0.0, most);
    }
}
