use std::time::Duration;
use std::time::Instant;

use hana_network::unix_ms;

/// One pair of moments, to tell the wall-clock time of others, always the same for the same moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    at: Instant,
    unix_ms: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { at: Instant::now(), unix_ms: unix_ms() }
    }

    /// Unix milliseconds of a moment.
    pub(crate) fn unix_ms(&self, moment: Instant) -> u64 {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let before = ms(self.at.saturating_duration_since(moment));
        let after = ms(moment.saturating_duration_since(self.at));
        self.unix_ms.saturating_sub(before).saturating_add(after)
    }

    /// The moment of a time that was written down; the nearest that can be told, if it is out of all reach.
    pub(crate) fn moment(&self, unix_ms: u64) -> Instant {
        let before = Duration::from_millis(self.unix_ms.saturating_sub(unix_ms));
        let after = Duration::from_millis(unix_ms.saturating_sub(self.unix_ms));
        self.at.checked_sub(before).and_then(|at| at.checked_add(after)).unwrap_or(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_that_is_written_down_is_the_same_moment_when_it_is_read() {
        let clock = Clock::new();
        for ms in [0, 1, 999, 60_000] {
            let moment = clock.at + Duration::from_millis(ms);
            assert_eq!(clock.moment(clock.unix_ms(moment)), moment);
            let earlier = clock.unix_ms.saturating_sub(ms);
            assert_eq!(clock.unix_ms(clock.moment(earlier)), earlier);
        }
        // Nonsense is a moment too.
        assert!(clock.moment(0) <= clock.at);
        assert_eq!(clock.moment(u64::MAX), clock.moment(u64::MAX));
    }
}
