//! A value that encodes when it was set: it climbs from -1 to 1 in a minute, and begins again each minute.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const PERIOD: f64 = 60.0;

/// Returns seconds since the hour began, by the clock of this machine.
pub(crate) fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_nanos_u128(since.as_nanos() % 3_600_000_000_000).as_secs_f64()
}

/// Returns the value for a moment.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn at(moment: f64) -> f32 {
    (moment.rem_euclid(PERIOD) / (PERIOD / 2.0) - 1.0) as f32
}

/// Returns the age of a value at `now`, in seconds. A value that seems to come from the future, due to
/// rounding, has age 0.
pub(crate) fn age(value: f32, now: f64) -> f64 {
    let age = (f64::from(value) + 1.0).mul_add(-PERIOD / 2.0, now.rem_euclid(PERIOD));
    let age = age.rem_euclid(PERIOD);
    if age > PERIOD - 1.0 { 0.0 } else { age }
}
