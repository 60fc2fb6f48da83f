use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::impl_name::impl_name;
use crate::parameter::kind::{ColourPart, ParameterKind, kind_or_range};
use crate::parameter::sharing::Sharing;

/// The name of a parameter: `[a-z0-9][a-z0-9_-]{0,62}`, one chunk of a key.
///
/// Names that begin with `_` are reserved for the protocol.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ParameterName(Arc<str>);

/// The error that a string is not a valid parameter name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "'{name}' is not a parameter name; use lower-case letters, digits, '-' and '_', beginning with a letter or digit, 63 at most"
)]
pub struct ParameterNameError {
    /// The string, cut to 80 characters.
    pub name: String,
}

impl ParameterName {
    /// Validates `name` without changing it.
    ///
    /// # Errors
    ///
    /// When `name` is empty or longer than 63 characters, begins with `-` or `_`, or has a character outside
    /// `[a-z0-9_-]`.
    pub fn new(name: &str) -> Result<Self, ParameterNameError> {
        // Parameter names follow the rule of node ids: both are one chunk of a key.
        crate::id::node_id::NodeId::new(name)
            .map(|_| Self(name.into()))
            .map_err(|_| ParameterNameError { name: name.chars().take(80).collect() })
    }

    /// Returns the name as a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl_name!(ParameterName, ParameterNameError);

/// A parameter of a visualization as announced in `info`: a named number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name.
    pub name: ParameterName,
    /// The minimum, inclusive; -1 by default.
    #[serde(default = "minus_one")]
    pub min: f32,
    /// The maximum, inclusive; 1 by default.
    #[serde(default = "one")]
    pub max: f32,
    /// The initial value.
    #[serde(default)]
    pub default: f32,
    /// A short description for operators.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The label that operators read instead of [`name`](Self::name); empty if the parameter has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// The group under which lists and screens show the parameter; empty if it belongs to no group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The unit of its values, such as `Hz`; empty if the values have no unit.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// The kind of the parameter; a range by default.
    #[serde(
        default,
        skip_serializing_if = "ParameterKind::is_range",
        deserialize_with = "kind_or_range"
    )]
    pub kind: ParameterKind,
    /// How controllers share the parameter: one at a time plays it (the default), or all contributions are added.
    #[serde(default, skip_serializing_if = "Sharing::is_one")]
    pub sharing: Sharing,
}

const fn minus_one() -> f32 {
    -1.0
}
const fn one() -> f32 {
    1.0
}

impl Parameter {
    /// Returns a bipolar parameter from -1 to 1, which rests at 0.
    #[must_use]
    pub const fn new(name: ParameterName, default: f32) -> Self {
        Self {
            name,
            min: -1.0,
            max: 1.0,
            default,
            description: String::new(),
            label: String::new(),
            group: String::new(),
            unit: String::new(),
            kind: ParameterKind::Range,
            sharing: Sharing::One,
        }
    }

    /// Returns a unipolar parameter from 0 to 1.
    #[must_use]
    pub const fn unipolar(name: ParameterName, default: f32) -> Self {
        let mut parameter = Self::new(name, default);
        parameter.min = 0.0;
        parameter
    }

    /// Returns a parameter that is on or off.
    #[must_use]
    pub fn toggle(name: ParameterName, default: bool) -> Self {
        Self { kind: ParameterKind::Toggle, ..Self::unipolar(name, f32::from(u8::from(default))) }
    }

    /// Returns a parameter with up to 65,536 named choices; `default` counts from 0.
    #[must_use]
    pub fn choice(name: ParameterName, choices: Vec<String>, default: u16) -> Self {
        let last = u16::try_from(choices.len().saturating_sub(1)).unwrap_or(u16::MAX);
        Self {
            max: f32::from(last),
            kind: ParameterKind::Choice(choices),
            ..Self::unipolar(name, f32::from(default.min(last)))
        }
    }

    /// Returns a colour as three parameters from 0 to 1 in sRGB, named `<name>-r`, `<name>-g` and `<name>-b`.
    ///
    /// # Errors
    ///
    /// When the name is longer than 61 characters.
    pub fn colour(
        name: &ParameterName,
        default: [f32; 3],
    ) -> Result<[Self; 3], ParameterNameError> {
        let part = |part: ColourPart, default: f32| {
            let named = ParameterName::new(&format!("{name}{}", part.suffix()))?;
            let kind = ParameterKind::Colour { of: name.to_string(), part };
            Ok(Self { kind, ..Self::unipolar(named, default.clamp(0.0, 1.0)) })
        };
        let [red, green, blue] = default;
        Ok([
            part(ColourPart::Red, red)?,
            part(ColourPart::Green, green)?,
            part(ColourPart::Blue, blue)?,
        ])
    }

