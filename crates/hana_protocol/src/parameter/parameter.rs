use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::message::parameter_owners::Sharing;
use crate::parameter::kind::{ColourPart, ParameterKind, kind_or_range};

/// The name of a parameter: `[a-z0-9][a-z0-9_-]{0,62}`, one chunk of a key. Names that begin with `_` are
/// the protocol's own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ParameterName(Arc<str>);

/// A text that is no parameter name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "'{name}' is no parameter name; use lower-case letters, digits, '-' and '_', beginning with a letter or digit, 63 at most"
)]
pub struct ParameterNameError {
    /// The text, cut to 80 characters.
    pub name: String,
}

impl ParameterName {
    /// Takes `name` as it stands.
    ///
    /// # Errors
    ///
    /// When `name` is empty, longer than 63 characters, or has a character outside `[a-z0-9_-]`.
    pub fn new(name: &str) -> Result<Self, ParameterNameError> {
        // The rule is that of a node id: both are one chunk of a key.
        crate::id::node_id::NodeId::new(name)
            .map(|_| Self(name.into()))
            .map_err(|_| ParameterNameError { name: name.chars().take(80).collect() })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ParameterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ParameterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ParameterName {
    type Err = ParameterNameError;

    fn from_str(name: &str) -> Result<Self, ParameterNameError> {
        Self::new(name)
    }
}

impl TryFrom<String> for ParameterName {
    type Error = ParameterNameError;

    fn try_from(name: String) -> Result<Self, ParameterNameError> {
        Self::new(&name)
    }
}

impl From<ParameterName> for String {
    fn from(name: ParameterName) -> Self {
        name.0.as_ref().into()
    }
}

/// A named number of a visualization, announced in `info`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name.
    pub name: ParameterName,
    /// The least value, inclusive. -1 unless it says otherwise.
    #[serde(default = "minus_one")]
    pub min: f32,
    /// The greatest value, inclusive. 1 unless it says otherwise.
    #[serde(default = "one")]
    pub max: f32,
    /// The value it starts with.
    #[serde(default)]
    pub default: f32,
    /// What it does, in a few words, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What kind of thing it is: a range unless it says otherwise.
    #[serde(
        default,
        skip_serializing_if = "ParameterKind::is_range",
        deserialize_with = "kind_or_range"
    )]
    pub kind: ParameterKind,
    /// Whether one at a time plays it, as it is unless it says otherwise, or all who like, added up.
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
    /// A parameter from -1 to 1, with rest in the middle, that starts with `default`.
    #[must_use]
    pub const fn new(name: ParameterName, default: f32) -> Self {
        Self {
            name,
            min: -1.0,
            max: 1.0,
            default,
            description: String::new(),
            kind: ParameterKind::Range,
            sharing: Sharing::One,
        }
    }

    /// One from 0 to 1.
    #[must_use]
    pub const fn unipolar(name: ParameterName, default: f32) -> Self {
        let mut parameter = Self::new(name, default);
        parameter.min = 0.0;
        parameter
    }

    /// One that is on or off.
    #[must_use]
    pub fn toggle(name: ParameterName, default: bool) -> Self {
        Self { kind: ParameterKind::Toggle, ..Self::unipolar(name, f32::from(u8::from(default))) }
    }

    /// One of several that have names, of which there are 65,536 at most; `default` counts from 0.
    #[must_use]
    pub fn choice(name: ParameterName, choices: Vec<String>, default: u16) -> Self {
        let last = u16::try_from(choices.len().saturating_sub(1)).unwrap_or(u16::MAX);
        Self {
            max: f32::from(last),
            kind: ParameterKind::Choice(choices),
            ..Self::unipolar(name, f32::from(default.min(last)))
        }
    }

    /// A colour, as its three parts: red, green and blue in sRGB, 0 to 1 each. They are named `<name>-r`, `-g`, `-b`.
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

    /// Whether its range lies around 0, which is its rest.
    #[must_use]
    pub fn is_bipolar(&self) -> bool {
        self.kind == ParameterKind::Range
            && self.min < 0.0
            && self.min.to_bits() == (-self.max).to_bits()
    }

    /// The value at a level of its range: the least at -1, the middle at 0, the greatest at 1, and beyond these the same.
    /// Of a toggle and of choices each has an equal share.
    #[must_use]
    pub fn at_level(&self, level: f32) -> f32 {
        // What is no number is the middle.
        let level = if level.is_nan() { 0.0 } else { level.clamp(-1.0, 1.0) };
        let reach = (self.max - self.min) / 2.0;
        let value = if self.kind.is_stepped() {
            // Half a step more on either side, so that the first and the last have as much as the others.
            (reach + 0.5).mul_add(level, self.min + reach).round()
        } else {
            reach.mul_add(level, self.min + reach)
        };
        value.max(self.min).min(self.max)
    }

    /// What becomes of `value` if it may be set: itself, or for a toggle and a choice the nearest that there is, so
    /// that they can be played by a knob.
    ///
    /// # Errors
    ///
    /// When it is not a number, or outside the range.
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

    /// The values that it takes as they are; none where they are rounded.
    const fn plain(&self) -> RangeInclusive<f32> {
        if self.kind.is_stepped() || !(self.min.is_finite() && self.max.is_finite()) {
            return f32::INFINITY..=f32::NEG_INFINITY;
        }
        self.min..=self.max
    }
}

