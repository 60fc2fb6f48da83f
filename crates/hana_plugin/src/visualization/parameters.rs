use std::ops::RangeInclusive;
use std::time::Duration;

use bevy_reflect::enums::EnumInfo;
use bevy_reflect::structs::{Struct, StructInfo};
use bevy_reflect::{NamedField, TypeInfo, Typed};
use hana_engine::playout::{Curve, JitterBufferSettings};
use hana_protocol::parameter::{Parameter, ParameterName, ParameterNameError, Sharing};

use crate::visualization::parameter_attributes::{
    Additive, Description, Group, ParameterLabel, Smoothing, Stepped, Unit,
};
use crate::visualization::parameter_fields::{Values, choices_of};

/// A struct whose fields are parameters: any struct that derives `Reflect` and `Default`.
///
/// | a field that is | is |
/// |---|---|
/// | `f32` | a range, -1 to 1 unless the field has another: `#[reflect(@0.0..=10.0)]` |
/// | `bool` | a toggle |
/// | an enum of variants without fields | a choice, of the names of its variants in `snake_case` |
/// | [`Color`](bevy_color::Color), [`Srgba`](bevy_color::Srgba) | a colour: three parameters `<name>-r`, `-g`, `-b`. The alpha value does not change |
///
/// Fields of other types, and fields with `#[reflect(ignore)]`, are ignored. Field names have only lower-case
/// letters, digits and `_`, and do not begin with `_`.
///
/// Attributes of a field describe its parameter: [`Description`], [`ParameterLabel`], [`Group`], [`Unit`],
/// [`Smoothing`], [`Stepped`], [`Additive`].
pub trait ParameterStruct: Struct + Typed + Default {}

impl<P: Struct + Typed + Default> ParameterStruct for P {}

/// A field that is one parameter, or three if it is a colour.
#[derive(Debug)]
pub(crate) struct DeclaredField {
    /// The index of the field in its struct.
    pub(crate) index: usize,
    /// The parameters of the field. Their defaults are the field's value in `Default`.
    pub(crate) parameters: Vec<Parameter>,
    curve: Option<Curve>,
    smoothing: Option<Duration>,
}

impl DeclaredField {
    /// Returns the fields of a struct that are parameters, in order.
    pub(crate) fn all_of<P: ParameterStruct>() -> Vec<Self> {
        let defaults = P::default();
        let TypeInfo::Struct(info) = P::type_info() else { return vec![] };
        let declared = |(index, field): (usize, &NamedField)| {
            let default = defaults.field(field.name()).and_then(Values::of)?;
            match Self::new(index, info, field, default) {
                Ok(field) => Some(field),
                Err(problem) => {
                    tracing::error!("a field of {} is no parameter: {problem}", info.type_path());
                    None
                },
            }
        };
        info.iter().enumerate().filter_map(declared).collect()
    }

    fn new(
        index: usize,
        of: &StructInfo,
        field: &NamedField,
        default: Values,
    ) -> Result<Self, ParameterNameError> {
        let mut parameters = parameters_of(field, default)?;
        let group = field.get_attribute::<Group>().or_else(|| of.get_attribute::<Group>());
        let range = if matches!(default, Values::Number(_)) { range_of(field) } else { None };
        for parameter in &mut parameters {
            if let Some((min, max)) = range {
                (parameter.min, parameter.max) = (min, max);
            }
            if field.has_attribute::<Additive>() {
                parameter.sharing = Sharing::Mix;
            }
            let text = |text: Option<&'static str>| text.unwrap_or_default().to_owned();
            parameter.description = text(field.get_attribute().map(|Description(text)| *text));
            parameter.label = text(field.get_attribute().map(|ParameterLabel(text)| *text));
            parameter.unit = text(field.get_attribute().map(|Unit(text)| *text));
            parameter.group = text(group.map(|Group(text)| *text));
        }
        let is_switch = matches!(default, Values::Toggle(_) | Values::Choice(_));
        let is_stepped = is_switch || field.has_attribute::<Stepped>();
        let smoothing = field.get_attribute::<Smoothing>().map(|Smoothing(ms)| {
            Duration::try_from_secs_f64(f64::from(*ms) / 1000.0).unwrap_or_default()
        });
        Ok(Self { index, parameters, curve: is_stepped.then_some(Curve::Held), smoothing })
    }

    /// Returns the playout settings of the field's parameters, if they differ from the `usual` settings.
    pub(crate) fn playout(&self, usual: JitterBufferSettings) -> Option<JitterBufferSettings> {
        let settings = JitterBufferSettings {
            curve: self.curve.unwrap_or(usual.curve),
            smoothing: self.smoothing.unwrap_or(usual.smoothing),
            ..usual
        };
        (settings != usual).then_some(settings)
    }
}

/// Returns the range that the attributes of an `f32` field set, such as `@0.0..=10.0`: a range of `f64`, `f32` or
/// `i32`.
fn range_of(field: &NamedField) -> Option<(f32, f32)> {
    // The limits of a parameter need no more precision than its values.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    let (min, max) = if let Some(range) = field.get_attribute::<RangeInclusive<f64>>() {
        (*range.start() as f32, *range.end() as f32)
    } else if let Some(range) = field.get_attribute::<RangeInclusive<i32>>() {
        (*range.start() as f32, *range.end() as f32)
    } else {
        let range = field.get_attribute::<RangeInclusive<f32>>()?;
        (*range.start(), *range.end())
    };
    if min.is_finite() && max.is_finite() && min < max {
        return Some((min, max));
    }
    tracing::error!("the range of '{}' is ignored: {min} is not less than {max}", field.name());
    None
}

