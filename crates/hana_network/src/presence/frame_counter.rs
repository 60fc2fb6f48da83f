use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hana_protocol::message::Frames;

/// A counter that a render loop advances once per frame, so that other threads can detect whether the loop runs.
///
/// Neither blocks nor allocates. A tick costs three atomic operations and a reading of the clock.
#[derive(Debug)]
pub struct FrameCounter {
    begun: Instant,
    count: AtomicU64,
    /// The time of the last frame, in nanoseconds since `begun`.
    last_ns: AtomicU64,
    /// The longest time between two frames since the last reading, in microseconds.
    max_us: AtomicU64,
}

impl FrameCounter {
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            count: AtomicU64::new(0),
            last_ns: AtomicU64::new(0),
            max_us: AtomicU64::new(0),
        }
    }

    /// Counts a frame. Call it only from the render loop.
    pub fn tick(&self) {
        let now_ns = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let last_ns = self.last_ns.swap(now_ns, Ordering::Relaxed);
        if self.count.fetch_add(1, Ordering::Release) > 0 {
            self.max_us.fetch_max(now_ns.saturating_sub(last_ns) / 1000, Ordering::Relaxed);
        }
    }

    /// Returns the number of frames counted so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }
}

/// Computes rates from a [`FrameCounter`] that is read at every heartbeat. Pure except for the counter.
#[derive(Debug, Default)]
pub(crate) struct FrameMeter {
    /// The time, frame count and longest frame of each reading.
    readings: VecDeque<(Instant, u64, u64)>,
}

impl FrameMeter {
    const WINDOW: Duration = Duration::from_secs(1);

    /// Reads the counter and returns the rates.
    pub(crate) fn read(&mut self, clock: &FrameCounter, now: Instant) -> Frames {
        let count = clock.count();
        self.readings.push_back((now, count, clock.max_us.swap(0, Ordering::Relaxed)));
        while self.readings.len() > 2
            && self.readings.get(1).is_some_and(|(at, ..)| now.duration_since(*at) >= Self::WINDOW)
        {
            self.readings.pop_front();
        }
        let (oldest, count_then, _) = self.readings.front().copied().unwrap_or((now, count, 0));
        let seconds = now.duration_since(oldest).as_secs_f32();
        #[allow(clippy::cast_precision_loss)]
        let fps = if seconds > 0.0 { (count - count_then) as f32 / seconds } else { 0.0 };
        let max_us = self.readings.iter().map(|(_, _, max_us)| *max_us).max().unwrap_or(0);
        Frames { count, fps, max_us }
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp)]
mod tests {
    use super::*;

    #[test]
    fn frame_rate_covers_the_last_second() {
        let clock = FrameCounter::new();
        let mut meter = FrameMeter::default();
        let start = Instant::now();
        let mut last = meter.read(&clock, start);
        assert_eq!(last, Frames::default());
        for beat in 1..=30_u32 {
            for _ in 0..6 {
                clock.tick();
            }
            last = meter.read(&clock, start + Duration::from_millis(100) * beat);
        }
        let frames = last;
        assert_eq!(frames.count, 180);
        assert!((frames.fps - 60.0).abs() < 0.1, "{}", frames.fps);
        for beat in 31..=45_u32 {
            last = meter.read(&clock, start + Duration::from_millis(100) * beat);
        }
        assert_eq!(last.fps, 0.0);
    }
}
