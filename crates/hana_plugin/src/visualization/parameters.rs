use std::time::Duration;

use bevy_color::{Color, ColorToComponents, Srgba};
use bevy_reflect::enums::{DynamicEnum, DynamicVariant, EnumInfo, VariantInfo};
use bevy_reflect::structs::Struct;
use bevy_reflect::{PartialReflect, Reflect, ReflectMut, ReflectRef, TypeInfo, Typed};
use hana_engine::playout::{Curve, JitterBufferSettings};
use hana_protocol::parameter::{Parameter, ParameterName, Sharing};

/// The range of a parameter, as an attribute of its field: `#[reflect(@ParameterRange(0.0, 1.0))]`.
///
/// The default is -1 to 1.
#[derive(Reflect, Debug, Clone, Copy, PartialEq)]
pub struct ParameterRange(
    /// The minimum, inclusive.
    pub f32,
    /// The maximum, inclusive.
    pub f32,
);

/// A short description of a parameter, as an attribute of its field.
///
/// Example: `#[reflect(@Description("distance of the rings"))]`.
#[derive(Reflect, Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description(
    /// The text.
    pub &'static str,
);

/// The time that a parameter takes to follow a step to 63 %, in milliseconds, as an attribute of its field.
///
/// Example: `#[reflect(@Smoothing(80.0))]`. Without it, or with zero, a step stays a step.
#[derive(Reflect, Debug, Clone, Copy, PartialEq)]
pub struct Smoothing(
    /// Milliseconds.
    pub f32,
);

/// A number without interpolation between two received values, as an attribute of its field: `#[reflect(@Stepped)]`.
///
/// Toggles and choices are stepped anyway. Other parameters are interpolated linearly if the playout has a delay.
#[derive(Reflect, Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stepped;

/// A number that several controllers play together, as an attribute of its field: `#[reflect(@Additive)]`.
///
/// Each controller's offset from the default is added to the sum. Without the attribute, one controller at a
/// time owns the parameter.
#[derive(Reflect, Debug, Clone, Copy, PartialEq, Eq)]
pub struct Additive;

/// A struct whose fields are parameters: any struct that derives `Reflect` and `Default`.
///
/// | a field that is | is |
/// |---|---|
/// | `f32` | a range, -1 to 1 unless [`ParameterRange`] sets another |
/// | `bool` | a toggle |
/// | an enum of variants without fields | a choice, of the names of its variants in `snake_case` |
/// | [`Color`], [`Srgba`] | a colour: three parameters `<name>-r`, `-g`, `-b`. The alpha value does not change |
///
/// Fields of other types, and those with `#[reflect(ignore)]`, are left alone. Field names have only
/// lower-case letters, digits and `_`, and do not begin with `_`.
pub trait ParameterStruct: Struct + Typed + Default {
    /// Returns the parameters in the order of the fields; each starts with its value in `Default`.
    #[must_use]
    fn declare() -> Vec<Parameter> {
        let defaults = Self::default();
        let TypeInfo::Struct(info) = Self::type_info() else { return vec![] };
        let mut declared = vec![];
        for field in info.iter() {
            let Some(default) = defaults.field(field.name()).and_then(Values::of) else { continue };
            let mut of_field = match parameters_of(field.name(), field.type_info(), default) {
                Ok(parameters) => parameters,
                Err(problem) => {
                    tracing::error!("a field is no parameter: {problem}");
                    continue;
                },
            };
            for parameter in &mut of_field {
                let range = field.get_attribute::<ParameterRange>();
                if let (Some(ParameterRange(min, max)), Values::Number(_)) = (range, default) {
                    (parameter.min, parameter.max) = (*min, *max);
                }
                if field.has_attribute::<Additive>() {
                    parameter.sharing = Sharing::Mix;
                }
                if let Some(Description(words)) = field.get_attribute::<Description>() {
                    parameter.description = (*words).into();
                }
            }
            declared.append(&mut of_field);
        }
        declared
    }

