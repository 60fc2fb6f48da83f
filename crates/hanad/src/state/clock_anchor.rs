use std::time::{Duration, Instant};

use hana_network::unix_ms;
use serde::{Deserialize, Serialize};

/// A fixed pair of an instant and its wall-clock time, which converts other instants.
///
/// An instant is always converted to the same wall-clock time until the wall clock is set.
#[derive(Debug, Clone)]
pub(crate) struct ClockAnchor {
    at: Instant,
    unix_ms: u64,
    boot: Option<Boot>,
}

/// The boot of the machine, with its time according to the current wall clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Boot {
    /// The boot id.
    pub(crate) id: String,
    /// The boot time in Unix milliseconds, which changes when the wall clock is set.
    pub(crate) unix_ms: i64,
}

/// The difference, in milliseconds, that distinguishes a wall clock that was set from one that drifted.
const SET_MS: u64 = 1000;

impl Boot {
    /// Returns the current boot, or `None` if the system has no boot id.
    pub(crate) fn now() -> Option<Self> {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let unix_ms = i64::try_from(unix_ms()).ok()?.checked_sub(since_boot_ms()?)?;
        Some(Self { id: id.trim().into(), unix_ms })
    }

    /// Returns by how much, in milliseconds, the wall clock was set forward since `before` was recorded.
    ///
    /// Returns `None` if the machine was rebooted.
    pub(crate) fn set_since(&self, before: &Self) -> Option<i64> {
        let set = self.unix_ms.checked_sub(before.unix_ms)?;
        (self.id == before.id).then_some(if set.unsigned_abs() < SET_MS { 0 } else { set })
    }
}

/// Returns the time since boot, including sleep.
#[cfg(target_os = "linux")]
fn since_boot_ms() -> Option<i64> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec.checked_mul(1000)?.checked_add(now.tv_nsec / 1_000_000)
}

#[cfg(not(target_os = "linux"))]
const fn since_boot_ms() -> Option<i64> {
    None
}

impl ClockAnchor {
    pub(crate) fn new() -> Self {
        Self { at: Instant::now(), unix_ms: unix_ms(), boot: Boot::now() }
    }

    /// Returns the boot, with its time according to the wall clock of this anchor.
    pub(crate) const fn boot(&self) -> Option<&Boot> {
        self.boot.as_ref()
    }

    /// Adjusts to a wall clock that was set, which shifts all converted times. Returns whether the clock was set.
    pub(crate) fn follow(&mut self) -> bool {
        self.follow_to(Boot::now())
    }

    fn follow_to(&mut self, boot: Option<Boot>) -> bool {
        let set = boot.as_ref().zip(self.boot.as_ref());
        let set = set.and_then(|(now, before)| now.set_since(before)).unwrap_or_default();
        if set == 0 {
            return false;
        }
        self.unix_ms = self.unix_ms.saturating_add_signed(set);
        self.boot = boot;
        true
    }

    /// Converts an instant to Unix milliseconds.
    pub(crate) fn unix_ms(&self, moment: Instant) -> u64 {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let before = ms(self.at.saturating_duration_since(moment));
        let after = ms(moment.saturating_duration_since(self.at));
        self.unix_ms.saturating_sub(before).saturating_add(after)
    }

    /// Converts a recorded time to an instant. `boot` is the boot according to the clock that recorded it.
    ///
    /// A time that is out of range results in the nearest possible instant.
    pub(crate) fn moment(&self, written_ms: u64, boot: Option<&Boot>) -> Instant {
        let set = self.boot.as_ref().zip(boot);
        let set = set.and_then(|(now, before)| now.set_since(before)).unwrap_or_default();
        let written_ms = written_ms.saturating_add_signed(set);
        let before = Duration::from_millis(self.unix_ms.saturating_sub(written_ms));
        let after = Duration::from_millis(written_ms.saturating_sub(self.unix_ms));
        self.at.checked_sub(before).and_then(|at| at.checked_add(after)).unwrap_or(self.at)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn boot(unix_ms: u64) -> Boot {
        Boot { id: "b".into(), unix_ms: i64::try_from(unix_ms).unwrap() }
    }

    fn clock() -> ClockAnchor {
        ClockAnchor { at: Instant::now(), unix_ms: 10 * HOUR_MS, boot: Some(boot(HOUR_MS)) }
    }

    #[test]
    fn written_moment_is_read_back_unchanged() {
        let clock = clock();
        for ms in [0, 1, 999, 60_000] {
            let moment = clock.at + Duration::from_millis(ms);
            assert_eq!(clock.moment(clock.unix_ms(moment), clock.boot()), moment);
            let earlier = clock.unix_ms.saturating_sub(ms);
            assert_eq!(clock.unix_ms(clock.moment(earlier, None)), earlier);
        }
        // Absurd times are converted too.
        assert!(clock.moment(0, None) <= clock.at);
        assert_eq!(clock.moment(u64::MAX, None), clock.moment(u64::MAX, None));
    }

    #[test]
    fn written_moment_survives_a_clock_change() {
        let before = clock();
        let written = before.unix_ms(before.at);
        for set_ms in [-(9 * 3_600_000_i64), 20 * 3_600_000] {
            let of_boot = i64::try_from(HOUR_MS).unwrap() + set_ms;
            let unix_ms = before.unix_ms.saturating_add_signed(set_ms);
            let now = |id: &str| {
                let boot = Some(Boot { id: id.into(), unix_ms: of_boot });
                ClockAnchor { unix_ms, boot, ..before.clone() }
            };
            assert_eq!(now("b").moment(written, before.boot()), before.at);
            assert_ne!(now("another").moment(written, before.boot()), before.at);
        }
    }

    #[test]
    fn set_clock_is_followed_and_slewed_clock_is_not() {
        let mut clock = clock();
        let moment = clock.at;
        assert!(!clock.follow_to(Some(boot(HOUR_MS + 999))));
        assert_eq!(clock.unix_ms(moment), 10 * HOUR_MS);
        assert!(clock.follow_to(Some(boot(3 * HOUR_MS))));
        assert_eq!(clock.unix_ms(moment), 12 * HOUR_MS);
        assert!(!clock.follow_to(None), "the system does not tell");
    }
}
