use std::f64::consts::TAU;

use hana_time::Timeline;
use serde::{Deserialize, Serialize};

use crate::parameter::modulator::period::Period;
use crate::parameter::modulator::{ModulatorError, check_number, one};

/// A low-frequency oscillator: a wave that repeats from beat 0 on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lfo {
    /// The waveform.
    pub wave: Wave,
    /// The length of one period.
    pub period: Period,
    /// The phase at beat 0, in periods: 0.25 starts a quarter into the wave. -1 to 1.
    #[serde(default)]
    pub phase: f64,
    /// The amplitude: 1 is the whole range, a negative depth inverts the wave. -1 to 1.
    #[serde(default = "one")]
    pub depth: f32,
    /// The offset of the middle: 1 is from the middle of the range to its end. -1 to 1.
    #[serde(default)]
    pub offset: f32,
    /// The seed of the sample-and-hold noise: equal seeds give equal samples.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seed: u32,
}

// Serde's `skip_serializing_if` passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The waveform of an [`Lfo`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wave {
    /// Starts in the middle and rises.
    Sine,
    /// Starts in the middle and rises, in straight lines.
    Triangle,
    /// Rises from the bottom to the top, then drops at once.
    Saw,
    /// High for the first half of the period, low for the second.
    Square,
    /// Sample-and-hold noise: a pseudo-random level per period, identical on all hosts.
    SampleAndHold,
}

impl Wave {
    /// All waveforms.
    pub const ALL: [Self; 5] =
        [Self::Sine, Self::Triangle, Self::Saw, Self::Square, Self::SampleAndHold];

    /// Returns the waveform's name in the textual form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sine => "sine",
            Self::Triangle => "triangle",
            Self::Saw => "saw",
            Self::Square => "square",
            Self::SampleAndHold => "sample-and-hold",
        }
    }

    pub(super) fn list() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }

    /// Returns the height, -1 to 1, after `waves` periods.
    // Truncated on purpose: f32 is precise enough for a level, and no real step number exceeds an i64.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn height(self, waves: f64, seed: u32) -> f32 {
        let step = waves.floor();
        let part = waves - step;
        let height = match self {
            Self::Sine => (TAU * part).sin(),
            Self::Triangle => 4.0_f64.mul_add(-((part + 0.25).fract() - 0.5).abs(), 1.0),
            Self::Saw => 2.0_f64.mul_add(part, -1.0),
            Self::Square if part < 0.5 => 1.0,
            Self::Square => -1.0,
            Self::SampleAndHold => chance(step as i64, seed),
        };
        height as f32
    }
}

/// Hashes both arguments to a number from -1 to 1 with splitmix64, which shows no visible pattern.
// An f64 represents 53 bits exactly.
#[allow(clippy::cast_precision_loss)]
fn chance(step: i64, seed: u32) -> f64 {
    let seeded = u64::from(seed).wrapping_mul(0xD1B5_4A32_D192_ED03);
    let mut mixed = step.cast_unsigned().wrapping_add(seeded).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^= mixed >> 31;
    let unit = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
    2.0_f64.mul_add(unit, -1.0)
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
        self.period.check_cycle("period")?;
        check_number("phase", self.phase, -1.0, 1.0)?;
        check_number("depth", self.depth.into(), -1.0, 1.0)?;
        check_number("offset", self.offset.into(), -1.0, 1.0)
    }
}
