use std::time::Instant;

use bevy::input::mouse::{MouseScrollUnit, MouseWheel};
use bevy::prelude::*;
use hana_console::OperatorAction;
use hana_protocol::id::NodeId;

use crate::app_systems::AppSystems;
use crate::model::app_model::AppModel;
use crate::model::effect::AppEffect;
use crate::model::key::AppKey;
use crate::theme;

/// A button, with the effect of a click.
#[derive(Component, Debug, Clone, PartialEq)]
#[require(Button)]
pub(crate) enum OnClick {
    /// Selects a node.
    Select(NodeId),
    /// Requests an action on a node.
    Request(OperatorAction, NodeId),
    /// Has the effect of this key.
    Press(AppKey),
    /// Causes this effect on the mesh.
    Apply(AppEffect),
}

/// An area that the wheel scrolls.
#[derive(Component)]
pub(crate) struct Scrollable;

pub(crate) fn plugin(app: &mut App) {
    app.add_systems(Update, (handle_clicks, scroll).in_set(AppSystems::Input));
}

fn handle_clicks(
    buttons: Query<(&Interaction, &OnClick), Changed<Interaction>>,
    mut model: ResMut<AppModel>,
    mut effects: MessageWriter<AppEffect>,
) {
    let clicked = buttons.iter().filter(|(interaction, _)| **interaction == Interaction::Pressed);
    for (_, on_click) in clicked {
        let now = Instant::now();
        let effect = match on_click {
            OnClick::Select(node) => {
                model.select(node);
                None
            },
            OnClick::Request(action, node) => {
                let view = model.dashboard.view(node).cloned();
                view.and_then(|view| model.request(*action, view, now))
            },
            OnClick::Press(key) => model.handle_key(*key, now),
            OnClick::Apply(effect) => Some(effect.clone()),
        };
        effects.write_batch(effect);
    }
}

fn scroll(
    mut wheel: MessageReader<MouseWheel>,
    mut areas: Query<(&mut ScrollPosition, &ComputedNode), With<Scrollable>>,
) {
    let distance: f32 = wheel
        .read()
        .map(|turn| match turn.unit {
            MouseScrollUnit::Line => turn.y * theme::ROW_HEIGHT,
            MouseScrollUnit::Pixel => turn.y,
        })
        .sum();
    if distance == 0.0 {
        return;
    }
    for (mut position, node) in &mut areas {
        let scale = node.inverse_scale_factor();
        let end = ((node.content_size().y - node.size().y) * scale).max(0.0);
        position.y = (position.y - distance).clamp(0.0, end);
    }
}
