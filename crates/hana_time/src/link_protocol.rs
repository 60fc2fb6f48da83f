use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::sanitize_line::sanitize_line;
use crate::timeline::{Timeline, TimelineError};

/// The state of the Link session: a line that `hana-link` writes to its standard output.
///
/// `hana-link` writes a report on every change and at least four times a second. It writes none before it knows
/// whether it is alone in the session, because until then its timeline is not worth following.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LinkReport {
    /// Beats per minute at which the session really runs.
    ///
    /// Link counts whole microseconds for each beat, so 133 becomes 132.99994.
    pub bpm: f64,
    /// The beat at `at_us`.
    ///
    /// The whole session shares its position in the bar; the number of the bar is this program's own.
    pub beat: f64,
    /// Time in microseconds of this host's local clock.
    pub at_us: i64,
    /// Number of beats in a bar.
    pub quantum: f64,
    /// Whether the session plays.
    pub playing: bool,
    /// Number of other peers in the session. A crashed peer still counts for about five seconds.
    pub peers: u64,
}

/// A command that `hana-link` reads from its standard input, one per line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkOrder {
    /// Sets the tempo of the whole session from now on; the beat does not jump.
    Tempo {
        /// Beats per minute, 20 to 999.
        bpm: f64,
    },
    /// Starts playback of the whole session.
    Play {},
    /// Pauses the whole session; beats still advance.
    Pause {},
    /// Sets the length of the bar for this program only: Link does not share it.
    Quantum {
        /// Number of beats in a bar, 1/64 to 1024.
        beats: f64,
    },
    /// Continues from this timeline if no other peer is in the session.
    ///
    /// Otherwise, the session's timeline stays in effect, and only the length of the bar is used.
    Adopt {
        /// Beats per minute, 20 to 999.
        bpm: f64,
        /// The beat at `at_us`.
        beat: f64,
        /// Time in microseconds of this host's local clock.
        at_us: i64,
        /// Number of beats in a bar, 1/64 to 1024.
        quantum: f64,
        /// Whether it plays.
        playing: bool,
    },
}

/// The reason why a line between the daemon and `hana-link` is invalid.
#[derive(Debug, Error)]
pub enum LinkLineError {
    /// The line is not JSON, or not a known line.
    #[error(
        "'{line}' is no line between hanad and hana-link: {source}; both must be of one version"
    )]
    Unknown {
        /// The beginning of the line.
        line: String,
        /// The parse error.
        source: serde_json::Error,
    },
    /// A number that no timeline can have.
    #[error(transparent)]
    Timeline(#[from] TimelineError),
}

impl LinkReport {
    /// Returns the line, without its line end.
    #[must_use]
    pub fn to_line(&self) -> String {
        to_line(self)
    }

    /// Parses a line as a report.
    ///
    /// # Errors
    ///
    /// Fails if the line is not a report, or has a number that no timeline can have.
    pub fn parse(line: &str) -> Result<Self, LinkLineError> {
        let report: Self = parse(line)?;
        report.timeline()?;
        Ok(report)
    }

    /// Returns the reported timeline, on this host's local clock.
    ///
    /// # Errors
    ///
    /// Fails if a number is one that no timeline can have.
    pub fn timeline(&self) -> Result<Timeline, TimelineError> {
        let Self { bpm, beat, at_us, quantum, playing, .. } = *self;
        timeline(bpm, beat, at_us, quantum, playing)
    }
}

impl LinkOrder {
    /// Returns the command to continue from `timeline`, which is on this host's local clock.
    #[must_use]
    pub const fn adopt(timeline: &Timeline) -> Self {
        let (at_us, beat) = timeline.origin();
        Self::Adopt {
            bpm: timeline.bpm(),
            beat,
            at_us,
            quantum: timeline.quantum(),
            playing: timeline.is_playing(),
        }
    }

    /// Returns the line, without its line end.
    #[must_use]
    pub fn to_line(&self) -> String {
        to_line(self)
    }

    /// Parses a line as a command.
    ///
    /// # Errors
    ///
    /// Fails if the line is not a command, or has a number that no timeline can have.
    pub fn parse(line: &str) -> Result<Self, LinkLineError> {
        let order: Self = parse(line)?;
        order.check()?;
        Ok(order)
    }

