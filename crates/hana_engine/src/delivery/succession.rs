use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Which instance of a node is the present one, for a receiver that sees only the numbers of instances and when each came.
///
/// The number of an instance is the wall clock of its machine when it joined, and clocks are set: a person, a time server or an
/// empty battery puts them back by hours or years. So a larger number does not make an instance the newer one. An instance that
/// was not seen before succeeds the one that was, whichever number is larger; one that was succeeded is recognised by its number,
/// and what still comes of it is late. Sizes decide in one case only: two that both came within [`GRACE`](Self::GRACE) may have
/// overtaken each other on their way here. Pure.
#[derive(Debug, Clone)]
pub struct Succession {
    current: u64,
    since: Instant,
    former: VecDeque<Former>,
}

/// An instance that was succeeded.
#[derive(Debug, Clone, Copy)]
struct Former {
    instance: u64,
    /// The largest sequence number that came of it.
    reached: u64,
    since: Instant,
}

/// What an instance is to the one that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is that one.
    Current,
    /// It comes after that one.
    Successor,
    /// It was succeeded: what comes of it is late.
    Former,
    /// It was succeeded, and goes on all the same: it never ended.
    Returned {
        /// The largest sequence number that came of it before.
        reached: u64,
    },
}

impl Succession {
    /// Messages of two instances that were sent one after the other arrive in their order, or within this time.
    pub const GRACE: Duration = Duration::from_millis(500);
    /// An instance that was succeeded so long ago and still sends something new has not ended.
    pub const RETURN: Duration = Duration::from_secs(1);
    /// Former instances that are remembered; a node is not started again more often within the time that messages take.
    const MAX_FORMER: usize = 8;

    /// The first instance that is seen.
    #[must_use]
    pub const fn new(instance: u64, now: Instant) -> Self {
        Self { current: instance, since: now, former: VecDeque::new() }
    }

    /// The present instance.
    #[must_use]
    pub const fn current(&self) -> u64 {
        self.current
    }

    /// Judges an instance by something that came of it, with its sequence number; where there is none, `u64::MAX`.
    #[must_use]
    pub fn judge(&self, instance: u64, sequence: u64, now: Instant) -> Turn {
        if instance == self.current {
            return Turn::Current;
        }
        if let Some(former) = self.former.iter().find(|former| former.instance == instance) {
            let has_returned = sequence > former.reached
                && now.saturating_duration_since(former.since) >= Self::RETURN;
            let reached = former.reached;
            return if has_returned { Turn::Returned { reached } } else { Turn::Former };
        }
        let is_young = now.saturating_duration_since(self.since) < Self::GRACE;
        if is_young && instance < self.current { Turn::Former } else { Turn::Successor }
    }

    /// An instance takes the place of the present one, of which the largest sequence number was `reached`.
    pub fn succeed(&mut self, instance: u64, reached: u64, now: Instant) {
        if instance == self.current {
            return;
        }
        self.former.retain(|former| former.instance != instance);
        if self.former.len() >= Self::MAX_FORMER {
            self.former.pop_front();
        }
        self.former.push_back(Former { instance: self.current, reached, since: now });
        (self.current, self.since) = (instance, now);
    }

    /// Judges something without sequence numbers, such as a state, and takes the instance on if it is the one to believe.
    /// Whether it is.
    pub fn admit(&mut self, instance: u64, now: Instant) -> bool {
        match self.judge(instance, u64::MAX, now) {
            Turn::Current => true,
            Turn::Former => false,
            Turn::Successor | Turn::Returned { .. } => {
                self.succeed(instance, 0, now);
                true
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn an_instance_with_a_smaller_number_succeeds() {
        let start = Instant::now();
        let mut succession = Succession::new(9, start);
        assert!(succession.admit(3, start + Succession::GRACE));
        assert_eq!(succession.current(), 3);
        assert!(!succession.admit(9, start + Succession::GRACE + ms(1)), "it was succeeded");
    }

    #[test]
    fn of_two_that_come_at_once_the_larger_number_counts() {
        let start = Instant::now();
        for numbers in [[3, 9], [9, 3]] {
            let mut succession = Succession::new(numbers[0], start);
            succession.admit(numbers[1], start + ms(10));
            assert_eq!(succession.current(), 9);
        }
    }

    #[test]
    fn a_former_instance_that_goes_on_is_taken_back() {
        let start = Instant::now();
        let mut succession = Succession::new(9, start);
        succession.succeed(12, 40, start + ms(600));
        let later = start + ms(600) + Succession::RETURN;
        assert_eq!(succession.judge(9, 41, start + ms(700)), Turn::Former);
        assert_eq!(succession.judge(9, 40, later), Turn::Former, "it came before");
        assert_eq!(succession.judge(9, 41, later), Turn::Returned { reached: 40 });
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        /// Whatever the numbers of the instances that follow each other, and however soon: each is the present one at
        /// last when it has been there for the time that messages take, and what is late of one before changes nothing.
        #[test]
        fn any_instance_is_taken_within_the_grace(
            instances in prop::collection::hash_set(any::<u64>(), 2..12),
            pauses in prop::collection::vec(0_u64..2000, 12),
        ) {
            let instances: Vec<u64> = instances.into_iter().collect();
            let mut now = Instant::now();
            let mut succession = Succession::new(instances[0], now);
            for (n, instance) in instances.iter().enumerate().skip(1) {
                now += ms(pauses[n]);
                let begun = now;
                while !succession.admit(*instance, now) {
                    now += ms(50);
                    prop_assert!(now - begun <= Succession::GRACE);
                }
                prop_assert!(!succession.admit(instances[n - 1], now + ms(100)));
                prop_assert_eq!(succession.current(), *instance);
            }
        }
    }
}
