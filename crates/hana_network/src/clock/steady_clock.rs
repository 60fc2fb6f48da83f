//! A Unix time that never jumps, even if the wall clock is set.

use std::sync::LazyLock;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
use std::time::Instant;

use crate::clock::wall_clock::unix_us;

/// Returns microseconds since 1970: the wall clock at the first call in this process, advanced by a monotonic clock.
///
/// Used for times that are compared with each other, such as those of modulation values: if the wall clock were set
/// while values are in flight, their order would be wrong by hours. The clock continues while the machine sleeps.
pub(crate) fn steady_us() -> i64 {
    static BEGUN: LazyLock<(u64, u64)> = LazyLock::new(|| (unix_us(), counted_us()));
    let (unix, counted) = *BEGUN;
    let us = unix.saturating_add(counted_us().saturating_sub(counted));
    i64::try_from(us).unwrap_or(i64::MAX)
}

/// Detects when the wall clock of this machine is set.
#[derive(Debug)]
pub struct WallClockSteps {
    /// The lead of the wall clock over the steady clock at the last check, in milliseconds.
    ahead_ms: i64,
}

impl Default for WallClockSteps {
    fn default() -> Self {
        Self { ahead_ms: ahead_ms() }
    }
}

impl WallClockSteps {
    /// The smallest reported step, in milliseconds. A wall clock drifts less than this between two checks.
    const STEP_MS: u64 = 1000;

    /// Returns the number of milliseconds by which the wall clock was set forward since the last call.
    ///
    /// The number is negative if the clock was set back. Returns `None` if the clock was not set.
    pub fn take(&mut self) -> Option<i64> {
        self.take_at(ahead_ms())
    }

    const fn take_at(&mut self, ahead_ms: i64) -> Option<i64> {
        let step = ahead_ms.saturating_sub(self.ahead_ms);
        if step.unsigned_abs() < Self::STEP_MS {
            return None;
        }
        self.ahead_ms = ahead_ms;
        Some(step)
    }
}

fn ahead_ms() -> i64 {
    let unix = i64::try_from(unix_us()).unwrap_or(i64::MAX);
    unix.saturating_sub(steady_us()) / 1000
}

/// Returns the microseconds of a monotonic clock, with an arbitrary origin.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn counted_us() -> u64 {
    // Unlike the clock of `Instant`, this one continues while the machine sleeps.
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let us = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
    u64::try_from(us).unwrap_or_default()
}

/// Returns the microseconds of a monotonic clock, with an arbitrary origin.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn counted_us() -> u64 {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGUN.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_step_is_reported_once_and_slew_never() {
        let mut steps = WallClockSteps { ahead_ms: 0 };
        assert_eq!(steps.take_at(900), None);
        assert_eq!(steps.take_at(-7_200_000), Some(-7_200_000));
        assert_eq!(steps.take_at(-7_200_100), None);
        assert_eq!(steps.take_at(0), Some(7_200_000));
    }

    #[test]
    fn steady_clock_starts_at_wall_clock_and_never_goes_back() {
        let mut before = steady_us();
        assert!(unix_us().abs_diff(before.unsigned_abs()) < 60_000_000, "{before}");
        for _ in 0..1000 {
            let now = steady_us();
            assert!(now >= before);
            before = now;
        }
    }
}
