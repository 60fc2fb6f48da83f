use thiserror::Error;

use crate::clock_offset::ClockEstimate;

/// Tempo, beats and bars, mapped to a clock that only goes forward: pure arithmetic, exact over days.
///
/// Time is microseconds of that clock, of any origin; every host has its own. Beats are counted from any origin too
/// and may be negative; a bar is [`quantum`](Self::quantum) beats and begins at a multiple of it.
///
/// A change makes another timeline that goes on from the same beat at the same time, so beats neither jump nor run
/// backwards. Beats are an `f64`: after a day at 999 beats a minute, a millionth of a microsecond is still told
/// apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timeline {
    bpm: f64,
    origin_us: i64,
    origin_beat: f64,
    quantum: f64,
    playing: bool,
    rate: f64,
}

/// What no timeline can have.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum TimelineError {
    /// A tempo out of range. The range is Ableton Link's.
    #[error(
        "{bpm} is no tempo; give one from {} to {} beats a minute",
        Timeline::MIN_BPM,
        Timeline::MAX_BPM
    )]
    Tempo {
        /// What was given.
        bpm: f64,
    },
    /// A bar without length, or one that is not finite.
    #[error(
        "{quantum} is no length of a bar; give a number of beats from {} to {}",
        Timeline::MIN_QUANTUM,
        Timeline::MAX_QUANTUM
    )]
    Quantum {
        /// What was given.
        quantum: f64,
    },
    /// A beat that is not finite.
    #[error("{beat} is no beat")]
    Beat {
        /// What was given.
        beat: f64,
    },
    /// A rate out of range.
    #[error(
        "{rate} is no rate of a clock; give one from {} to {}",
        Timeline::MIN_RATE,
        Timeline::MAX_RATE
    )]
    Rate {
        /// What was given.
        rate: f64,
    },
}

impl Timeline {
    /// The slowest tempo, in beats a minute.
    pub const MIN_BPM: f64 = 20.0;
    /// The fastest tempo, in beats a minute.
    pub const MAX_BPM: f64 = 999.0;
    /// The shortest bar, in beats.
    pub const MIN_QUANTUM: f64 = 1.0 / 64.0;
    /// The longest bar, in beats.
    pub const MAX_QUANTUM: f64 = 1024.0;
    /// The slowest rate: clocks drift by far less, and a correction is no faster than this.
    pub const MIN_RATE: f64 = 0.9;
    /// The fastest rate.
    pub const MAX_RATE: f64 = 1.1;
    const US_PER_MINUTE: f64 = 60e6;
    /// What there is where nobody has said anything else: 120 beats a minute in bars of four, playing, beat 0 at time 0.
    pub const DEFAULT: Self =
        Self { bpm: 120.0, origin_us: 0, origin_beat: 0.0, quantum: 4.0, playing: true, rate: 1.0 };

    /// A timeline that shows `beat` at `at_us`, with bars of four beats, not playing.
    ///
    /// # Errors
    ///
    /// When the tempo is not from 20 to 999, or the beat is not finite.
    pub fn new(bpm: f64, at_us: i64, beat: f64) -> Result<Self, TimelineError> {
        if !beat.is_finite() {
            return Err(TimelineError::Beat { beat });
        }
        let bpm = check_tempo(bpm)?;
        Ok(Self {
            bpm,
            origin_us: at_us,
            origin_beat: beat,
            quantum: 4.0,
            playing: false,
            rate: 1.0,
        })
    }

    /// Beats a minute.
    #[must_use]
    pub const fn bpm(&self) -> f64 {
        self.bpm
    }

    /// Beats in a bar.
    #[must_use]
    pub const fn quantum(&self) -> f64 {
        self.quantum
    }

    /// Whether it plays. Beats go on in any case, as they do in Ableton Link.
    #[must_use]
    pub const fn is_playing(&self) -> bool {
        self.playing
    }

