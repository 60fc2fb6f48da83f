use serde::{Deserialize, Serialize};

use crate::timeline_number;

/// A stretch of another rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SlewRate {
    /// The rate, 0.9 to 1.1.
    #[serde(deserialize_with = "timeline_number::rate")]
    pub rate: f64,
    /// For how long, in microseconds, from `at_us` of the timeline on.
    pub for_us: u32,
}

/// A beat that had to jump: two timelines that had nothing to do with each other became one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimelineStep {
    /// How many there have been since the daemon began.
    pub number: u64,
    /// When, on the local clock of the host.
    pub at_us: i64,
    /// By how many beats; below 0 beats come again.
    #[serde(deserialize_with = "timeline_number::finite")]
    pub beats: f64,
    /// Why, in plain words.
    pub reason: String,
}
