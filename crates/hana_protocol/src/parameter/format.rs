//! Textual values of parameters, for input and display: `on`, `spiral`, `#ff8800`.

use std::collections::BTreeMap;

use hana_time::sanitize_line;
use thiserror::Error;

use crate::parameter::kind::{ColourPart, ParameterKind};
use crate::parameter::parameter::{Parameter, ParameterError, ParameterName};

/// The reason why a text does not set a parameter.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum FormatError {
    /// No parameter or colour has that name.
    #[error("there is no parameter '{name}'; there are {}", list(known))]
    Unknown {
        /// The name.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// A number is expected.
    #[error("'{name}' is a number from {min} to {max}, not '{text}'")]
    NoNumber {
        /// The parameter.
        name: String,
        /// The input.
        text: String,
        /// The minimum.
        min: f32,
        /// The maximum.
        max: f32,
    },
    /// On or off is expected.
    #[error("'{name}' is on or off, not '{text}'")]
    NoToggle {
        /// The parameter.
        name: String,
        /// The input.
        text: String,
    },
    /// One of the parameter's choices is expected.
    #[error("'{name}' is one of {}, not '{text}'", list(choices))]
    NoChoice {
        /// The parameter.
        name: String,
        /// The input.
        text: String,
        /// The valid choices.
        choices: Vec<String>,
    },
    /// A colour is expected.
    #[error("'{name}' is a colour such as #ff8800, not '{text}'")]
    NoColour {
        /// The colour.
        name: String,
        /// The input.
        text: String,
    },
    /// The parameter does not accept the value.
    #[error(transparent)]
    Value(#[from] ParameterError),
}

/// Maximum length of foreign text that an error quotes.
const LONGEST: usize = 63;

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".into();
    }
    names.iter().map(|name| sanitize_line(name, LONGEST)).collect::<Vec<_>>().join(", ")
}

/// Parses `name=text` against the declared parameters: yields one value, or three for a colour.
///
/// A number is accepted for every kind.
///
/// # Errors
///
/// When no such parameter exists, or the text is not valid for it; the error names the expected form.
pub fn values_of_words(
    declared: &[Parameter],
    name: &str,
    text: &str,
) -> Result<Vec<(ParameterName, f32)>, FormatError> {
    if let Some(parameter) = declared.iter().find(|parameter| parameter.name.as_str() == name) {
        let value = parameter.check(value_of_word(parameter, text)?)?;
        return Ok(vec![(parameter.name.clone(), value)]);
    }
    let part_of = |wanted: ColourPart| {
        declared.iter().find(|parameter| {
            matches!(&parameter.kind, ParameterKind::Colour { of, part } if of == name && *part == wanted)
        })
    };
    let parts: Option<Vec<&Parameter>> = ColourPart::ALL.into_iter().map(part_of).collect();
    let Some(parts) = parts else {
        let mut known: Vec<String> = vec![];
        for parameter in declared {
            let name = match &parameter.kind {
                ParameterKind::Colour { of, .. } => of.clone(),
                _ => parameter.name.to_string(),
            };
            if known.last() != Some(&name) {
                known.push(name);
            }
        }
        return Err(FormatError::Unknown { name: name.into(), known });
    };
    let colour = rgb_of_hex(text)
        .ok_or_else(|| FormatError::NoColour { name: name.into(), text: text.into() })?;
    let check = |(parameter, value): (&Parameter, f32)| {
        Ok((parameter.name.clone(), parameter.check(value)?))
    };
    parts.into_iter().zip(colour).map(check).collect()
}

fn value_of_word(parameter: &Parameter, text: &str) -> Result<f32, FormatError> {
    if let Ok(value) = text.parse() {
        return Ok(value);
    }
    let (name, text) = (parameter.name.to_string(), text.to_owned());
    match &parameter.kind {
        ParameterKind::Range | ParameterKind::Colour { .. } => {
            let Parameter { min, max, .. } = *parameter;
            Err(FormatError::NoNumber { name, text, min, max })
        },
        ParameterKind::Toggle => match text.to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" => Ok(1.0),
            "off" | "false" | "no" => Ok(0.0),
            _ => Err(FormatError::NoToggle { name, text }),
        },
        ParameterKind::Choice(choices) => {
            let found = choices.iter().zip(0_u16..).find(|(of, _)| of.eq_ignore_ascii_case(&text));
            found.map(|(_, index)| f32::from(index)).ok_or_else(|| FormatError::NoChoice {
                name,
                text,
                choices: choices.clone(),
            })
        },
    }
}

/// Parses `#ff8800` or `ff8800` as red, green and blue from 0 to 1.
fn rgb_of_hex(text: &str) -> Option<[f32; 3]> {
    let digits = text.strip_prefix('#').unwrap_or(text);
    if digits.len() != 6 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let part = |at: usize| {
        let part = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
        Some(f32::from(part) / 255.0)
    };
    Some([part(0)?, part(2)?, part(4)?])
}

