use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

/// The waveform of an [`Lfo`](crate::parameter::Lfo).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wave {
    /// Starts in the middle and rises.
    Sine,
    /// Starts in the middle and rises, in straight lines.
    Triangle,
    /// Rises from the bottom to the top, then drops immediately.
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