/// Returns the parameters of a field whose default value is `default`.
fn parameters_of(
    field: &NamedField,
    default: Values,
) -> Result<Vec<Parameter>, ParameterNameError> {
    let name = ParameterName::new(field.name())?;
    Ok(match default {
        Values::Number(default) => vec![Parameter::new(name, default)],
        Values::Toggle(default) => vec![Parameter::toggle(name, default)],
        Values::Choice(default) => {
            let choices = field.type_info().and_then(choices_of);
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

#[cfg(test)]
#[allow(clippy::float_cmp, clippy::used_underscore_binding, clippy::expect_used)]
mod tests {
    use bevy_color::Color;
    use bevy_reflect::Reflect;
    use hana_protocol::parameter::ParameterKind;

    use super::*;
    use crate::visualization::parameter_fields::ParameterFields;

    fn declare<P: ParameterStruct>() -> Vec<Parameter> {
        DeclaredField::all_of::<P>().into_iter().flat_map(|field| field.parameters).collect()
    }

    fn fields_of<P: ParameterStruct>() -> ParameterFields {
        ParameterFields(DeclaredField::all_of::<P>().iter().map(|field| field.index).collect())
    }

    #[derive(Reflect)]
    struct Sky {
        #[reflect(@0.0..=1.0, @Description("how light it is"))]
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
    fn an_f32_is_a_range_and_other_numbers_are_ignored() {
        let declared = declare::<Sky>();
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
    fn attributes_set_the_playout_of_a_field() {
        let usual = JitterBufferSettings::default();
        let fields = DeclaredField::all_of::<Sky>();
        let smoothing = Duration::from_millis(80);
        assert_eq!(
            fields.iter().map(|field| field.playout(usual)).collect::<Vec<_>>(),
            [
                None,
                Some(JitterBufferSettings { smoothing, ..usual }),
                Some(JitterBufferSettings { curve: Curve::Held, ..usual }),
            ]
        );
    }

    #[derive(Reflect, Default)]
    #[reflect(@Group("ring"))]
    struct Ring {
        #[reflect(@0.0..=10.0, @Unit("Hz"), @ParameterLabel("Ring speed"))]
        speed: f32,
        #[reflect(@-2.0_f32..=2.0_f32, @Group("colour"))]
        hue: f32,
        #[reflect(@0..=100)]
        width: f32,
        #[reflect(@3.0..=1.0)]
        depth: f32,
    }

    #[test]
    fn attributes_set_range_group_label_and_unit() {
        let declared = declare::<Ring>();
        let ranges: Vec<_> = declared.iter().map(|one| (one.min, one.max)).collect();
        // The last range is empty, and is ignored.
        assert_eq!(ranges, [(0.0, 10.0), (-2.0, 2.0), (0.0, 100.0), (-1.0, 1.0)]);
        let groups: Vec<&str> = declared.iter().map(|one| one.group.as_str()).collect();
        assert_eq!(groups, ["ring", "colour", "ring", "ring"]);
        assert_eq!((declared[0].unit.as_str(), declared[0].label()), ("Hz", "Ring speed"));
        assert_eq!((declared[1].unit.as_str(), declared[1].label()), ("", "hue"));
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
    fn bools_enums_and_colours_are_parameters() {
        let declared = declare::<Scene>();
        let names: Vec<&str> = declared.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["tint-r", "tint-g", "tint-b", "lit", "weather", "depth"]);
        assert_eq!(declared[3].kind, ParameterKind::Toggle);
        let choices = ["clear", "slow_rain", "storm"].map(String::from).to_vec();
        assert_eq!(declared[4].kind, ParameterKind::Choice(choices));
        let mut scene = Scene::default();
        let fields = fields_of::<Scene>();
        let values: Vec<f32> = fields.read(&scene).collect();
        assert_eq!(values, [1.0, 0.5, 0.0, 1.0, 1.0, -0.5]);
        assert_eq!(values, declared.iter().map(|one| one.default).collect::<Vec<_>>());
        fields.write(&mut scene, &[0.0, 0.25, 1.0, 0.0, 2.0, 0.75]);
        assert_eq!(scene.tint, Color::srgba(0.0, 0.25, 1.0, 0.25), "as transparent as it was");
        assert_eq!((scene.lit, scene.weather, scene.depth), (false, Weather::Storm, 0.75));
        assert_eq!((scene._hidden, scene.maybe), (9.0, None));
        // Values are read back exactly as they were written; otherwise, each frame would take them for the program's
        // own changes.
        assert_eq!(fields.read(&scene).collect::<Vec<_>>(), [0.0, 0.25, 1.0, 0.0, 2.0, 0.75]);
    }

    #[test]
    fn a_colour_keeps_its_space_until_another_is_played() {
        let mut scene = Scene { tint: Color::hsl(200.0, 0.4, 0.3), ..Scene::default() };
        let fields = fields_of::<Scene>();
        let values: Vec<f32> = fields.read(&scene).collect();
        fields.write(&mut scene, &values);
        assert_eq!(scene.tint, Color::hsl(200.0, 0.4, 0.3));
        assert_eq!(fields.read(&scene).collect::<Vec<_>>(), values);
    }

    #[test]
    fn written_values_are_read_back() {
        let mut sky = Sky::default();
        let fields = fields_of::<Sky>();
        fields.write(&mut sky, &[0.25, -1.0, 1.0]);
        assert_eq!((sky.brightness, sky.stars, sky.drift, sky.night), (0.25, 7, -1.0, 1.0));
        assert_eq!(fields.read(&sky).collect::<Vec<_>>(), [0.25, -1.0, 1.0]);
    }
}
