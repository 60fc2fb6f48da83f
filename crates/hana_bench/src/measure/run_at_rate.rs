use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::BenchError;

/// Calls a function `times` times at a steady rate. A late call does not shift the due times of the calls after it.
pub(crate) fn run_at_rate(
    period: Duration,
    times: u64,
    ended: &AtomicBool,
    mut beat: impl FnMut(u64) -> Result<(), BenchError>,
) -> Result<(), BenchError> {
    let begun = Instant::now();
    for number in 0..times {
        let due = begun + period.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX));
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if ended.load(Ordering::Relaxed) {
            return Err(BenchError::Interrupted);
        }
        beat(number)?;
    }
    Ok(())
}