    /// How fast it runs by this clock: 1 but for what the clock drifts against the one that keeps the tempo, and for what is
    /// being caught up with. Beats pass by [`bpm`](Self::bpm) times this.
    #[must_use]
    pub const fn rate(&self) -> f64 {
        self.rate
    }

    /// Where it is anchored: a time and the beat then.
    #[must_use]
    pub const fn origin(&self) -> (i64, f64) {
        (self.origin_us, self.origin_beat)
    }

    /// The beat at a time; may be negative.
    #[must_use]
    pub const fn beat_at(&self, at_us: i64) -> f64 {
        microseconds(self.origin_us, at_us).mul_add(self.beats_per_us(), self.origin_beat)
    }

    /// The time of a beat, in microseconds of the same clock; the nearest whole one. What lies beyond the clock's
    /// numbers is its first or last.
    // An `as` from f64 to i64 saturates, which is what is wanted.
    #[allow(clippy::cast_possible_truncation)]
    #[must_use]
    pub fn time_at(&self, beat: f64) -> i64 {
        let from_origin = (beat - self.origin_beat) / self.beats_per_us();
        self.origin_us.saturating_add(from_origin.round() as i64)
    }

    /// How far into the bar a time is, in beats: from 0 up to, not including, the quantum.
    #[must_use]
    pub fn phase_at(&self, at_us: i64) -> f64 {
        phase(self.beat_at(at_us), self.quantum)
    }

    /// The first beat after `at_us` that is a multiple of `every` beats (1: the next beat). `None` if `every` is not
    /// above 0.
    #[must_use]
    pub fn next_multiple(&self, every: f64, at_us: i64) -> Option<f64> {
        (every.is_finite() && every > 0.0).then(|| {
            let now = self.beat_at(at_us);
            let next = ((now / every).floor() + 1.0) * every;
            // Rounding to whole microseconds may put a beat a trifle before its own time.
            if self.time_at(next) <= at_us { next + every } else { next }
        })
    }

    /// The first beat of the next bar after `at_us`.
    #[must_use]
    pub fn next_bar(&self, at_us: i64) -> f64 {
        self.next_multiple(self.quantum, at_us).unwrap_or_else(|| self.beat_at(at_us))
    }

    /// The same with another tempo from `at_us` on; what was before that keeps no meaning.
    ///
    /// # Errors
    ///
    /// When the tempo is not from 20 to 999.
    pub fn with_tempo(self, bpm: f64, at_us: i64) -> Result<Self, TimelineError> {
        let bpm = check_tempo(bpm)?;
        Ok(Self { bpm, origin_us: at_us, origin_beat: self.beat_at(at_us), ..self })
    }

    /// The same by another rate from `at_us` on; what was before that keeps no meaning.
    ///
    /// # Errors
    ///
    /// When the rate is not from 0.9 to 1.1.
    pub fn with_rate(self, rate: f64, at_us: i64) -> Result<Self, TimelineError> {
        if (Self::MIN_RATE..=Self::MAX_RATE).contains(&rate) {
            Ok(Self { rate, origin_us: at_us, origin_beat: self.beat_at(at_us), ..self })
        } else {
            Err(TimelineError::Rate { rate })
        }
    }

    /// The same, anchored at another time: no beat moves.
    #[must_use]
    pub const fn anchored_at(self, at_us: i64) -> Self {
        Self { origin_us: at_us, origin_beat: self.beat_at(at_us), ..self }
    }

    /// The same with all its beats moved: a jump.
    #[must_use]
    pub const fn moved_by(self, beats: f64) -> Self {
        Self { origin_beat: self.origin_beat + beats, ..self }
    }

    /// The same with bars of another length, from 1/64 to 1024 beats.
    ///
    /// # Errors
    ///
    /// When the length is outside of that.
    pub fn with_quantum(self, quantum: f64) -> Result<Self, TimelineError> {
        if (Self::MIN_QUANTUM..=Self::MAX_QUANTUM).contains(&quantum) {
            Ok(Self { quantum, ..self })
        } else {
            Err(TimelineError::Quantum { quantum })
        }
    }

