//! Unix time of a clock that is never set.

use std::sync::LazyLock;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
use std::time::Instant;

use crate::time::wall_clock::unix_us;

/// Microseconds since 1970: the wall clock when this process read it first, counted on since then by a clock that is never set.
///
/// For times that are compared with each other, such as those of values that are played: a wall clock that is set while they
/// are under way puts them in disorder, and by hours. It goes on while the machine sleeps.
pub(crate) fn steady_us() -> i64 {
    static BEGUN: LazyLock<(u64, u64)> = LazyLock::new(|| (unix_us(), counted_us()));
    let (unix, counted) = *BEGUN;
    let us = unix.saturating_add(counted_us().saturating_sub(counted));
    i64::try_from(us).unwrap_or(i64::MAX)
}

/// Notices when the wall clock of this machine is set.
#[derive(Debug)]
pub struct WallClockSteps {
    /// By how much the wall clock was ahead of the steady one, in milliseconds.
    ahead_ms: i64,
}

impl Default for WallClockSteps {
    fn default() -> Self {
        Self { ahead_ms: ahead_ms() }
    }
}

impl WallClockSteps {
    /// By more than this a wall clock does not go wrong by itself between two looks, in milliseconds.
    const STEP_MS: u64 = 1000;

    /// By how many milliseconds the wall clock was set forward since this was asked last; negative where it was set back.
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

/// Microseconds of a clock that only goes forward, of any origin.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn counted_us() -> u64 {
    // Unlike the clock of `Instant` it does not stand still while the machine sleeps.
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let us = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
    u64::try_from(us).unwrap_or_default()
}

/// Microseconds of a clock that only goes forward, of any origin.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn counted_us() -> u64 {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGUN.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_once_and_a_slew_never() {
        let mut steps = WallClockSteps { ahead_ms: 0 };
        assert_eq!(steps.take_at(900), None);
        assert_eq!(steps.take_at(-7_200_000), Some(-7_200_000));
        assert_eq!(steps.take_at(-7_200_100), None);
        assert_eq!(steps.take_at(0), Some(7_200_000));
    }

    #[test]
    fn it_begins_with_the_wall_clock_and_only_goes_forward() {
        let mut before = steady_us();
        assert!(unix_us().abs_diff(before.unsigned_abs()) < 60_000_000, "{before}");
        for _ in 0..1000 {
            let now = steady_us();
            assert!(now >= before);
            before = now;
        }
    }
}
