//! Randomised tests with the same cases in each run. Only tests use this crate.
//!
//! A test run judges a change, so by default each randomised test tries the same cases each time. Two environment
//! variables change the cases:
//!
//! | variable | meaning |
//! |---|---|
//! | `HANA_SEED` | a number: each number gives other cases; 1 by default |
//! | `HANA_CASES` | a factor for the number of cases; 1 by default |
//!
//! Each test prints both values, and the test runner shows the output of a test that fails.
//!
//! ```
//! use proptest::prelude::*;
//!
//! proptest! {
//!     #![proptest_config(hana_random::cases(256))]
//!     # /*
//!     #[test]
//!     # */
//!     fn a_sum_does_not_depend_on_the_order(a: u32, b: u32) {
//!         prop_assert_eq!(a.wrapping_add(b), b.wrapping_add(a));
//!     }
//! }
//! # a_sum_does_not_depend_on_the_order();
//! ```

// Only tests use this crate, and a test that cannot print may fail.
#![allow(clippy::print_stdout, clippy::print_stderr)]
// A test cannot continue with a seed that is not a number.
#![allow(clippy::panic)]

use std::env;
use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;

use proptest::test_runner::{Config, RngSeed};

/// The variable with the seed.
const SEED: &str = "HANA_SEED";
/// The variable with the factor.
const CASES: &str = "HANA_CASES";

/// Returns the configuration of a property test with `count` cases, times `HANA_CASES`.
///
/// It does not store failures, because the seed is enough to reproduce them.
///
/// # Panics
///
/// Panics if `HANA_SEED` or `HANA_CASES` is not a number.
#[must_use]
pub fn cases(count: u32) -> Config {
    let (seed, factor) = (seed(), factor());
    println!("{SEED}={seed} {CASES}={factor} tries the same cases again");
    Config {
        cases: count.saturating_mul(factor),
        max_global_rejects: 1024_u32.saturating_mul(factor),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    }
}

/// Returns the seeds for a test that generates its own cases: `count` seeds, times `HANA_CASES`.
///
/// The range starts at `HANA_SEED`, so a seed that fails can be set there to be tried first.
///
/// # Panics
///
/// Panics if `HANA_SEED` or `HANA_CASES` is not a number.
#[must_use]
pub fn seeds(count: u32) -> Range<u64> {
    let first = seed();
    first..first.saturating_add(u64::from(count.saturating_mul(factor())))
}

/// Returns the seed of this test run.
///
/// # Panics
///
/// Panics if `HANA_SEED` is not a number.
#[must_use]
pub fn seed() -> u64 {
    number(SEED, env::var(SEED).ok().as_deref(), 1)
}

/// Returns the factor by which the number of cases is multiplied.
fn factor() -> u32 {
    number(CASES, env::var(CASES).ok().as_deref(), 1)
}

fn number<N: FromStr<Err: Display>>(variable: &str, value: Option<&str>, default: N) -> N {
    match value.map(str::trim) {
        None | Some("") => default,
        Some(text) => text.parse().unwrap_or_else(|error| {
            panic!("{variable} must be a number, and is '{text}': {error}")
        }),
    }
}

/// A generator of pseudo-random numbers (`SplitMix64`), which are the same for the same seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Creates a generator from a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Creates a generator from this run's seed, for a test with one case; prints how to try the same case again.
    ///
    /// # Panics
    ///
    /// Panics if `HANA_SEED` is not a number.
    #[must_use]
    pub fn of_this_run() -> Self {
        let seed = seed();
        println!("{SEED}={seed} tries the same case again");
        Self(seed)
    }

    /// Returns a number from the full range of `u64`.
    #[must_use]
    pub const fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`, which must not be 0.
    #[must_use]
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.any() % bound
    }

    /// Returns an index into a list of `length` elements; `length` must not be 0.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // below `length`
    pub const fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    use super::*;

    #[test]
    fn seed_has_the_same_cases_each_time() {
        let drawn = |config: Config| -> Vec<u64> {
            let mut runner = TestRunner::new(config);
            (0..20).map(|_| any::<u64>().new_tree(&mut runner).unwrap().current()).collect()
        };
        assert_eq!(drawn(cases(1)), drawn(cases(1)));
        let other = Config { rng_seed: RngSeed::Fixed(seed() + 1), ..cases(1) };
        assert_ne!(drawn(cases(1)), drawn(other));
    }

    #[test]
    fn random_numbers_depend_only_on_the_seed() {
        let drawn = |seed| {
            let mut random = Random::new(seed);
            [random.any(), random.below(1000), random.any()]
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        let mut random = Random::new(7);
        assert!((0..1000).all(|_| random.index(6) < 6));
    }

    #[test]
    fn unset_or_empty_variable_means_the_default() {
        assert_eq!(number(SEED, None, 1_u64), 1);
        assert_eq!(number(SEED, Some(""), 1_u64), 1);
        assert_eq!(number(SEED, Some(" 42\n"), 1_u64), 42);
    }

    #[test]
    #[should_panic(expected = "HANA_SEED must be a number, and is 'x'")]
    fn invalid_seed_fails_the_test() {
        number(SEED, Some("x"), 1_u64);
    }
}
