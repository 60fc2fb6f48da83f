use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::sanitize_line::sanitize_line;
use crate::timeline::Timeline;

/// The moment at which a change takes effect.
///
/// Operators write `now`, `next-beat`, `next-bar` or `beat:128`; the wire form is `"now"`, `"next_beat"`,
/// `"next_bar"` or `{"beat": 128}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleAt {
    /// On arrival.
    #[default]
    Now,
    /// At the next beat after arrival.
    NextBeat,
    /// At the beginning of the next bar after arrival.
    NextBar,
    /// At this beat, which is the same moment on all hosts; at once if the beat is already over.
    Beat(f64),
}

/// A text that is not a valid moment.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{text}' is no moment; write now, next-beat, next-bar, or a beat such as beat:128")]
pub struct ScheduleAtError {
    /// The text, cut after 63 characters.
    pub text: String,
}

impl ScheduleAt {
    /// Returns whether the change takes effect at once.
    #[must_use]
    pub fn is_now(&self) -> bool {
        *self == Self::Now
    }

    /// Returns the beat of the change, as seen at `at_us` of the timeline's clock, or `None` if it takes effect at
    /// once.
    #[must_use]
    pub fn beat(self, timeline: &Timeline, at_us: i64) -> Option<f64> {
        match self {
            Self::Now => None,
            Self::Beat(beat) => Some(beat),
            Self::NextBeat | Self::NextBar => timeline.next_multiple(self.every(timeline)?, at_us),
        }
    }

    /// Returns the number of beats whose next multiple is the moment; `None` if the moment is not a multiple.
    pub(crate) const fn every(self, timeline: &Timeline) -> Option<f64> {
        match self {
            Self::NextBeat => Some(1.0),
            Self::NextBar => Some(timeline.quantum()),
            Self::Now | Self::Beat(_) => None,
        }
    }
}

impl fmt::Display for ScheduleAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => f.write_str("now"),
            Self::NextBeat => f.write_str("next-beat"),
            Self::NextBar => f.write_str("next-bar"),
            Self::Beat(beat) => write!(f, "beat:{beat}"),
        }
    }
}

impl FromStr for ScheduleAt {
    type Err = ScheduleAtError;

    fn from_str(text: &str) -> Result<Self, ScheduleAtError> {
        match text {
            "now" => Ok(Self::Now),
            "next-beat" => Ok(Self::NextBeat),
            "next-bar" => Ok(Self::NextBar),
            _ => {
                let beat = text.strip_prefix("beat:").and_then(|beat| beat.parse().ok());
                beat.filter(|beat: &f64| beat.is_finite())
                    .map(Self::Beat)
                    .ok_or_else(|| ScheduleAtError { text: sanitize_line(text, 63) })
            },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_other_text_names_the_form() {
        for text in ["now", "next-beat", "next-bar", "beat:128", "beat:-0.5"] {
            assert_eq!(text.parse::<ScheduleAt>().unwrap().to_string(), text);
        }
        for text in ["", "next", "128", "beat:", "beat:x", "beat:inf", "beat:NaN", "next_bar"] {
            let told = text.parse::<ScheduleAt>().unwrap_err().to_string();
            assert!(told.contains("next-bar, or a beat such as beat:128"), "{told}");
        }
    }

    #[test]
    fn next_bar_is_that_of_the_timeline() {
        let timeline = Timeline::new(120.0, 0, 0.0).unwrap();
        let at = 2_250_000;
        assert_eq!(ScheduleAt::Now.beat(&timeline, at), None);
        assert_eq!(ScheduleAt::NextBeat.beat(&timeline, at), Some(5.0));
        assert_eq!(ScheduleAt::NextBar.beat(&timeline, at), Some(8.0));
        let waltz = timeline.with_quantum(3.0).unwrap();
        assert_eq!(ScheduleAt::NextBar.beat(&waltz, at), Some(6.0));
        assert_eq!(ScheduleAt::Beat(1.5).beat(&timeline, at), Some(1.5));
    }
}