    /// Returns the playout settings of the parameters with [`Smoothing`] or [`Stepped`], and of switches.
    ///
    /// All others are played as `usual`.
    #[must_use]
    fn playout(usual: JitterBufferSettings) -> Vec<(ParameterName, JitterBufferSettings)> {
        let defaults = Self::default();
        let TypeInfo::Struct(info) = Self::type_info() else { return vec![] };
        let mut differing = vec![];
        for field in info.iter() {
            let Some(default) = defaults.field(field.name()).and_then(Values::of) else { continue };
            let mut settings = usual;
            let is_switch = matches!(default, Values::Toggle(_) | Values::Choice(_));
            if is_switch || field.has_attribute::<Stepped>() {
                settings.curve = Curve::Held;
            }
            if let Some(Smoothing(ms)) = field.get_attribute::<Smoothing>() {
                let time = Duration::try_from_secs_f64(f64::from(*ms) / 1000.0);
                settings.smoothing = time.unwrap_or_default();
            }
            if settings == usual {
                continue;
            }
            // An invalid name is reported where the parameter is declared.
            let of_field = parameters_of(field.name(), field.type_info(), default);
            let names = of_field.into_iter().flatten().map(|parameter| parameter.name);
            differing.extend(names.map(|name| (name, settings)));
        }
        differing
    }
}

impl<P: Struct + Typed + Default> ParameterStruct for P {}

/// The indices of the fields of a [`ParameterStruct`] that are parameters: determined once, not in every frame.
#[derive(Debug)]
pub(crate) struct ParameterFields(Vec<usize>);

impl ParameterFields {
    pub(crate) fn of<P: ParameterStruct>() -> Self {
        let defaults = P::default();
        let is_parameter = |index: &usize| {
            let has_name = defaults.name_at(*index).is_some_and(is_parameter_name);
            has_name && defaults.field_at(*index).and_then(Values::of).is_some()
        };
        Self((0..defaults.field_len()).filter(is_parameter).collect())
    }

    /// Returns the values, in the order of the declaration.
    pub(crate) fn read<P: Struct>(&self, parameters: &P) -> impl Iterator<Item = f32> {
        let fields = self.0.iter().filter_map(|index| parameters.field_at(*index));
        fields.filter_map(Values::of).flat_map(Values::into_numbers)
    }

    /// Writes `values`, in the order of the declaration.
    pub(crate) fn write<P: Struct>(&self, parameters: &mut P, values: &[f32]) {
        let mut values = values.iter().copied();
        for index in &self.0 {
            if let Some(field) = parameters.field_at_mut(*index) {
                write_field(field, &mut values);
            }
        }
    }
}

/// The value of a field, as the numbers that are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Values {
    Number(f32),
    Toggle(bool),
    Choice(u16),
    Colour([f32; 3]),
}

impl Values {
    /// Returns `None` for a field that is not a parameter.
    fn of(field: &dyn PartialReflect) -> Option<Self> {
        if let Some(number) = field.try_downcast_ref::<f32>() {
            return Some(Self::Number(*number));
        }
        if let Some(is_on) = field.try_downcast_ref::<bool>() {
            return Some(Self::Toggle(*is_on));
        }
        if let Some(colour) = field.try_downcast_ref::<Color>() {
            return Some(Self::Colour(parts_of(colour.to_srgba())));
        }
        if let Some(colour) = field.try_downcast_ref::<Srgba>() {
            return Some(Self::Colour(parts_of(*colour)));
        }
        choices_of(field.get_represented_type_info()?)?;
        let ReflectRef::Enum(chosen) = field.reflect_ref() else { return None };
        u16::try_from(chosen.variant_index()).ok().map(Self::Choice)
    }

    fn into_numbers(self) -> impl Iterator<Item = f32> {
        let (numbers, count) = match self {
            Self::Number(number) => ([number, 0.0, 0.0], 1),
            Self::Toggle(is_on) => ([f32::from(u8::from(is_on)), 0.0, 0.0], 1),
            Self::Choice(index) => ([f32::from(index), 0.0, 0.0], 1),
            Self::Colour(parts) => (parts, 3),
        };
        numbers.into_iter().take(count)
    }
}

