use std::fmt;

use hana_time::Timeline;
use serde::{Deserialize, Serialize};

/// A length of time: in beats or bars of the timeline, or in seconds of the local clock.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// A number of beats.
    Beats(f64),
    /// A number of bars.
    Bars(f64),
    /// A number of seconds.
    Seconds(f64),
}

impl Period {
    /// The shortest cycle in beats or bars.
    const LEAST: f64 = 1.0 / 64.0;
    /// The shortest cycle in seconds: 100 Hz.
    const LEAST_SECONDS: f64 = 0.01;
    /// The longest length in beats or bars.
    const MOST: f64 = 65_536.0;
    /// The longest length in seconds: a day.
    const MOST_SECONDS: f64 = 86_400.0;
    const US_PER_SECOND: f64 = 1e6;

    /// A length of zero.
    pub const ZERO: Self = Self::Beats(0.0);

    /// Returns the number of periods since beat 0, or since time 0 of the clock; may be negative.
    // The cast is exact up to 2^53 microseconds, which are 285 years.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn passed(self, timeline: &Timeline, at_us: i64) -> f64 {
        match self {
            Self::Beats(beats) => timeline.beat_at(at_us) / beats,
            Self::Bars(bars) => timeline.beat_at(at_us) / (bars * timeline.quantum()),
            Self::Seconds(seconds) => at_us as f64 / (seconds * Self::US_PER_SECOND),
        }
    }

    /// Converts to beats at the current tempo.
    pub(super) fn in_beats(self, timeline: &Timeline) -> f64 {
        match self {
            Self::Beats(beats) => beats,
            Self::Bars(bars) => bars * timeline.quantum(),
            Self::Seconds(seconds) => seconds * timeline.bpm() / 60.0,
        }
    }

    const fn number(self) -> f64 {
        match self {
            Self::Beats(number) | Self::Bars(number) | Self::Seconds(number) => number,
        }
    }

    const fn of_same_unit(self, number: f64) -> Self {
        match self {
            Self::Beats(_) => Self::Beats(number),
            Self::Bars(_) => Self::Bars(number),
            Self::Seconds(_) => Self::Seconds(number),
        }
    }

    /// Returns the shortest and the longest repeating cycle, in the unit of this length.
    pub(super) const fn cycle_limits(self) -> (Self, Self) {
        let is_seconds = matches!(self, Self::Seconds(_));
        self.limits_from(if is_seconds { Self::LEAST_SECONDS } else { Self::LEAST })
    }

    /// Returns the shortest (0) and the longest envelope stage, in the unit of this length.
    pub(super) const fn stage_limits(self) -> (Self, Self) {
        self.limits_from(0.0)
    }

    const fn limits_from(self, least: f64) -> (Self, Self) {
        let is_seconds = matches!(self, Self::Seconds(_));
        let most = if is_seconds { Self::MOST_SECONDS } else { Self::MOST };
        (self.of_same_unit(least), self.of_same_unit(most))
    }

    /// Whether the length is between two others of the same unit, both inclusive.
    pub(super) fn is_within(self, least: Self, most: Self) -> bool {
        (least.number()..=most.number()).contains(&self.number())
    }

    /// Parses `1bar`, `2beats`, `1/2beat`, `3s`; a 0 needs no unit.
    pub(super) fn read(text: &str) -> Option<Self> {
        let unit_at = text.find(|of: char| of.is_ascii_alphabetic()).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let number: f64 = match number.split_once('/') {
            Some((of, by)) => of.parse::<f64>().ok()? / by.parse::<f64>().ok()?,
            None => number.parse().ok()?,
        };
        match unit {
            "beat" | "beats" => Some(Self::Beats(number)),
            "bar" | "bars" => Some(Self::Bars(number)),
            "s" => Some(Self::Seconds(number)),
            "ms" => Some(Self::Seconds(number / 1000.0)),
            "" if number == 0.0 => Some(Self::ZERO),
            _ => None,
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_one = self.number().to_bits() == 1.0_f64.to_bits();
        let number = self.number();
        match self {
            Self::Beats(_) if is_one => write!(f, "1beat"),
            Self::Beats(_) => write!(f, "{number}beats"),
            Self::Bars(_) if is_one => write!(f, "1bar"),
            Self::Bars(_) => write!(f, "{number}bars"),
            Self::Seconds(_) => write!(f, "{number}s"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn period_round_trips_through_its_text() {
        for text in ["1beat", "2beats", "1bar", "0.25bars", "3s"] {
            assert_eq!(Period::read(text).unwrap().to_string(), text);
        }
        assert_eq!(Period::read("1/2beat"), Some(Period::Beats(0.5)));
        assert_eq!(Period::read("500ms"), Some(Period::Seconds(0.5)));
        assert_eq!(Period::read("0"), Some(Period::ZERO));
    }

    #[test]
    fn number_without_a_unit_is_no_period() {
        assert_eq!([Period::read("2"), Period::read("bar"), Period::read("2 hours")], [None; 3]);
    }

    #[test]
    fn cycle_is_longer_than_zero_and_a_stage_may_be_zero() {
        let (least, most) = Period::ZERO.cycle_limits();
        assert!(!Period::ZERO.is_within(least, most));
        let (least, most) = Period::ZERO.stage_limits();
        assert!(Period::ZERO.is_within(least, most));
    }
}
