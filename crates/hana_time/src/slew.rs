use crate::easing::SlewRate;
use crate::tempo_map::TempoMap;
use crate::timeline::Timeline;

/// A transition of one tempo map to another, gradual where possible.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slew {
    /// The timeline from its origin on, with the final rate.
    pub timeline: Timeline,
    /// The initial rate and its duration; `None` if the rate is final at once.
    pub easing: Option<SlewRate>,
    /// Size of the jump in beats; 0 if there is none.
    pub jump: f64,
}

impl Slew {
    /// How far in advance a change is published, in microseconds: the transit time of a message plus a margin.
    pub const LOOKAHEAD_US: i64 = 25_000;
    /// Largest difference that is slewed, in microseconds; a larger one would be wrong for too long.
    pub const MOST_EASED_US: f64 = 50_000.0;
    /// Largest change of the rate while slewing.
    const EASING: f64 = 0.02;
    /// Minimum duration of a slew, in microseconds.
    const LEAST_US: f64 = 500_000.0;

    /// Computes the transition from `course` to `goal`, on the same clock, as of `now_us`.
    ///
    /// If the goal changes within the lead time, that change is adopted at the time at which it takes effect.
    #[must_use]
    pub fn new(course: &TempoMap, goal: &TempoMap, now_us: i64) -> Self {
        let soon = now_us.saturating_add(Self::LOOKAHEAD_US);
        let last = goal.last();
        let at_us = if goal.at(soon) == last && last.origin().0 > now_us && goal.at(now_us) != last
        {
            last.origin().0
        } else {
            soon
        };
        let goal = goal.at(at_us).anchored_at(at_us);
        let beat = course.at(at_us).beat_at(at_us);
        let off = goal.beat_at(at_us) - beat;
        let off_us = off * goal.us_per_beat();
        if off_us.abs() > Self::MOST_EASED_US {
            return Self { timeline: goal, easing: None, jump: off };
        }
        let timeline = goal.shifted_by(-off);
        let takes_us = (off_us.abs() / Self::EASING).max(Self::LEAST_US);
        let rate = goal.rate() * (1.0 + off_us / takes_us);
        let rate = rate.clamp(Timeline::MIN_RATE, Timeline::MAX_RATE);
        // The slew takes at most 2.5 s, given the largest difference that is slewed.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let easing = SlewRate { rate, for_us: takes_us as u32 };
        Self { timeline, easing: (off_us.abs() >= 0.5).then_some(easing), jump: 0.0 }
    }

    /// Returns `course` with this transition applied.
    #[must_use]
    pub fn apply_to(&self, course: TempoMap) -> TempoMap {
        course.eased_to(self.timeline, self.easing)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn near_goal_is_slewed_and_far_goal_is_a_reported_step() {
        let goal = Timeline::new(120.0, 0, 0.0).unwrap().with_rate(1.0001, 0).unwrap();
        let near = TempoMap::of(goal.shifted_by(-0.01));
        let approach = Slew::new(&near, &TempoMap::of(goal), 1_000_000);
        assert!(approach.jump.abs() < 1e-12);
        let eased = approach.apply_to(near);
        let off = |at: i64| eased.at(at).beat_at(at) - goal.beat_at(at);
        assert!((off(1_024_999) + 0.01).abs() < 1e-6);
        assert!(off(1_600_000).abs() < 1e-6, "{}", off(1_600_000));
        let far = TempoMap::of(goal.shifted_by(-10.0));
        let approach = Slew::new(&far, &TempoMap::of(goal), 1_000_000);
        assert!((approach.jump - 10.0).abs() < 1e-9 && approach.easing.is_none());
    }

    #[test]
    fn future_tempo_change_happens_at_its_own_time() {
        let goal = Timeline::new(20.0, 0, 0.0).unwrap();
        let changed = TempoMap::of(goal).then(goal.with_tempo(999.0, 1_024_000).unwrap());
        let approach = Slew::new(&TempoMap::of(goal), &changed, 1_001_000);
        assert_eq!(approach.timeline.origin().0, 1_024_000);
        let mine = approach.apply_to(TempoMap::of(goal));
        for at in [1_000_000, 1_023_999, 1_024_000, 5_000_000] {
            assert!((mine.at(at).beat_at(at) - changed.at(at).beat_at(at)).abs() < 1e-9);
        }
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn beats_never_go_backwards_during_a_slew(
            off_us in -49_000.0..49_000.0_f64, bpm in 20.0..=999.0_f64, tempo in 20.0..=999.0_f64, ppm in -500..=500_i16,
            now in -1_000_000_000..1_000_000_000_i64,
        ) {
            let goal = Timeline::new(bpm, 0, 0.0).unwrap();
            let goal = goal.with_rate(1.0 + f64::from(ppm) / 1e6, 0).unwrap();
            let course = TempoMap::of(goal.shifted_by(off_us / goal.us_per_beat()).anchored_at(now));
            let changed = TempoMap::of(goal).then(goal.with_tempo(tempo, now + 20_000).unwrap());
            let mut mine = course;
            let mut beat = mine.at(now).beat_at(now);
            let (mut at, end) = (now, now + 4_000_000);
            while at < end {
                // The tempo map is steered four times a second and read in between.
                let approach = Slew::new(&mine, &changed, at);
                // A difference that is small at one tempo may be too large at a much slower one.
                prop_assume!(approach.jump.abs() < f64::EPSILON);
                mine = approach.apply_to(mine);
                for step in 1..=25 {
                    let next = mine.at(at + step * 10_000).beat_at(at + step * 10_000);
                    prop_assert!(next > beat, "{} after {}", next, beat);
                    beat = next;
                }
                at += 250_000;
            }
            let off = (mine.at(end).beat_at(end) - changed.at(end).beat_at(end)) * changed.last().us_per_beat();
            prop_assert!(off.abs() < 50.0, "{} us", off);
        }
    }
}