    /// Returns the label, or the name if there is no label.
    #[must_use]
    pub fn label(&self) -> &str {
        if self.label.is_empty() { self.name.as_str() } else { &self.label }
    }

    /// Whether the parameter is a range centred on 0, its rest value.
    #[must_use]
    pub fn is_bipolar(&self) -> bool {
        self.kind == ParameterKind::Range
            && self.min < 0.0
            && self.min.to_bits() == (-self.max).to_bits()
    }

    /// Maps a level to a value: -1 is the minimum, 0 the middle of the range, 1 the maximum. Other levels are
    /// clamped.
    ///
    /// For a toggle or a choice, each value covers an equal share of the levels.
    #[must_use]
    pub fn at_level(&self, level: f32) -> f32 {
        // NaN maps to the middle.
        let level = if level.is_nan() { 0.0 } else { level.clamp(-1.0, 1.0) };
        let reach = (self.max - self.min) / 2.0;
        let value = if self.kind.is_stepped() {
            // Widened by half a step at both ends, so that the first and the last value cover as many levels as the
            // others.
            (reach + 0.5).mul_add(level, self.min + reach).round()
        } else {
            reach.mul_add(level, self.min + reach)
        };
        value.max(self.min).min(self.max)
    }

    /// Returns `value`, rounded to the nearest valid value for a toggle or a choice.
    ///
    /// Because of the rounding, a knob can play toggles and choices.
    ///
    /// # Errors
    ///
    /// When `value` is not finite or is outside the range.
    pub fn check(&self, value: f32) -> Result<f32, ParameterError> {
        if !value.is_finite() {
            return Err(ParameterError::NotFinite { name: self.name.clone() });
        }
        let Self { name, min, max, kind, .. } = self;
        if (*min..=*max).contains(&value) {
            return Ok(if kind.is_stepped() { value.round() } else { value });
        }
        Err(match kind {
            ParameterKind::Choice(choices) => {
                ParameterError::NoChoice { name: name.clone(), value, choices: choices.clone() }
            },
            _ => ParameterError::OutOfRange { name: name.clone(), value, min: *min, max: *max },
        })
    }

    /// Returns the range of values accepted unchanged; empty if values are rounded or a limit is not finite.
    const fn plain_range(&self) -> RangeInclusive<f32> {
        if self.kind.is_stepped() || !(self.min.is_finite() && self.max.is_finite()) {
            return f32::INFINITY..=f32::NEG_INFINITY;
        }
        self.min..=self.max
    }
}

/// The reason why a value was not set. The parameters are unchanged.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ParameterError {
    /// No such parameter exists.
    #[error("there is no parameter '{name}'; there are {}", list(known))]
    Unknown {
        /// The requested name.
        name: ParameterName,
        /// The names that exist.
        known: Vec<ParameterName>,
    },
    /// The index is beyond the last parameter.
    #[error("there is no parameter number {place}, counted from 0; there are {count}")]
    NoPlace {
        /// The requested index, in declaration order.
        place: usize,
        /// The number of parameters.
        count: usize,
    },
    /// The value is NaN or infinite.
    #[error("'{name}' was sent a value that is not a finite number")]
    NotFinite {
        /// The parameter.
        name: ParameterName,
    },
    /// The value is outside the parameter's range.
    #[error("'{name}' takes values from {min} to {max}, not {value}")]
    OutOfRange {
        /// The parameter.
        name: ParameterName,
        /// The given value.
        value: f32,
        /// The minimum.
        min: f32,
        /// The maximum.
        max: f32,
    },
    /// The value is not one of the parameter's choices.
    #[error("'{name}' takes {}, not {value}", numbered(choices))]
    NoChoice {
        /// The parameter.
        name: ParameterName,
        /// The given value.
        value: f32,
        /// The valid choices, from 0.
        choices: Vec<String>,
    },
}

fn numbered(choices: &[String]) -> String {
    let of = |(at, choice): (usize, &String)| format!("{at} ({choice})");
    choices.iter().enumerate().map(of).collect::<Vec<_>>().join(", ")
}

