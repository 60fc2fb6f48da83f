use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// The result of one measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Measured {
    /// The duration of an operation.
    TimeFigures(TimeFigures),
    /// The latency of messages.
    Latency(Latency),
    /// The rate of received messages.
    Rate(Rate),
}

/// The duration of an operation over many rounds, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct TimeFigures {
    /// The median.
    pub(crate) ms: f64,
    /// The maximum.
    pub(crate) worst_ms: f64,
}

/// The latency of messages in microseconds: the median over all rounds of each round's percentiles.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Latency {
    /// The 50th percentile.
    pub(crate) p50_us: f64,
    /// The 99th percentile.
    pub(crate) p99_us: f64,
}

/// The rate of received messages, and the share of sent messages that were lost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Rate {
    /// The median of the rounds, per second.
    pub(crate) per_s: f64,
    /// The lost share of all sent messages, from 0 to 1.
    pub(crate) loss: f64,
    /// The number of values that were shown after newer ones, or older than the limit; `None` if not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stale: Option<u64>,
}

/// A comparison of hana with the reference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct FigureComparison {
    /// The name of the measurement, one or two words.
    pub(crate) name: &'static str,
    /// The measured path, as a sentence.
    pub(crate) meaning: &'static str,
    /// The result of hana.
    pub(crate) ours: Measured,
    /// The result of the reference, if there is one.
    pub(crate) raw: Option<Measured>,
    /// A description of the reference.
    pub(crate) reference: &'static str,
    /// The ratio of hana's median to the reference's.
    pub(crate) ratio: Option<f64>,
    /// The ratio of the 99th percentiles, if they were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio_p99: Option<f64>,
}

/// The results of a bench.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    /// The name of the bench.
    pub(crate) bench: &'static str,
    /// The number of rounds of each measurement.
    pub(crate) rounds: usize,
    /// The result of hana in the first comparison.
    pub(crate) ours: Measured,
    /// The result of the reference in the first comparison.
    pub(crate) raw: Option<Measured>,
    /// The ratio in the first comparison.
    pub(crate) ratio: Option<f64>,
    /// All comparisons.
    pub(crate) figures: Vec<FigureComparison>,
    /// Whether this is an optimised build; only then are the results meaningful.
    pub(crate) optimised: bool,
}

impl Measured {
    /// Returns the value that ratios are calculated from.
    const fn middle(&self) -> f64 {
        match self {
            Self::TimeFigures(times) => times.ms,
            Self::Latency(latency) => latency.p50_us,
            Self::Rate(rate) => rate.per_s,
        }
    }

    const fn slowest(&self) -> Option<f64> {
        match self {
            Self::Latency(latency) => Some(latency.p99_us),
            Self::TimeFigures(_) | Self::Rate(_) => None,
        }
    }
}

impl From<TimeFigures> for Measured {
    fn from(times: TimeFigures) -> Self {
        Self::TimeFigures(times)
    }
}

impl From<Latency> for Measured {
    fn from(latency: Latency) -> Self {
        Self::Latency(latency)
    }
}

impl From<Rate> for Measured {
    fn from(rate: Rate) -> Self {
        Self::Rate(rate)
    }
}

impl TimeFigures {
    /// Returns the median and the maximum of the samples, or zeros if there are none.
    #[must_use]
    pub(crate) fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        let at = |index: usize| {
            samples.get(index).map_or(0.0, |time| (time.as_secs_f64() * 1e5).round() / 1e2)
        };
        Self {
            ms: at(samples.len().saturating_sub(1) / 2),
            worst_ms: at(samples.len().saturating_sub(1)),
        }
    }
}

impl Latency {
    /// Summarizes rounds of messages. Returns zeros if there are no rounds.
    #[must_use]
    pub(crate) fn of(rounds: impl IntoIterator<Item = Vec<Duration>>) -> Self {
        let percentiles = |mut round: Vec<Duration>| {
            round.sort_unstable();
            let at = |share: usize| round.get(round.len() * share / 100).map(Duration::as_secs_f64);
            at(50).zip(at(99))
        };
        let (half, slowest): (Vec<f64>, Vec<f64>) =
            rounds.into_iter().filter_map(percentiles).unzip();
        let us = |of: Vec<f64>| (median(of) * 1e7).round() / 10.0;
        Self { p50_us: us(half), p99_us: us(slowest) }
    }
}

impl Rate {
    /// Summarizes rounds, each with the number of messages received, the time taken and the number sent.
    #[must_use]
    pub(crate) fn of(rounds: &[(u64, Duration, u64)]) -> Self {
        let per_s = median(
            rounds
                .iter()
                .map(|(came, within, _)| float(*came) / within.as_secs_f64().max(1e-9))
                .collect(),
        );
        let came: u64 = rounds.iter().map(|(came, ..)| came).sum();
        let sent: u64 = rounds.iter().map(|(_, _, sent)| sent).sum();
        let loss = if sent == 0 { 0.0 } else { float(sent.saturating_sub(came)) / float(sent) };
        Self { per_s: per_s.round(), loss, stale: None }
    }
}

/// Converts a count to a float. Exact below 2^53, which no count here reaches.
#[allow(clippy::cast_precision_loss)]
const fn float(count: u64) -> f64 {
    count as f64
}

