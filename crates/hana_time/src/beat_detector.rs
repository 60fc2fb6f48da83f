use crate::timeline::Timeline;

/// Detects the iteration of a loop in which a beat begins: exactly one, however the tempo changes meanwhile. Pure.
///
/// An iteration that takes longer than a beat detects one beginning, not several. If the beat moves back by less than
/// a bar, beats that began do not begin again. If beats are counted from a new origin, no beat begins at that change.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BeatDetector {
    seen: Option<Seen>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Seen {
    /// The beat one iteration ago; `to` is the furthest beat reached so far.
    from: f64,
    to: f64,
    at_us: i64,
    bpm: f64,
}

impl BeatDetector {
    /// The number of beats by which an advance must exceed the tempo to mean that beats are counted from a new origin.
    const JUMP: f64 = 0.25;

    /// Creates a detector; the first update detects no beat.
    #[must_use]
    pub const fn new() -> Self {
        Self { seen: None }
    }

    /// Starts an iteration at `at_us` of the timeline's clock.
    // 2^53 microseconds are 285 years.
    #[allow(clippy::cast_precision_loss)]
    pub fn look(&mut self, timeline: &Timeline, at_us: i64) {
        let (beat, bpm) = (timeline.beat_at(at_us), timeline.bpm());
        let Some(Seen { to: before, at_us: looked, bpm: old, .. }) = self.seen else {
            self.seen = Some(Seen { from: beat, to: beat, at_us, bpm });
            return;
        };
        let passed = at_us.saturating_sub(looked).max(0) as f64 * bpm.max(old) / 60e6;
        // A timeline that follows another clock runs slightly faster at times.
        let is_ahead = beat - before > passed.mul_add(1.1, Self::JUMP);
        let is_behind = before - beat > timeline.quantum();
        self.seen = Some(if is_ahead || is_behind {
            Seen { from: beat, to: beat, at_us, bpm }
        } else {
            Seen { from: before, to: before.max(beat), at_us, bpm }
        });
    }

    /// Returns whether a multiple of `every` beats began since the previous iteration.
    ///
    /// Always `false` if `every` is not above 0.
    #[must_use]
    pub fn crossed(&self, every: f64) -> bool {
        let Some(Seen { from, to, .. }) = self.seen else { return false };
        every > 0.0 && (to / every).floor() > (from / every).floor()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::cast_possible_truncation)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000;

    fn at_120() -> Timeline {
        Timeline::new(120.0, 0, 0.0).unwrap()
    }

    /// Returns the times of the iterations in which a beat begins.
    fn beginnings(timeline: &Timeline, looks: &[i64]) -> Vec<i64> {
        let mut watch = BeatDetector::new();
        let begins = |at: &&i64| {
            watch.look(timeline, **at);
            watch.crossed(1.0)
        };
        looks.iter().filter(begins).copied().collect()
    }

    #[test]
    fn beat_starts_in_the_first_round_not_before_it() {
        let looks = [0, 400_000, 500_000, 600_000, 999_999, 1_000_001, 1_400_000];
        assert_eq!(beginnings(&at_120(), &looks), [500_000, 1_000_001]);
    }

    #[test]
    fn slow_round_sees_one_start_and_the_next_is_in_time() {
        let looks = [100_000, 3 * SECOND + 100_000, 3 * SECOND + 200_000, 3 * SECOND + 500_000];
        assert_eq!(beginnings(&at_120(), &looks), [looks[1], looks[3]]);
    }

    #[test]
    fn beat_set_back_does_not_cross_again() {
        let mut watch = BeatDetector::new();
        let timeline = at_120();
        watch.look(&timeline, 990_000);
        watch.look(&timeline, 1_001_000);
        assert!(watch.crossed(1.0));
        // The timeline is corrected by a few milliseconds.
        let behind = timeline.on_clock(5_000);
        for at in (1_002_000..1_400_000).step_by(1000) {
            watch.look(&behind, at);
            assert!(!watch.crossed(1.0), "{at}");
        }
        watch.look(&behind, 1_505_000);
        assert!(watch.crossed(1.0));
    }

    #[test]
    fn renumbered_beats_start_nothing() {
        let mut watch = BeatDetector::new();
        watch.look(&at_120(), SECOND);
        for elsewhere in [1000.5, -1000.5] {
            let elsewhere = Timeline::new(120.0, SECOND, elsewhere).unwrap();
            watch.look(&elsewhere, SECOND + 1000);
            assert!(!watch.crossed(1.0));
            watch.look(&elsewhere, SECOND + 251_000);
            assert!(watch.crossed(1.0), "and go on from there");
        }
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn each_beat_starts_once_at_any_tempo(
            rounds in prop::collection::vec((1_000..25_000_i64, 20.0..=999.0_f64, 0..10_u8), 1..500),
        ) {
            let mut timeline = at_120();
            let mut watch = BeatDetector::new();
            let (mut now, mut begun, mut bars) = (0, 0, 0);
            watch.look(&timeline, now);
            for (length, bpm, turn) in rounds {
                now += length;
                watch.look(&timeline, now);
                begun += i64::from(watch.crossed(1.0));
                bars += i64::from(watch.crossed(4.0));
                prop_assert!(!watch.crossed(4.0) || watch.crossed(1.0), "a bar begins with a beat");
                prop_assert!(!watch.crossed(0.0) && !watch.crossed(-1.0) && !watch.crossed(f64::NAN));
                if turn == 0 {
                    timeline = timeline.with_tempo(bpm, now).unwrap();
                }
            }
            // Here an iteration is shorter than a beat.
            prop_assert_eq!(begun, timeline.beat_at(now).floor() as i64);
            prop_assert_eq!(bars, (timeline.beat_at(now) / 4.0).floor() as i64);
        }
    }
}
