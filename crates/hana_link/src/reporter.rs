use std::time::{Duration, Instant};

use hana_time::LinkReport;

/// Decides when to write a line, and formats it. Pure.
#[derive(Debug)]
pub(crate) struct Reporter {
    format: OutputFormat,
    last: Option<(LinkReport, Instant)>,
    last_text: String,
}

/// The form of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputFormat {
    /// For programs: JSON on every change, and at least four times a second.
    Json,
    /// For people: text, whenever it changes.
    Text,
}

impl Reporter {
    /// Maximum time between two lines.
    const REPORT_INTERVAL: Duration = Duration::from_millis(250);
    /// Difference from the expected beat that counts as a change, in microseconds. A smaller difference is reported
    /// with the next line.
    const BEAT_TOLERANCE_US: f64 = 500.0;

    pub(crate) const fn new(format: OutputFormat) -> Self {
        Self { format, last: None, last_text: String::new() }
    }

    /// Returns the line about the session's state, if one is due.
    pub(crate) fn line(&mut self, report: &LinkReport, now: Instant) -> Option<String> {
        match self.format {
            OutputFormat::Json => {
                let due = self.last.as_ref().is_none_or(|(last, at)| {
                    now.saturating_duration_since(*at) >= Self::REPORT_INTERVAL
                        || is_change(last, report)
                });
                due.then(|| {
                    self.last = Some((*report, now));
                    report.to_line()
                })
            },
            OutputFormat::Text => {
                let text = describe(report);
                (text != self.last_text).then(|| {
                    self.last_text.clone_from(&text);
                    text
                })
            },
        }
    }
}

/// Returns whether a reader that expects the session to continue from `last` would be wrong about anything.
fn is_change(last: &LinkReport, report: &LinkReport) -> bool {
    let expected = last.timeline().map_or(f64::NAN, |timeline| timeline.beat_at(report.at_us));
    let off_us = (expected - report.beat).abs() * 60e6 / report.bpm;
    let same = (last.playing, last.peers) == (report.playing, report.peers)
        && (last.bpm - report.bpm).abs() < 1e-9
        && (last.quantum - report.quantum).abs() < f64::EPSILON
        && off_us < Reporter::BEAT_TOLERANCE_US;
    !same
}

fn describe(report: &LinkReport) -> String {
    let LinkReport { bpm, quantum, playing, peers, .. } = report;
    let playing = if *playing { "playing" } else { "paused" };
    let peers = match peers {
        0 => "no other peers".into(),
        1 => "1 other peer".into(),
        peers => format!("{peers} other peers"),
    };
    format!("{bpm:.2} bpm, {quantum} beats per bar, {playing}, {peers}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: LinkReport =
        LinkReport { bpm: 120.0, beat: 8.0, at_us: 0, quantum: 4.0, playing: false, peers: 0 };

    /// Returns the same session at a later time.
    fn later(ms: i32) -> LinkReport {
        LinkReport {
            beat: f64::from(ms).mul_add(0.002, REPORT.beat),
            at_us: i64::from(ms) * 1000,
            ..REPORT
        }
    }

    #[test]
    fn json_lines_come_at_every_change_and_four_per_second() {
        let mut reporter = Reporter::new(OutputFormat::Json);
        let began = Instant::now();
        let is_due = |reporter: &mut Reporter, report: LinkReport| {
            let at = began + Duration::from_micros(report.at_us.unsigned_abs());
            reporter.line(&report, at).is_some()
        };
        assert!(is_due(&mut reporter, later(0)));
        assert!(!(10..25).any(|turn| is_due(&mut reporter, later(turn * 10))));
        assert!(is_due(&mut reporter, later(250)));
        for (ms, change) in [
            (260, LinkReport { bpm: 120.5, ..later(260) }),
            (270, LinkReport { peers: 1, ..later(270) }),
            (280, LinkReport { playing: true, ..later(280) }),
            (290, LinkReport { quantum: 3.0, ..later(290) }),
            (300, LinkReport { beat: later(300).beat + 0.002, ..later(300) }),
        ] {
            assert!(is_due(&mut reporter, change), "{ms}");
            assert!(is_due(&mut reporter, later(ms + 1)), "and back");
        }
        // The clock of the reports jumps back by an hour.
        assert!(is_due(&mut reporter, LinkReport { at_us: -3_600_000_000, ..later(310) }));
    }

    #[test]
    fn text_lines_come_only_when_the_text_changes() {
        let mut reporter = Reporter::new(OutputFormat::Text);
        let now = Instant::now();
        let line = reporter.line(&later(0), now);
        assert_eq!(line.as_deref(), Some("120.00 bpm, 4 beats per bar, paused, no other peers"));
        assert_eq!(reporter.line(&LinkReport { bpm: 120.001, ..later(5000) }, now), None);
        let line = reporter.line(&LinkReport { playing: true, peers: 2, ..REPORT }, now);
        assert_eq!(line.as_deref(), Some("120.00 bpm, 4 beats per bar, playing, 2 other peers"));
    }
}
