use thiserror::Error;

use crate::clock_offset::ClockEstimate;

/// A mapping of tempo, beats and bars to a monotonic clock: pure arithmetic, exact over days.
///
/// Time is in microseconds of that clock, from any origin; every host has its own clock. Beats also count from any
/// origin and may be negative. A bar is [`quantum`](Self::quantum) beats long and begins at a multiple of it.
///
/// A change returns another timeline that continues from the same beat at the same time, so beats neither jump nor
/// run backwards. Beats are an `f64`: after a day at 999 beats per minute, it still resolves a ten-thousandth
/// of a microsecond.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timeline {
    bpm: f64,
    origin_us: i64,
    origin_beat: f64,
    quantum: f64,
    playing: bool,
    rate: f64,
}

/// A value that no timeline can have.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum TimelineError {
    /// A tempo out of range; the range is Ableton Link's.
    #[error(
        "{bpm} is no tempo; give one from {} to {} beats a minute",
        Timeline::MIN_BPM,
        Timeline::MAX_BPM
    )]
    Tempo {
        /// The rejected value.
        bpm: f64,
    },
    /// A bar length out of range or not finite.
    #[error(
        "{quantum} is no length of a bar; give a number of beats from {} to {}",
        Timeline::MIN_QUANTUM,
        Timeline::MAX_QUANTUM
    )]
    Quantum {
        /// The rejected value.
        quantum: f64,
    },
    /// A beat that is not finite.
    #[error("{beat} is no beat")]
    Beat {
        /// The rejected value.
        beat: f64,
    },
    /// A rate out of range.
    #[error(
        "{rate} is no rate of a clock; give one from {} to {}",
        Timeline::MIN_RATE,
        Timeline::MAX_RATE
    )]
    Rate {
        /// The rejected value.
        rate: f64,
    },
}

impl Timeline {
    /// The slowest tempo, in beats per minute.
    pub const MIN_BPM: f64 = 20.0;
    /// The fastest tempo, in beats per minute.
    pub const MAX_BPM: f64 = 999.0;
    /// The shortest bar, in beats.
    pub const MIN_QUANTUM: f64 = 1.0 / 64.0;
    /// The longest bar, in beats.
    pub const MAX_QUANTUM: f64 = 1024.0;
    /// The slowest rate: clocks drift by far less, and a correction never goes beyond it.
    pub const MIN_RATE: f64 = 0.9;
    /// The fastest rate.
    pub const MAX_RATE: f64 = 1.1;
    const US_PER_MINUTE: f64 = 60e6;
    /// The timeline that applies until another is set: 120 beats per minute in bars of four, playing, beat 0 at time 0.
    pub const DEFAULT: Self =
        Self { bpm: 120.0, origin_us: 0, origin_beat: 0.0, quantum: 4.0, playing: true, rate: 1.0 };

    /// Creates a paused timeline with bars of four beats, whose beat at `at_us` is `beat`.
    ///
    /// # Errors
    ///
    /// Fails if the tempo is not from 20 to 999, or the beat is not finite.
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

    /// Returns the tempo in beats per minute.
    #[must_use]
    pub const fn bpm(&self) -> f64 {
        self.bpm
    }

    /// Returns the number of beats in a bar.
    #[must_use]
    pub const fn quantum(&self) -> f64 {
        self.quantum
    }

    /// Returns whether the timeline plays. Beats advance in any case, as in Ableton Link.
    #[must_use]
    pub const fn is_playing(&self) -> bool {
        self.playing
    }

    /// Returns the speed relative to this clock; beats pass at [`bpm`](Self::bpm) times this rate.
    ///
    /// It differs from 1 by the drift against the clock that keeps the tempo, and by the slew of a correction.
    #[must_use]
    pub const fn rate(&self) -> f64 {
        self.rate
    }

    /// Returns the anchor: a time and its beat.
    #[must_use]
    pub const fn origin(&self) -> (i64, f64) {
        (self.origin_us, self.origin_beat)
    }

