use hana_time::Timeline;
use serde::{Deserialize, Serialize};

use crate::parameter::modulator::period::Period;
use crate::parameter::modulator::{ModulatorError, check_number, one};
use crate::parameter::parameter::Parameter;

/// An envelope: up, down to a level, some time at it, and down to rest. As it stands, a flash that goes out over a beat.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Adsr {
    /// When it goes off.
    pub trigger: Trigger,
    /// How long it takes up to the top; none by default.
    #[serde(default = "no_time")]
    pub attack: Period,
    /// How long it takes from there down to `sustain`; a beat by default.
    #[serde(default = "a_beat")]
    pub decay: Period,
    /// The level it stays at, a share of the top, 0 to 1; 0 by default.
    #[serde(default)]
    pub sustain: f32,
    /// How long it stays there; no time by default.
    #[serde(default = "no_time")]
    pub hold: Period,
    /// How long it takes from there to rest; no time by default.
    #[serde(default = "no_time")]
    pub release: Period,
    /// How far it reaches: 1 is from rest to the end of the range. -1 to 1.
    #[serde(default = "one")]
    pub depth: f32,
    /// How far rest is moved: 1 is half of the range. -2 to 2.
    #[serde(default)]
    pub offset: f32,
}

/// When an envelope goes off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// Again and again, from beat 0 on; what is not over by then begins anew.
    Every(Period),
    /// At that beat, and not again.
    At(f64),
    /// As soon as it is in force, and not again.
    Once,
}

const fn no_time() -> Period {
    Period::ZERO
}

const fn a_beat() -> Period {
    Period::Beats(1.0)
}

impl Adsr {
    /// One that goes off then, at once at the top, and out over a beat.
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

    /// Where it is: -1 for the least of the parameter's range, 0 for its middle, 1 for the greatest.
    pub(super) fn level_at(&self, parameter: &Parameter, timeline: &Timeline, at_us: i64) -> f32 {
        let height = self.height_at(timeline, at_us);
        // Up from rest: where that is the least value, it is twice as far to the top.
        let level = if parameter.is_bipolar() { height } else { 2.0_f32.mul_add(height, -1.0) };
        level + self.offset
    }

    /// Its height above rest, 0 to 1 if its depth is 1.
    // Truncated on purpose: a level needs no more than an f32.
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
            Trigger::Every(period) => period.check_cycle("every")?,
            Trigger::At(beat) => check_number("at", beat, -1e9, 1e9)?,
            Trigger::Once => {},
        }
        self.attack.check_part("attack")?;
        self.decay.check_part("decay")?;
        self.hold.check_part("hold")?;
        self.release.check_part("release")?;
        check_number("sustain", self.sustain.into(), 0.0, 1.0)?;
        check_number("depth", self.depth.into(), -1.0, 1.0)?;
        check_number("offset", self.offset.into(), -2.0, 2.0)
    }
}
