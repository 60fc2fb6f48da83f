/// How far this host's local clock is ahead of Link's, measured by reading one between two readings of the other. Pure.
///
/// Measured anew for every report, so that neither the drift between the two clocks nor a step of one has to be known:
/// on Linux the system's time service may slow down or speed up the one by up to 500 millionths, and not the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClockOffset {
    /// Local minus Link's, in microseconds.
    pub(crate) ahead_us: i64,
    /// What it can be wrong by, in microseconds: half of what passed between the two readings, and the rounding.
    pub(crate) error_us: i64,
}

/// Local time, Link's, and local again: read in this order, in microseconds.
pub(crate) type Reading = (i64, i64, i64);

impl ClockOffset {
    /// Read so closely, nothing came between that is worth reading again.
    pub(crate) const GOOD: i64 = 5;

    /// From the closest of some readings; none if there is none, or if the local clock went backwards in all of them.
    pub(crate) fn of(readings: &[Reading]) -> Option<Self> {
        readings.iter().filter_map(Self::of_one).min_by_key(|offset| offset.error_us)
    }

    fn of_one(&(before, link, after): &Reading) -> Option<Self> {
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
    fn the_closest_reading_counts_and_says_how_close_it_is() {
        let offset = ClockOffset::of(&[(1000, 60, 1900), (2000, 1001, 2004), (3000, 2900, 2000)]);
        assert_eq!(offset, Some(ClockOffset { ahead_us: 1001, error_us: 3 }));
        assert_eq!(ClockOffset::of(&[]), None);
        assert_eq!(ClockOffset::of(&[(10, 0, 9)]), None);
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn it_is_never_wrong_by_more_than_it_says(
            ahead in -1_i64 << 50..1 << 50,
            taken in proptest::collection::vec((0..1_i64 << 50, 0..5000_i64, 0..5000_i64), 1..6),
        ) {
            // Link's clock is read somewhere between the other two.
            let readings: Vec<Reading> = taken
                .iter()
                .map(|(at, first, second)| (at + ahead - first, *at, at + ahead + second))
                .collect();
            let offset = ClockOffset::of(&readings).unwrap();
            prop_assert!((offset.ahead_us - ahead).abs() <= offset.error_us);
        }

        #[test]
        fn a_step_of_a_clock_by_an_hour_is_followed_by_the_next_reading(step in -3_600_000_000_i64..=3_600_000_000) {
            let before = ClockOffset::of(&[(500, 7, 502)]).unwrap();
            let after = ClockOffset::of(&[(500 + step, 7, 502 + step)]).unwrap();
            prop_assert_eq!(after.ahead_us - before.ahead_us, step);
        }

        #[test]
        fn no_reading_makes_it_panic(readings: Vec<(i64, i64, i64)>) {
            ClockOffset::of(&readings);
        }
    }
}