    /// The same, playing or not.
    #[must_use]
    pub const fn with_playing(self, playing: bool) -> Self {
        Self { playing, ..self }
    }

    /// The same by another clock, which is ahead of this one by `ahead_us`.
    #[must_use]
    pub const fn on_clock(self, ahead_us: i64) -> Self {
        Self { origin_us: self.origin_us.saturating_add(ahead_us), ..self }
    }

    /// The same by the clock here, of one that is by the clock of another host. What comes out between the two is as exact
    /// as the estimate is near the origin.
    #[must_use]
    pub fn here(self, clock: &ClockEstimate) -> Self {
        let rate = (self.rate * clock.rate()).clamp(Self::MIN_RATE, Self::MAX_RATE);
        Self { origin_us: clock.here(self.origin_us), rate, ..self }
    }

    /// How long a beat is, in microseconds of its clock.
    #[must_use]
    pub const fn us_per_beat(&self) -> f64 {
        1.0 / self.beats_per_us()
    }

    const fn beats_per_us(&self) -> f64 {
        self.bpm * self.rate / Self::US_PER_MINUTE
    }
}

/// How far a beat is into its bar, also for negative ones: from 0 up to, not including, `quantum`.
fn phase(beat: f64, quantum: f64) -> f64 {
    let phase = beat.rem_euclid(quantum);
    // The remainder of a tiny negative number rounds up to the whole.
    if phase < quantum { phase } else { 0.0 }
}

fn check_tempo(bpm: f64) -> Result<f64, TimelineError> {
    if (Timeline::MIN_BPM..=Timeline::MAX_BPM).contains(&bpm) {
        Ok(bpm)
    } else {
        Err(TimelineError::Tempo { bpm })
    }
}

