mod format;

pub(crate) mod adsr;
pub(crate) mod lfo;
pub(crate) mod period;

use std::fmt;

use hana_time::Timeline;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, de};
use thiserror::Error;

use crate::parameter::parameter::Parameter;
use adsr::{Adsr, Trigger};
use lfo::{Lfo, Wave};
use period::Period;

/// A recipe for a parameter that moves in time with the beat: a low-frequency oscillator or an envelope.
///
/// Pure functions of the timeline, so that all who have the same timeline have the same value at the same moment, and
/// only the recipe travels. In lengths of seconds it is the local clock that counts instead, which is another one on
/// each host; beats and bars are the same everywhere.
///
/// It goes by the parameter, whatever its range: an LFO moves around the middle, an envelope up from rest, which is the
/// middle of a parameter around 0 and the least value of any other. A depth of 1 reaches the end of the range, and what
/// would go beyond stays there. Of a toggle and of choices each has an equal share of the range.
///
/// People write it `lfo:sine:1bar`, `lfo:square:2beats:depth=0.5`, `env:1beat:decay=0.5beats`. On the wire it is a map
/// with field names; such a word is read there too.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Modulator {
    /// See [`Lfo`].
    Lfo(Lfo),
    /// See [`Adsr`].
    Env(Adsr),
}

/// Why something is no recipe.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ModulatorError {
    /// Neither an LFO nor an envelope.
    #[error("'{text}' is no recipe; write it like lfo:sine:1bar or env:1beat")]
    Kind {
        /// What was written.
        text: String,
    },
    /// Neither a wave nor a length of time.
    #[error(
        "'{text}' is neither a wave nor a length of time; waves are {}, lengths such as 1bar, 2beats, 1/2beat, 3s",
        Wave::list()
    )]
    Piece {
        /// What was written.
        text: String,
    },
    /// No length of time.
    #[error("'{text}' is no length of time; write it like 1bar, 2beats, 1/2beat or 3s")]
    Length {
        /// What was written.
        text: String,
    },
    /// A length that is too short or too long.
    #[error("'{setting}' is {least} to {most} here, not {length}")]
    LengthOutOfRange {
        /// Which.
        setting: &'static str,
        /// What was said.
        length: Period,
        /// The least.
        least: Period,
        /// The most.
        most: Period,
    },
    /// A setting that there is not.
    #[error("'{text}' is no setting here; there are {known}, such as {example}")]
    Setting {
        /// What was written.
        text: String,
        /// What there is.
        known: &'static str,
        /// One of them, written well.
        example: &'static str,
    },
    /// No number, or one out of range.
    #[error("'{setting}' is a number from {min} to {max}, not {value}")]
    Number {
        /// Which.
        setting: &'static str,
        /// What was said.
        value: String,
        /// The least.
        min: f64,
        /// The greatest.
        max: f64,
    },
}

impl Modulator {
    /// The value for `parameter` at a time of the timeline's clock; one that it takes.
    #[must_use]
    pub fn value_at(&self, parameter: &Parameter, timeline: &Timeline, at_us: i64) -> f32 {
        parameter.at_level(match self {
            Self::Lfo(lfo) => lfo.level_at(timeline, at_us),
            Self::Env(envelope) => envelope.level_at(parameter, timeline, at_us),
        })
    }

    /// The same, in force from `beat` on: an envelope that is to go off once does it there.
    #[must_use]
    pub const fn begun_at(self, beat: f64) -> Self {
        match self {
            Self::Env(Adsr { trigger: Trigger::Once, .. }) => {
                let Self::Env(envelope) = self else { return self };
                Self::Env(Adsr { trigger: Trigger::At(beat), ..envelope })
            },
            _ => self,
        }
    }

    /// Itself, if all its numbers can be.
    ///
    /// # Errors
    ///
    /// The first that is out of its range.
    pub fn checked(self) -> Result<Self, ModulatorError> {
        match &self {
            Self::Lfo(lfo) => lfo.check()?,
            Self::Env(envelope) => envelope.check()?,
        }
        Ok(self)
    }
}

impl<'de> Deserialize<'de> for Modulator {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ModulatorForm)
    }
}

/// Reads the map that is written, or the word for it.
struct ModulatorForm;

/// The map.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ModulatorFields {
    Lfo(Lfo),
    Env(Adsr),
}

impl<'de> Visitor<'de> for ModulatorForm {
    type Value = Modulator;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a recipe: a map with `lfo` or `env`, or a text such as lfo:sine:1bar")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Modulator, E> {
        word.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Modulator, A::Error> {
        let source = match ModulatorFields::deserialize(MapAccessDeserializer::new(map))? {
            ModulatorFields::Lfo(lfo) => Modulator::Lfo(lfo),
            ModulatorFields::Env(envelope) => Modulator::Env(envelope),
        };
        source.checked().map_err(de::Error::custom)
    }
}

/// Whether a number of a recipe lies within its range.
fn check_number(
    setting: &'static str,
    value: f64,
    min: f64,
    max: f64,
) -> Result<(), ModulatorError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(ModulatorError::Number { setting, value: value.to_string(), min, max })
}

const fn one() -> f32 {
    1.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp)]
mod tests;
