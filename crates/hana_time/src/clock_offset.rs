use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Estimates the offset and drift of another host's clock from queries, with an error bound. Pure.
///
/// The remote clock is read after the query was sent and before the reply arrived. So each exchange gives an upper
/// bound of the offset at one time and a lower bound at another, however long and however asymmetric the transit was.
/// Within the window, the drift is assumed to be constant, so the candidates are the straight lines that violate no
/// bound. A slow exchange gives a loose bound that no line comes near, so load and outliers have no effect. The
/// fastest transit in each direction decides; the two may belong to different exchanges.
///
/// If an exchange leaves no line, the clock was set or the reading is wrong. If three such exchanges in a row agree
/// with each other, the clock was set, and the estimator discards the earlier exchanges that contradict them.
#[derive(Debug, Clone, Default)]
pub struct ClockOffset {
    known: VecDeque<ClockSample>,
    /// Exchanges that contradict the rest.
    outliers: Vec<ClockSample>,
    estimate: Option<ClockEstimate>,
}

/// A query of a remote clock and its reply; all times in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockSample {
    /// Time at which the query was sent, by the local clock.
    pub asked_us: i64,
    /// The reading of the remote clock.
    pub reading: ClockReading,
    /// Time at which the reply arrived, by the local clock.
    pub answered_us: i64,
}

/// A daemon's reply to a query of `hana/<host>/clock`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockReading {
    /// Time at which the query arrived, by the host's local clock, in microseconds.
    pub received_us: i64,
    /// Time at which the reply was sent, by the same clock.
    pub sent_us: i64,
}

/// The estimated offset and drift of another host's clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockEstimate {
    at_us: i64,
    ahead_us: i64,
    /// The part of the offset below one microsecond.
    fraction_us: f64,
    gain: f64,
    least_gain: f64,
    most_gain: f64,
    error_us: f64,
}

/// The lines that violate no bound.
struct FeasibleLines {
    gain: f64,
    least_gain: f64,
    most_gain: f64,
    /// The offset at the time of the newest exchange; `least` and `most` are its bounds.
    offset: f64,
    least: f64,
    most: f64,
}

/// Length of the window.
///
/// A longer window would measure the drift more accurately, but the drift changes with the temperature.
const WINDOW_US: i64 = 30_000_000;
/// Maximum number of exchanges to keep.
const EXCHANGES: usize = 128;
/// Largest drift between two clocks.
const MOST_GAIN: f64 = 1e-3;
/// Tolerance for readings in whole microseconds and for slightly uneven drift.
const SLACK_US: f64 = 2.0;
/// Number of consecutive contradictions that prove that the clock was set.
const DOUBTS: usize = 3;

impl ClockOffset {
    /// Adds an exchange and returns the current estimate; `None` while there is no estimate.
    ///
    /// An exchange that is invalid, or that contradicts the others, does not change the estimate at first.
    pub fn take(&mut self, exchange: ClockSample) -> Option<ClockEstimate> {
        let ClockSample { asked_us, reading, answered_us } = exchange;
        let makes_sense = answered_us >= asked_us && reading.sent_us >= reading.received_us;
        let is_newer = self.known.back().is_none_or(|last| last.answered_us <= answered_us);
        if !makes_sense || !is_newer {
            return self.estimate;
        }
        while self.known.len() >= EXCHANGES
            || self
                .known
                .front()
                .is_some_and(|first| answered_us.saturating_sub(first.asked_us) > WINDOW_US)
        {
            self.known.pop_front();
        }
        self.known.push_back(exchange);
        if let Some(lines) = lines(self.known.make_contiguous()) {
            self.outliers.clear();
            self.estimate = Some(ClockEstimate::of(&lines, exchange));
            return self.estimate;
        }
        self.known.pop_back();
        self.outliers.push(exchange);
        if self.outliers.len() >= DOUBTS {
            self.believe_the_doubted();
        }
        self.estimate
    }

    /// Returns the current estimate.
    #[must_use]
    pub const fn estimate(&self) -> Option<ClockEstimate> {
        self.estimate
    }

    fn believe_the_doubted(&mut self) {
        if lines(&self.outliers).is_none() {
            self.outliers.remove(0);
            return;
        }
        self.known.extend(self.outliers.drain(..));
        while let Some(newest) = self.known.back().copied() {
            if let Some(lines) = lines(self.known.make_contiguous()) {
                self.estimate = Some(ClockEstimate::of(&lines, newest));
                return;
            }
            self.known.pop_front();
        }
    }
}

/// A bound of the offset: its time relative to the newest exchange, and its value relative to the reference offset.
struct Bound {
    at: f64,
    offset: f64,
}

