use std::time::{Duration, Instant};

/// An estimate of a sender's clock, derived from the arrival times of its messages.
///
/// No message arrives before it is sent, so the fastest message gives the best estimate. The clock offset is the
/// minimum over the last two [`WINDOW`](Self::WINDOW)s, so it follows drift. Small corrections are slewed, so playback
/// by this clock neither jumps nor stalls. A large reduction of the offset is applied at once, and so is a confirmed
/// change of more than [`JUMP`](Self::JUMP), as when a clock is set. A backlog is not taken for such a change, because
/// its messages arrive in one burst. Pure.
#[derive(Debug, Clone)]
pub struct SenderClock {
    /// The origin of local time.
    epoch: Instant,
    /// The offset in use: local minus sender time in microseconds, including the minimum transit time.
    used: Option<Used>,
    /// The minimum offsets of the previous and the current window.
    windows: [Option<i64>; 2],
    /// The start of the current window.
    began: Instant,
    /// Observations since the sender's clock appears to have been set.
    strange: Option<JumpCandidate>,
}

#[derive(Debug, Clone, Copy)]
struct Used {
    difference: i64,
    at: Instant,
    /// The time of the first estimate, or of the last jump.
    since: Instant,
}

#[derive(Debug, Clone, Copy)]
struct JumpCandidate {
    count: u32,
    first: i64,
    least: i64,
    since: Instant,
}

/// The result of comparing a message's timestamp with the estimated clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockObservation {
    /// The message agrees with the estimate, or is the first one of this sender.
    Known,
    /// The message deviates by more than [`SenderClock::JUMP`]: it was in transit for long, or the clock was set.
    Strange,
}

impl SenderClock {
    /// The length of a window. A drift of 100 ppm, more than a quartz has, amounts to 0.4 ms over two windows.
    pub const WINDOW: Duration = Duration::from_secs(2);
    /// The deviation that counts as a jump. No network delays messages by more than this for long.
    pub const JUMP: Duration = Duration::from_secs(1);
    /// The number of consecutive messages required to confirm that the clock was set.
    const SURE: u32 = 5;
    /// The minimum duration of the evidence that the clock was set back.
    ///
    /// A backlog looks the same, but it arrives faster than this, and each message is less late than the previous
    /// one.
    const SURE_IT_IS_BACK: Duration = Duration::from_millis(500);
    /// The interval after which a second message suffices as confirmation, for senders that send rarely.
    const SELDOM: Duration = Duration::from_secs(2);
    /// The tolerance, in microseconds, within which consecutive messages agree on a new offset.
    const ALIKE: u64 = 100_000;
    /// The slew rate in microseconds per second: fifty times the drift of a quartz.
    const SLEW_PER_SECOND: i64 = 5_000;
    /// The time after the first message during which a lower offset is applied at once: the first messages are often
    /// slow.
    const SETTLING: Duration = Duration::from_millis(500);
    /// The reduction of the offset, in microseconds, that is applied at once even after [`SETTLING`](Self::SETTLING).
    const CATCH_UP: i64 = 20_000;

