use std::collections::VecDeque;
use std::time::Duration;

/// The jitter buffer of one parameter: plays its samples after a fixed, small delay, so network jitter is not
/// visible.
///
/// It takes samples with the sender's timestamps as they arrive, and returns the value for the sender's current time
/// (see [`SenderClock`](crate::playout::sender_clock::SenderClock)). It uses all samples that arrive between two
/// frames, sorts them by time, and never plays a sample that is older than what it has played. Pure; it does not
/// allocate once its queue has reached its final size.
#[derive(Debug, Clone)]
pub struct JitterBuffer {
    pace: PackedSettings,
    /// The samples, sorted by distinct times. The first one is playing now or is the next to play.
    samples: VecDeque<Sample>,
    /// The number of samples that were due at the last lookup; a good first guess for the next one.
    passed: u32,
    late: u32,
    /// The sender's time up to which samples have been played; [`NOTHING`](Self::NOTHING) before the start.
    played_us: i64,
    /// The last returned value, for smoothing.
    shown: Option<f32>,
}

/// The playback settings of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JitterBufferSettings {
    /// The playback delay behind the sender; at most [`JitterBuffer::MAX_DELAY`].
    ///
    /// Zero plays each value on arrival, without interpolation. A delay longer than the network's jitter plus the
    /// time between two samples reproduces the curve as it was sent.
    pub delay: Duration,
    /// The curve between two samples.
    pub curve: Curve,
    /// The longest interval between two samples that is interpolated.
    ///
    /// A longer interval means that the sender paused or samples were lost, so the first value stays until the second
    /// one is due.
    pub gap: Duration,
    /// The time in which the output covers 63 % of a step; zero disables smoothing.
    pub smoothing: Duration,
}

/// [`JitterBufferSettings`] in compact form: every frame reads the buffers of all parameters, so memory traffic
/// dominates.
///
/// Times are in microseconds, one hour at most.
#[derive(Debug, Clone, Copy)]
struct PackedSettings {
    delay_us: u32,
    gap_us: u32,
    smoothing_us: u32,
    curve: Curve,
}

/// The curve between two samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// A straight line, for continuous parameters.
    Interpolated,
    /// The earlier value, for switches and choices.
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
    /// The maximum number of waiting samples; beyond it, the oldest sample is discarded.
    ///
    /// At 1 kHz this is a quarter of a second, longer than the longest delay.
    pub const MAX_SAMPLES: usize = 256;
    /// The longest delay; at 1 kHz, the samples of this period fit into the buffer.
    pub const MAX_DELAY: Duration = Duration::from_millis(200);
    /// The difference below which smoothing has reached its target.
    const NEAR: f32 = 1e-5;
    /// The time before all other times.
    const NOTHING: i64 = i64::MIN;

    /// Creates an empty buffer.
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

    /// Returns the playback delay behind the sender.
    #[must_use]
    pub fn delay(&self) -> Duration {
        Duration::from_micros(self.pace.delay_us.into())
    }

    /// Returns the number of samples that were discarded because they arrived after their playback time.
    #[must_use]
    pub const fn late(&self) -> u32 {
        self.late
    }

    /// Restarts with another sender, or another instance of the same sender, whose clock differs.
    ///
    /// The shown value stays until the new sender's first sample is due.
    pub fn reset(&mut self) {
        self.samples.clear();
        self.played_us = Self::NOTHING;
    }

    /// Sets the value to show before the first sample is due.
    pub const fn begin_with(&mut self, value: f32) {
        self.shown = Some(value);
    }

    /// Shows a value at once, as of `sent_us`, and discards waiting samples. Samples sent before it count as late.
    pub fn show(&mut self, sent_us: i64, value: f32) {
        let sent_us = self.played_us.max(sent_us);
        self.samples.clear();
        self.samples.push_back(Sample { sent_us, value });
        self.played_us = sent_us;
        self.shown = Some(value);
    }

    /// Adds a sample that was sent at `sent_us`, by its sender's clock in microseconds.
    ///
    /// A late sample is applied at once if it is the newest; otherwise it is counted as late and dropped (returns
    /// `false`).
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

    /// Reads from each memory location that [`value`](Self::value) will need.
    pub(crate) fn touch(&self) -> i64 {
        let place = usize::try_from(self.passed).unwrap_or_default();
        let sample = |place| self.samples.get(place).map_or(0, |sample| sample.sent_us);
        sample(place.saturating_sub(3))
            ^ sample(place + 1)
            ^ self.played_us
            ^ i64::from(self.shown.map_or(0, f32::to_bits))
    }

    /// Returns the number of samples at or before `due`. The search starts from the previous result.
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

    /// Returns the value to show at the sender's time `sender_us`; `None` if no value is known yet.
    ///
    /// `passed` is the time since the previous frame, and is the time step of the smoothing. It is not the time since
    /// the previous call, because settled parameters are skipped.
    pub fn value(&mut self, sender_us: i64, passed: Duration) -> Option<f32> {
        if self.pace.delay_us == 0 {
            let Some(current) = self.samples.front().copied() else {
                return self.shown;
            };
            return Some(self.smooth(current.value, passed));
        }
        let due = sender_us.saturating_sub(self.pace.delay_us.into());
        // A sender's clock that is set back does not move playback backwards.
        let due = self.played_us.max(due);
        let count = self.passed(due);
        // Of the samples that are due, only the last one is still needed.
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

    /// Discards the waiting samples that were sent before `us`; returns the newest of them if no sample is left.
    pub fn forget_before(&mut self, us: i64) -> Option<f32> {
        let old = self.samples.partition_point(|sample| sample.sent_us < us);
        let newest = self.samples.get(old.checked_sub(1)?).map(|sample| sample.value);
        self.samples.drain(..old);
        newest.filter(|_| self.samples.is_empty())
    }

    /// Returns whether the value stays the same until another sample arrives.
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

/// Interpolates linearly between two samples at `due`; `None` if they are too far apart.
// A gap in microseconds is precise enough as an `f32` for a value that is an `f32` itself.
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