/// Returns the lines that violate no bound, as of the newest exchange, or `None` if there is none.
fn lines(exchanges: &[ClockSample]) -> Option<FeasibleLines> {
    let newest = exchanges.last()?;
    let bounds = |bound: fn(&ClockSample) -> (i64, i64), slack: f64| -> Vec<Bound> {
        let of = |exchange| {
            let (there, here) = bound(exchange);
            let offset = there.saturating_sub(here).saturating_sub(newest.ahead());
            let at = here.saturating_sub(newest.answered_us);
            Bound { at: to_f64(at), offset: to_f64(offset) + slack }
        };
        exchanges.iter().map(of).collect()
    };
    let above = bounds(|exchange| (exchange.reading.received_us, exchange.asked_us), SLACK_US);
    let below = bounds(|exchange| (exchange.reading.sent_us, exchange.answered_us), -SLACK_US);
    // For a given drift, the feasible offsets lie between these two bounds. Both rise with the drift, since all
    // bounds lie in the past.
    let most = |gain: f64| {
        above.iter().map(|bound| gain.mul_add(-bound.at, bound.offset)).fold(f64::MAX, f64::min)
    };
    let least = |gain: f64| {
        below.iter().map(|bound| gain.mul_add(-bound.at, bound.offset)).fold(f64::MIN, f64::max)
    };
    let room = |gain: f64| most(gain) - least(gain);
    let widest = widest(room)?;
    let (least_gain, most_gain) = (edge(room, widest, -MOST_GAIN), edge(room, widest, MOST_GAIN));
    let gain = f64::midpoint(least_gain, most_gain);
    let offset = f64::midpoint(least(gain), most(gain));
    let (least, most) = (least(least_gain), most(most_gain));
    Some(FeasibleLines { gain, least_gain, most_gain, offset, least, most })
}

/// Returns the drift with the widest feasible offset interval (unimodal), or `None` if none is feasible.
fn widest(room: impl Fn(f64) -> f64) -> Option<f64> {
    let (mut low, mut high) = (-MOST_GAIN, MOST_GAIN);
    for _ in 0..40 {
        let third = (high - low) / 3.0;
        if room(low + third) < room(high - third) {
            low += third;
        } else {
            high -= third;
        }
    }
    let widest = f64::midpoint(low, high);
    (room(widest) >= 0.0).then_some(widest)
}

/// Returns the feasible drift that is closest to `limit`.
fn edge(room: impl Fn(f64) -> f64, widest: f64, limit: f64) -> f64 {
    if room(limit) >= 0.0 {
        return limit;
    }
    let (mut inside, mut outside) = (widest, limit);
    for _ in 0..30 {
        let middle = f64::midpoint(inside, outside);
        if room(middle) >= 0.0 {
            inside = middle;
        } else {
            outside = middle;
        }
    }
    inside
}

impl ClockSample {
    /// Returns the approximate offset of the remote clock. Bounds are relative to it, so they are small and exact.
    const fn ahead(&self) -> i64 {
        self.reading.sent_us.saturating_sub(self.answered_us)
    }
}

impl ClockEstimate {
    fn of(lines: &FeasibleLines, newest: ClockSample) -> Self {
        let whole = lines.offset.floor();
        Self {
            at_us: newest.answered_us,
            ahead_us: newest.ahead().saturating_add(to_i64(whole)),
            fraction_us: lines.offset - whole,
            gain: lines.gain,
            least_gain: lines.least_gain,
            most_gain: lines.most_gain,
            error_us: (lines.most - lines.offset).max(lines.offset - lines.least),
        }
    }

    /// Converts a local time to the remote clock, to the nearest microsecond.
    #[must_use]
    pub const fn to_remote(&self, here_us: i64) -> i64 {
        let gained =
            to_f64(here_us.saturating_sub(self.at_us)).mul_add(self.gain, self.fraction_us);
        here_us.saturating_add(self.ahead_us).saturating_add(to_i64(gained.round()))
    }

    /// Converts a time of the remote clock to the local clock, to the nearest microsecond.
    #[must_use]
    pub fn to_local(&self, there_us: i64) -> i64 {
        // `fraction_us` is not divided by `1 + gain`, because the difference is negligible.
        let about = there_us.saturating_sub(self.ahead_us);
        let gained = to_f64(about.saturating_sub(self.at_us)) * self.gain / (1.0 + self.gain);
        about.saturating_sub(to_i64((gained + self.fraction_us).round()))
    }

    /// Returns the rate of the remote clock relative to the local one; 1 means no drift.
    #[must_use]
    pub const fn rate(&self) -> f64 {
        1.0 + self.gain
    }

    /// Returns the error bound at a local time, in microseconds; it grows until the next exchange.
    #[must_use]
    pub fn error_us(&self, here_us: i64) -> f64 {
        let since = to_f64(here_us.saturating_sub(self.at_us).max(0));
        let spread = (self.most_gain - self.gain).max(self.gain - self.least_gain);
        since.mul_add(spread, self.error_us)
    }
}

// The values compared here are far below 2^53.
#[allow(clippy::cast_precision_loss)]
const fn to_f64(us: i64) -> f64 {
    us as f64
}

