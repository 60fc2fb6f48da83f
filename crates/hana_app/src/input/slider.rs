use bevy::prelude::*;
use bevy::ui::RelativeCursorPosition;
use hana_plugin::MeshCommands as HanaMesh;
use hana_protocol::id::NodeId;
use hana_protocol::parameter::Parameter;

use crate::app_systems::AppSystems;

/// A track that is dragged to play a parameter; a stepped one advances by one step with each click.
#[derive(Component, Clone)]
pub(crate) struct Slider {
    pub(crate) node: NodeId,
    pub(crate) parameter: Parameter,
    /// The displayed value.
    pub(crate) value: f32,
}

/// The slider being dragged. Not its entity: the window respawns sliders while they move.
#[derive(Resource, Default)]
struct Dragged(Option<Slider>);

pub(crate) fn plugin(app: &mut App) {
    app.init_resource::<Dragged>().add_systems(Update, drag.in_set(AppSystems::Act));
}

fn drag(
    buttons: Res<ButtonInput<MouseButton>>,
    sliders: Query<(&Slider, &RelativeCursorPosition)>,
    mut dragged: ResMut<Dragged>,
    mut mesh: HanaMesh,
) {
    // The position at the release counts too.
    if !buttons.pressed(MouseButton::Left) && !buttons.just_released(MouseButton::Left) {
        dragged.0 = None;
        return;
    }
    if buttons.just_pressed(MouseButton::Left) {
        dragged.0 = sliders
            .iter()
            .find(|(_, cursor)| cursor.cursor_over())
            .map(|(slider, _)| slider.clone());
        if let Some(stepped) = dragged.0.take_if(|slider| slider.parameter.kind.is_stepped()) {
            let next = next_step(&stepped.parameter, stepped.value);
            mesh.play(&stepped.node, &stepped.parameter.name, next);
        }
    }
    let Some(of) = &dragged.0 else { return };
    let is_it =
        |slider: &Slider| slider.node == of.node && slider.parameter.name == of.parameter.name;
    let cursor = sliders.iter().find(|(slider, _)| is_it(slider)).map(|(_, cursor)| cursor);
    // Not known yet for a slider that was just respawned.
    let Some(at) = cursor.and_then(|cursor| cursor.normalized) else { return };
    mesh.play(&of.node, &of.parameter.name, value_at(&of.parameter, at.x + 0.5));
}

/// Returns the value at a position along the track, 0 to 1; a position beyond an end counts as that end.
fn value_at(parameter: &Parameter, along: f32) -> f32 {
    let Parameter { min, max, .. } = parameter;
    (max - min).mul_add(along.clamp(0.0, 1.0), *min)
}

/// Returns the step after `value`; the first follows the last.
fn next_step(parameter: &Parameter, value: f32) -> f32 {
    let next = value.round() + 1.0;
    if next > parameter.max { parameter.min } else { next }
}

/// Returns the position of a value along the track, 0 to 1.
pub(crate) fn along(parameter: &Parameter, value: f32) -> f32 {
    let Parameter { min, max, .. } = parameter;
    if max > min { ((value - min) / (max - min)).clamp(0.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp)]
mod tests {
    use hana_protocol::parameter::ParameterName;

    use super::*;

    #[test]
    fn a_click_goes_round_the_choices_and_turns_a_toggle() {
        let name = |name| ParameterName::new(name).unwrap();
        let mode = Parameter::choice(name("mode"), ["a", "b", "c"].map(String::from).into(), 0);
        assert_eq!([0.0, 1.0, 2.0].map(|value| next_step(&mode, value)), [1.0, 2.0, 0.0]);
        let lit = Parameter::toggle(name("lit"), true);
        assert_eq!([0.0, 1.0].map(|value| next_step(&lit, value)), [1.0, 0.0]);
    }

    #[test]
    fn the_ends_of_the_track_are_the_ends_of_the_range() {
        let zoom = Parameter::new(ParameterName::new("zoom").unwrap(), 0.0);
        let values = [-1.0, 0.0, 0.5, 1.0, 2.0].map(|along| value_at(&zoom, along));
        assert_eq!(values, [-1.0, -1.0, 0.0, 1.0, 1.0]);
        assert_eq!([-1.0, 0.5, 9.0].map(|value| along(&zoom, value)), [0.0, 0.75, 1.0]);
    }
}
