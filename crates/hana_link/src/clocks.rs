//! The clocks of this machine: the only code that differs by platform.
//!
//! | | the local clock | Link's | the clock that continues while the machine sleeps |
//! |---|---|---|---|
//! | Linux, other Unix | `CLOCK_MONOTONIC` | `CLOCK_MONOTONIC_RAW` | neither; `CLOCK_BOOTTIME` does |
//! | macOS | `CLOCK_MONOTONIC` | `mach_absolute_time` | the local clock |
//! | Windows | the wall clock | `QueryPerformanceCounter` | both |
//!
//! The local clock is the one that all of hana uses, `local_clock` of `hana_network`. This program has its own code to
//! read it, since that crate would bring in all of Zenoh; a test keeps the two in agreement.

use std::sync::OnceLock;

use anyhow::Context;

/// Returns microseconds of this machine's clock, like `hana_network::local_us`, shifted by `HANA_CLOCK` in tests.
///
/// # Errors
///
/// Fails if the value of `HANA_CLOCK` cannot be parsed.
pub(crate) fn local_us() -> anyhow::Result<i64> {
    static INJECTED: OnceLock<Result<ClockShift, String>> = OnceLock::new();
    let injected = INJECTED.get_or_init(|| {
        let text = std::env::var("HANA_CLOCK").unwrap_or_default();
        ClockShift::parse(&text)
            .with_context(|| format!("invalid HANA_CLOCK '{text}'"))
            .map_err(|error| format!("{error:#}"))
    });
    let injected = injected.as_ref().map_err(|problem| anyhow::Error::msg(problem.clone()))?;
    Ok(injected.apply(kernel_us()))
}

/// The offset and drift added to the machine's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct ClockShift {
    offset_us: i64,
    drift_ppm: i64,
}

impl ClockShift {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut injected = Self::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let (name, number) = word.split_once('=').context("each word is NAME=NUMBER")?;
            let number =
                number.trim().parse().with_context(|| format!("'{number}' is not an integer"))?;
            match name.trim() {
                "offset_us" => injected.offset_us = number,
                "drift_ppm" => injected.drift_ppm = number,
                name => anyhow::bail!("unknown setting '{name}'; use offset_us or drift_ppm"),
            }
        }
        Ok(injected)
    }

    const fn apply(self, kernel_us: i64) -> i64 {
        let gained = kernel_us.saturating_mul(self.drift_ppm) / 1_000_000;
        kernel_us.saturating_add(self.offset_us).saturating_add(gained)
    }
}

#[cfg(unix)]
fn kernel_us() -> i64 {
    read(rustix::time::ClockId::Monotonic)
}

#[cfg(not(unix))]
fn kernel_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(unix)]
fn read(clock: rustix::time::ClockId) -> i64 {
    let now = rustix::time::clock_gettime(clock);
    now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000)
}

/// Returns the total time for which Link's clock stood still during sleeps, in microseconds, from any origin.
///
/// Returns `None` where Link's clock continues during a sleep.
#[cfg(any(target_os = "linux", target_os = "android"))]
// Only other systems return `None`.
#[allow(clippy::unnecessary_wraps)]
pub(crate) fn slept_us(_link_us: i64) -> Option<i64> {
    Some(read(rustix::time::ClockId::Boottime) - kernel_us())
}

/// Returns the total time for which Link's clock stood still during sleeps, in microseconds, from any origin.
///
/// Returns `None` where Link's clock continues during a sleep.
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
pub(crate) fn slept_us(link_us: i64) -> Option<i64> {
    Some(kernel_us() - link_us)
}

/// Returns the total time for which Link's clock stood still during sleeps, in microseconds, from any origin.
///
/// Returns `None` where Link's clock continues during a sleep.
#[cfg(not(unix))]
pub(crate) const fn slept_us(_link_us: i64) -> Option<i64> {
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn clock_override_matches_the_local_clock_of_hana_network() {
        // The same numbers as in the tests of `local_clock` in `hana_network`.
        let hour = ClockShift::parse("offset_us=3600000000, drift_ppm=-100").unwrap();
        assert_eq!(hour.apply(1_000_000_000), 1_000_000_000 + 3_600_000_000 - 100_000);
        assert_eq!(ClockShift::parse("").unwrap(), ClockShift::default());
        for wrong in ["offset_us", "offset_us=1h", "speed=2"] {
            ClockShift::parse(wrong).unwrap_err();
        }
        let most = ClockShift { offset_us: i64::MAX, drift_ppm: i64::MAX };
        assert_eq!(most.apply(i64::MAX), i64::MAX);
    }

    #[test]
    fn local_clock_is_monotonic() {
        let first = local_us().unwrap();
        assert!((0..1000).map(|_| local_us().unwrap()).is_sorted());
        assert!(local_us().unwrap() >= first);
    }
}