    /// Returns the beat at a time; it may be negative.
    #[must_use]
    pub const fn beat_at(&self, at_us: i64) -> f64 {
        microseconds(self.origin_us, at_us).mul_add(self.beats_per_us(), self.origin_beat)
    }

    /// Returns the time of a beat, to the nearest microsecond of the same clock; saturates at the limits of `i64`.
    // `as` from f64 to i64 saturates, as intended.
    #[allow(clippy::cast_possible_truncation)]
    #[must_use]
    pub fn time_at(&self, beat: f64) -> i64 {
        let from_origin = (beat - self.origin_beat) / self.beats_per_us();
        self.origin_us.saturating_add(from_origin.round() as i64)
    }

    /// Returns the position in the bar at a time, in beats: from 0 up to, but not including, the quantum.
    #[must_use]
    pub fn phase_at(&self, at_us: i64) -> f64 {
        phase(self.beat_at(at_us), self.quantum)
    }

    /// Returns the first beat after `at_us` that is a multiple of `every` beats.
    ///
    /// If `every` is 1, this is the next beat. Returns `None` if `every` is not above 0.
    #[must_use]
    pub fn next_multiple(&self, every: f64, at_us: i64) -> Option<f64> {
        (every.is_finite() && every > 0.0).then(|| {
            let now = self.beat_at(at_us);
            let next = ((now / every).floor() + 1.0) * every;
            // Rounding to whole microseconds may place a beat slightly before its own time.
            if self.time_at(next) <= at_us { next + every } else { next }
        })
    }

    /// Returns the first beat of the next bar after `at_us`.
    #[must_use]
    pub fn next_bar(&self, at_us: i64) -> f64 {
        self.next_multiple(self.quantum, at_us).unwrap_or_else(|| self.beat_at(at_us))
    }

    /// Returns this timeline with another tempo from `at_us` on; it is not valid for earlier times.
    ///
    /// # Errors
    ///
    /// Fails if the tempo is not from 20 to 999.
    pub fn with_tempo(self, bpm: f64, at_us: i64) -> Result<Self, TimelineError> {
        let bpm = check_tempo(bpm)?;
        Ok(Self { bpm, origin_us: at_us, origin_beat: self.beat_at(at_us), ..self })
    }

    /// Returns this timeline with another rate from `at_us` on; it is not valid for earlier times.
    ///
    /// # Errors
    ///
    /// Fails if the rate is not from 0.9 to 1.1.
    pub fn with_rate(self, rate: f64, at_us: i64) -> Result<Self, TimelineError> {
        if (Self::MIN_RATE..=Self::MAX_RATE).contains(&rate) {
            Ok(Self { rate, origin_us: at_us, origin_beat: self.beat_at(at_us), ..self })
        } else {
            Err(TimelineError::Rate { rate })
        }
    }

    /// Returns this timeline anchored at another time; no beat moves.
    #[must_use]
    pub const fn anchored_at(self, at_us: i64) -> Self {
        Self { origin_us: at_us, origin_beat: self.beat_at(at_us), ..self }
    }

    /// Returns this timeline with all its beats shifted: a jump.
    #[must_use]
    pub const fn shifted_by(self, beats: f64) -> Self {
        Self { origin_beat: self.origin_beat + beats, ..self }
    }

    /// Returns this timeline with bars of another length, from 1/64 to 1024 beats.
    ///
    /// # Errors
    ///
    /// Fails if the length is out of range.
    pub fn with_quantum(self, quantum: f64) -> Result<Self, TimelineError> {
        if (Self::MIN_QUANTUM..=Self::MAX_QUANTUM).contains(&quantum) {
            Ok(Self { quantum, ..self })
        } else {
            Err(TimelineError::Quantum { quantum })
        }
    }

    /// Returns this timeline, playing or paused.
    #[must_use]
    pub const fn with_playing(self, playing: bool) -> Self {
        Self { playing, ..self }
    }

    /// Converts this timeline to another clock, which is ahead of this one by `ahead_us`.
    #[must_use]
    pub const fn on_clock(self, ahead_us: i64) -> Self {
        Self { origin_us: self.origin_us.saturating_add(ahead_us), ..self }
    }

