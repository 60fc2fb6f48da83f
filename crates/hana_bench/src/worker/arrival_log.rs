use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The arrival times of numbered messages.
///
/// Times are in nanoseconds of this machine's clock, which all of its processes share.
#[derive(Debug, Default)]
pub(crate) struct ArrivalLog(Mutex<Vec<(u64, u64)>>);

/// Returns the time of this machine's clock, in nanoseconds.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl ArrivalLog {
    /// Records the arrival of a message now.
    pub(crate) fn record(&self, number: u64) {
        let at = now_ns();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((number, at));
    }

    /// Returns the arrivals since the last call.
    pub(crate) fn take(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns the latencies of the messages that arrived. If a message arrived several times, its first arrival counts.
pub(crate) fn latencies(sent: &[(u64, u64)], came: &[(u64, u64)]) -> Vec<Duration> {
    let mut first: HashMap<u64, u64> = HashMap::new();
    for (number, at) in came {
        first.entry(*number).or_insert(*at);
    }
    sent.iter()
        .filter_map(|(number, at)| {
            Some(Duration::from_nanos(first.get(number)?.saturating_sub(*at)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_of_a_duplicate_is_that_of_the_first_copy() {
        let ns = Duration::from_nanos;
        let sent = [(1, 100), (2, 200), (3, 300)];
        let came = [(3, 390), (1, 150), (3, 999)];
        assert_eq!(latencies(&sent, &came), [ns(50), ns(90)]);
    }
}