    /// Creates an estimate without observations.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { epoch: now, used: None, windows: [None; 2], began: now, strange: None }
    }

    /// Records the arrival of a message that was sent at `sent_us`: the sender's time in microseconds, of any origin.
    pub fn observe(&mut self, sent_us: i64, now: Instant) -> ClockObservation {
        let difference = self.local(now).saturating_sub(sent_us);
        let Some(target) = self.target() else {
            self.begin(difference, now);
            return ClockObservation::Known;
        };
        let jump = i64::try_from(Self::JUMP.as_micros()).unwrap_or(i64::MAX);
        let late = difference.saturating_sub(target);
        if late.unsigned_abs() > jump.unsigned_abs() {
            let Some(difference) = self.strange_one(difference, late > 0, now) else {
                return ClockObservation::Strange;
            };
            self.begin(difference, now);
            return ClockObservation::Known;
        }
        self.strange = None;
        if now.saturating_duration_since(self.began) >= Self::WINDOW {
            self.windows = [self.windows[1], None];
            self.began = now;
        }
        let least = self.windows[1].map_or(difference, |least| least.min(difference));
        self.windows[1] = Some(least);
        self.slew(now);
        ClockObservation::Known
    }

    /// Records an offset that deviates by more than a jump; returns the new offset once it is confirmed.
    fn strange_one(&mut self, difference: i64, is_late: bool, now: Instant) -> Option<i64> {
        let new = JumpCandidate { count: 0, first: difference, least: difference, since: now };
        let mut strange = self
            .strange
            .filter(|known| known.first.saturating_sub(difference).unsigned_abs() <= Self::ALIKE)
            .unwrap_or(new);
        strange.count += 1;
        strange.least = strange.least.min(difference);
        self.strange = Some(strange);
        let passed = now.saturating_duration_since(strange.since);
        let is_sure = if is_late {
            strange.count >= Self::SURE && passed >= Self::SURE_IT_IS_BACK
        } else {
            strange.count >= Self::SURE
        };
        let is_seldom = strange.count >= 2 && passed >= Self::SELDOM;
        (is_sure || is_seldom).then_some(strange.least)
    }

    /// Returns the sender's time at `now`, less the minimum transit time; `None` before the first message.
    #[must_use]
    pub fn sender_us(&self, now: Instant) -> Option<i64> {
        self.used.map(|used| self.local(now).saturating_sub(used.difference))
    }

    /// Returns the earliest arrival time of a message sent at `sent_us`, in microseconds since this estimate was
    /// created.
    ///
    /// Returns `None` before the first message.
    #[must_use]
    pub fn local_us(&self, sent_us: i64) -> Option<i64> {
        self.used.map(|used| sent_us.saturating_add(used.difference))
    }

    const fn begin(&mut self, difference: i64, now: Instant) {
        self.windows = [None, Some(difference)];
        self.began = now;
        self.strange = None;
        self.used = Some(Used { difference, at: now, since: now });
    }

    fn target(&self) -> Option<i64> {
        self.windows.iter().flatten().min().copied()
    }

    fn slew(&mut self, now: Instant) {
        let (Some(target), Some(used)) = (self.target(), &mut self.used) else { return };
        let is_new = now.saturating_duration_since(used.since) < Self::SETTLING;
        let shorter = used.difference.saturating_sub(target);
        if shorter > Self::CATCH_UP || (is_new && shorter > 0) {
            used.difference = target;
            used.at = now;
            return;
        }
        let passed = now.saturating_duration_since(used.at).as_micros();
        let passed = i64::try_from(passed.min(10_000_000)).unwrap_or(i64::MAX);
        let most = passed * Self::SLEW_PER_SECOND / 1_000_000;
        // An interval that is too short for a step of one microsecond is carried over to the next call.
        if most > 0 {
            used.difference += (target - used.difference).clamp(-most, most);
            used.at = now;
        }
    }

    fn local(&self, now: Instant) -> i64 {
        let passed = now.saturating_duration_since(self.epoch).as_micros();
        i64::try_from(passed).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::cast_possible_wrap, clippy::cast_sign_loss)]
mod tests {
    use super::*;

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    /// Returns the maximum error of the estimated sender time after the first two seconds.
    fn worst(offset: i64, drift_ppm: i64, jitter: impl Fn(u64) -> u64) -> i64 {
        let start = Instant::now();
        let mut map = SenderClock::new(start);
        let mut worst = 0;
        for n in 0..60_000_u64 {
            let sent = n * 1000;
            let true_us = |at: u64| at as i64 + offset + at as i64 * drift_ppm / 1_000_000;
            let arrives = sent + jitter(n);
            map.observe(true_us(sent), start + us(arrives));
            if n > 2000 {
                let seen = map.sender_us(start + us(arrives)).unwrap();
                worst = worst.max((seen - true_us(arrives)).abs());
            }
        }
        worst
    }