    /// Converts this timeline from another host's clock to the local one.
    ///
    /// Near its origin, the converted timeline is as accurate as the estimate.
    #[must_use]
    pub fn to_local(self, clock: &ClockEstimate) -> Self {
        let rate = (self.rate * clock.rate()).clamp(Self::MIN_RATE, Self::MAX_RATE);
        Self { origin_us: clock.to_local(self.origin_us), rate, ..self }
    }

    /// Returns the length of a beat, in microseconds of its clock.
    #[must_use]
    pub const fn us_per_beat(&self) -> f64 {
        1.0 / self.beats_per_us()
    }

    const fn beats_per_us(&self) -> f64 {
        self.bpm * self.rate / Self::US_PER_MINUTE
    }
}

/// Returns the position of a beat in its bar: from 0 up to, but not including, `quantum`, also for negative beats.
fn phase(beat: f64, quantum: f64) -> f64 {
    let phase = beat.rem_euclid(quantum);
    // The remainder of a tiny negative number rounds up to `quantum` itself.
    if phase < quantum { phase } else { 0.0 }
}

fn check_tempo(bpm: f64) -> Result<f64, TimelineError> {
    if (Timeline::MIN_BPM..=Timeline::MAX_BPM).contains(&bpm) {
        Ok(bpm)
    } else {
        Err(TimelineError::Tempo { bpm })
    }
}

/// Returns the time between two times, exact to a fraction of a microsecond over 285 years.
// 2^53 microseconds are 285 years; longer intervals need no such precision.
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
    fn invalid_timeline_is_refused_with_the_valid_range() {
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
    fn beat_at_120_bpm_is_half_a_second_and_a_bar_two() {
        let timeline = Timeline::new(120.0, 1_000_000, 0.0).unwrap();
        assert_eq!(timeline.time_at(1.0), 1_500_000);
        assert!((timeline.beat_at(3_250_000) - 4.5).abs() < 1e-9);
        assert!((timeline.phase_at(3_250_000) - 0.5).abs() < 1e-9);
        assert!((timeline.next_bar(3_250_000) - 8.0).abs() < 1e-9);
        assert!((timeline.phase_at(750_000) - 3.5).abs() < 1e-9, "before the first bar too");
        assert!((timeline.next_bar(-10_000_000) - -20.0).abs() < 1e-9);
    }

    #[test]
    fn beat_is_off_by_less_than_a_microsecond_after_a_day() {
        // The exact beat, in whole numbers: tempos are hundredths of a beat per minute.
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
        fn time_and_beat_are_inverse(timeline in timelines(), at in -DAY_US..DAY_US) {
            prop_assert!((timeline.time_at(timeline.beat_at(at)) - at).abs() <= 1);
        }

        #[test]
        fn beats_only_increase(timeline in timelines(), at in -DAY_US..DAY_US, later in 1..DAY_US) {
            prop_assert!(timeline.beat_at(at + later) > timeline.beat_at(at));
        }

        #[test]
        fn tempo_or_rate_change_moves_no_beat(
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
        fn next_bar_is_ahead_and_within_one_bar(timeline in timelines(), at in -DAY_US..DAY_US) {
            let bar = timeline.next_bar(at);
            prop_assert!(timeline.time_at(bar) > at);
            prop_assert!(bar - timeline.beat_at(at) <= timeline.quantum() + 1e-4);
            let phase = phase(bar, timeline.quantum());
            prop_assert!(phase.min(timeline.quantum() - phase) < 1e-6);
        }

        #[test]
        fn phase_is_within_the_bar_for_any_beat(beat: f64, quantum in 0.1..100.0_f64) {
            prop_assume!(beat.is_finite());
            let phase = phase(beat, quantum);
            prop_assert!((0.0..quantum).contains(&phase));
        }

        #[test]
        fn no_number_causes_a_panic(timeline in timelines(), at: i64, beat: f64, every: f64) {
            let _ = (timeline.beat_at(at), timeline.time_at(beat), timeline.phase_at(at));
            let _ = (timeline.next_multiple(every, at), timeline.next_bar(at), timeline.on_clock(at));
        }
    }
}
