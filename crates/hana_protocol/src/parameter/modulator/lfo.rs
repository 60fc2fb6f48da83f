use std::f64::consts::TAU;

use hana_time::Timeline;
use serde::{Deserialize, Serialize};

use crate::parameter::modulator::period::Period;
use crate::parameter::modulator::{ModulatorError, check_number, one};

/// A low-frequency oscillator: the same wave again and again, from beat 0 on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lfo {
    /// What it looks like.
    pub wave: Wave,
    /// How long one wave takes.
    pub period: Period,
    /// Where in the wave beat 0 is, in waves: 0.25 is a quarter on. -1 to 1.
    #[serde(default)]
    pub phase: f64,
    /// How far it reaches: 1 is the whole range, below 0 it is upside down. -1 to 1.
    #[serde(default = "one")]
    pub depth: f32,
    /// How far its middle is moved: 1 is from the middle of the range to its end. -1 to 1.
    #[serde(default)]
    pub offset: f32,
    /// Tells two apart that hold samples: with the same number they hold the same ones.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seed: u32,
}

// As serde calls it.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The wave of an [`Lfo`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wave {
    /// Begins in the middle and rises.
    Sine,
    /// The same with straight lines.
    Triangle,
    /// Rises from the bottom to the top, and falls at once.
    Saw,
    /// At the top for one half, at the bottom for the other.
    Square,
    /// Another height in each period, by chance, and the same everywhere.
    SampleAndHold,
}

impl Wave {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Sine, Self::Triangle, Self::Saw, Self::Square, Self::SampleAndHold];

    /// The word for it.
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

    /// Its height, -1 to 1, so many waves after its beginning.
    // Truncated on purpose: a level needs no more than an f32, and a step beyond an i64 is nobody's.
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

/// A number from -1 to 1 that only depends on these two: splitmix64, which has no pattern an eye could find.
// 53 bits fit an f64 exactly.
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
    /// One over the whole range, whose wave begins at beat 0.
    #[must_use]
    pub const fn new(wave: Wave, period: Period) -> Self {
        Self { wave, period, phase: 0.0, depth: 1.0, offset: 0.0, seed: 0 }
    }

    /// Where it is: -1 for the least of a range, 0 for its middle, 1 for the greatest.
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