    /// Returns a transit time from 200 us to 5.2 ms, without a relevant pattern.
    fn jitter(n: u64) -> u64 {
        200 + n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 5000
    }

    #[test]
    fn offset_converges_to_the_shortest_delay_at_any_origin() {
        for offset in [0, 3_600_000_000, -3_600_000_000, 1_760_000_000_000_000] {
            let worst = worst(offset, 0, jitter);
            assert!(worst <= 250, "{worst} us at {offset}");
        }
    }

    #[test]
    fn drift_is_followed() {
        for drift in [100, -100] {
            let worst = worst(0, drift, jitter);
            assert!(worst <= 900, "{worst} us at {drift} ppm");
        }
    }

    #[test]
    fn clock_step_is_accepted_after_a_few_messages_not_after_one() {
        let start = Instant::now();
        let mut map = SenderClock::new(start);
        for n in 0..100_i64 {
            map.observe(n * 1000, start + us(n as u64 * 1000));
        }
        let now = start + us(100_000);
        map.observe(-7_000_000_000, now);
        assert!((map.sender_us(now).unwrap() - 100_000).abs() < 100);
        for n in 100..110_i64 {
            map.observe(n * 1000 + 3_600_000_000, start + us(n as u64 * 1000));
        }
        let now = start + us(110_000);
        assert!((map.sender_us(now).unwrap() - 3_600_110_000).abs() < 100);
    }

    #[test]
    fn backlog_is_not_mistaken_for_a_clock_set_back() {
        let start = Instant::now();
        let mut map = SenderClock::new(start);
        for n in 0..1000_i64 {
            map.observe(n * 1000, start + us(n as u64 * 1000));
        }
        // The stream stalls for five seconds; then the backlog arrives, one message every ten microseconds.
        for n in 0..5000_i64 {
            let now = start + us(6_000_000 + n as u64 * 10);
            let reading = map.observe(1_000_000 + n * 1000, now);
            let late = 5_000_000 - n * 990;
            assert_eq!(reading == ClockObservation::Strange, late > 1_000_000, "{late}");
            let seen = map.sender_us(now).unwrap();
            assert!((seen - 6_000_000 - n * 10).abs() < 2000, "{seen} at {n}");
        }
    }

    #[test]
    fn clock_set_back_is_accepted_after_half_a_second() {
        for (every, believed_after) in [(1, 500), (100, 500), (3000, 3000)] {
            let start = Instant::now();
            let mut map = SenderClock::new(start);
            map.observe(0, start);
            map.observe(every * 1000, start + us(every as u64 * 1000));
            let set_at = 2 * every;
            let believed = (2..1000).map(|n| n * every).find(|at| {
                map.observe(at * 1000 - 60_000_000, start + us(*at as u64 * 1000))
                    == ClockObservation::Known
            });
            assert_eq!(believed, Some(set_at + believed_after), "every {every} ms");
        }
    }

    #[test]
    fn slow_first_message_is_corrected_by_the_next() {
        let start = Instant::now();
        let mut map = SenderClock::new(start);
        map.observe(0, start + us(15_000));
        map.observe(16_000, start + us(16_300));
        assert_eq!(map.sender_us(start + us(20_000)), Some(19_700));
        assert_eq!(map.local_us(19_700), Some(20_000));
    }

    #[test]
    fn no_number_causes_a_panic() {
        let start = Instant::now();
        let mut map = SenderClock::new(start);
        for (n, sent) in
            [i64::MIN, i64::MAX, 0, -1, i64::MIN].into_iter().cycle().take(50).enumerate()
        {
            map.observe(sent, start + us(n as u64));
            let _ = map.sender_us(start + us(n as u64));
        }
    }
}
