use bevy::prelude::*;
use bevy::ui::RelativeCursorPosition;
use hana_protocol::id::NodeId;
use hana_protocol::parameter::Parameter;

use crate::app_systems::AppSystems;
use crate::model::effect::AppEffect;

/// A track that is dragged to play a parameter; the track of a stepped parameter advances one step with each click.
#[derive(Component, Clone)]
pub(crate) struct Slider {
    pub(crate) node: NodeId,
    pub(crate) parameter: Parameter,
    /// The displayed value.
    pub(crate) value: f32,
}

/// The slider being dragged; not its entity, because the window respawns sliders while they move.
#[derive(Resource, Default)]
struct Dragged(Option<Slider>);

pub(crate) fn plugin(app: &mut App) {
    app.init_resource::<Dragged>().add_systems(Update, drag.in_set(AppSystems::Input));
}

fn drag(
    buttons: Res<ButtonInput<MouseButton>>,
    sliders: Query<(&Slider, &RelativeCursorPosition)>,
    mut dragged: ResMut<Dragged>,
    mut effects: MessageWriter<AppEffect>,
) {
    // The position at which the button is released counts too.
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
            effects.write(AppEffect::Play(stepped.node, stepped.parameter.name, next));
        }
    }
    let Some(Slider { node, parameter, .. }) = &dragged.0 else { return };
    let is_dragged =
        |slider: &Slider| slider.node == *node && slider.parameter.name == parameter.name;
    let cursor = sliders.iter().find(|(slider, _)| is_dragged(slider)).map(|(_, cursor)| cursor);
    // The cursor position is not known yet for a slider that was just respawned.
    let Some(cursor) = cursor.and_then(|cursor| cursor.normalized) else { return };
    let value = value_at(parameter, cursor.x + 0.5);
    effects.write(AppEffect::Play(node.clone(), parameter.name.clone(), value));
}

/// Returns the value at a position along the track, 0 to 1; a position beyond an end counts as that end.
fn value_at(parameter: &Parameter, position: f32) -> f32 {
    let Parameter { min, max, .. } = parameter;
    (max - min).mul_add(position.clamp(0.0, 1.0), *min)
}

/// Returns the step after `value`; the first step follows the last.
fn next_step(parameter: &Parameter, value: f32) -> f32 {
    let next = value.round() + 1.0;
    if next > parameter.max { parameter.min } else { next }
}

/// Returns the position of a value along the track, 0 to 1.
pub(crate) fn position_of(parameter: &Parameter, value: f32) -> f32 {
    let Parameter { min, max, .. } = parameter;
    if max > min { ((value - min) / (max - min)).clamp(0.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp)]
mod tests {
    use hana_protocol::parameter::ParameterName;

    use super::*;

    #[test]
    fn clicks_cycle_choices_and_flip_toggles() {
        let name = |name| ParameterName::new(name).unwrap();
        let mode = Parameter::choice(name("mode"), ["a", "b", "c"].map(String::from).into(), 0);
        assert_eq!([0.0, 1.0, 2.0].map(|value| next_step(&mode, value)), [1.0, 2.0, 0.0]);
        let lit = Parameter::toggle(name("lit"), true);
        assert_eq!([0.0, 1.0].map(|value| next_step(&lit, value)), [1.0, 0.0]);
    }

    #[test]
    fn track_positions_map_to_the_parameter_range() {
        let zoom = Parameter::new(ParameterName::new("zoom").unwrap(), 0.0);
        let values = [-1.0, 0.0, 0.5, 1.0, 2.0].map(|position| value_at(&zoom, position));
        assert_eq!(values, [-1.0, -1.0, 0.0, 1.0, 1.0]);
        assert_eq!([-1.0, 0.5, 9.0].map(|value| position_of(&zoom, value)), [0.0, 0.75, 1.0]);
    }
}
