use std::time::{Duration, Instant};

use hana_protocol::id::NodeId;
use hana_protocol::wire::Envelope;

/// A token bucket that holds one second's worth of messages and refills evenly. Pure.
///
/// It admits a burst of that size at once; messages that arrive faster are over the limit.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    /// Time between two tokens.
    interval: Duration,
    /// Time at which the bucket is full again; the bucket is empty when this time is one second ahead.
    full_at: Instant,
}

/// The verdict of a limit on one message.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The message is within the limit.
    Admitted,
    /// The message is over the limit.
    Over,
}

/// The bucket's capacity, as the time it takes to refill.
const BURST: Duration = Duration::from_secs(1);

impl TokenBucket {
    /// Creates a full bucket; a limit of 0 per second counts as 1.
    #[must_use]
    pub fn new(per_second: u32, now: Instant) -> Self {
        Self { interval: BURST / per_second.max(1), full_at: now }
    }

    /// Judges a message that arrives at `now`.
    pub fn admit(&mut self, now: Instant) -> Admission {
        let full_at = self.full_at.max(now) + self.interval;
        if full_at.saturating_duration_since(now) > BURST {
            return Admission::Over;
        }
        self.full_at = full_at;
        Admission::Admitted
    }

    /// Returns whether the bucket is full, and so no different from a new one.
    #[must_use]
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

/// A [`TokenBucket`] for each sender on one key, so that a flooding sender does not affect the others.
///
/// A sender is one instance of a node, as named by the envelope; all messages without an envelope share one bucket.
/// Senders beyond [`MAX_SENDERS`](Self::MAX_SENDERS) also share one, so forged names neither grow the table nor raise
/// the limit.
#[derive(Debug)]
pub struct SenderLimits {
    per_second: u32,
    unnamed: TokenBucket,
    followed: Vec<(NodeId, u64, TokenBucket)>,
    others: TokenBucket,
}

impl SenderLimits {
    /// Number of senders with a bucket of their own. Most keys have one sender; shared control has a handful.
    pub const MAX_SENDERS: usize = 16;

    /// Creates limits of `per_second` messages for each sender.
    #[must_use]
    pub fn new(per_second: u32, now: Instant) -> Self {
        let limit = TokenBucket::new(per_second, now);
        Self { per_second, unnamed: limit.clone(), followed: vec![], others: limit }
    }

    /// Returns the limit of each sender, in messages per second.
    #[must_use]
    pub const fn per_second(&self) -> u32 {
        self.per_second
    }

    /// Judges a message by its envelope.
    pub fn admit(&mut self, envelope: Option<&Envelope>, now: Instant) -> Admission {
        self.limit_of(envelope, now).admit(now)
    }

    fn limit_of(&mut self, envelope: Option<&Envelope>, now: Instant) -> &mut TokenBucket {
        let Some(Envelope { from, instance, .. }) = envelope else { return &mut self.unnamed };
        let known = self.followed.iter().position(|(id, run, _)| run == instance && id == from);
        let place = known.or_else(|| {
            let sender = (from.clone(), *instance, TokenBucket::new(self.per_second, now));
            if self.followed.len() < Self::MAX_SENDERS {
                self.followed.push(sender);
                return Some(self.followed.len() - 1);
            }
            // A sender whose bucket is full again is no different from a new one, so its slot is free.
            let idle = self.followed.iter().position(|(_, _, limit)| limit.is_full(now))?;
            self.followed[idle] = sender;
            Some(idle)
        });
        match place {
            Some(place) => &mut self.followed[place].2,
            None => &mut self.others,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn envelope(from: &str, instance: u64) -> Envelope {
        Envelope { from: NodeId::new(from).unwrap(), instance, sequence: 0, at: 0 }
    }

    #[test]
    fn burst_of_a_second_is_admitted_and_then_the_rate() {
        let start = Instant::now();
        let mut limit = TokenBucket::new(50, start);
        let admitted = (0..1000).filter(|_| limit.admit(start) == Admission::Admitted).count();
        assert_eq!(admitted, 50);
        assert_eq!(limit.admit(start + Duration::from_millis(19)), Admission::Over);
        assert_eq!(limit.admit(start + Duration::from_millis(20)), Admission::Admitted);
        assert_eq!(limit.admit(start + Duration::from_millis(20)), Admission::Over);
        assert!(!limit.is_full(start + Duration::from_millis(1019)));
        assert!(limit.is_full(start + Duration::from_millis(1020)));
    }

    #[test]
    fn flooding_sender_takes_nothing_from_another() {
        let start = Instant::now();
        let mut limits = SenderLimits::new(10, start);
        for n in 0..10_000 {
            let now = start + Duration::from_micros(n * 100);
            let _ = limits.admit(Some(&envelope("flood", 1)), now);
            let _ = limits.admit(None, now);
            if n % 1000 == 0 {
                assert_eq!(limits.admit(Some(&envelope("desk", 1)), now), Admission::Admitted);
            }
        }
    }

    #[test]
    fn forged_senders_share_a_limit_and_expire() {
        let start = Instant::now();
        let mut limits = SenderLimits::new(10, start);
        assert_eq!(limits.admit(Some(&envelope("desk", 1)), start), Admission::Admitted);
        let made_up = |n: u64| envelope(&format!("n{n}"), n);
        let taken = (0..10_000)
            .filter(|n| limits.admit(Some(&made_up(*n)), start) == Admission::Admitted)
            .count();
        assert_eq!(taken, SenderLimits::MAX_SENDERS - 1 + 10);
        assert_eq!(limits.followed.len(), SenderLimits::MAX_SENDERS);
        assert_eq!(limits.admit(Some(&envelope("desk", 1)), start), Admission::Admitted);
        let later = start + Duration::from_secs(2);
        for _ in 0..10 {
            assert_eq!(limits.admit(Some(&envelope("new", 1)), later), Admission::Admitted);
        }
        assert_eq!(limits.followed.len(), SenderLimits::MAX_SENDERS);
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        /// No arrival pattern admits more than one burst plus the refill since then.
        #[test]
        fn no_arrival_pattern_exceeds_the_limit(
            per_second in 1_u32..5000,
            pauses in prop::collection::vec(0_u64..3_000_000, 1..300),
        ) {
            let start = Instant::now();
            let mut limit = TokenBucket::new(per_second, start);
            let (mut now, mut admitted) = (start, 0_u64);
            for pause in pauses {
                now += Duration::from_micros(pause / u64::from(per_second));
                admitted += u64::from(limit.admit(now) == Admission::Admitted);
                let passed = now.duration_since(start).as_secs_f64();
                let allowed = (f64::from(per_second) * (1.0 + passed)).mul_add(1.001, 1.0);
                prop_assert!(u32::try_from(admitted).is_ok_and(|n| f64::from(n) <= allowed));
            }
        }

        /// A sender within the limit is never refused, however uneven the arrivals within half a second.
        ///
        /// A limit of one per second is too small for that jitter.
        #[test]
        fn sender_within_the_limit_is_not_refused(
            per_second in 2_u32..5000,
            jitter in prop::collection::vec(0_u64..500_000, 300),
        ) {
            let start = Instant::now();
            let mut limit = TokenBucket::new(per_second, start);
            let mut arrivals: Vec<Duration> = (0_u32..)
                .zip(&jitter)
                .map(|(n, late)| Duration::from_secs(1) * n / per_second + Duration::from_micros(*late))
                .collect();
            arrivals.sort();
            for at in arrivals {
                prop_assert_eq!(limit.admit(start + at), Admission::Admitted);
            }
        }
    }
}