fn list(names: &[ParameterName]) -> String {
    if names.is_empty() {
        return "none".into();
    }
    names.iter().map(ParameterName::as_str).collect::<Vec<_>>().join(", ")
}

/// The parameters of one visualization, in declaration order, with their current values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parameters {
    declared: Vec<Parameter>,
    /// The range of values that each parameter accepts unchanged; see [`Parameter::plain_range`].
    ///
    /// Played values are checked against these ranges first, because a range takes a fraction of a cache line,
    /// whereas a declaration takes more than one.
    plain_ranges: Vec<RangeInclusive<f32>>,
    values: Vec<f32>,
}

impl Parameters {
    /// Returns the parameters with their default values. Of two parameters with the same name, the later one is
    /// dropped.
    #[must_use]
    pub fn new(declared: Vec<Parameter>) -> Self {
        let mut unique: Vec<Parameter> = Vec::with_capacity(declared.len());
        for parameter in declared {
            if unique.iter().all(|known| known.name != parameter.name) {
                unique.push(parameter);
            }
        }
        let plain_ranges = unique.iter().map(Parameter::plain_range).collect();
        let values = unique.iter().map(|parameter| parameter.default).collect();
        Self { declared: unique, plain_ranges, values }
    }

    /// Returns the declarations, in order.
    #[must_use]
    pub fn declared(&self) -> &[Parameter] {
        &self.declared
    }

    /// Returns the current values, in declaration order.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Returns the name and current value of each parameter.
    #[must_use]
    pub fn named_values(&self) -> BTreeMap<ParameterName, f32> {
        self.declared.iter().map(|p| p.name.clone()).zip(self.values.iter().copied()).collect()
    }

    /// Returns the index of the parameter `name`, in declaration order.
    ///
    /// # Errors
    ///
    /// When no such parameter exists.
    pub fn index(&self, name: &ParameterName) -> Result<usize, ParameterError> {
        self.declared.iter().position(|p| p.name == *name).ok_or_else(|| ParameterError::Unknown {
            name: name.clone(),
            known: self.declared.iter().map(|p| p.name.clone()).collect(),
        })
    }

    /// Sets the value of the parameter `name`, and returns the index of the parameter.
    ///
    /// # Errors
    ///
    /// When no such parameter exists, or it does not accept the value; the old value is kept.
    pub fn set(&mut self, name: &ParameterName, value: f32) -> Result<usize, ParameterError> {
        let index = self.index(name)?;
        self.values[index] = self.declared[index].check(value)?;
        Ok(index)
    }

    /// Sets the value of the parameter with index `place`, in declaration order.
    ///
    /// # Errors
    ///
    /// When the index is out of range, or the parameter does not accept the value; the old value is kept.
    pub fn set_at(&mut self, place: usize, value: f32) -> Result<(), ParameterError> {
        self.values[place] = self.check_at(place, value)?;
        Ok(())
    }

    /// Returns the value that the parameter with index `place` takes for `value`; see [`Parameter::check`].
    ///
    /// # Errors
    ///
    /// When the index is out of range, or the parameter does not accept the value.
    pub fn check_at(&self, place: usize, value: f32) -> Result<f32, ParameterError> {
        if self.plain_ranges.get(place).is_some_and(|plain| plain.contains(&value)) {
            return Ok(value);
        }
        let count = self.declared.len();
        let declared = self.declared.get(place).ok_or(ParameterError::NoPlace { place, count })?;
        declared.check(value)
    }

