use bevy_color::{Color, ColorToComponents, Srgba};
use bevy_reflect::enums::{DynamicEnum, DynamicVariant, EnumInfo, VariantInfo};
use bevy_reflect::structs::Struct;
use bevy_reflect::{PartialReflect, ReflectMut, ReflectRef, TypeInfo};

/// The fields of a parameter struct that are parameters, by their index: determined once, not in every frame.
#[derive(Debug)]
pub(crate) struct ParameterFields(pub(crate) Vec<usize>);

impl ParameterFields {
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
pub(crate) enum Values {
    Number(f32),
    Toggle(bool),
    Choice(u16),
    Colour([f32; 3]),
}

impl Values {
    /// Returns `None` for a field that is not a parameter.
    pub(crate) fn of(field: &dyn PartialReflect) -> Option<Self> {
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

/// Returns the enum if it is a choice, which means that no variant has fields.
pub(crate) fn choices_of(info: &'static TypeInfo) -> Option<&'static EnumInfo> {
    let TypeInfo::Enum(info) = info else { return None };
    info.iter().all(|variant| matches!(variant, VariantInfo::Unit(_))).then_some(info)
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
        // Numbers are written at the beginning of this function.
        Values::Number(_) => {},
        Values::Toggle(_) => {
            if let (Some(value), Some(field)) = (next(), field.try_downcast_mut::<bool>()) {
                *field = value >= 0.5;
            }
        },
        Values::Choice(now) => {
            // The value is the index of a choice, which fits into a `u16`.
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
