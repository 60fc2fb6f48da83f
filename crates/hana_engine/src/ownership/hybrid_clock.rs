use hana_protocol::id::{NodeId, Stamp};

/// A hybrid logical clock, which creates [`Stamp`]s.
///
/// A new stamp is later than every stamp received before, however wrong the clocks of the machines are; if they are
/// right, stamps are times. Pure: it takes the time as an argument.
#[derive(Debug, Clone)]
pub struct HybridClock {
    own: NodeId,
    ms: u64,
    /// The next counter value within `ms`.
    count: u32,
}

impl HybridClock {
    /// The latest valid stamp: the year 3000, in Unix milliseconds.
    ///
    /// The clocks of two machines may be years apart, so a stamp that is years ahead is accepted, and new stamps are
    /// later still. A stamp beyond this limit is fabricated; if it were accepted, no later stamps would remain.
    pub const END_MS: u64 = 32_503_680_000_000;

    /// Creates the clock of the node `own`.
    #[must_use]
    pub const fn new(own: NodeId) -> Self {
        Self { own, ms: 0, count: 0 }
    }

    /// Returns a stamp later than all stamps created or received so far.
    ///
    /// `unix_ms` is the wall-clock time, which may jump.
    pub fn stamp(&mut self, unix_ms: u64) -> Stamp {
        if unix_ms > self.ms {
            self.ms = unix_ms;
            self.count = 0;
        }
        let stamp = Stamp { ms: self.ms, count: self.count, by: self.own.clone() };
        self.advance_past(stamp.ms, stamp.count);
        stamp
    }

    /// Advances the clock past another node's stamp, if the stamp is plausible; returns whether it is.
    pub fn observe(&mut self, stamp: &Stamp) -> bool {
        if !Self::is_plausible(stamp) {
            return false;
        }
        if (stamp.ms, stamp.count) >= (self.ms, self.count) {
            self.advance_past(stamp.ms, stamp.count);
        }
        true
    }

    /// Advances the clock so that the next stamp is later than this one.
    fn advance_past(&mut self, ms: u64, count: u32) {
        let next = count.checked_add(1).map(|count| (ms, count));
        (self.ms, self.count) = next.unwrap_or_else(|| (ms.saturating_add(1), 0));
    }

    /// Returns whether a stamp is plausible as a machine's time: not beyond [`END_MS`](Self::END_MS).
    #[must_use]
    pub const fn is_plausible(stamp: &Stamp) -> bool {
        stamp.ms <= Self::END_MS
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn clock(of: &str) -> HybridClock {
        HybridClock::new(NodeId::new(of).unwrap())
    }

    #[test]
    fn stamp_after_an_observed_stamp_is_later() {
        let (mut ahead, mut behind) = (clock("ahead"), clock("behind"));
        let first = ahead.stamp(3_600_000);
        assert!(behind.observe(&first));
        let second = behind.stamp(1);
        assert!(second > first, "{second:?}");
        assert!(ahead.observe(&second));
        assert!(ahead.stamp(3_600_000) > second);
        // This clock is fifty years ahead.
        let years = ahead.stamp(1_600_000_000_000);
        assert!(behind.observe(&years) && behind.stamp(2) > years);
    }

    #[test]
    fn implausible_stamp_is_rejected() {
        let mut clock = clock("a");
        let of_tomorrow = Stamp { ms: u64::MAX, count: u32::MAX, by: NodeId::new("b").unwrap() };
        assert!(!clock.observe(&of_tomorrow));
        assert_eq!(clock.stamp(1000).ms, 1000);
    }

    #[test]
    fn stamp_is_serialized_as_a_short_array() {
        let stamp = clock("app-h1").stamp(1_760_000_000_000);
        let json = serde_json::to_string(&stamp).unwrap();
        assert_eq!(json, r#"[1760000000000,0,"app-h1"]"#);
        assert_eq!(serde_json::from_str::<Stamp>(&json).unwrap(), stamp);
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn stamps_are_unique_and_later_than_all_before(
            steps in vec((0_usize..3, 0_u64..50, 0_usize..3), 1..200),
        ) {
            let mut clocks = ["a", "b", "c"].map(clock);
            // The latest stamp that each clock has created or received.
            let mut latest: [Option<Stamp>; 3] = [None, None, None];
            for (who, time, hears) in steps {
                // Wall clocks jump, forwards and backwards.
                let stamp = clocks[who].stamp(time);
                prop_assert!(latest[who].as_ref().is_none_or(|before| *before < stamp));
                prop_assert!(clocks[hears].observe(&stamp));
                latest[hears] = latest[hears].take().max(Some(stamp.clone()));
                latest[who] = latest[who].take().max(Some(stamp));
                let next = clocks[hears].stamp(0);
                prop_assert!(latest[hears].as_ref().is_none_or(|before| *before < next));
                latest[hears] = Some(next);
            }
        }
    }
}
