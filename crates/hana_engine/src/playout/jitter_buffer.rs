use std::collections::VecDeque;
use std::time::Duration;

/// Plays what is sent for one parameter a fixed, small delay behind, so that the network's jitter does not reach
/// the eye.
///
/// It is given samples with the sender's time, as they arrive, and asked for the value of the sender's time now (see
/// [`SenderClock`](crate::playout::sender_clock::SenderClock)). What was sent between two frames is not lost on the second one, what comes in
/// disorder is put in order, and what is older than what was played is never played. Pure; once its queue has
/// grown to its size, nothing of it allocates.
#[derive(Debug, Clone)]
pub struct JitterBuffer {
    pace: PackedSettings,
    /// In the order of their times, which are distinct. The first one is what is played now, or is still to come.
    samples: VecDeque<Sample>,
    /// How many of them had passed when it was looked last: as many as next time, nearly.
    passed: u32,
    late: u32,
    /// Up to which of the sender's time has been played; [`NOTHING`](Self::NOTHING) before it begins.
    played_us: i64,
    /// What was given last, for the smoothing.
    shown: Option<f32>,
}

/// How a parameter is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JitterBufferSettings {
    /// How far behind the sender. Zero plays each value as soon as it is there, with nothing between two. More than the
    /// network's jitter, and the time between two samples, gives the curve that was sent. At most
    /// [`JitterBuffer::MAX_DELAY`].
    pub delay: Duration,
    /// What lies between two samples.
    pub curve: Curve,
    /// Two samples further apart than this have nothing between them: the sender had paused, or they were lost. The
    /// first is held until the second is due.
    pub gap: Duration,
    /// The time in which a step is followed to 63 %; zero: at once.
    pub smoothing: Duration,
}

/// [`JitterBufferSettings`] in few bytes: a frame looks at the playouts of all parameters, and what it fetches is what it costs.
/// Times in microseconds, an hour at most.
#[derive(Debug, Clone, Copy)]
struct PackedSettings {
    delay_us: u32,
    gap_us: u32,
    smoothing_us: u32,
    curve: Curve,
}

/// What lies between two samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// A straight line: for what moves.
    Interpolated,
    /// The earlier one: for switches and choices.
    Held,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Sample {
    sent_us: i64,
    value: f32,
}

impl Default for JitterBufferSettings {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(10),
            curve: Curve::Interpolated,
            gap: Duration::from_millis(100),
            smoothing: Duration::ZERO,
        }
    }
}

impl PackedSettings {
    fn of(settings: &JitterBufferSettings) -> Self {
        let us = |of: Duration| u32::try_from(of.as_micros()).unwrap_or(u32::MAX);
        Self {
            delay_us: us(settings.delay.min(JitterBuffer::MAX_DELAY)),
            gap_us: us(settings.gap),
            smoothing_us: us(settings.smoothing),
            curve: settings.curve,
        }
    }
}

impl JitterBuffer {
    /// The most samples that wait; of more, the oldest is thrown away. At 1 kHz a quarter of a second, which is far
    /// longer than any delay that one would play with.
    pub const MAX_SAMPLES: usize = 256;
    /// The longest delay: at 1 kHz the samples that wait meanwhile have room.
    pub const MAX_DELAY: Duration = Duration::from_millis(200);
    /// What differs by less from what is followed, is there.
    const NEAR: f32 = 1e-5;
    /// Before all times.
    const NOTHING: i64 = i64::MIN;

    /// Nothing has come yet.
    #[must_use]
    pub fn new(settings: JitterBufferSettings) -> Self {
        let pace = PackedSettings::of(&settings);
        Self {
            pace,
            samples: VecDeque::new(),
            passed: 0,
            late: 0,
            played_us: Self::NOTHING,
            shown: None,
        }
    }

    /// How far behind the sender it plays.
    #[must_use]
    pub fn delay(&self) -> Duration {
        Duration::from_micros(self.pace.delay_us.into())
    }

    /// How many samples came after their time had been played, and were thrown away.
    #[must_use]
    pub const fn late(&self) -> u32 {
        self.late
    }

    /// Begins anew, with another sender or another run of it: its clock is another one. What is shown stays until
    /// its first sample is due.
    pub fn reset(&mut self) {
        self.samples.clear();
        self.played_us = Self::NOTHING;
    }

    /// What is shown before the first sample is due.
    pub const fn begin_with(&mut self, value: f32) {
        self.shown = Some(value);
    }

    /// Shows a value at once, as of `sent_us`, and forgets what waits. What was sent before is late.
    pub fn show(&mut self, sent_us: i64, value: f32) {
        let sent_us = self.played_us.max(sent_us);
        self.samples.clear();
        self.samples.push_back(Sample { sent_us, value });
        self.played_us = sent_us;
        self.shown = Some(value);
    }

    /// A sample has arrived, which was sent at `sent_us` by its sender's clock, in microseconds. One that comes too
    /// late for its time is played at once if it is the newest, since what was sent last is what is meant; else it is
    /// counted, and never played: false.
    pub fn push(&mut self, sent_us: i64, value: f32) -> bool {
        if !value.is_finite() {
            return false;
        }
        let late = self.late;
        self.take(sent_us, value);
        self.late == late
    }

