//! The clock of this machine, which all its processes share, with all code for it that differs by platform.
//!
//! | system | clock | while the machine sleeps |
//! |---|---|---|
//! | Linux, other Unix | `CLOCK_MONOTONIC` | stands still |
//! | macOS | `CLOCK_MONOTONIC` | continues |
//! | Windows | the wall clock, the only clock of `std` that is the same for all processes | continues; may be set |
//!
//! A host that synchronizes with this clock detects when the clock stands still or is set, and reports a jump.

use std::sync::OnceLock;

use thiserror::Error;

/// Returns the time of this machine's clock in microseconds, the same for all its processes. The origin is arbitrary.
///
/// Never blocks; takes about 10 ns.
///
/// For tests, `HANA_CLOCK` shifts the clock of this process: with `offset_us=3600000000,drift_ppm=100`, it is an hour
/// ahead and gains 100 µs per second.
#[must_use]
pub fn local_us() -> i64 {
    static INJECTED: OnceLock<ClockOverride> = OnceLock::new();
    INJECTED.get_or_init(ClockOverride::of_environment).of(kernel_us())
}

/// The offset and drift that are added to the machine's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct ClockOverride {
    offset_us: i64,
    drift_ppm: i64,
}

#[derive(Debug, Error)]
#[error("'{word}' is not offset_us=... or drift_ppm=... with a whole number")]
struct ClockOverrideError {
    word: String,
}

impl ClockOverride {
    const VARIABLE: &'static str = "HANA_CLOCK";

    fn of_environment() -> Self {
        let text = std::env::var(Self::VARIABLE).unwrap_or_default();
        Self::parse(&text).unwrap_or_else(|problem| {
            tracing::warn!("ignoring {}: {problem}", Self::VARIABLE);
            Self::default()
        })
    }

    fn parse(text: &str) -> Result<Self, ClockOverrideError> {
        let mut injected = Self::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let error = || ClockOverrideError { word: word.into() };
            let (name, number) = word.split_once('=').ok_or_else(error)?;
            let number = number.trim().parse().map_err(|_| error())?;
            match name.trim() {
                "offset_us" => injected.offset_us = number,
                "drift_ppm" => injected.drift_ppm = number,
                _ => return Err(error()),
            }
        }
        Ok(injected)
    }

    const fn of(self, kernel_us: i64) -> i64 {
        let gained = kernel_us.saturating_mul(self.drift_ppm) / 1_000_000;
        kernel_us.saturating_add(self.offset_us).saturating_add(gained)
    }
}

#[cfg(unix)]
const fn to_us(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000).saturating_add(nanoseconds / 1000)
}

#[cfg(unix)]
fn kernel_us() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    to_us(now.tv_sec, now.tv_nsec)
}

#[cfg(not(unix))]
fn kernel_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn local_clock_is_monotonic() {
        let mut before = local_us();
        for _ in 0..1000 {
            let now = local_us();
            assert!(now >= before);
            before = now;
        }
    }

    #[test]
    fn clock_override_is_added_and_invalid_one_reported() {
        let hour = ClockOverride::parse("offset_us=3600000000, drift_ppm=-100").unwrap();
        assert_eq!(hour.of(1_000_000_000), 1_000_000_000 + 3_600_000_000 - 100_000);
        assert_eq!(ClockOverride::parse("").unwrap(), ClockOverride::default());
        for wrong in ["offset_us", "offset_us=1h", "speed=2"] {
            let problem = ClockOverride::parse(wrong).unwrap_err().to_string();
            assert!(problem.contains(wrong), "{problem}");
        }
        // Even the largest values do not overflow.
        let most = ClockOverride { offset_us: i64::MAX, drift_ppm: i64::MAX };
        assert_eq!(most.of(i64::MAX), i64::MAX);
    }
}
