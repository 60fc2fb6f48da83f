use anyhow::Context;
use hana_time::{LinkReport, Timeline};
use rusty_link::{AblLink, SessionState};

use crate::clocks;
use crate::link_clock_offset::LinkClockOffset;
use crate::participant::LinkAction;

/// Ableton Link, on this host's local clock.
///
/// It is used by one thread and polled, without callbacks: `rusty_link` drops a callback's closure but keeps a pointer
/// to it. This program makes no sound, so it does not need the functions for the audio thread.
pub(crate) struct Link {
    session: AblLink,
    state: SessionState,
    /// The machine's total sleep at the last poll.
    slept_us: Option<i64>,
}

/// Maximum number of attempts to read the clocks without an interruption.
const MAX_READINGS: usize = 5;
/// The largest beat sent to Link, which counts millionths of a beat in 64 bits.
///
/// It is some two thousand years away. Of a larger beat, only the position in the bar is kept.
const MAX_BEATS: f64 = 1e12;
/// Increase of the total sleep above which the machine has slept, in microseconds.
///
/// Without a sleep, the total may differ by less, because the clocks are read one after the other.
const MIN_SLEEP_US: i64 = 100_000;

impl Link {
    /// Creates a `Link` that is outside any session and continues this timeline.
    pub(crate) fn new(timeline: &Timeline) -> anyhow::Result<Self> {
        let session = AblLink::new(timeline.bpm());
        session.enable_start_stop_sync(true);
        let mut link = Self { session, state: SessionState::new(), slept_us: None };
        link.has_slept();
        link.apply(LinkAction::Adopt(*timeline))?;
        Ok(link)
    }

    /// Returns the current state of the session.
    pub(crate) fn report(&mut self, quantum: f64) -> anyhow::Result<LinkReport> {
        let offset = self.offset()?;
        self.session.capture_app_session_state(&mut self.state);
        let now = self.session.clock_micros();
        Ok(LinkReport {
            bpm: in_whole_microseconds(self.state.tempo()),
            beat: self.state.beat_at_time(now, quantum),
            at_us: now.saturating_add(offset.ahead_us),
            quantum,
            playing: self.state.is_playing(),
            peers: self.session.num_peers(),
        })
    }

    /// Returns whether the machine was suspended since the last call, while Link's clock stood still.
    pub(crate) fn has_slept(&mut self) -> bool {
        let slept = clocks::slept_us(self.session.clock_micros());
        let before = std::mem::replace(&mut self.slept_us, slept);
        before.zip(slept).is_some_and(|(before, slept)| slept.saturating_sub(before) > MIN_SLEEP_US)
    }

    pub(crate) fn apply(&mut self, action: LinkAction) -> anyhow::Result<()> {
        match action {
            LinkAction::Join => self.session.enable(true),
            LinkAction::Leave => self.session.enable(false),
            LinkAction::Tempo(bpm) => self.change(|state, now| state.set_tempo(bpm, now)),
            LinkAction::Playing(playing) => {
                self.change(|state, now| state.set_is_playing(playing, now));
            },
            LinkAction::Adopt(timeline) => {
                let timeline = timeline.on_clock(self.offset()?.ahead_us.saturating_neg());
                self.change(|state, now| {
                    let (beat, quantum) = (timeline.beat_at(now), timeline.quantum());
                    let beat = if beat.abs() < MAX_BEATS { beat } else { beat.rem_euclid(quantum) };
                    state.set_tempo(timeline.bpm(), now);
                    // The beat is requested, not forced, so that this host adapts to peers if there are any after all.
                    state.request_beat_at_time(beat, now, quantum);
                    if state.is_playing() != timeline.is_playing() {
                        state.set_is_playing(timeline.is_playing(), now);
                    }
                });
            },
        }
        Ok(())
    }

    fn change(&mut self, change: impl FnOnce(&mut SessionState, i64)) {
        self.session.capture_app_session_state(&mut self.state);
        change(&mut self.state, self.session.clock_micros());
        self.session.commit_app_session_state(&self.state);
    }