/// From one time to another, exact to a fraction of a microsecond over 285 years.
// 2^53 microseconds are 285 years; what is further apart needs no such precision.
#[allow(clippy::cast_precision_loss)]
const fn microseconds(from: i64, to: i64) -> f64 {
    match to.checked_sub(from) {
        Some(passed) => passed as f64,
        None => to as f64 - from as f64,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::cast_possible_truncation)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY_US: i64 = 24 * 3600 * 1_000_000;

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        for bpm in [0.0, 19.9, 1000.0, -120.0, f64::NAN, f64::INFINITY] {
            let error = Timeline::new(bpm, 0, 0.0).unwrap_err();
            assert!(error.to_string().contains("from 20 to 999"), "{error}");
        }
        let timeline = Timeline::new(120.0, 0, 0.0).unwrap();
        for quantum in [0.0, -4.0, 1e9, f64::NAN] {
            timeline.with_quantum(quantum).unwrap_err();
        }
        for rate in [0.0, 0.89, 1.11, -1.0, f64::NAN] {
            timeline.with_rate(rate, 0).unwrap_err();
        }
        Timeline::new(120.0, 0, f64::NAN).unwrap_err();
    }

    #[test]
    fn at_120_a_beat_is_half_a_second_and_a_bar_two() {
        let timeline = Timeline::new(120.0, 1_000_000, 0.0).unwrap();
        assert_eq!(timeline.time_at(1.0), 1_500_000);
        assert!((timeline.beat_at(3_250_000) - 4.5).abs() < 1e-9);
        assert!((timeline.phase_at(3_250_000) - 0.5).abs() < 1e-9);
        assert!((timeline.next_bar(3_250_000) - 8.0).abs() < 1e-9);
        assert!((timeline.phase_at(750_000) - 3.5).abs() < 1e-9, "before the first bar too");
        assert!((timeline.next_bar(-10_000_000) - -20.0).abs() < 1e-9);
    }

    #[test]
    fn after_a_day_of_changes_the_beat_is_off_by_less_than_a_microsecond() {
        // The exact beat, in whole numbers: tempos are hundredths of beats a minute.
        let mut timeline = Timeline::new(120.0, 0, 0.0).unwrap();
        let (mut hundredths, mut exact, mut at) = (12_000_i128, 0_i128, 0_i64);
        for step in 0..86_400_i64 {
            at += 1_000_000;
            exact += hundredths * 1_000_000;
            hundredths = 2_000 + i128::from(step * 7919 % 97_900);
            timeline = timeline.with_tempo(hundredths as f64 / 100.0, at).unwrap();
        }
        let whole = exact / 6_000_000_000;
        let part = (exact % 6_000_000_000) as f64 / 6e9;
        let difference = (timeline.beat_at(DAY_US) - whole as f64) - part;
        let difference_us = difference.abs() / timeline.beats_per_us();
        assert!(difference_us < 1.0, "{difference_us} us after a day");
    }

    fn timelines() -> impl Strategy<Value = Timeline> {
        let rates = (-1000..=1000_i16).prop_map(|ppm| 1.0 + f64::from(ppm) / 1e6);
        (20.0..=999.0_f64, -DAY_US..DAY_US, -1e6..1e6_f64, 1..=16_u8, rates).prop_map(
            |(bpm, at, beat, quantum, rate)| {
                let timeline = Timeline::new(bpm, at, beat).unwrap();
                timeline.with_quantum(f64::from(quantum)).unwrap().with_rate(rate, at).unwrap()
            },
        )
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn time_and_beat_are_each_others_inverse(timeline in timelines(), at in -DAY_US..DAY_US) {
            prop_assert!((timeline.time_at(timeline.beat_at(at)) - at).abs() <= 1);
        }

        #[test]
        fn beats_only_go_forward(timeline in timelines(), at in -DAY_US..DAY_US, later in 1..DAY_US) {
            prop_assert!(timeline.beat_at(at + later) > timeline.beat_at(at));
        }

        #[test]
        fn a_change_moves_no_beat(
            timeline in timelines(), at in -DAY_US..DAY_US, bpm in 20.0..=999.0_f64, ahead in -DAY_US..DAY_US,
        ) {
            let changed = timeline.with_tempo(bpm, at).unwrap().with_playing(true);
            prop_assert!((changed.beat_at(at) - timeline.beat_at(at)).abs() < 1e-9);
            for rate in [Timeline::MIN_RATE, 0.9999, 1.0001, Timeline::MAX_RATE] {
                let eased = timeline.with_rate(rate, at).unwrap();
                prop_assert!((eased.beat_at(at) - timeline.beat_at(at)).abs() < 1e-9);
                let (before, after) = (timeline.beats_per_us(), eased.beats_per_us());
                prop_assert!((after / before - rate / timeline.rate()).abs() < 1e-9);
            }
            prop_assert!((timeline.anchored_at(at).beat_at(at + ahead) - timeline.beat_at(at + ahead)).abs() < 1e-6);
            let elsewhere = timeline.on_clock(ahead);
            prop_assert!((elsewhere.beat_at(at + ahead) - timeline.beat_at(at)).abs() < 1e-6);
        }

        #[test]
        fn the_next_bar_is_ahead_and_not_far(timeline in timelines(), at in -DAY_US..DAY_US) {
            let bar = timeline.next_bar(at);
            prop_assert!(timeline.time_at(bar) > at);
            prop_assert!(bar - timeline.beat_at(at) <= timeline.quantum() + 1e-4);
            let phase = phase(bar, timeline.quantum());
            prop_assert!(phase.min(timeline.quantum() - phase) < 1e-6);
        }

        #[test]
        fn phase_lies_within_the_bar_whatever_the_beat(beat: f64, quantum in 0.1..100.0_f64) {
            prop_assume!(beat.is_finite());
            let phase = phase(beat, quantum);
            prop_assert!((0.0..quantum).contains(&phase));
        }

        #[test]
        fn no_number_makes_it_panic(timeline in timelines(), at: i64, beat: f64, every: f64) {
            let _ = (timeline.beat_at(at), timeline.time_at(beat), timeline.phase_at(at));
            let _ = (timeline.next_multiple(every, at), timeline.next_bar(at), timeline.on_clock(at));
        }
    }
}
