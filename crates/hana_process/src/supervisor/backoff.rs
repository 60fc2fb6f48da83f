use std::time::Duration;

/// The delays before restarts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The delay before the first restart after a stable instance.
    pub first: Duration,
    /// The delay before the second restart.
    pub initial: Duration,
    /// The factor for each further delay, 1 or more.
    pub factor: f64,
    /// The longest delay.
    pub max: Duration,
    /// The share of the delay, 0..=1, by which it varies at random, so that restarts after a common crash are
    /// staggered.
    pub jitter: f64,
}

impl Backoff {
    /// Returns the delay before a restart after `failures` earlier restarts that did not become stable.
    ///
    /// The delay is at most `max`, including jitter.
    #[must_use]
    pub fn delay(&self, failures: u32, jitter: &mut Jitter) -> Duration {
        if failures == 0 {
            return self.first;
        }
        let growth = self.factor.powf(f64::from(failures - 1));
        let plain = (self.initial.as_secs_f64() * growth).min(self.max.as_secs_f64());
        let varied = plain * self.jitter.mul_add(jitter.next_signed(), 1.0);
        Duration::try_from_secs_f64(varied).unwrap_or(self.max).min(self.max)
    }
}

/// A reproducible source of jitter (`SplitMix64`), determined by its seed. Not for secrets.
#[derive(Debug, Clone)]
pub struct Jitter(u64);

impl Jitter {
    /// Creates a source with the given seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Creates a source with a seed derived from `name` (FNV-1a), so that different names give different sequences.
    #[must_use]
    pub fn seeded_by(name: &str) -> Self {
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    /// Returns the next number in -1..1.
    pub fn next_signed(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let upper = u32::try_from(mixed >> 32).unwrap_or(u32::MAX);
        (f64::from(upper) / f64::from(u32::MAX)).mul_add(2.0, -1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::ZERO,
        initial: Duration::from_millis(250),
        factor: 2.0,
        max: Duration::from_secs(8),
        jitter: 0.0,
    };

    #[test]
    fn first_restart_is_immediate_and_later_ones_are_delayed() {
        let mut jitter = Jitter::new(1);
        let delays: Vec<u128> =
            (0..9).map(|failures| BACKOFF.delay(failures, &mut jitter).as_millis()).collect();
        assert_eq!(delays, [0, 250, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
        assert_eq!(BACKOFF.delay(u32::MAX, &mut jitter), BACKOFF.max);
    }

    #[test]
    fn jitter_stays_within_its_share_and_the_longest_delay() {
        let backoff = Backoff { jitter: 0.2, ..BACKOFF };
        let mut jitter = Jitter::seeded_by("ripples");
        let delays: Vec<Duration> = (0..200).map(|_| backoff.delay(1, &mut jitter)).collect();
        assert!(delays.iter().all(|d| (200..=300).contains(&d.as_millis())));
        assert!(delays.iter().any(|d| d.as_millis() < 225));
        assert!(delays.iter().any(|d| d.as_millis() > 275));
        assert!((0..200).all(|_| backoff.delay(40, &mut jitter) <= backoff.max));
    }

    #[test]
    fn jitter_differs_by_name_and_repeats_by_seed() {
        let first = |name| Jitter::seeded_by(name).next_signed().to_bits();
        assert_ne!(first("ripples"), first("ripples-2"));
        assert_eq!(first("ripples"), first("ripples"));
    }
}
