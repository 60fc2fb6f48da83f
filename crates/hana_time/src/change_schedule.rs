use thiserror::Error;

use crate::schedule_at::ScheduleAt;
use crate::timeline::Timeline;

/// A bounded queue of changes that wait for their beats. Pure: the caller passes in the time.
///
/// A change waits for a beat, not for a time: if the tempo changes meanwhile, the time of the change moves with its
/// beat. The schedule returns each change whole, so its parts stay together, and returns changes for the same beat in
/// the order of arrival. A change whose beat has passed on arrival is returned at once and counted as late. The
/// schedule does not allocate once its queue has reached its final size.
#[derive(Debug)]
pub struct ChangeSchedule<C> {
    /// Waiting changes, in the order of arrival.
    waiting: Vec<PendingChange<C>>,
    most: usize,
    late: u64,
}

#[derive(Debug)]
struct PendingChange<C> {
    change: C,
    when: ScheduleAt,
    beat: f64,
}

/// The outcome of adding a change to a schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scheduled<C> {
    /// The change is due and is returned.
    Due {
        /// The change.
        change: C,
        /// The beat that the change was meant for, if the change is late.
        late_for: Option<f64>,
    },
    /// The change waits.
    Waits {
        /// The beat that the change waits for.
        beat: f64,
    },
}

/// The reason why a change cannot wait.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum ScheduleError {
    /// The queue is full.
    #[error(
        "{most} changes wait for their beat already; wait until some are over, or send it for now"
    )]
    Full {
        /// Number of waiting changes.
        most: usize,
    },
    /// The beat is not finite.
    #[error("{beat} is no beat")]
    NoBeat {
        /// The rejected value.
        beat: f64,
    },
}

impl<C> ChangeSchedule<C> {
    /// Creates a schedule for up to `most` changes.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self { waiting: vec![], most, late: 0 }
    }

    /// Adds a change that arrives at `at_us` of the timeline's clock, or returns it if it is due.
    ///
    /// # Errors
    ///
    /// Fails if the queue is full or the beat is not finite.
    pub fn put(
        &mut self,
        change: C,
        when: ScheduleAt,
        timeline: &Timeline,
        at_us: i64,
    ) -> Result<Scheduled<C>, ScheduleError> {
        let Some(beat) = when.beat(timeline, at_us) else {
            return Ok(Scheduled::Due { change, late_for: None });
        };
        if is_due(timeline, beat, at_us) && beat.is_finite() {
            self.late += 1;
            return Ok(Scheduled::Due { change, late_for: Some(beat) });
        }
        self.check(when)?;
        self.waiting.push(PendingChange { change, when, beat });
        Ok(Scheduled::Waits { beat })
    }

    /// Checks whether a change for `when` would be accepted if it is not due at once.
    ///
    /// # Errors
    ///
    /// Fails if the queue is full or the beat is not finite.
    pub const fn check(&self, when: ScheduleAt) -> Result<(), ScheduleError> {
        match when {
            ScheduleAt::Beat(beat) if !beat.is_finite() => Err(ScheduleError::NoBeat { beat }),
            ScheduleAt::Now => Ok(()),
            _ if self.waiting.len() >= self.most => Err(ScheduleError::Full { most: self.most }),
            _ => Ok(()),
        }
    }

    /// Returns the time at which the next change is due, unless the tempo changes before, in microseconds of the
    /// timeline's clock.
    #[must_use]
    pub fn next_us(&self, timeline: &Timeline) -> Option<i64> {
        self.waiting.iter().map(|waiting| timeline.time_at(waiting.beat)).min()
    }

    /// Removes and returns the next due change with its beat, earliest first. Call it until it returns `None`.
    pub fn take_due(&mut self, timeline: &Timeline, at_us: i64) -> Option<(C, f64)> {
        if self.waiting.is_empty() {
            return None;
        }
        self.follow(timeline, at_us);
        let due =
            self.waiting.iter().enumerate().filter(|(_, of)| is_due(timeline, of.beat, at_us));
        // Among equal beats, `min_by` returns the first, which arrived first.
        let (place, _) = due.min_by(|(_, a), (_, b)| a.beat.total_cmp(&b.beat))?;
        let PendingChange { change, beat, .. } = self.waiting.remove(place);
        Some((change, beat))
    }

    /// Reschedules changes for the next beat or bar when beats are counted from a new origin, as when a host joins
    /// another host's timeline.
    ///
    /// The origin is new if such a change is more than one beat or bar away.
    fn follow(&mut self, timeline: &Timeline, at_us: i64) {
        let now = timeline.beat_at(at_us);
        for waiting in &mut self.waiting {
            let is_too_far = |every: f64| waiting.beat - now > every * 1.001;
            if waiting.when.every(timeline).is_some_and(is_too_far)
                && let Some(beat) = waiting.when.beat(timeline, at_us)
            {
                waiting.beat = beat;
            }
        }
    }

    /// Returns the number of waiting changes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Returns whether no change waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns how many changes arrived after their beat.
    #[must_use]
    pub const fn late(&self) -> u64 {
        self.late
    }
}

