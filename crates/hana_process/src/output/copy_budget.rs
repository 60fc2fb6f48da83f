use std::time::{Duration, Instant};

/// A limit on how much of a full output file is copied before the file is emptied. Pure.
///
/// A program that writes faster than its output can be kept must not load the disk or the processor. Output
/// beyond the budget is dropped.
#[derive(Debug, Clone)]
pub(crate) struct CopyBudget {
    /// The remaining budget, in bytes.
    left: u64,
    /// The time of the last refill.
    at: Option<Instant>,
    /// The time at which a copy was last added to the earlier ones instead of replacing the latest.
    rotated: Option<Instant>,
}

/// The refill rate, in bytes per second.
const PER_SECOND: u64 = 20 * 1024 * 1024;
/// The largest budget, in bytes: enough for several full files in a row.
const MOST: u64 = 40 * 1024 * 1024;
/// The number of bytes that may always be copied: the last lines of a file.
const LEAST: u64 = 256 * 1024;
/// The least time between two copies that are both kept.
///
/// During a flood, several copies of the same moment are worth no more than one.
const BETWEEN: Duration = Duration::from_secs(2);

impl CopyBudget {
    pub(crate) const fn new() -> Self {
        Self { left: MOST, at: None, rotated: None }
    }

    /// Returns how many of `wanted` bytes may be copied now, and spends them.
    pub(crate) fn take(&mut self, wanted: u64, now: Instant) -> u64 {
        if let Some(at) = self.at {
            let ms = u64::try_from(now.saturating_duration_since(at).as_millis());
            let came = ms.unwrap_or(u64::MAX).saturating_mul(PER_SECOND / 1000);
            self.left = self.left.saturating_add(came).min(MOST);
        }
        self.at = Some(now);
        let taken = wanted.min(self.left.max(LEAST));
        self.left = self.left.saturating_sub(taken);
        taken
    }

    /// Returns whether a copy made now is added to the earlier ones. Otherwise, it replaces the latest.
    ///
    /// A copy of the whole file is always added.
    pub(crate) fn rotates(&mut self, is_whole: bool, now: Instant) -> bool {
        let rotates =
            is_whole || self.rotated.is_none_or(|at| now.saturating_duration_since(at) >= BETWEEN);
        if rotates {
            self.rotated = Some(now);
        }
        rotates
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: u64 = 10 * 1024 * 1024;

    #[test]
    fn slowly_filling_files_are_copied_completely() {
        let begin = Instant::now();
        let mut budget = CopyBudget::new();
        for second in 0..100 {
            let now = begin + Duration::from_millis(second * 500);
            assert_eq!(budget.take(FILE, now), FILE);
            assert!(budget.rotates(true, now));
        }
    }

    #[test]
    fn last_lines_of_a_flood_are_copied_each_time() {
        let begin = Instant::now();
        let mut budget = CopyBudget::new();
        let taken: Vec<u64> =
            (0..1000).map(|ms| budget.take(FILE, begin + Duration::from_millis(ms))).collect();
        assert!(taken.iter().all(|taken| *taken >= LEAST));
        assert!(taken[999] < FILE);
        assert!(!budget.rotates(false, begin) || !budget.rotates(false, begin));
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]
        #[test]
        fn bytes_copied_per_second_are_bounded(
            steps in prop::collection::vec((0_u64..50, 0_u64..4 * FILE), 1..300),
        ) {
            let mut now = Instant::now();
            let mut budget = CopyBudget::new();
            let (mut copied, mut passed) = (0_u64, 0_u64);
            for (ms, wanted) in &steps {
                now += Duration::from_millis(*ms);
                passed += ms;
                let taken = budget.take(*wanted, now);
                prop_assert!(taken <= *wanted);
                copied += taken;
            }
            let least = LEAST * steps.len() as u64;
            prop_assert!(copied <= MOST + PER_SECOND * (passed + 1) / 1000 + least);
        }
    }
}
