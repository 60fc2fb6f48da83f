use std::time::{Duration, Instant};

use hana_time::LinkReport;

/// Decides when to write a line, and formats it. Pure.
#[derive(Debug)]
pub(crate) struct Reporter {
    audience: Audience,
    last: Option<(LinkReport, Instant)>,
    said: String,
}

/// The reader of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// A program: JSON on every change, and four times a second.
    Program,
    /// A person: words, whenever they change.
    Person,
}

impl Reporter {
    /// Maximum time between two lines.
    const EVERY: Duration = Duration::from_millis(250);
    /// A beat that is early or late by this much counts as a change, in microseconds. A smaller error waits
    /// for the next line.
    const JUMP_US: f64 = 500.0;

    pub(crate) const fn new(audience: Audience) -> Self {
        Self { audience, last: None, said: String::new() }
    }

    /// Returns the line about the session's state, if one is due.
    pub(crate) fn tell(&mut self, report: &LinkReport, now: Instant) -> Option<String> {
        match self.audience {
            Audience::Program => {
                let due = self.last.as_ref().is_none_or(|(last, at)| {
                    now.saturating_duration_since(*at) >= Self::EVERY || is_change(last, report)
                });
                due.then(|| {
                    self.last = Some((*report, now));
                    report.to_line()
                })
            },
            Audience::Person => {
                let words = in_words(report);
                (words != self.said).then(|| {
                    self.said.clone_from(&words);
                    words
                })
            },
        }
    }
}

/// Whether a reader that knows only `last` would be wrong about anything.
fn is_change(last: &LinkReport, report: &LinkReport) -> bool {
    let expected = last.timeline().map_or(f64::NAN, |timeline| timeline.beat_at(report.at_us));
    let off_us = (expected - report.beat).abs() * 60e6 / report.bpm;
    let same = (last.playing, last.peers) == (report.playing, report.peers)
        && (last.bpm - report.bpm).abs() < 1e-9
        && (last.quantum - report.quantum).abs() < f64::EPSILON
        && off_us < Reporter::JUMP_US;
    !same
}

fn in_words(report: &LinkReport) -> String {
    let LinkReport { bpm, quantum, playing, peers, .. } = report;
    let playing = if *playing { "playing" } else { "not playing" };
    let company = match peers {
        0 => "alone".into(),
        1 => "with 1 other".into(),
        peers => format!("with {peers} others"),
    };
    format!("{bpm:.2} beats a minute, bars of {quantum}, {playing}, {company}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: LinkReport =
        LinkReport { bpm: 120.0, beat: 8.0, at_us: 0, quantum: 4.0, playing: false, peers: 0 };

    /// The same session at a later time.
    fn later(ms: i32) -> LinkReport {
        LinkReport {
            beat: f64::from(ms).mul_add(0.002, REPORT.beat),
            at_us: i64::from(ms) * 1000,
            ..REPORT
        }
    }

    #[test]
    fn a_program_is_told_of_every_change_at_once_and_of_none_four_times_a_second() {
        let mut teller = Reporter::new(Audience::Program);
        let began = Instant::now();
        let told = |teller: &mut Reporter, report: LinkReport| {
            let at = began + Duration::from_micros(report.at_us.unsigned_abs());
            teller.tell(&report, at).is_some()
        };
        assert!(told(&mut teller, later(0)));
        assert!(!(10..25).any(|turn| told(&mut teller, later(turn * 10))));
        assert!(told(&mut teller, later(250)));
        for (ms, change) in [
            (260, LinkReport { bpm: 120.5, ..later(260) }),
            (270, LinkReport { peers: 1, ..later(270) }),
            (280, LinkReport { playing: true, ..later(280) }),
            (290, LinkReport { quantum: 3.0, ..later(290) }),
            (300, LinkReport { beat: later(300).beat + 0.002, ..later(300) }),
        ] {
            assert!(told(&mut teller, change), "{ms}");
            assert!(told(&mut teller, later(ms + 1)), "and back");
        }
        // The clock of the reports jumps back by an hour.
        assert!(told(&mut teller, LinkReport { at_us: -3_600_000_000, ..later(310) }));
    }

    #[test]
    fn a_person_is_told_what_is_new_to_a_person() {
        let mut teller = Reporter::new(Audience::Person);
        let now = Instant::now();
        let line = teller.tell(&later(0), now);
        assert_eq!(line.as_deref(), Some("120.00 beats a minute, bars of 4, not playing, alone"));
        assert_eq!(teller.tell(&LinkReport { bpm: 120.001, ..later(5000) }, now), None);
        let line = teller.tell(&LinkReport { playing: true, peers: 2, ..REPORT }, now);
        assert_eq!(
            line.as_deref(),
            Some("120.00 beats a minute, bars of 4, playing, with 2 others")
        );
    }
}