    fn take(&mut self, sent_us: i64, value: f32) {
        let sample = Sample { sent_us, value };
        let is_newest = self.samples.back().is_some_and(|newest| sent_us > newest.sent_us);
        let is_late = sent_us <= self.played_us;
        if is_late && !is_newest {
            self.is_late();
            return;
        }
        if self.pace.delay_us == 0 {
            if is_newest || self.samples.is_empty() {
                self.samples.clear();
                self.samples.push_back(sample);
            } else {
                self.is_late();
            }
            return;
        }
        let is_full = self.samples.len() >= Self::MAX_SAMPLES;
        if is_newest {
            if is_full {
                self.samples.pop_front();
            }
            self.samples.push_back(sample);
            return;
        }
        let place = self.samples.partition_point(|other| other.sent_us < sent_us);
        if self.samples.get(place).is_some_and(|other| other.sent_us == sent_us) {
            self.is_late();
            return;
        }
        if is_full {
            self.samples.pop_front();
        }
        self.samples.insert(place.saturating_sub(usize::from(is_full)), sample);
    }

    const fn is_late(&mut self) {
        self.late = self.late.saturating_add(1);
    }

    /// Reads something of each place in memory that [`value`](Self::value) will need.
    pub(crate) fn touch(&self) -> i64 {
        let place = usize::try_from(self.passed).unwrap_or_default();
        let sample = |place| self.samples.get(place).map_or(0, |sample| sample.sent_us);
        sample(place.saturating_sub(3))
            ^ sample(place + 1)
            ^ self.played_us
            ^ i64::from(self.shown.map_or(0, f32::to_bits))
    }

    /// How many samples are of `due` or before it. Begins to look where that was last time.
    fn passed(&mut self, due: i64) -> usize {
        let has_passed = |place: usize| self.samples.get(place).is_some_and(|of| of.sent_us <= due);
        let mut passed = usize::try_from(self.passed).unwrap_or_default().min(self.samples.len());
        while passed > 0 && !has_passed(passed - 1) {
            passed -= 1;
        }
        while has_passed(passed) {
            passed += 1;
        }
        self.passed = u32::try_from(passed).unwrap_or_default();
        passed
    }

    /// The value to be shown when the sender's clock shows `sender_us`. `None` before the first sample is due.
    ///
    /// `passed` is how long after the frame before this is, which is how far it goes if it is smoothed: not how long after
    /// the last value, since one that was at rest is not looked at.
    pub fn value(&mut self, sender_us: i64, passed: Duration) -> Option<f32> {
        if self.pace.delay_us == 0 {
            let Some(current) = self.samples.front().copied() else {
                return self.shown;
            };
            return Some(self.smooth(current.value, passed));
        }
        let due = sender_us.saturating_sub(self.pace.delay_us.into());
        // A clock that is set back does not make time run backwards here.
        let due = self.played_us.max(due);
        let count = self.passed(due);
        // Only the last one of those whose time has come is still of interest.
        self.samples.drain(..count.saturating_sub(1));
        if count == 0 {
            return self.shown;
        }
        self.played_us = due;
        let current = self.samples.front()?;
        let value = self
            .samples
            .get(1)
            .filter(|_| self.pace.curve == Curve::Interpolated)
            .and_then(|next| between(current, next, due, self.pace.gap_us))
            .unwrap_or(current.value);
        Some(self.smooth(value, passed))
    }

    /// Throws away, unshown, what waits and was sent before `us`. The newest of it, if nothing is left.
    pub fn forget_before(&mut self, us: i64) -> Option<f32> {
        let old = self.samples.partition_point(|sample| sample.sent_us < us);
        let newest = self.samples.get(old.checked_sub(1)?).map(|sample| sample.value);
        self.samples.drain(..old);
        newest.filter(|_| self.samples.is_empty())
    }

    /// Whether the same will be shown until another sample comes.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        match (self.samples.front(), self.samples.len(), self.shown) {
            (None, ..) => true,
            (Some(last), 1, Some(shown)) => {
                let is_due = self.pace.delay_us == 0 || self.played_us >= last.sent_us;
                is_due && shown.to_bits() == last.value.to_bits()
            },
            _ => false,
        }
    }

    fn smooth(&mut self, value: f32, passed: Duration) -> f32 {
        let smoothing = Duration::from_micros(self.pace.smoothing_us.into());
        let shown = match self.shown {
            Some(shown) if !smoothing.is_zero() && (value - shown).abs() > Self::NEAR => {
                let share = 1.0 - (-passed.as_secs_f32() / smoothing.as_secs_f32()).exp();
                (value - shown).mul_add(share, shown)
            },
            _ => value,
        };
        self.shown = Some(shown);
        shown
    }
}

/// The point at `due` on the line between two samples, if they belong together.
// Microseconds of a gap fit into an f32 well enough for a value that is one.
#[allow(clippy::cast_precision_loss)]
fn between(current: &Sample, next: &Sample, due: i64, gap_us: u32) -> Option<f32> {
    let apart = next.sent_us.checked_sub(current.sent_us)?;
    if apart > gap_us.into() {
        return None;
    }
    let share = (due - current.sent_us) as f32 / apart as f32;
    Some((next.value - current.value).mul_add(share.clamp(0.0, 1.0), current.value))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