    /// Sets several values, all or none.
    ///
    /// # Errors
    ///
    /// The error of the first value that cannot be set; all old values are kept.
    pub fn set_all(&mut self, values: &BTreeMap<ParameterName, f32>) -> Result<(), ParameterError> {
        for (name, value) in values {
            self.declared[self.index(name)?].check(*value)?;
        }
        for (name, value) in values {
            self.set(name, *value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, clippy::unwrap_used)]
mod tests {
    use super::*;

    fn name(text: &str) -> ParameterName {
        ParameterName::new(text).unwrap()
    }

    fn ripples() -> Parameters {
        Parameters::new(vec![Parameter::new(name("zoom"), 0.0), Parameter::new(name("hue"), 0.5)])
    }

    #[test]
    fn value_outside_the_range_changes_nothing() {
        let mut parameters = ripples();
        assert!(matches!(
            parameters.set(&name("zoom"), 1.5),
            Err(ParameterError::OutOfRange { .. })
        ));
        assert!(matches!(
            parameters.set(&name("zoom"), f32::NAN),
            Err(ParameterError::NotFinite { .. })
        ));
        assert_eq!(parameters.values(), [0.0, 0.5]);
    }

    #[test]
    fn unknown_parameter_is_answered_with_the_known_ones() {
        let error = ripples().set(&name("zom"), 0.0).unwrap_err();
        assert_eq!(error.to_string(), "there is no parameter 'zom'; there are zoom, hue");
    }

    #[test]
    fn several_values_are_set_all_or_none() {
        let mut parameters = ripples();
        let mixed = BTreeMap::from([(name("hue"), 0.9), (name("zoom"), 2.0)]);
        assert!(parameters.set_all(&mixed).is_err());
        assert_eq!(parameters.values(), [0.0, 0.5]);
        let good = BTreeMap::from([(name("hue"), 0.9), (name("zoom"), 1.0)]);
        parameters.set_all(&good).unwrap();
        assert_eq!(parameters.values(), [1.0, 0.9]);
    }

    #[test]
    fn toggle_and_choice_accept_the_nearest_value() {
        let choices = ["rings", "spiral"].map(String::from).to_vec();
        let mode = Parameter::choice(name("mode"), choices, 7);
        assert_eq!((mode.default, mode.max), (1.0, 1.0));
        assert_eq!([-0.0, 0.4, 0.6, 1.0].map(|v| mode.check(v).unwrap()), [0.0, 0.0, 1.0, 1.0]);
        let error = mode.check(2.0).unwrap_err().to_string();
        assert_eq!(error, "'mode' takes 0 (rings), 1 (spiral), not 2");
        let lit = Parameter::toggle(name("lit"), true);
        assert_eq!((lit.default, lit.check(0.2)), (1.0, Ok(0.0)));
        assert!(Parameter::new(name("zoom"), 0.0).is_bipolar() && !lit.is_bipolar());
    }

    #[test]
    fn kind_survives_the_wire_and_an_unknown_one_is_a_range() {
        let choices = ["rings", "spiral"].map(String::from).to_vec();
        let mode = Parameter::choice(name("mode"), choices, 1);
        let tint = Parameter::colour(&name("tint"), [1.0, 0.5, 0.0]).unwrap();
        for parameter in tint.iter().chain([&mode, &Parameter::toggle(name("lit"), true)]) {
            let packed = crate::wire::codec::encode(parameter).unwrap();
            let read: Parameter = crate::wire::codec::decode_value(
                &packed,
                crate::wire::codec::Encoding::MessagePack,
                1024,
            )
            .unwrap();
            assert_eq!(read, *parameter);
        }
        let written = serde_json::to_value(&mode).unwrap();
        assert_eq!(written["kind"], serde_json::json!({"choice": ["rings", "spiral"]}));
        let zoom = serde_json::to_value(Parameter::new(name("zoom"), 0.0)).unwrap();
        assert_eq!(zoom.get("kind"), None);
        for kind in [serde_json::json!("curve"), serde_json::json!({"gradient": 3})] {
            let written = serde_json::json!({"name": "zoom", "kind": kind});
            let read: Parameter = serde_json::from_value(written).unwrap();
            assert_eq!(read.kind, ParameterKind::Range);
        }
    }

    #[test]
    fn group_label_and_unit_travel_and_may_be_left_out() {
        let parameter = Parameter {
            label: "Ring speed".into(),
            group: "ring".into(),
            unit: "Hz".into(),
            ..Parameter::new(name("speed"), 0.0)
        };
        let written = serde_json::to_value(&parameter).unwrap();
        assert_eq!((&written["group"], &written["unit"]), (&"ring".into(), &"Hz".into()));
        assert_eq!(serde_json::from_value::<Parameter>(written).unwrap(), parameter);
        let plain: Parameter =
            serde_json::from_value(serde_json::json!({"name": "speed"})).unwrap();
        assert_eq!(plain, Parameter::new(name("speed"), 0.0));
        assert_eq!((plain.label(), parameter.label()), ("speed", "Ring speed"));
    }

    #[test]
    fn reserved_names_are_not_for_parameters() {
        assert!(ParameterName::new("_batch").is_err());
    }
}
