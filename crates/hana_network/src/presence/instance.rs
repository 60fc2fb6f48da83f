//! Instance numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::wall_clock::unix_us;

/// The environment variable in which a daemon passes the previous instance number to a program that it launches.
pub const INSTANCE_AFTER: &str = "HANA_INSTANCE_AFTER";

/// Returns the instance number of a node that joins now.
///
/// The number is the wall clock in Unix microseconds, or one more than the largest known previous number if that is
/// larger.
///
/// Receivers do not rely on the order of the numbers. A receiver that did would still work after the clock was set
/// back.
pub(crate) fn next_instance(after: Option<u64>) -> u64 {
    /// The largest number used by this process.
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = unix_us();
    let of_launcher = std::env::var(INSTANCE_AFTER).ok().and_then(|text| text.parse().ok());
    let known = [of_launcher, after, Some(LAST.load(Ordering::Acquire))];
    let instance = number_after(known.into_iter().flatten(), now);
    LAST.fetch_max(instance, Ordering::AcqRel);
    instance
}

/// Returns a number that is larger than all of `known` and not smaller than `now`. Ignores impossible clock values.
fn number_after(known: impl IntoIterator<Item = u64>, now: u64) -> u64 {
    /// The year 10000.
    const END_OF_TIME: u64 = 253_402_300_800_000_000;
    let known = known.into_iter().filter(|known| *known < END_OF_TIME);
    known.map(|known| known + 1).fold(now, u64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_follows_wall_clock_and_predecessor() {
        assert_eq!(number_after([], 1000), 1000);
        assert_eq!(number_after([999, 0], 1000), 1000);
        assert_eq!(number_after([1000, 4000], 1000), 4001);
        assert_eq!(number_after([u64::MAX, 2000], 1000), 2001);
    }

    #[test]
    fn two_nodes_of_one_process_have_different_instances() {
        let first = next_instance(None);
        assert!(next_instance(None) > first);
        assert_eq!(next_instance(Some(first + 60_000_000)), first + 60_000_001);
    }
}
