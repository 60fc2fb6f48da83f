use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Remembers past pauses, so that repeated pauses count as one condition instead of many alarms. Pure.
///
/// It determines how long a pause may last before the next alarm: the plain limit, except
/// - while pauses follow one another (a covered window that draws once a second), and
/// - while pauses recur within [`WINDOW`].
///
/// In both cases, a pause may last twice as long as the longest of those pauses plus half the limit, up to a maximum.
#[derive(Debug, Clone, Default)]
pub(crate) struct StallMemory {
    /// The last pauses: the time at which each ended, and its length.
    last: VecDeque<(Instant, Duration)>,
    /// Number of the last pauses that followed one another without a recovery in between.
    consecutive: usize,
    /// Time since which progress has been fast again.
    brisk_since: Option<Instant>,
    /// Whether [`RECURRING`] pauses occurred within a [`WINDOW`], and no [`WINDOW`] since was without a pause.
    is_recurring: bool,
}

/// Interval beyond which two pauses are unrelated.
const WINDOW: Duration = Duration::from_mins(1);
/// Number of pauses within [`WINDOW`] that make one condition.
const RECURRING: usize = 3;
/// Duration of fast progress that counts as a recovery.
const RECOVERED: Duration = Duration::from_secs(2);
/// Minimum duration of fast progress after which a node with repeated pauses is steady again.
const STEADY: Duration = Duration::from_secs(5);
/// Maximum number of pauses to remember.
const KEPT: usize = 16;
/// Upper bound of the allowed pause, in multiples of the limit.
const MOST_LIMITS: u32 = 4;
/// The same bound while pauses follow one another, because the loop then makes progress, however slowly.
const MOST_LIMITS_CONSECUTIVE: u32 = 10;

impl StallMemory {
    /// Records a pause that has ended.
    pub(crate) fn pause(&mut self, length: Duration, now: Instant) {
        self.tick(now);
        self.brisk_since = None;
        self.consecutive += 1;
        if self.last.len() >= KEPT {
            self.last.pop_front();
        }
        self.last.push_back((now, length));
        self.is_recurring |= self.recent(now) >= RECURRING;
    }

    /// Records progress, `gap` after the previous progress.
    pub(crate) fn moved(&mut self, gap: Duration, limit: Duration, now: Instant) {
        self.tick(now);
        if gap > limit / 2 {
            self.brisk_since = None;
            return;
        }
        let since = *self.brisk_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= RECOVERED {
            self.consecutive = 0;
        }
    }

    /// Returns how long a pause may last before the next alarm.
    pub(crate) fn allowance(&self, limit: Duration, now: Instant) -> Duration {
        let Some((_, newest)) = self.last.back().copied() else { return limit };
        // A single long pause is a freeze that has ended; only a short pause announces others.
        let follow = match self.consecutive {
            0 => 0,
            1 if newest > limit * 2 => 0,
            consecutive => consecutive,
        };
        let (considered, most) = match follow {
            0 if self.recurs(now) => (self.recent(now), MOST_LIMITS),
            0 => return limit,
            1 => (1, MOST_LIMITS),
            consecutive => (consecutive.min(RECURRING), MOST_LIMITS_CONSECUTIVE),
        };
        let longest = self.last.iter().rev().take(considered).map(|(_, length)| *length).max();
        let longest = longest.unwrap_or_default();
        (longest * 2 + limit / 2).clamp(limit, limit * most)
    }

    /// Returns the length of the newest pause if at least two followed one another.
    pub(crate) fn pace(&self) -> Option<Duration> {
        let newest = self.last.back().map(|(_, length)| *length);
        newest.filter(|_| self.consecutive >= 2)
    }

    /// Returns the length of the newest pause if no recovery followed it yet.
    pub(crate) fn unrecovered(&self) -> Option<Duration> {
        self.last.back().map(|(_, length)| *length).filter(|_| self.consecutive > 0)
    }

    /// Returns whether pauses recur.
    pub(crate) fn recurs(&self, now: Instant) -> bool {
        self.is_recurring && self.recent(now) > 0
    }

