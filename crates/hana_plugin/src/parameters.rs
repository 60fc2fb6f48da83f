use std::time::Duration;

use bevy_reflect::PartialReflect;
use bevy_reflect::Reflect;
use bevy_reflect::TypeInfo;
use bevy_reflect::Typed;
use bevy_reflect::structs::Struct;
use hana_protocol::Curve;
use hana_protocol::Parameter;
use hana_protocol::ParameterName;
use hana_protocol::PlayoutSettings;

/// The range of a parameter, as an attribute of its field: `#[reflect(@ParameterRange(0.0, 1.0))]`. Without
/// it a parameter goes from -1 to 1.
#[derive(Reflect, Debug, Clone, Copy, PartialEq)]
pub struct ParameterRange(
    /// The least value, inclusive.
    pub f32,
    /// The greatest value, inclusive.
    pub f32,
);

/// What a parameter does, in a few words, as an attribute of its field:
/// `#[reflect(@Description("distance of the rings"))]`.
#[derive(Reflect, Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description(
    /// The words.
    pub &'static str,
);

/// How long a parameter takes to follow a step to 63 %, in milliseconds, as an attribute of its field:
/// `#[reflect(@Smoothing(80.0))]`. Without it, and with zero, a step is a step.
#[derive(Reflect, Debug, Clone, Copy, PartialEq)]
pub struct Smoothing(
    /// Milliseconds.
    pub f32,
);

/// A parameter that is a switch or a choice, as an attribute of its field: `#[reflect(@Held)]`.
///
/// It has nothing between two values that it is sent. Without it, where what is played is shown with a delay, a straight line lies
/// between them.
#[derive(Reflect, Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held;

/// A struct whose `f32` fields are parameters: any that derives `Reflect` and `Default`.
///
/// Fields of other
/// types are left alone. Field names have only lower-case letters, digits and `_`, and do not begin with `_`.
pub trait ParameterStruct: Struct + Typed + Default {
    /// The parameters, in the order of the fields; each starts with the value that `Default` gives.
    #[must_use]
    fn declare() -> Vec<Parameter> {
        let defaults = Self::default();
        let TypeInfo::Struct(info) = Self::type_info() else { return vec![] };
        info.iter()
            .filter_map(|field| {
                let default = *defaults.field(field.name())?.try_downcast_ref::<f32>()?;
                let name = match ParameterName::new(field.name()) {
                    Ok(name) => name,
                    Err(problem) => {
                        tracing::error!("a field is no parameter: {problem}");
                        return None;
                    },
                };
                let mut parameter = Parameter::new(name, default);
                if let Some(ParameterRange(min, max)) = field.get_attribute::<ParameterRange>() {
                    (parameter.min, parameter.max) = (*min, *max);
                }
                if let Some(Description(words)) = field.get_attribute::<Description>() {
                    parameter.description = (*words).into();
                }
                Some(parameter)
            })
            .collect()
    }

    /// How those parameters are played that say so by [`Smoothing`] or [`Held`]; all others as `usual`.
    #[must_use]
    fn playout(usual: PlayoutSettings) -> Vec<(ParameterName, PlayoutSettings)> {
        let TypeInfo::Struct(info) = Self::type_info() else { return vec![] };
        info.iter()
            .filter_map(|field| {
                let mut settings = usual;
                if field.has_attribute::<Held>() {
                    settings.curve = Curve::Held;
                }
                if let Some(Smoothing(ms)) = field.get_attribute::<Smoothing>() {
                    let time = Duration::try_from_secs_f64(f64::from(*ms) / 1000.0);
                    settings.smoothing = time.unwrap_or_default();
                }
                (settings != usual).then_some((ParameterName::new(field.name()).ok()?, settings))
            })
            .collect()
    }

    /// The fields that are parameters, in order.
    fn values(&self) -> impl Iterator<Item = f32> {
        self.iter_fields().filter_map(|(_, field)| field.try_downcast_ref::<f32>().copied())
    }

    /// Writes `values` into the fields that are parameters, in order.
    fn write(&mut self, values: &[f32]) {
        let mut values = values.iter();
        for index in 0..self.field_len() {
            let field =
                self.field_at_mut(index).and_then(<dyn PartialReflect>::try_downcast_mut::<f32>);
            if let Some(field) = field
                && let Some(value) = values.next()
            {
                *field = *value;
            }
        }
    }
}

impl<P: Struct + Typed + Default> ParameterStruct for P {}

#[cfg(test)]
#[allow(clippy::float_cmp, clippy::expect_used)]
mod tests {
    use super::*;

    #[derive(Reflect)]
    struct Sky {
        #[reflect(@ParameterRange(0.0, 1.0), @Description("how light it is"))]
        brightness: f32,
        stars: u32,
        #[reflect(@Smoothing(80.0))]
        drift: f32,
        #[reflect(@Held)]
        night: f32,
    }

    impl Default for Sky {
        fn default() -> Self {
            Self { brightness: 0.5, stars: 7, drift: 0.0, night: 0.0 }
        }
    }

    #[test]
    fn the_f32_fields_are_the_parameters() {
        let declared = Sky::declare();
        let of =
            |p: &Parameter| (p.name.to_string(), p.min, p.max, p.default, p.description.clone());
        assert_eq!(
            declared.iter().map(of).collect::<Vec<_>>(),
            [
                ("brightness".to_owned(), 0.0, 1.0, 0.5, "how light it is".to_owned()),
                ("drift".to_owned(), -1.0, 1.0, 0.0, String::new()),
                ("night".to_owned(), -1.0, 1.0, 0.0, String::new()),
            ]
        );
    }

    #[test]
    fn a_field_says_how_it_is_played() {
        let usual = PlayoutSettings::default();
        let playout = Sky::playout(usual);
        let name = |text: &str| ParameterName::new(text).expect("a name");
        let smoothing = Duration::from_millis(80);
        assert_eq!(
            playout,
            [
                (name("drift"), PlayoutSettings { smoothing, ..usual }),
                (name("night"), PlayoutSettings { curve: Curve::Held, ..usual }),
            ]
        );
    }

    #[test]
    fn values_go_into_the_fields_and_come_out_again() {
        let mut sky = Sky::default();
        sky.write(&[0.25, -1.0, 1.0]);
        assert_eq!((sky.brightness, sky.stars, sky.drift, sky.night), (0.25, 7, -1.0, 1.0));
        assert_eq!(sky.values().collect::<Vec<_>>(), [0.25, -1.0, 1.0]);
    }
}