    fn offset(&self) -> anyhow::Result<LinkClockOffset> {
        let mut best: Option<LinkClockOffset> = None;
        for _ in 0..MAX_READINGS {
            let reading = (clocks::local_us()?, self.session.clock_micros(), clocks::local_us()?);
            best = LinkClockOffset::from_readings(&[reading])
                .into_iter()
                .chain(best)
                .min_by_key(|offset| offset.error_us);
            if best.is_some_and(|offset| offset.error_us <= LinkClockOffset::UNINTERRUPTED_US) {
                break;
            }
        }
        best.context("this machine's clock goes backwards")
    }
}

/// Returns the tempo at which Link really plays: it rounds each beat to whole microseconds, here and on the wire.
fn in_whole_microseconds(bpm: f64) -> f64 {
    const US_PER_MINUTE: f64 = 60e6;
    let exact = US_PER_MINUTE / (US_PER_MINUTE / bpm).round();
    // 999 would become slightly more, and thus an invalid tempo.
    exact.clamp(Timeline::MIN_BPM, Timeline::MAX_BPM)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Creates a `Link` outside any session, so it sends nothing to any network.
    fn detached(timeline: &Timeline) -> Link {
        Link::new(timeline).unwrap()
    }

    fn off_us(link: &mut Link, timeline: &Timeline, quantum: f64) -> f64 {
        let report = link.report(quantum).unwrap();
        (report.beat - timeline.beat_at(report.at_us)).abs() * 60e6 / timeline.bpm()
    }

    #[test]
    fn link_continues_timelines_at_any_tempo_bar_and_beat() {
        let now = clocks::local_us().unwrap();
        for bpm in [20.0, 120.0, 133.0, 999.0] {
            for beat in [-1_000_000.25, -3.5, 0.0, 7.75, 1e6] {
                for quantum in [1.0, 3.0, 4.0, 7.0] {
                    let timeline = Timeline::new(bpm, now, beat).unwrap();
                    let timeline = timeline.with_quantum(quantum).unwrap().with_playing(true);
                    let mut link = detached(&timeline);
                    let off = off_us(&mut link, &timeline, quantum);
                    assert!(off < 50.0, "{off} us at {bpm}, beat {beat}, bars of {quantum}");
                    assert!(link.report(quantum).unwrap().playing);
                }
            }
        }
    }

    #[test]
    fn tempo_changes_move_no_beat() {
        let mut timeline = Timeline::new(120.0, clocks::local_us().unwrap(), -2.0).unwrap();
        let mut link = detached(&timeline);
        for bpm in [20.0, 999.0, 133.0, 77.7] {
            let report = link.report(4.0).unwrap();
            link.apply(LinkAction::Tempo(bpm)).unwrap();
            timeline = Timeline::new(report.bpm, report.at_us, report.beat).unwrap();
            let now = link.report(4.0).unwrap();
            timeline = timeline.with_tempo(bpm, now.at_us).unwrap();
            let off = off_us(&mut link, &timeline, 4.0);
            // Between the two reports, Link played at one tempo or the other.
            assert!(off < 2000.0, "{off} us at {bpm}");
            assert!((now.bpm - bpm).abs() < 0.01, "{} is not {bpm}", now.bpm);
        }
    }

    #[test]
    fn no_number_panics() {
        let now = clocks::local_us().unwrap();
        for beat in [0.0, 1e12, -1e12, f64::MAX, f64::MIN] {
            for at in [now, i64::MIN, i64::MAX, 0] {
                let timeline = Timeline::new(999.0, at, beat).unwrap();
                let mut link = detached(&timeline);
                for quantum in [Timeline::MIN_QUANTUM, 0.1, 1024.0] {
                    let report = link.report(quantum).unwrap();
                    assert!(report.beat.is_finite());
                }
            }
        }
    }

    #[test]
    fn reported_tempo_matches_the_beats_and_is_valid() {
        assert!((in_whole_microseconds(133.0) - 132.999_947).abs() < 1e-6);
        for bpm in [20.0, 120.0, 998.99, 999.0] {
            let exact = in_whole_microseconds(bpm);
            assert!((exact - bpm).abs() < 0.01);
            Timeline::new(exact, 0, 0.0).unwrap();
        }
    }
}
