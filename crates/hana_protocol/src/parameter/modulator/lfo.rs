use hana_time::Timeline;
use serde::{Deserialize, Serialize};

use crate::parameter::modulator::error::{ModulatorError, check_cycle, check_number};
use crate::parameter::modulator::period::Period;
use crate::parameter::modulator::wave::Wave;

/// A low-frequency oscillator: a wave that repeats from beat 0 on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lfo {
    /// The waveform.
    pub wave: Wave,
    /// The length of one period.
    pub period: Period,
    /// The phase at beat 0 in periods, -1 to 1: a phase of 0.25 starts a quarter into the wave.
    #[serde(default)]
    pub phase: f64,
    /// The amplitude, -1 to 1: a depth of 1 covers the whole range, a negative depth inverts the wave.
    #[serde(default = "one")]
    pub depth: f32,
    /// The offset of the wave's middle, -1 to 1: an offset of 1 is half the range.
    #[serde(default)]
    pub offset: f32,
    /// The seed of the sample-and-hold noise: equal seeds give equal samples.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seed: u32,
}

// Takes a reference, since serde's `skip_serializing_if` passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

const fn one() -> f32 {
    1.0
}

impl Lfo {
    /// Returns an LFO over the whole range, with phase 0 at beat 0.
    #[must_use]
    pub const fn new(wave: Wave, period: Period) -> Self {
        Self { wave, period, phase: 0.0, depth: 1.0, offset: 0.0, seed: 0 }
    }

    /// Returns the level: -1 for the minimum of a range, 0 for its middle, 1 for its maximum.
    pub(super) fn level_at(&self, timeline: &Timeline, at_us: i64) -> f32 {
        let waves = self.period.passed(timeline, at_us) + self.phase;
        self.depth.mul_add(self.wave.height(waves, self.seed), self.offset)
    }

    pub(super) fn check(&self) -> Result<(), ModulatorError> {
        check_cycle("period", self.period)?;
        check_number("phase", self.phase, -1.0, 1.0)?;
        check_number("depth", self.depth.into(), -1.0, 1.0)?;
        check_number("offset", self.offset.into(), -1.0, 1.0)
    }
}
