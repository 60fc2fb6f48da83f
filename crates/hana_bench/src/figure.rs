use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// What was measured of one thing, over many rounds, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Times {
    /// The median.
    pub ms: f64,
    /// The longest.
    pub worst_ms: f64,
}

/// Ours beside the reference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// What was measured, a word or two.
    pub name: &'static str,
    /// The same in a sentence: from where to where.
    pub meaning: &'static str,
    /// Ours.
    pub ours: Times,
    /// The reference, where there is one.
    pub raw: Option<Times>,
    /// What the reference is.
    pub reference: &'static str,
    /// Our median by the reference's.
    pub ratio: Option<f64>,
}

/// What a bench found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The bench.
    pub bench: &'static str,
    /// How often each was measured.
    pub rounds: usize,
    /// Ours, of the first figure.
    pub ours: Times,
    /// The reference, of the first figure.
    pub raw: Option<Times>,
    /// Ours by the reference, of the first figure.
    pub ratio: Option<f64>,
    /// All figures.
    pub figures: Vec<Comparison>,
    /// Whether this is a build that is worth measuring.
    pub optimised: bool,
}

impl Times {
    /// The median and the longest; zero of none.
    #[must_use]
    pub fn of(mut samples: Vec<Duration>) -> Self {
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

impl Comparison {
    /// Ours beside the reference.
    #[must_use]
    pub fn of(
        name: &'static str,
        meaning: &'static str,
        ours: Times,
        reference: &'static str,
        raw: Option<Times>,
    ) -> Self {
        let ratio =
            raw.filter(|raw| raw.ms > 0.0).map(|raw| (ours.ms / raw.ms * 100.0).round() / 100.0);
        Self { name, meaning, ours, raw, reference, ratio }
    }
}

impl Report {
    /// What was found: what the bench is about, and what else.
    #[must_use]
    pub fn of(
        bench: &'static str,
        rounds: usize,
        first: Comparison,
        others: Vec<Comparison>,
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} rounds, median (worst)", self.bench, self.rounds)?;
        for figure in &self.figures {
            let Comparison { name, meaning, ours, raw, reference, ratio } = figure;
            write!(f, "\n\n{name:<18} {:>8.2} ms ({:.2})", ours.ms, ours.worst_ms)?;
            if let Some(raw) = raw {
                write!(f, "   {reference} {:.2} ms ({:.2})", raw.ms, raw.worst_ms)?;
            }
            if let Some(ratio) = ratio {
                write!(f, "   ratio {ratio:.2}")?;
            }
            write!(f, "\n    {meaning}")?;
        }
        if !self.optimised {
            write!(
                f,
                "\n\nThis is a debug build: its figures say nothing. `cargo build --release --workspace` makes the other."
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
    fn the_median_is_one_that_was_measured() {
        let times = Times::of(vec![ms(9), ms(1), ms(5), ms(3)]);
        assert_eq!(times, Times { ms: 3.0, worst_ms: 9.0 });
        assert_eq!(Times::of(vec![]), Times { ms: 0.0, worst_ms: 0.0 });
    }

    #[test]
    fn the_ratio_is_that_of_the_medians() {
        let times = |median| Times { ms: median, worst_ms: 99.0 };
        let compared = Comparison::of("x", "", times(3.0), "raw", Some(times(2.0)));
        assert_eq!(compared.ratio, Some(1.5));
        assert_eq!(Comparison::of("x", "", times(3.0), "none", None).ratio, None);
        let instant = Comparison::of("x", "", times(3.0), "raw", Some(times(0.0)));
        assert_eq!(instant.ratio, None, "nothing is a multiple of nothing");
    }
}
