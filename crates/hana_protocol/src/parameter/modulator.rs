mod format;

pub(crate) mod adsr;
pub(crate) mod error;
pub(crate) mod lfo;
pub(crate) mod period;
pub(crate) mod wave;

use std::fmt;

use hana_time::Timeline;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::parameter::modulator::adsr::{Adsr, Trigger};
use crate::parameter::modulator::error::ModulatorError;
use crate::parameter::modulator::lfo::Lfo;
use crate::parameter::parameter::Parameter;

/// A modulator, which moves a parameter in time with the beat: a low-frequency oscillator or an envelope.
///
/// Modulators are pure functions of the timeline: hosts with the same timeline compute the same value at the same
/// moment, and only the modulator's settings travel. Lengths in beats and bars are the same everywhere; lengths in
/// seconds follow the local clock, which differs between hosts.
///
/// A modulator adapts to the parameter's range: an LFO moves around the middle, an envelope rises from rest, which is
/// the middle of a bipolar parameter and the minimum of any other. A depth of 1 reaches the end of the range; values
/// outside the range are clamped. For a toggle or a choice, each value covers an equal share of the range.
///
/// The textual form is `lfo:sine:1bar`, `lfo:square:2beats:depth=0.5`, `env:1beat:decay=0.5beats`. On the wire a
/// modulator is a map with field names; the textual form is also accepted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Modulator {
    /// See [`Lfo`].
    Lfo(Lfo),
    /// See [`Adsr`].
    Env(Adsr),
}

impl Modulator {
    /// Returns the modulator's value at the time `at_us` of the timeline's clock, valid for `parameter`.
    #[must_use]
    pub fn value_at(&self, parameter: &Parameter, timeline: &Timeline, at_us: i64) -> f32 {
        parameter.at_level(match self {
            Self::Lfo(lfo) => lfo.level_at(timeline, at_us),
            Self::Env(envelope) => envelope.level_at(parameter, timeline, at_us),
        })
    }

    /// Returns the modulator as it starts at `beat`: an envelope with [`Trigger::Once`] fires at that beat.
    #[must_use]
    pub const fn starting_at(self, beat: f64) -> Self {
        match self {
            Self::Env(Adsr { trigger: Trigger::Once, .. }) => {
                let Self::Env(envelope) = self else { return self };
                Self::Env(Adsr { trigger: Trigger::At(beat), ..envelope })
            },
            _ => self,
        }
    }

    /// Returns the modulator if all its numbers are in range.
    ///
    /// # Errors
    ///
    /// The first number that is out of range.
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

/// Visitor that reads a modulator as a map or in its textual form.
struct ModulatorForm;

/// The map form.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ModulatorFields {
    Lfo(Lfo),
    Env(Adsr),
}

impl<'de> Visitor<'de> for ModulatorForm {
    type Value = Modulator;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a modulator: a map with `lfo` or `env`, or a text such as lfo:sine:1bar")
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp)]
mod tests;