    /// Returns whether pauses recur and the node has not become steady since.
    ///
    /// A node is steady again after fast progress for twice the mean interval between its pauses, and for at least
    /// [`STEADY`].
    pub(crate) fn is_unsteady(&self, now: Instant) -> bool {
        let Some((newest, _)) = self.last.back().copied() else { return false };
        let intervals = self.recent(now).saturating_sub(1);
        let oldest = self.last.iter().rev().nth(intervals).map_or(newest, |(at, _)| *at);
        let intervals = u32::try_from(intervals).unwrap_or(u32::MAX).max(1);
        let interval = newest.saturating_duration_since(oldest) / intervals;
        self.recurs(now) && now.saturating_duration_since(newest) < (interval * 2).max(STEADY)
    }

    fn tick(&mut self, now: Instant) {
        self.is_recurring = self.recurs(now);
    }

    fn recent(&self, now: Instant) -> usize {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < WINDOW;
        self.last.iter().rev().take_while(|(at, _)| is_recent(*at)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(700);
    const TICK: Duration = Duration::from_millis(100);

    /// Simulates fast progress for the duration `for_`.
    fn recover(memory: &mut StallMemory, from: Instant, for_: Duration) -> Instant {
        let mut now = from;
        while now < from + for_ {
            now += TICK;
            memory.moved(TICK, LIMIT, now);
        }
        now
    }

    #[test]
    fn alarm_is_due_at_the_limit_until_a_pause_happens() {
        let start = Instant::now();
        let mut memory = StallMemory::default();
        assert_eq!(memory.allowance(LIMIT, start), LIMIT);
        recover(&mut memory, start, Duration::from_mins(1));
        assert_eq!(memory.allowance(LIMIT, start), LIMIT);
    }

    #[test]
    fn ended_hang_does_not_delay_the_next_alarm() {
        let now = Instant::now();
        let mut memory = StallMemory::default();
        memory.pause(Duration::from_secs(5), now);
        assert_eq!(memory.allowance(LIMIT, now), LIMIT);
    }

    #[test]
    fn short_pause_delays_the_next_alarm_until_recovery() {
        let start = Instant::now();
        let mut memory = StallMemory::default();
        memory.pause(Duration::from_secs(1), start);
        let allowance = memory.allowance(LIMIT, start);
        assert!(allowance > Duration::from_secs(2), "{allowance:?}");
        let now = recover(&mut memory, start, RECOVERED + TICK);
        assert_eq!(memory.allowance(LIMIT, now), LIMIT);
    }

    #[test]
    fn recurring_pauses_are_remembered_for_a_minute() {
        let start = Instant::now();
        let mut memory = StallMemory::default();
        let mut now = start;
        for _ in 0..RECURRING {
            memory.pause(Duration::from_secs(1), now);
            now = recover(&mut memory, now, Duration::from_secs(4));
        }
        assert!(memory.recurs(now));
        assert!(memory.allowance(LIMIT, now) > Duration::from_secs(2));
        let later = recover(&mut memory, now, WINDOW);
        assert!(!memory.recurs(later));
        assert_eq!(memory.allowance(LIMIT, later), LIMIT);
    }

    #[test]
    fn brisk_drawing_soon_ends_the_unsteady_state() {
        let mut now = Instant::now();
        let mut memory = StallMemory::default();
        for _ in 0..KEPT {
            now += Duration::from_secs(1);
            memory.pause(Duration::from_secs(1), now);
        }
        assert!(memory.is_unsteady(now));
        let now = recover(&mut memory, now, STEADY + TICK);
        assert!(!memory.is_unsteady(now));
        // The next alarm stays delayed for longer: the pauses may recur.
        assert!(memory.allowance(LIMIT, now) > LIMIT);
    }

    #[test]
    fn rare_recurring_pauses_stay_one_condition() {
        let mut now = Instant::now();
        let mut memory = StallMemory::default();
        for _ in 0..RECURRING {
            memory.pause(Duration::from_secs(1), now);
            now = recover(&mut memory, now, Duration::from_secs(15));
        }
        assert!(memory.is_unsteady(now));
    }
}