/// Why a value was not set. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ParameterError {
    /// There is no such parameter.
    #[error("there is no parameter '{name}'; there are {}", list(known))]
    Unknown {
        /// The name asked for.
        name: ParameterName,
        /// The names there are.
        known: Vec<ParameterName>,
    },
    /// There are not so many parameters.
    #[error("there is no parameter number {place}, counted from 0; there are {count}")]
    NoPlace {
        /// The place asked for, in the order of the declarations.
        place: usize,
        /// How many there are.
        count: usize,
    },
    /// NaN or infinite.
    #[error("'{name}' was sent a value that is not a finite number")]
    NotFinite {
        /// The parameter.
        name: ParameterName,
    },
    /// Outside the parameter's range.
    #[error("'{name}' takes values from {min} to {max}, not {value}")]
    OutOfRange {
        /// The parameter.
        name: ParameterName,
        /// What was sent.
        value: f32,
        /// The least it takes.
        min: f32,
        /// The greatest it takes.
        max: f32,
    },
    /// None of the parameter's choices.
    #[error("'{name}' takes {}, not {value}", numbered(choices))]
    NoChoice {
        /// The parameter.
        name: ParameterName,
        /// What was sent.
        value: f32,
        /// What it can be, from 0.
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

/// The parameters of one visualization, in the order it declares them, with their current values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parameters {
    declared: Vec<Parameter>,
    /// What each takes as it is: its least and its greatest value, and nothing where it takes steps. What is played is compared
    /// with these, a cache line for eight parameters instead of two for one.
    plain: Vec<RangeInclusive<f32>>,
    values: Vec<f32>,
}

impl Parameters {
    /// Takes the declarations; every value is its default. Of two with one name the later one is dropped.
    #[must_use]
    pub fn new(declared: Vec<Parameter>) -> Self {
        let mut unique: Vec<Parameter> = Vec::with_capacity(declared.len());
        for parameter in declared {
            if unique.iter().all(|known| known.name != parameter.name) {
                unique.push(parameter);
            }
        }
        let plain = unique.iter().map(Parameter::plain).collect();
        let values = unique.iter().map(|parameter| parameter.default).collect();
        Self { declared: unique, plain, values }
    }

    /// The declarations, in order.
    #[must_use]
    pub fn declared(&self) -> &[Parameter] {
        &self.declared
    }

    /// The current values, in the order of the declarations.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Name and current value of each.
    #[must_use]
    pub fn named_values(&self) -> BTreeMap<ParameterName, f32> {
        self.declared.iter().map(|p| p.name.clone()).zip(self.values.iter().copied()).collect()
    }

    /// Where `name` stands in the order of the declarations.
    ///
    /// # Errors
    ///
    /// When there is no such parameter.
    pub fn index(&self, name: &ParameterName) -> Result<usize, ParameterError> {
        self.declared.iter().position(|p| p.name == *name).ok_or_else(|| ParameterError::Unknown {
            name: name.clone(),
            known: self.declared.iter().map(|p| p.name.clone()).collect(),
        })
    }

    /// Sets one value.
    ///
    /// # Errors
    ///
    /// When there is no such parameter, or it does not take the value; nothing has changed then.
    pub fn set(&mut self, name: &ParameterName, value: f32) -> Result<usize, ParameterError> {
        let index = self.index(name)?;
        self.values[index] = self.declared[index].check(value)?;
        Ok(index)
    }

    /// Sets the value at a place in the order of the declarations.
    ///
    /// # Errors
    ///
    /// When there is no such place, or it does not take the value; nothing has changed then.
    pub fn set_at(&mut self, place: usize, value: f32) -> Result<(), ParameterError> {
        self.values[place] = self.check_at(place, value)?;
        Ok(())
    }

    /// Whether the value at a place may be set.
    ///
    /// # Errors
    ///
    /// When there is no such place, or it does not take the value.
    pub fn check_at(&self, place: usize, value: f32) -> Result<f32, ParameterError> {
        if self.plain.get(place).is_some_and(|plain| plain.contains(&value)) {
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
    /// The first that cannot be set; nothing has changed then.
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
    fn a_value_outside_the_range_changes_nothing() {
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
    fn an_unknown_parameter_is_answered_with_the_known_ones() {
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
    fn a_toggle_and_a_choice_take_the_nearest_and_no_other() {
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
    fn a_kind_travels_and_one_that_is_not_known_is_a_range() {
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
    fn names_of_the_protocol_are_not_for_parameters() {
        assert!(ParameterName::new("_frame").is_err());
    }
}
