use thiserror::Error;

use crate::parameter::modulator::period::Period;
use crate::parameter::modulator::wave::Wave;

/// The reason why a modulator is not valid.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ModulatorError {
    /// The text is neither an LFO nor an envelope.
    #[error("'{text}' is not a modulator; write it like lfo:sine:1bar or env:1beat")]
    Kind {
        /// The input.
        text: String,
    },
    /// The text is neither a waveform nor a length of time.
    #[error(
        "'{text}' is neither a wave nor a length of time; waves are {}, lengths such as 1bar, 2beats, 1/2beat, 3s",
        Wave::list()
    )]
    Piece {
        /// The input.
        text: String,
    },
    /// The text is not a length of time.
    #[error("'{text}' is not a length of time; write it like 1bar, 2beats, 1/2beat or 3s")]
    Length {
        /// The input.
        text: String,
    },
    /// A length is too short or too long.
    #[error("'{setting}' is {least} to {most} here, not {length}")]
    LengthOutOfRange {
        /// The setting.
        setting: &'static str,
        /// The given length.
        length: Period,
        /// The minimum.
        least: Period,
        /// The maximum.
        most: Period,
    },
    /// No such setting exists.
    #[error("'{text}' is not a setting here; there are {known}, such as {example}")]
    Setting {
        /// The input.
        text: String,
        /// The valid settings.
        known: &'static str,
        /// A valid example.
        example: &'static str,
    },
    /// A setting is not a number, or out of range.
    #[error("'{setting}' is a number from {min} to {max}, not {value}")]
    Number {
        /// The setting.
        setting: &'static str,
        /// The given value.
        value: String,
        /// The minimum.
        min: f64,
        /// The maximum.
        max: f64,
    },
}

/// Checks that a number of a modulator is within its range.
pub(super) fn check_number(
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

/// Checks the length of a repeating cycle.
pub(super) fn check_cycle(setting: &'static str, length: Period) -> Result<(), ModulatorError> {
    check_length(setting, length, length.cycle_limits())
}

/// Checks the length of an envelope stage.
pub(super) fn check_stage(setting: &'static str, length: Period) -> Result<(), ModulatorError> {
    check_length(setting, length, length.stage_limits())
}

fn check_length(
    setting: &'static str,
    length: Period,
    (least, most): (Period, Period),
) -> Result<(), ModulatorError> {
    if length.is_within(least, most) {
        return Ok(());
    }
    Err(ModulatorError::LengthOutOfRange { setting, length, least, most })
}