/// Returns the median, which is always one of the values, or zero if there are none.
fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

impl FigureComparison {
    /// Compares hana with the reference.
    #[must_use]
    pub(crate) fn of(
        name: &'static str,
        meaning: &'static str,
        ours: impl Into<Measured>,
        reference: &'static str,
        raw: Option<impl Into<Measured>>,
    ) -> Self {
        let (ours, raw) = (ours.into(), raw.map(Into::into));
        let by = |ours: f64, raw: f64| (raw > 0.0).then(|| (ours / raw * 100.0).round() / 100.0);
        let ratio = raw.as_ref().and_then(|raw| by(ours.middle(), raw.middle()));
        let slowest = ours.slowest().zip(raw.as_ref().and_then(Measured::slowest));
        let ratio_p99 = slowest.and_then(|(ours, raw)| by(ours, raw));
        Self { name, meaning, ours, raw, reference, ratio, ratio_p99 }
    }
}

impl Report {
    /// Creates the report of a bench. The first comparison is the main one.
    #[must_use]
    pub(crate) fn of(
        bench: &'static str,
        rounds: usize,
        first: FigureComparison,
        others: Vec<FigureComparison>,
    ) -> Self {
        Self {
            bench,
            rounds,
            ours: first.ours,
            raw: first.raw,
            ratio: first.ratio,
            optimised: !cfg!(debug_assertions),
            figures: std::iter::once(first).chain(others).collect(),
        }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimeFigures(TimeFigures { ms, worst_ms }) => {
                write!(f, "{ms:.2} ms ({worst_ms:.2})")
            },
            Self::Latency(Latency { p50_us, p99_us }) => write!(f, "{p50_us:.0} us ({p99_us:.0})"),
            Self::Rate(Rate { per_s, loss, stale }) => {
                write!(f, "{per_s:.0}/s, {loss:.6} lost")?;
                stale.map_or(Ok(()), |stale| write!(f, ", {stale} stale"))
            },
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bench, rounds, ours, .. } = self;
        let what = match ours {
            Measured::TimeFigures(_) => "median (worst)",
            Measured::Latency(_) => "p50 (p99), medians of the rounds",
            Measured::Rate(_) => "median of the rounds",
        };
        write!(f, "{bench}: {rounds} rounds, {what}")?;
        for figure in &self.figures {
            let FigureComparison { name, meaning, ours, raw, reference, ratio, ratio_p99 } = figure;
            write!(f, "\n\n{name:<22} {ours}")?;
            if let Some(raw) = raw {
                write!(f, "   {reference} {raw}")?;
            }
            if let Some(ratio) = ratio {
                write!(f, "   ratio {ratio:.2}")?;
            }
            if let Some(ratio) = ratio_p99 {
                write!(f, " ({ratio:.2})")?;
            }
            write!(f, "\n    {meaning}")?;
        }
        if !self.optimised {
            write!(
                f,
                "\n\nThis is a debug build: its results are meaningless. Run `cargo build --release --workspace`."
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn median_is_a_measured_value() {
        let times = TimeFigures::of(vec![ms(9), ms(1), ms(5), ms(3)]);
        assert_eq!(times, TimeFigures { ms: 3.0, worst_ms: 9.0 });
        assert_eq!(TimeFigures::of(vec![]), TimeFigures { ms: 0.0, worst_ms: 0.0 });
    }

    #[test]
    fn ratio_compares_medians() {
        let times = |median| TimeFigures { ms: median, worst_ms: 99.0 };
        let compared = FigureComparison::of("x", "", times(3.0), "raw", Some(times(2.0)));
        assert_eq!(compared.ratio, Some(1.5));
        assert_eq!(
            FigureComparison::of("x", "", times(3.0), "none", None::<TimeFigures>).ratio,
            None
        );
        let instant = FigureComparison::of("x", "", times(3.0), "raw", Some(times(0.0)));
        assert_eq!(instant.ratio, None, "there is no multiple of zero");
    }

    #[test]
    fn latency_is_the_median_of_the_rounds() {
        let us = Duration::from_micros;
        let round = |from: u64| (from..from + 100).map(us).collect::<Vec<_>>();
        let latency = Latency::of([round(100), round(1000), round(200)]);
        assert_eq!(latency, Latency { p50_us: 250.0, p99_us: 299.0 });
        assert_eq!(Latency::of([vec![], vec![us(7)]]), Latency { p50_us: 7.0, p99_us: 7.0 });
        assert_eq!(Latency::of([]), Latency { p50_us: 0.0, p99_us: 0.0 });
        let half = Latency { p50_us: 125.0, p99_us: 598.0 };
        let compared = FigureComparison::of("x", "", latency, "raw", Some(half));
        assert_eq!((compared.ratio, compared.ratio_p99), (Some(2.0), Some(0.5)));
    }

    #[test]
    fn loss_is_a_share_of_sent_messages() {
        let second = Duration::from_secs(1);
        let rate = Rate::of(&[(99, second, 100), (50, second / 2, 50), (150, second, 150)]);
        assert_eq!(rate, Rate { per_s: 100.0, loss: 1.0 / 300.0, stale: None });
        assert_eq!(Rate::of(&[]), Rate { per_s: 0.0, loss: 0.0, stale: None });
    }
}
