use std::time::{SystemTime, UNIX_EPOCH};

/// Returns milliseconds since 1970 on this machine's clock; 0 if the clock is set to a time before 1970.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Returns microseconds since 1970 on this machine's clock; 0 if the clock is set to a time before 1970.
pub(crate) fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
