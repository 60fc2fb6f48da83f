/// The offset of this host's local clock from Link's, which is read between two readings of the local clock. Pure.
///
/// It is measured again for every report, so that neither drift nor a step of either clock matters: on Linux, the
/// time service may change the speed of one of the clocks, but not the other, by up to 500 millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkClockOffset {
    /// The local clock minus Link's, in microseconds.
    pub(crate) ahead_us: i64,
    /// Error bound, in microseconds: half of the time between the two local readings, plus the rounding.
    pub(crate) error_us: i64,
}

/// A reading of the local clock, Link's clock, and the local clock again, in this order, in microseconds.
pub(crate) type Reading = (i64, i64, i64);

impl LinkClockOffset {
    /// Error bound, in microseconds, up to which a reading was not interrupted and need not be repeated.
    pub(crate) const UNINTERRUPTED_US: i64 = 5;

    /// Computes the offset from the tightest reading.
    ///
    /// Returns `None` if there is no reading, or if the local clock went backwards in all of them.
    pub(crate) fn from_readings(readings: &[Reading]) -> Option<Self> {
        readings.iter().filter_map(Self::from_reading).min_by_key(|offset| offset.error_us)
    }

    fn from_reading(&(before, link, after): &Reading) -> Option<Self> {
        let between = after.checked_sub(before).filter(|between| *between >= 0)?;
        let middle = before.checked_add(between / 2)?;
        Some(Self { ahead_us: middle.checked_sub(link)?, error_us: between / 2 + 1 })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tightest_reading_gives_offset_and_error_bound() {
        let offset = LinkClockOffset::from_readings(&[
            (1000, 60, 1900),
            (2000, 1001, 2004),
            (3000, 2900, 2000),
        ]);
        assert_eq!(offset, Some(LinkClockOffset { ahead_us: 1001, error_us: 3 }));
        assert_eq!(LinkClockOffset::from_readings(&[]), None);
        assert_eq!(LinkClockOffset::from_readings(&[(10, 0, 9)]), None);
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn offset_is_within_its_error_bound(
            ahead in -1_i64 << 50..1 << 50,
            taken in proptest::collection::vec((0..1_i64 << 50, 0..5000_i64, 0..5000_i64), 1..6),
        ) {
            // Link's clock is read somewhere between the two local readings.
            let readings: Vec<Reading> = taken
                .iter()
                .map(|(at, first, second)| (at + ahead - first, *at, at + ahead + second))
                .collect();
            let offset = LinkClockOffset::from_readings(&readings).unwrap();
            prop_assert!((offset.ahead_us - ahead).abs() <= offset.error_us);
        }

        #[test]
        fn clock_steps_are_followed_by_the_next_reading(step in -3_600_000_000_i64..=3_600_000_000) {
            let before = LinkClockOffset::from_readings(&[(500, 7, 502)]).unwrap();
            let after = LinkClockOffset::from_readings(&[(500 + step, 7, 502 + step)]).unwrap();
            prop_assert_eq!(after.ahead_us - before.ahead_us, step);
        }

        #[test]
        fn no_reading_panics(readings: Vec<(i64, i64, i64)>) {
            LinkClockOffset::from_readings(&readings);
        }
    }
}