    /// Checks that the command can be carried out.
    ///
    /// # Errors
    ///
    /// Fails if a number is one that no timeline can have.
    pub fn check(&self) -> Result<(), TimelineError> {
        match *self {
            Self::Tempo { bpm } => timeline(bpm, 0.0, 0, 4.0, false).map(drop),
            Self::Quantum { beats } => timeline(Timeline::MIN_BPM, 0.0, 0, beats, false).map(drop),
            Self::Adopt { bpm, beat, at_us, quantum, playing } => {
                timeline(bpm, beat, at_us, quantum, playing).map(drop)
            },
            Self::Play {} | Self::Pause {} => Ok(()),
        }
    }
}

fn timeline(
    bpm: f64,
    beat: f64,
    at_us: i64,
    quantum: f64,
    playing: bool,
) -> Result<Timeline, TimelineError> {
    Ok(Timeline::new(bpm, at_us, beat)?.with_quantum(quantum)?.with_playing(playing))
}

/// Serializes a line, which cannot fail: it holds only numbers and booleans.
fn to_line(line: &impl Serialize) -> String {
    serde_json::to_string(line).unwrap_or_default()
}

fn parse<T: serde::de::DeserializeOwned>(line: &str) -> Result<T, LinkLineError> {
    /// Number of characters of an invalid line to show.
    const SHOWN: usize = 80;
    serde_json::from_str(line.trim()).map_err(|source| LinkLineError::Unknown {
        line: sanitize_line(line.trim(), SHOWN),
        source,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_have_the_form_that_a_person_would_type() {
        assert_eq!(LinkOrder::Tempo { bpm: 133.0 }.to_line(), r#"{"tempo":{"bpm":133.0}}"#);
        assert_eq!(LinkOrder::parse(r#"{"play": {}}"#).unwrap(), LinkOrder::Play {});
        assert_eq!(
            LinkOrder::parse("  {\"quantum\":{\"beats\":7}}\r\n").unwrap(),
            LinkOrder::Quantum { beats: 7.0 }
        );
        let line = r#"{"bpm":120.0,"beat":-3.5,"at_us":7,"quantum":4.0,"playing":true,"peers":2}"#;
        assert_eq!(LinkReport::parse(line).unwrap().to_line(), line);
    }

    #[test]
    fn invalid_timeline_is_refused_by_name() {
        for (line, word) in [
            (r#"{"tempo":{"bpm":1000}}"#, "1000 is no tempo"),
            (r#"{"quantum":{"beats":0}}"#, "0 is no length of a bar"),
            (
                r#"{"adopt":{"bpm":10,"beat":0,"at_us":0,"quantum":4,"playing":true}}"#,
                "10 is no tempo",
            ),
            (r#"{"jump":{}}"#, "jump"),
            ("", "no line between"),
            ("\u{1b}[2J", "both must be of one version"),
        ] {
            let problem = LinkOrder::parse(line).unwrap_err().to_string();
            assert!(problem.contains(word) && !problem.contains('\u{1b}'), "{line}: {problem}");
        }
        LinkReport::parse(r#"{"bpm":0,"beat":0,"at_us":0,"quantum":4,"playing":true,"peers":0}"#)
            .unwrap_err();
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn line_survives_the_round_trip(
            bpm in 20.0..=999.0_f64, beat in -1e9..1e9_f64, at_us: i64, quantum in 1_u16..=1024, playing: bool,
            peers: u64,
        ) {
            let quantum = f64::from(quantum);
            let report = LinkReport { bpm, beat, at_us, quantum, playing, peers };
            let read = LinkReport::parse(&report.to_line()).unwrap();
            prop_assert!((read.bpm - bpm).abs() < 1e-9 && (read.beat - beat).abs() < 1e-5);
            prop_assert_eq!(LinkReport { bpm, beat, ..read }, report);
            let timeline = read.timeline().unwrap();
            let order = LinkOrder::parse(&LinkOrder::adopt(&timeline).to_line()).unwrap();
            let LinkOrder::Adopt { at_us: at, .. } = order else { panic!("{order:?}") };
            prop_assert_eq!(at, at_us);
        }

        #[test]
        fn no_line_causes_a_panic(line in ".{0,200}") {
            let _ = (LinkReport::parse(&line).is_ok(), LinkOrder::parse(&line).is_ok());
        }
    }
}
