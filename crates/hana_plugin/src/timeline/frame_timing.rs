use std::time::Duration;

/// The time from the beginning of a frame until it is seen, and how long it stays on the screen.
///
/// Both are medians of recent frames, so that one stalled frame does not distort the next. Pure; does not allocate.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FrameTiming {
    begun_us: Option<i64>,
    /// The median of the sampled frames.
    middle: Duration,
    /// Whether the current frame is sampled.
    is_watched: bool,
    frames: u8,
    lengths: Recent,
    delays: Recent,
}

/// Sampling interval, in frames, once enough samples exist: computing the medians is the most expensive step.
const SAMPLE_INTERVAL: u8 = 4;

/// The last few durations, in microseconds; each is capped at an hour.
#[derive(Debug, Clone, Copy, Default)]
struct Recent {
    times: [u32; Self::COUNT as usize],
    known: u8,
    next: u8,
}

impl Recent {
    const COUNT: u8 = 15;

    fn add(&mut self, time: i64) {
        let time = u32::try_from(time.max(0)).unwrap_or(u32::MAX);
        self.times[usize::from(self.next)] = time;
        self.next = (self.next + 1) % Self::COUNT;
        self.known = (self.known + 1).min(Self::COUNT);
    }

    fn median(&self) -> u64 {
        let mut times = self.times;
        let known = &mut times[..usize::from(self.known)];
        known.sort_unstable();
        known.get(usize::from(self.known / 2)).copied().unwrap_or_default().into()
    }
}

impl FrameTiming {
    /// Begins a frame.
    pub(crate) fn begins(&mut self, at_us: i64) {
        let before = self.begun_us.replace(at_us);
        if let Some(before) = before.filter(|_| self.is_watched) {
            self.lengths.add(at_us.saturating_sub(before));
            let us = self.delays.median() + self.lengths.median() / 2;
            self.middle = Duration::from_micros(us);
        }
        self.frames = self.frames.wrapping_add(1);
        self.is_watched =
            self.lengths.known < Recent::COUNT || self.frames.is_multiple_of(SAMPLE_INTERVAL);
    }

    /// Records the delay between the beginning of a frame and its presentation.
    pub(crate) fn was_shown_after(&mut self, delay_us: i64) {
        if self.is_watched {
            self.delays.add(delay_us);
        }
    }

    /// Returns the time from the beginning of a frame to the middle of the interval in which it is visible.
    pub(crate) const fn middle(&self) -> Duration {
        self.middle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_the_middle_of_a_visible_frame() {
        let mut timing = FrameTiming::default();
        assert_eq!(timing.middle(), Duration::ZERO);
        for frame in 0..20 {
            timing.begins(frame * 16_000);
            timing.was_shown_after(5_000);
        }
        assert_eq!(timing.middle(), Duration::from_millis(13));
    }

    #[test]
    fn a_stalled_frame_does_not_change_the_estimate() {
        let mut timing = FrameTiming::default();
        for frame in 0..20 {
            let hung = if frame > 15 { 700_000 } else { 0 };
            timing.begins(frame * 16_000 + hung);
            timing.was_shown_after(if frame == 16 { 700_000 } else { 5_000 });
        }
        assert_eq!(timing.middle(), Duration::from_millis(13));
    }
}
