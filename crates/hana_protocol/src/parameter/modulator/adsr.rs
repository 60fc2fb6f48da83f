use hana_time::Timeline;
use serde::{Deserialize, Serialize};

use crate::parameter::modulator::error::{ModulatorError, check_cycle, check_number, check_stage};
use crate::parameter::modulator::period::Period;
use crate::parameter::parameter::Parameter;

/// An ADSR envelope: it rises, falls to a level, holds it, and falls to rest.
///
/// By default, it is a flash that decays over a beat.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Adsr {
    /// The moment at which the envelope fires.
    pub trigger: Trigger,
    /// The time from rest to the top; 0 by default.
    #[serde(default = "no_time")]
    pub attack: Period,
    /// The time from the top down to `sustain`; one beat by default.
    #[serde(default = "a_beat")]
    pub decay: Period,
    /// The level that is held, as a share of the top, 0 to 1; 0 by default.
    #[serde(default)]
    pub sustain: f32,
    /// The time at the sustain level; 0 by default.
    #[serde(default = "no_time")]
    pub hold: Period,
    /// The time from the sustain level to rest; 0 by default.
    #[serde(default = "no_time")]
    pub release: Period,
    /// The height of the top above rest, -1 to 1: with a depth of 1, the top is the end of the range.
    #[serde(default = "one")]
    pub depth: f32,
    /// The offset of rest, -2 to 2: an offset of 1 is half the range.
    #[serde(default)]
    pub offset: f32,
}

/// The moment at which an envelope fires.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// Fires repeatedly, from beat 0 on; an unfinished envelope restarts.
    Every(Period),
    /// Fires once, at this beat.
    At(f64),
    /// Fires once, as soon as the modulator takes effect.
    Once,
}

const fn one() -> f32 {
    1.0
}

const fn no_time() -> Period {
    Period::ZERO
}

const fn a_beat() -> Period {
    Period::Beats(1.0)
}

impl Adsr {
    /// Returns an envelope that starts at the top and decays over a beat.
    #[must_use]
    pub const fn new(trigger: Trigger) -> Self {
        Self {
            trigger,
            attack: no_time(),
            decay: a_beat(),
            sustain: 0.0,
            hold: no_time(),
            release: no_time(),
            depth: 1.0,
            offset: 0.0,
        }
    }

    /// Returns the level: -1 for the parameter's minimum, 0 for its middle, 1 for its maximum.
    pub(super) fn level_at(&self, parameter: &Parameter, timeline: &Timeline, at_us: i64) -> f32 {
        let height = self.height_at(timeline, at_us);
        // The envelope rises from rest. If rest is the minimum, the distance to the top is twice as large.
        let level = if parameter.is_bipolar() { height } else { 2.0_f32.mul_add(height, -1.0) };
        level + self.offset
    }

    /// Returns the height above rest, 0 to 1 for a depth of 1.
    // Truncated on purpose: f32 is precise enough for a level.
    #[allow(clippy::cast_possible_truncation)]
    fn height_at(&self, timeline: &Timeline, at_us: i64) -> f32 {
        let since = match self.trigger {
            Trigger::Every(period) => {
                let passed = period.passed(timeline, at_us);
                (passed - passed.floor()) * period.in_beats(timeline)
            },
            Trigger::At(beat) => timeline.beat_at(at_us) - beat,
            Trigger::Once => return 0.0,
        };
        let sustain = f64::from(self.sustain);
        let parts = [
            (self.attack, 0.0, 1.0),
            (self.decay, 1.0, sustain),
            (self.hold, sustain, sustain),
            (self.release, sustain, 0.0),
        ];
        let mut left = since;
        if left < 0.0 {
            return 0.0;
        }
        for (length, from, to) in parts {
            let length = length.in_beats(timeline);
            if left < length {
                let along = (to - from).mul_add(left / length, from);
                return self.depth * along as f32;
            }
            left -= length;
        }
        0.0
    }

    pub(super) fn check(&self) -> Result<(), ModulatorError> {
        match self.trigger {
            Trigger::Every(period) => check_cycle("every", period)?,
            Trigger::At(beat) => check_number("at", beat, -1e9, 1e9)?,
            Trigger::Once => {},
        }
        check_stage("attack", self.attack)?;
        check_stage("decay", self.decay)?;
        check_stage("hold", self.hold)?;
        check_stage("release", self.release)?;
        check_number("sustain", self.sustain.into(), 0.0, 1.0)?;
        check_number("depth", self.depth.into(), -1.0, 1.0)?;
        check_number("offset", self.offset.into(), -2.0, 2.0)
    }
}