/// Returns whether a beat has begun, in whole microseconds: it is due at the microsecond that `time_at` returns.
fn is_due(timeline: &Timeline, beat: f64, at_us: i64) -> bool {
    timeline.time_at(beat) <= at_us
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000;

    /// Returns a timeline of two beats per second, with beat 0 at time 0.
    fn at_120() -> Timeline {
        Timeline::new(120.0, 0, 0.0).unwrap()
    }

    fn all_due(schedule: &mut ChangeSchedule<u32>, timeline: &Timeline, at_us: i64) -> Vec<u32> {
        std::iter::from_fn(|| schedule.take_due(timeline, at_us))
            .map(|(change, _)| change)
            .collect()
    }

    #[test]
    fn change_waits_exactly_until_its_beat() {
        let (timeline, mut schedule) = (at_120(), ChangeSchedule::new(8));
        let put = schedule.put(1, ScheduleAt::NextBar, &timeline, SECOND).unwrap();
        assert_eq!(put, Scheduled::Waits { beat: 4.0 });
        assert_eq!(schedule.next_us(&timeline), Some(2 * SECOND));
        assert_eq!(all_due(&mut schedule, &timeline, 2 * SECOND - 1), [0; 0]);
        assert_eq!(all_due(&mut schedule, &timeline, 2 * SECOND), [1]);
        assert_eq!(all_due(&mut schedule, &timeline, 3 * SECOND), [0; 0]);
    }

    #[test]
    fn late_change_is_returned_at_once_and_counted() {
        let (timeline, mut schedule) = (at_120(), ChangeSchedule::new(8));
        let put = |schedule: &mut ChangeSchedule<_>, when| schedule.put(7, when, &timeline, SECOND);
        let late = put(&mut schedule, ScheduleAt::Beat(1.5)).unwrap();
        assert_eq!(late, Scheduled::Due { change: 7, late_for: Some(1.5) });
        assert_eq!(schedule.late(), 1);
        let now = put(&mut schedule, ScheduleAt::Now).unwrap();
        assert_eq!(now, Scheduled::Due { change: 7, late_for: None });
        assert_eq!((schedule.late(), schedule.is_empty()), (1, true));
    }

    #[test]
    fn tempo_change_moves_a_scheduled_change() {
        let (timeline, mut schedule) = (at_120(), ChangeSchedule::new(8));
        schedule.put(1, ScheduleAt::Beat(8.0), &timeline, 0).unwrap();
        // From beat 4 on, the tempo is halved: beat 8 is at six seconds instead of four.
        let slower = timeline.with_tempo(60.0, 2 * SECOND).unwrap();
        assert_eq!(all_due(&mut schedule, &slower, 6 * SECOND - 1), [0; 0]);
        assert_eq!(all_due(&mut schedule, &slower, 6 * SECOND), [1]);
        schedule.put(2, ScheduleAt::Beat(16.0), &slower, 6 * SECOND).unwrap();
        let faster = slower.with_tempo(240.0, 7 * SECOND).unwrap();
        assert_eq!(all_due(&mut schedule, &faster, 8_750_000 - 1), [0; 0]);
        assert_eq!(all_due(&mut schedule, &faster, 8_750_000), [2]);
    }

    #[test]
    fn changes_come_by_beat_then_in_their_order() {
        let (timeline, mut schedule) = (at_120(), ChangeSchedule::new(8));
        for (change, beat) in [(1, 6.0), (2, 4.0), (3, 6.0), (4, 40.0), (5, 4.0)] {
            schedule.put(change, ScheduleAt::Beat(beat), &timeline, 0).unwrap();
        }
        assert_eq!(all_due(&mut schedule, &timeline, 10 * SECOND), [2, 5, 1, 3]);
        assert_eq!(schedule.len(), 1);
    }

    #[test]
    fn recounted_beats_keep_the_next_bar_near() {
        let mut schedule = ChangeSchedule::new(8);
        let own = Timeline::new(120.0, 0, 1000.5).unwrap();
        schedule.put(1, ScheduleAt::NextBar, &own, 0).unwrap();
        schedule.put(2, ScheduleAt::Beat(1004.0), &own, 0).unwrap();
        // The timeline of the joined host counts beats from another origin.
        let met = Timeline::new(120.0, 0, 6.5).unwrap();
        assert_eq!(all_due(&mut schedule, &met, 0), [0; 0]);
        assert_eq!(all_due(&mut schedule, &met, 750_000), [1]);
        assert_eq!(all_due(&mut schedule, &met, 100 * SECOND), [0; 0]);
    }

    #[test]
    fn flood_of_changes_is_refused_without_other_effects() {
        let (timeline, mut schedule) = (at_120(), ChangeSchedule::new(2));
        for change in 0..2 {
            schedule.put(change, ScheduleAt::Beat(1.0), &timeline, 0).unwrap();
        }
        let refused = schedule.put(2, ScheduleAt::Beat(1.0), &timeline, 0).unwrap_err();
        assert!(refused.to_string().contains("2 changes wait"), "{refused}");
        let refused = schedule.put(2, ScheduleAt::Beat(f64::INFINITY), &timeline, 0).unwrap_err();
        assert_eq!(refused.to_string(), "inf is no beat");
        // A change that does not wait needs no room.
        schedule.put(3, ScheduleAt::Now, &timeline, 0).unwrap();
        schedule.put(4, ScheduleAt::Beat(-1.0), &timeline, 0).unwrap();
        assert_eq!(all_due(&mut schedule, &timeline, SECOND), [0, 1]);
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn every_change_comes_once_in_the_first_round_after_its_beat(
            beats in prop::collection::vec(0.0..64.0_f64, 1..20),
            looks in prop::collection::vec(1..500_000_i64, 1..200),
            tempos in prop::collection::vec(20.0..999.0_f64, 1..200),
        ) {
            let mut timeline = at_120();
            let mut schedule = ChangeSchedule::new(64);
            let mut seen = vec![];
            for (change, beat) in (0..).zip(&beats) {
                match schedule.put(change, ScheduleAt::Beat(*beat), &timeline, 0).unwrap() {
                    Scheduled::Due { change, .. } => seen.push(change),
                    Scheduled::Waits { .. } => {},
                }
            }
            let mut now = 0;
            for (look, bpm) in looks.iter().zip(tempos.iter().cycle()) {
                now += look;
                for change in all_due(&mut schedule, &timeline, now) {
                    prop_assert!(timeline.time_at(beats[change as usize]) <= now);
                    seen.push(change);
                }
                let is_over = |change: &usize| timeline.time_at(beats[*change]) <= now;
                prop_assert_eq!(seen.len(), (0..beats.len()).filter(is_over).count());
                timeline = timeline.with_tempo(*bpm, now).unwrap();
            }
            let count = seen.len();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), count, "once each");
        }

        #[test]
        fn no_time_causes_a_panic(beat: f64, at: i64, later: i64) {
            let (timeline, mut schedule) = (at_120(), ChangeSchedule::new(4));
            for when in [ScheduleAt::Beat(beat), ScheduleAt::NextBar, ScheduleAt::NextBeat] {
                schedule.put(0, when, &timeline, at).ok();
            }
            all_due(&mut schedule, &timeline, later);
        }
    }
}