fn parts_of(colour: Srgba) -> [f32; 3] {
    colour.to_f32_array_no_alpha().map(|part| part.clamp(0.0, 1.0))
}

/// Returns the enum if no variant has fields, so that it is a choice.
fn choices_of(info: &'static TypeInfo) -> Option<&'static EnumInfo> {
    let TypeInfo::Enum(info) = info else { return None };
    info.iter().all(|variant| matches!(variant, VariantInfo::Unit(_))).then_some(info)
}

/// Returns the parameters of a field with that name, type and value.
fn parameters_of(
    name: &str,
    info: Option<&'static TypeInfo>,
    default: Values,
) -> Result<Vec<Parameter>, hana_protocol::parameter::ParameterNameError> {
    let name = ParameterName::new(name)?;
    Ok(match default {
        Values::Number(default) => vec![Parameter::new(name, default)],
        Values::Toggle(default) => vec![Parameter::toggle(name, default)],
        Values::Choice(default) => {
            let choices = info.and_then(choices_of);
            let words =
                choices.into_iter().flat_map(EnumInfo::iter).map(|of| snake_case(of.name()));
            vec![Parameter::choice(name, words.collect(), default)]
        },
        Values::Colour(default) => Parameter::colour(&name, default)?.into(),
    })
}

/// Converts `SlowRain` to `slow_rain`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// Whether a field of that name can be declared.
fn is_parameter_name(name: &str) -> bool {
    ParameterName::new(name).is_ok()
}

/// Writes the next of `values` into one field.
///
/// An equal value is not written, so that the field keeps the program's own form, such as a colour in another
/// colour space.
fn write_field(field: &mut dyn PartialReflect, values: &mut impl Iterator<Item = f32>) {
    let mut next = || values.next();
    if let Some(number) = field.try_downcast_mut::<f32>() {
        *number = next().unwrap_or(*number);
        return;
    }
    let Some(now) = Values::of(field) else { return };
    match now {
        // Already written.
        Values::Number(_) => {},
        Values::Toggle(_) => {
            if let (Some(value), Some(field)) = (next(), field.try_downcast_mut::<bool>()) {
                *field = value >= 0.5;
            }
        },
        Values::Choice(now) => {
            // Within the choices, which fit into a `u16`.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let wanted = next().map(|value| value.round() as u16).filter(|wanted| *wanted != now);
            let info = field.get_represented_type_info().and_then(choices_of);
            let variant = wanted.and_then(|at| info?.variant_at(usize::from(at)));
            if let (Some(variant), ReflectMut::Enum(chosen)) = (variant, field.reflect_mut()) {
                let wanted = DynamicEnum::new(variant.name(), DynamicVariant::Unit);
                if let Err(problem) = chosen.try_apply(&wanted) {
                    tracing::warn!("a choice is not made: {problem}");
                }
            }
        },
        Values::Colour(now) => {
            let (Some(red), Some(green), Some(blue)) = (next(), next(), next()) else { return };
            if [red, green, blue].map(f32::to_bits) == now.map(f32::to_bits) {
                return;
            }
            if let Some(colour) = field.try_downcast_mut::<Color>() {
                let alpha = colour.to_srgba().alpha;
                *colour = Color::srgba(red, green, blue, alpha);
            } else if let Some(colour) = field.try_downcast_mut::<Srgba>() {
                *colour = Srgba { red, green, blue, ..*colour };
            }
        },
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, clippy::used_underscore_binding, clippy::expect_used)]
mod tests {
    use hana_protocol::parameter::ParameterKind;

    use super::*;

    #[derive(Reflect)]
    struct Sky {
        #[reflect(@ParameterRange(0.0, 1.0), @Description("how light it is"))]
        brightness: f32,
        stars: u32,
        #[reflect(@Smoothing(80.0))]
        drift: f32,
        #[reflect(@Stepped)]
        night: f32,
    }

    impl Default for Sky {
        fn default() -> Self {
            Self { brightness: 0.5, stars: 7, drift: 0.0, night: 0.0 }
        }
    }

    #[test]
    fn an_f32_is_a_range_and_other_numbers_are_left_alone() {
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
        let usual = JitterBufferSettings::default();
        let playout = Sky::playout(usual);
        let name = |text: &str| ParameterName::new(text).expect("a name");
        let smoothing = Duration::from_millis(80);
        assert_eq!(
            playout,
            [
                (name("drift"), JitterBufferSettings { smoothing, ..usual }),
                (name("night"), JitterBufferSettings { curve: Curve::Held, ..usual }),
            ]
        );
    }

    #[derive(Reflect, Debug, Clone, Copy, Default, PartialEq)]
    enum Weather {
        Clear,
        #[default]
        SlowRain,
        Storm,
    }

    #[derive(Reflect)]
    struct Scene {
        _hidden: f32,
        tint: Color,
        lit: bool,
        weather: Weather,
        maybe: Option<f32>,
        depth: f32,
    }

    impl Default for Scene {
        fn default() -> Self {
            Self {
                _hidden: 9.0,
                tint: Color::srgba(1.0, 0.5, 0.0, 0.25),
                lit: true,
                weather: Weather::SlowRain,
                maybe: None,
                depth: -0.5,
            }
        }
    }

    #[test]
    fn a_bool_is_a_toggle_an_enum_a_choice_and_a_colour_three_numbers() {
        let declared = Scene::declare();
        let names: Vec<&str> = declared.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["tint-r", "tint-g", "tint-b", "lit", "weather", "depth"]);
        assert_eq!(declared[3].kind, ParameterKind::Toggle);
        let choices = ["clear", "slow_rain", "storm"].map(String::from).to_vec();
        assert_eq!(declared[4].kind, ParameterKind::Choice(choices));
        let mut scene = Scene::default();
        let fields = ParameterFields::of::<Scene>();
        let values: Vec<f32> = fields.read(&scene).collect();
        assert_eq!(values, [1.0, 0.5, 0.0, 1.0, 1.0, -0.5]);
        assert_eq!(values, declared.iter().map(|one| one.default).collect::<Vec<_>>());
        fields.write(&mut scene, &[0.0, 0.25, 1.0, 0.0, 2.0, 0.75]);
        assert_eq!(scene.tint, Color::srgba(0.0, 0.25, 1.0, 0.25), "as transparent as it was");
        assert_eq!((scene.lit, scene.weather, scene.depth), (false, Weather::Storm, 0.75));
        assert_eq!((scene._hidden, scene.maybe), (9.0, None));
        // Values are read back exactly as they were written: else each frame would take them for the
        // program's own changes.
        assert_eq!(fields.read(&scene).collect::<Vec<_>>(), [0.0, 0.25, 1.0, 0.0, 2.0, 0.75]);
    }

    #[test]
    fn a_colour_of_another_space_stays_what_it_is_until_another_is_played() {
        let mut scene = Scene { tint: Color::hsl(200.0, 0.4, 0.3), ..Scene::default() };
        let fields = ParameterFields::of::<Scene>();
        let values: Vec<f32> = fields.read(&scene).collect();
        fields.write(&mut scene, &values);
        assert_eq!(scene.tint, Color::hsl(200.0, 0.4, 0.3));
        assert_eq!(fields.read(&scene).collect::<Vec<_>>(), values);
    }

    #[test]
    fn values_go_into_the_fields_and_come_out_again() {
        let mut sky = Sky::default();
        let fields = ParameterFields::of::<Sky>();
        fields.write(&mut sky, &[0.25, -1.0, 1.0]);
        assert_eq!((sky.brightness, sky.stars, sky.drift, sky.night), (0.25, 7, -1.0, 1.0));
        assert_eq!(fields.read(&sky).collect::<Vec<_>>(), [0.25, -1.0, 1.0]);
    }
}