// `as` from f64 to i64 saturates, as intended.
#[allow(clippy::cast_possible_truncation)]
const fn to_i64(us: f64) -> i64 {
    us as i64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000_000;

    /// A clock that is ahead and runs fast.
    #[derive(Debug, Clone, Copy)]
    struct Truth {
        ahead: i64,
        ppm: i64,
    }

    impl Truth {
        fn read(self, here: i64) -> i64 {
            here + self.ahead + here * self.ppm / 1_000_000
        }

        /// Returns an exchange that starts at `at`, with the transit time in each direction and the processing time.
        fn exchange(self, at: i64, there: i64, work: i64, back: i64) -> ClockSample {
            ClockSample {
                asked_us: at,
                reading: ClockReading {
                    received_us: self.read(at + there),
                    sent_us: self.read(at + there + work),
                },
                answered_us: at + there + work + back,
            }
        }
    }

    #[test]
    fn large_offset_and_drift_are_found_to_a_few_microseconds() {
        let truth = Truth { ahead: HOUR, ppm: 100 };
        let mut clock = ClockOffset::default();
        for second in 0..40 {
            // In each direction, one transit in eight is fast; the others are delayed.
            let held_up = |of: i64| if (second + of) % 8 == 0 { 0 } else { (second * of) % 7000 };
            for half in 0..2 {
                let at = second * 1_000_000 + half * 500_000;
                clock.take(truth.exchange(at, 60 + held_up(17), 5, 65 + held_up(29)));
            }
        }
        let estimate = clock.estimate().unwrap();
        let now = 41_000_000;
        let off = estimate.to_remote(now) - truth.read(now);
        assert!(off.abs() < 20, "{off} us off");
        assert!((estimate.rate() - 1.0001).abs() < 5e-6, "{}", estimate.rate());
        assert!(estimate.error_us(now) < 150.0, "{}", estimate.error_us(now));
        assert!((estimate.to_local(estimate.to_remote(now)) - now).abs() <= 1);
    }

    #[test]
    fn one_outlier_is_ignored_and_a_clock_step_is_accepted() {
        let truth = Truth { ahead: -HOUR, ppm: -40 };
        let mut clock = ClockOffset::default();
        for tick in 0..20 {
            clock.take(truth.exchange(tick * 500_000, 80, 5, 90));
        }
        let before = clock.estimate();
        let set = Truth { ahead: 12, ppm: -40 };
        clock.take(set.exchange(10_000_000, 80, 5, 90));
        assert_eq!(clock.estimate(), before);
        clock.take(truth.exchange(10_500_000, 80, 5, 90));
        let off = |clock: &ClockOffset, truth: Truth, at| {
            (clock.estimate().unwrap().to_remote(at) - truth.read(at)).abs()
        };
        assert!(off(&clock, truth, 10_600_000) < 20);
        for tick in 22..26 {
            clock.take(set.exchange(tick * 500_000, 80, 5, 90));
        }
        assert!(off(&clock, set, 13_000_000) < 100);
        assert!(clock.estimate().unwrap().error_us(13_000_000) < 300.0);
    }

    #[test]
    fn implausible_reply_is_ignored() {
        let mut clock = ClockOffset::default();
        let backwards = ClockSample {
            asked_us: 10,
            reading: ClockReading { received_us: 5, sent_us: 4 },
            answered_us: 20,
        };
        assert_eq!(clock.take(backwards), None);
        let reading = ClockReading { received_us: i64::MIN, sent_us: i64::MAX };
        let _ = clock.take(ClockSample { asked_us: i64::MIN, reading, answered_us: i64::MAX });
        let _ = clock.take(ClockSample { asked_us: i64::MAX, reading, answered_us: i64::MAX });
    }

    proptest! {
        #![proptest_config(hana_random::cases(64))]
        #[test]
        fn true_offset_stays_within_the_error_bound(
            ahead in -HOUR..HOUR,
            ppm in -400..=400_i64,
            // Per exchange: transit there, processing, transit back, and the pause until the next one.
            exchanges in prop::collection::vec((1..9_000_i64, 0..500_i64, 1..9_000_i64, 10_000..900_000_i64), 1..90),
            later in 0..5_000_000_i64,
        ) {
            let truth = Truth { ahead, ppm };
            let mut clock = ClockOffset::default();
            let mut at = 0;
            for (there, work, back, pause) in exchanges {
                let exchange = truth.exchange(at, there, work, back);
                let estimate = clock.take(exchange).unwrap();
                let now = exchange.answered_us;
                let off = estimate.to_remote(now) - truth.read(now);
                prop_assert!(to_f64(off.abs()) <= estimate.error_us(now) + 1.0, "{} us", off);
                // The bound is at most the round trip, plus the resolution of the readings.
                let trip = to_f64(there + work + back) / 2.0;
                prop_assert!(estimate.error_us(now) <= trip.mul_add(1.01, 5.0) * 2.0);
                at = now + pause;
            }
            let (estimate, now) = (clock.estimate().unwrap(), at + later);
            let off = estimate.to_remote(now) - truth.read(now);
            prop_assert!(to_f64(off.abs()) <= estimate.error_us(now) + 2.0, "{} us later", off);
        }
    }
}