/// Formats red, green and blue from 0 to 1 as `#ff8800`.
#[must_use]
pub fn hex_of_rgb(parts: [f32; 3]) -> String {
    // The rounded values are within 0 to 255.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let [red, green, blue] = parts.map(|part| (part.clamp(0.0, 1.0) * 255.0).round() as u8);
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// Formats a value as a word for a toggle or a choice, else as a number.
#[must_use]
pub fn word_of_value(parameter: &Parameter, value: f32) -> String {
    match &parameter.kind {
        ParameterKind::Toggle => (if value >= 0.5 { "on" } else { "off" }).into(),
        ParameterKind::Choice(choices) => {
            let chosen =
                choices.iter().zip(0_u16..).find(|(_, at)| f32::from(*at) >= value.round());
            chosen.map_or_else(|| format!("{value}"), |(word, _)| sanitize_line(word, LONGEST))
        },
        ParameterKind::Range | ParameterKind::Colour { .. } => format!("{value:+.2}"),
    }
}

/// Formats the values of a visualization's parameters, by name. The components of a colour become one entry.
#[must_use]
pub fn words_of_values(
    declared: &[Parameter],
    values: &BTreeMap<ParameterName, f32>,
) -> Vec<(String, String)> {
    let mut words = BTreeMap::new();
    let mut colours: BTreeMap<&str, [Option<f32>; 3]> = BTreeMap::new();
    for (name, value) in values {
        let parameter = declared.iter().find(|parameter| parameter.name == *name);
        match parameter.map(|parameter| (parameter, &parameter.kind)) {
            Some((_, ParameterKind::Colour { of, part })) => {
                colours.entry(of).or_default()[*part as usize] = Some(*value);
            },
            Some((parameter, _)) => {
                words.insert(name.to_string(), word_of_value(parameter, *value));
            },
            None => {
                words.insert(name.to_string(), format!("{value:+.2}"));
            },
        }
    }
    for (name, parts) in colours {
        words
            .insert(sanitize_line(name, LONGEST), hex_of_rgb(parts.map(Option::unwrap_or_default)));
    }
    words.into_iter().collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn name(text: &str) -> ParameterName {
        ParameterName::new(text).unwrap()
    }

    fn declared() -> Vec<Parameter> {
        let mut declared = vec![
            Parameter::new(name("zoom"), 0.0),
            Parameter::toggle(name("lit"), false),
            Parameter::choice(
                name("mode"),
                ["rings", "spiral", "rain"].map(String::from).into(),
                1,
            ),
        ];
        declared.extend(Parameter::colour(&name("tint"), [1.0, 0.5, 0.0]).unwrap());
        declared
    }

    fn set(name: &str, text: &str) -> Result<Vec<(String, f32)>, String> {
        values_of_words(&declared(), name, text)
            .map(|values| {
                values.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
            })
            .map_err(|problem| problem.to_string())
    }

    fn one(name: &str, value: f32) -> Vec<(String, f32)> {
        vec![(name.into(), value)]
    }

    #[test]
    fn words_and_numbers_are_accepted_for_every_kind() {
        assert_eq!(set("zoom", "-0.5"), Ok(one("zoom", -0.5)));
        for (text, value) in [("on", 1.0), ("Off", 0.0), ("true", 1.0), ("1", 1.0), ("0.4", 0.0)] {
            assert_eq!(set("lit", text), Ok(one("lit", value)), "{text}");
        }
        for (text, value) in [("spiral", 1.0), ("RAIN", 2.0), ("0", 0.0), ("1.6", 2.0)] {
            assert_eq!(set("mode", text), Ok(one("mode", value)), "{text}");
        }
        let orange = [("tint-r", 1.0), ("tint-g", 136.0 / 255.0), ("tint-b", 0.0)];
        let orange = orange.map(|(name, value): (&str, f32)| (name.to_owned(), value)).to_vec();
        assert_eq!(set("tint", "#FF8800"), Ok(orange.clone()));
        assert_eq!(set("tint", "ff8800"), Ok(orange));
        assert_eq!(set("tint-g", "0.25"), Ok(one("tint-g", 0.25)));
    }

    #[test]
    fn malformed_text_error_names_the_expected_form() {
        let told = |name, text| set(name, text).unwrap_err();
        assert_eq!(told("mode", "spirals"), "'mode' is one of rings, spiral, rain, not 'spirals'");
        assert_eq!(told("mode", "3"), "'mode' takes 0 (rings), 1 (spiral), 2 (rain), not 3");
        assert_eq!(told("lit", "maybe"), "'lit' is on or off, not 'maybe'");
        assert_eq!(told("zoom", "on"), "'zoom' is a number from -1 to 1, not 'on'");
        assert_eq!(told("zoom", "2"), "'zoom' takes values from -1 to 1, not 2");
        assert_eq!(told("tint", "orange"), "'tint' is a colour such as #ff8800, not 'orange'");
        assert_eq!(told("tint", "#ff88"), "'tint' is a colour such as #ff8800, not '#ff88'");
        assert_eq!(
            told("tnt", "on"),
            "there is no parameter 'tnt'; there are zoom, lit, mode, tint"
        );
    }

    #[test]
    fn shown_values_can_be_set() {
        let declared = declared();
        let mut values: BTreeMap<_, _> =
            declared.iter().map(|one| (one.name.clone(), one.default)).collect();
        values.insert(name("older"), 0.25);
        let shown = words_of_values(&declared, &values);
        let shown: Vec<String> =
            shown.iter().map(|(name, word)| format!("{name} {word}")).collect();
        assert_eq!(shown, ["lit off", "mode spiral", "older +0.25", "tint #ff8000", "zoom +0.00"]);
        for line in shown.iter().filter(|line| !line.starts_with("older")) {
            let (name, word) = line.split_once(' ').unwrap();
            assert!(set(name, word).is_ok(), "{line}");
        }
    }
}
