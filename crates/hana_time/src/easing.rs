use serde::{Deserialize, Serialize};

use crate::timeline_number;

/// A temporary rate at the start of a timeline.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SlewRate {
    /// The rate, 0.9 to 1.1.
    #[serde(deserialize_with = "timeline_number::rate")]
    pub rate: f64,
    /// Duration in microseconds, from `at_us` of the timeline on.
    pub for_us: u32,
}

/// A jump of the beat, when two unrelated timelines merged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimelineStep {
    /// Number of jumps so far, including this one.
    pub number: u64,
    /// Time of the jump, on the host's local clock.
    pub at_us: i64,
    /// Size in beats; if it is negative, beats repeat.
    #[serde(deserialize_with = "timeline_number::finite")]
    pub beats: f64,
    /// The reason, in plain words.
    pub reason: String,
}
