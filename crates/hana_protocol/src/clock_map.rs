use std::time::Duration;
use std::time::Instant;

/// Where a sender's clock stands, told by when its messages arrive.
///
/// No message arrives before it is sent, so the one that took the shortest way says most: the difference of the
/// clocks is taken from the least of the last [`WINDOW`](Self::WINDOW)s, which follows a drift. A change of mind is
/// carried out slowly, so that what is played by this clock neither jumps nor stops; only one of more than
/// [`JUMP`](Self::JUMP), as when a clock is set, at once. Pure.
#[derive(Debug, Clone)]
pub struct ClockMap {
    /// What local times are counted from.
    epoch: Instant,
    /// Local minus sender's microseconds, shortest way included, as it is used.
    used: Option<Used>,
    /// The least difference of this window and of the one before.
    windows: [Option<i64>; 2],
    /// When this window began.
    began: Instant,
    /// What was heard since the clock seems to have been set back or forward; the least of it.
    strange: Option<(u32, i64)>,
}

#[derive(Debug, Clone, Copy)]
struct Used {
    difference: i64,
    at: Instant,
}

impl ClockMap {
    /// A drift of 100 millionths, more than a quartz has, is 0.4 ms over the two windows that count.
    pub const WINDOW: Duration = Duration::from_secs(2);
    /// By more than this no network delays by itself for long.
    pub const JUMP: Duration = Duration::from_secs(1);
    /// So many messages in a row must say that the clock was set.
    const SURE: u32 = 5;
    /// By how much what is used may move, in microseconds each second. Fifty times the drift of a quartz.
    const SLEW_PER_SECOND: i64 = 5_000;

    /// Knows nothing yet.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { epoch: now, used: None, windows: [None; 2], began: now, strange: None }
    }

    /// A message that was sent at `sent_us` by the sender's clock, in microseconds of any origin, has arrived.
    pub fn observe(&mut self, sent_us: i64, now: Instant) {
        let difference = self.local(now).saturating_sub(sent_us);
        let Some(target) = self.target() else {
            self.begin(difference, now);
            return;
        };
        let jump = i64::try_from(Self::JUMP.as_micros()).unwrap_or(i64::MAX);
        if difference.saturating_sub(target).unsigned_abs() > jump.unsigned_abs() {
            let (count, least) = self.strange.unwrap_or((0, difference));
            let least = least.min(difference);
            if count + 1 >= Self::SURE {
                self.begin(least, now);
            } else {
                self.strange = Some((count + 1, least));
            }
            return;
        }
        self.strange = None;
        if now.saturating_duration_since(self.began) >= Self::WINDOW {
            self.windows = [self.windows[1], None];
            self.began = now;
        }
        let least = self.windows[1].map_or(difference, |least| least.min(difference));
        self.windows[1] = Some(least);
        self.slew(now);
    }

    /// What the sender's clock shows at `now`, as its messages are heard here: behind by the shortest way. `None`
    /// before the first.
    #[must_use]
    pub fn sender_us(&self, now: Instant) -> Option<i64> {
        self.used.map(|used| self.local(now).saturating_sub(used.difference))
    }

    const fn begin(&mut self, difference: i64, now: Instant) {
        self.windows = [None, Some(difference)];
        self.began = now;
        self.strange = None;
        self.used = Some(Used { difference, at: now });
    }

    fn target(&self) -> Option<i64> {
        self.windows.iter().flatten().min().copied()
    }

    fn slew(&mut self, now: Instant) {
        let (Some(target), Some(used)) = (self.target(), &mut self.used) else { return };
        let passed = now.saturating_duration_since(used.at).as_micros();
        let passed = i64::try_from(passed.min(10_000_000)).unwrap_or(i64::MAX);
        let most = passed * Self::SLEW_PER_SECOND / 1_000_000;
        // Too short a time to move by a microsecond is not forgotten.
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

    /// By how much the sender's clock is seen wrong, at most, once two seconds have passed.
    fn worst(offset: i64, drift_ppm: i64, jitter: impl Fn(u64) -> u64) -> i64 {
        let start = Instant::now();
        let mut map = ClockMap::new(start);
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

    /// From 200 us up to 5 ms more, with no pattern that matters.
    fn jitter(n: u64) -> u64 {
        200 + n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 5000
    }

    #[test]
    fn the_clock_is_known_to_the_shortest_way_whatever_its_origin() {
        for offset in [0, 3_600_000_000, -3_600_000_000, 1_760_000_000_000_000] {
            let worst = worst(offset, 0, jitter);
            assert!(worst <= 250, "{worst} us at {offset}");
        }
    }

    #[test]
    fn a_drift_is_followed() {
        for drift in [100, -100] {
            let worst = worst(0, drift, jitter);
            assert!(worst <= 900, "{worst} us at {drift} ppm");
        }
    }

    #[test]
    fn a_clock_that_is_set_is_believed_after_a_few_messages_and_one_odd_message_is_not() {
        let start = Instant::now();
        let mut map = ClockMap::new(start);
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
    fn no_number_makes_it_panic() {
        let start = Instant::now();
        let mut map = ClockMap::new(start);
        for (n, sent) in
            [i64::MIN, i64::MAX, 0, -1, i64::MIN].into_iter().cycle().take(50).enumerate()
        {
            map.observe(sent, start + us(n as u64));
            let _ = map.sender_us(start + us(n as u64));
        }
    }
}
