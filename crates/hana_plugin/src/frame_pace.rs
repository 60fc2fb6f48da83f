use std::time::Duration;

/// How long after its beginning a frame is seen, and how long it stays: what of the last ones was in the middle, so that
/// one that hung says nothing of the next. Pure; nothing of it allocates.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FramePace {
    begun_us: Option<i64>,
    lengths: Recent,
    delays: Recent,
}

/// The last few of some times, in microseconds; an hour at most.
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

impl FramePace {
    /// A frame begins.
    pub(crate) fn begins(&mut self, at_us: i64) {
        if let Some(before) = self.begun_us.replace(at_us) {
            self.lengths.add(at_us.saturating_sub(before));
        }
    }

    /// A frame was shown so long after it had begun.
    pub(crate) fn was_shown_after(&mut self, delay_us: i64) {
        self.delays.add(delay_us);
    }

    /// How long after the beginning of a frame the middle of the time is in which it is seen.
    pub(crate) fn middle(&self) -> Duration {
        Duration::from_micros(self.delays.median() + self.lengths.median() / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_in_the_middle_of_the_time_in_which_it_is_seen() {
        let mut pace = FramePace::default();
        assert_eq!(pace.middle(), Duration::ZERO);
        for frame in 0..20 {
            pace.begins(frame * 16_000);
            pace.was_shown_after(5_000);
        }
        assert_eq!(pace.middle(), Duration::from_millis(13));
    }

    #[test]
    fn one_that_hung_says_nothing_of_the_next() {
        let mut pace = FramePace::default();
        for frame in 0..20 {
            let hung = if frame > 15 { 700_000 } else { 0 };
            pace.begins(frame * 16_000 + hung);
            pace.was_shown_after(if frame == 16 { 700_000 } else { 5_000 });
        }
        assert_eq!(pace.middle(), Duration::from_millis(13));
    }
}
