//! Deserializers for a timeline's numbers, for serde's `deserialize_with`; each rejects values that are out of range.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::timeline::{Timeline, TimelineError};

fn checked<'de, D: Deserializer<'de>, P: fmt::Display>(
    deserializer: D,
    check: impl FnOnce(f64) -> Result<Timeline, P>,
) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    check(number).map(|_| number).map_err(D::Error::custom)
}

fn plain() -> Result<Timeline, TimelineError> {
    Timeline::new(120.0, 0, 0.0)
}

/// Reads a tempo in beats per minute; rejects a tempo that no [`Timeline`] can have.
///
/// # Errors
///
/// Fails if the number is not between 20 and 999.
pub fn tempo<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    checked(deserializer, |bpm| Timeline::new(bpm, 0, 0.0))
}

/// Reads a number of beats; rejects infinities and NaN.
///
/// # Errors
///
/// Fails if the number is not finite.
pub fn finite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    checked(deserializer, |beat| Timeline::new(120.0, 0, beat))
}

/// Reads the number of beats in a bar; rejects a number that no [`Timeline`] can have.
///
/// # Errors
///
/// Fails if the number is no valid quantum.
pub fn quantum<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    checked(deserializer, |quantum| plain()?.with_quantum(quantum))
}

/// Reads the rate of one clock relative to another.
///
/// # Errors
///
/// Fails if the number is not between 0.9 and 1.1.
pub fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    checked(deserializer, |rate| plain()?.with_rate(rate, 0))
}
