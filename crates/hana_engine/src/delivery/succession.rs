use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Determines which instance of a node is current, from instance numbers and arrival times alone. Pure.
///
/// An instance number is the wall clock at joining, and an operator, a time server or an empty battery may set that
/// clock back by hours or years. So a larger number does not mean a newer instance. An unknown instance succeeds the
/// current one, whichever number is larger; a former instance is recognised by its number, and its messages are late.
/// The larger number decides in one case only: two instances that both arrive within [`GRACE`](Self::GRACE) may have
/// overtaken each other in transit.
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
    /// Largest sequence number received from the instance.
    reached: u64,
    since: Instant,
}

/// The relation of an instance to the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The instance is the current one.
    Current,
    /// The instance succeeds the current one.
    Successor,
    /// The instance was succeeded: its messages are late.
    Former,
    /// The instance was succeeded but still sends, so it never ended.
    Returned {
        /// Largest sequence number received from the instance before.
        reached: u64,
    },
}

impl Succession {
    /// Messages of two consecutive instances arrive in order, or within this time of each other.
    pub const GRACE: Duration = Duration::from_millis(500);
    /// Time after which a new message from a succeeded instance proves that the instance has not ended.
    pub const RETURN: Duration = Duration::from_secs(1);
    /// Maximum number of former instances to remember; a node does not restart more often within one transit time.
    const MAX_FORMER: usize = 8;

    /// Starts with the first instance seen.
    #[must_use]
    pub const fn new(instance: u64, now: Instant) -> Self {
        Self { current: instance, since: now, former: VecDeque::new() }
    }

    /// Returns the current instance.
    #[must_use]
    pub const fn current(&self) -> u64 {
        self.current
    }

    /// Judges an instance by the sequence number of one of its messages; pass `u64::MAX` for messages without one.
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

    /// Makes `instance` the current one; `reached` is the largest sequence number of the instance it replaces.
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

    /// Judges an unsequenced message, such as a state, and makes its instance current if it is new or has returned.
    ///
    /// Returns whether the message is valid: it is not from a former instance.
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
    fn instance_with_a_smaller_number_succeeds() {
        let start = Instant::now();
        let mut succession = Succession::new(9, start);
        assert!(succession.admit(3, start + Succession::GRACE));
        assert_eq!(succession.current(), 3);
        assert!(!succession.admit(9, start + Succession::GRACE + ms(1)), "it was succeeded");
    }

    #[test]
    fn larger_of_two_concurrent_instances_counts() {
        let start = Instant::now();
        for numbers in [[3, 9], [9, 3]] {
            let mut succession = Succession::new(numbers[0], start);
            succession.admit(numbers[1], start + ms(10));
            assert_eq!(succession.current(), 9);
        }
    }

    #[test]
    fn former_instance_that_continues_is_reinstated() {
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

        /// Each of a series of instances becomes current within the grace, whatever its number and however soon it
        /// follows.
        ///
        /// Late messages of its predecessor change nothing.
        #[test]
        fn any_instance_becomes_current_within_the_grace(
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
