use std::fmt;

use hana_time::{SlewRate, TempoMap, Timeline, TimelineStep, timeline_number};
use serde::{Deserialize, Serialize};

use crate::id::node_id::NodeId;
use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// The timeline of a host, on `hana/<host>/timeline` (state), in microseconds of that host's local clock.
///
/// The host's daemon publishes it on each change and four times a second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostTimeline {
    /// Beats per minute, 20 to 999.
    #[serde(deserialize_with = "timeline_number::tempo")]
    pub bpm: f64,
    /// The beat at `at_us`; may be negative.
    #[serde(deserialize_with = "timeline_number::finite")]
    pub beat: f64,
    /// The local time at which the timeline takes effect, in microseconds. A change is published shortly before that
    /// time.
    pub at_us: i64,
    /// The rate relative to the host's clock, 0.9 to 1.1: the effective tempo is `bpm` times this.
    #[serde(
        default = "one",
        skip_serializing_if = "is_one",
        deserialize_with = "timeline_number::rate"
    )]
    pub rate: f64,
    /// The temporary rate by which the timeline removes an initial offset, and the duration of that rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub easing: Option<SlewRate>,
    /// Beats per bar.
    #[serde(deserialize_with = "timeline_number::quantum")]
    pub quantum: f64,
    /// Whether the transport plays. The beat advances in either case.
    pub playing: bool,
    /// The source of tempo and beat.
    pub source: TimelineSource,
    /// The number of peers in the Ableton Link session. A crashed peer is still counted for a few seconds.
    #[serde(default)]
    pub peers: u64,
    /// The host whose timeline this host follows; `None` if this host leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<NodeId>,
    /// The maximum offset from the leader's timeline, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_us: Option<u64>,
    /// The age of the timeline in microseconds. The count continues when another host takes the timeline over.
    #[serde(default)]
    pub running_us: u64,
    /// The number of hosts that follow this host.
    #[serde(default)]
    pub followers: u32,
    /// The number of changes to the timeline.
    #[serde(default)]
    pub changes: u64,
    /// The last jump of the beat, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jump: Option<TimelineStep>,
}

/// The source of a host's timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimelineSource {
    /// A session of Ableton Link.
    Link,
    /// The daemon's own clock.
    Internal,
    /// Another host, whose clock this host estimates.
    Mesh,
}

impl TimelineSource {
    /// Returns the name as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Internal => "internal",
            Self::Mesh => "mesh",
        }
    }
}

impl fmt::Display for TimelineSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Message for HostTimeline {
    const LANE: Lane = Lane::UnreliableSequenced;
    const MAX_BYTES: usize = 4096;
    /// Four messages per second and one per change; turning a tempo knob makes many changes.
    const MAX_PER_SECOND: u32 = 200;
    const NAME: &'static str = "timeline";
}

impl HostTimeline {
    /// Converts the message to a [`Timeline`] in the time of its host's clock, without easing.
    ///
    /// Returns `None` if a number is out of range, which a decoded message never has.
    #[must_use]
    pub fn timeline(&self) -> Option<Timeline> {
        Timeline::new(self.bpm, self.at_us, self.beat)
            .and_then(|timeline| timeline.with_quantum(self.quantum))
            .and_then(|timeline| timeline.with_rate(self.rate, self.at_us))
            .map(|timeline| timeline.with_playing(self.playing))
            .ok()
    }

    /// Whether the source is a session of Ableton Link with other peers.
    #[must_use]
    pub fn is_in_link(&self) -> bool {
        self.source == TimelineSource::Link && self.peers > 0
    }

    /// Formats the tempo, the bar and beat, and whether the transport plays. Bars and beats count from 1.
    ///
    /// `now` is the timeline in force at `at_us`.
    #[must_use]
    pub fn beat_in_words(now: &Timeline, at_us: i64) -> String {
        let bar = (now.beat_at(at_us) / now.quantum()).floor() + 1.0;
        let beat = now.phase_at(at_us).floor() + 1.0;
        let plays = if now.is_playing() { "playing" } else { "paused" };
        format!("{:.1} bpm  bar {bar}.{beat}  {plays}", now.bpm())
    }

    /// Formats the source, the peers or followers, and the accuracy.
    #[must_use]
    pub fn source_in_words(&self) -> String {
        let error = self.error_us.map(|us| format!(", within {us} us")).unwrap_or_default();
        match (self.source, &self.from) {
            (TimelineSource::Link, _) => match self.peers {
                1 => "Link, 1 peer".into(),
                peers => format!("Link, {peers} peers"),
            },
            (_, Some(from)) => format!("by {from}{error}"),
            (TimelineSource::Mesh, None) => format!("by another host{error}"),
            (TimelineSource::Internal, None) => match self.followers {
                0 => "own clock".into(),
                1 => "own clock, 1 host follows".into(),
                many => format!("own clock, {many} hosts follow"),
            },
        }
    }

    /// Appends this timeline to the `known` tempo map, with its easing, from `at_us` on. Without a known map, starts
    /// a new one.
    ///
    /// Returns `None` if a number is out of range, which a decoded message never has.
    #[must_use]
    pub fn continues(&self, known: Option<TempoMap>) -> Option<TempoMap> {
        let timeline = self.timeline()?;
        Some(known.unwrap_or_else(|| TempoMap::of(timeline)).eased_to(timeline, self.easing))
    }
}

const fn one() -> f64 {
    1.0
}

// An omitted rate is exactly 1. Takes a reference, since serde's `skip_serializing_if` passes a reference.
#[allow(clippy::float_cmp, clippy::trivially_copy_pass_by_ref)]
fn is_one(rate: &f64) -> bool {
    *rate == 1.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::wire::codec;
    use crate::wire::codec::Encoding;

    fn read(json: &str) -> Result<HostTimeline, codec::PayloadError> {
        codec::decode(json.as_bytes(), Encoding::Json)
    }

    const SHORT: &str = r#"{"bpm": 120, "beat": -3.5, "at_us": 1000000, "quantum": 7, "playing": true, "source": "internal"}"#;

    #[test]
    fn optional_fields_may_be_missing() {
        let said = read(SHORT).unwrap();
        assert_eq!((said.peers, said.from.as_ref(), said.jump.as_ref()), (0, None, None));
        let timeline = said.timeline().unwrap();
        assert!((timeline.beat_at(3_750_000) - 2.0).abs() < 1e-9);
        assert!((timeline.phase_at(1_000_000) - 3.5).abs() < 1e-9);
    }

    #[test]
    fn impossible_number_is_refused_with_its_field() {
        for (right, wrong, field) in [
            ("120", "1200", "bpm"),
            ("120", "1e999", "bpm"),
            ("7", "0", "quantum"),
            ("true", "true, \"rate\": 2", "rate"),
            ("true", "true, \"easing\": {\"rate\": 0, \"for_us\": 1}", "easing.rate"),
        ] {
            let problem = read(&SHORT.replace(right, wrong)).unwrap_err().to_string();
            assert!(problem.contains(field) || wrong == "1e999", "{problem}");
        }
    }

    #[test]
    fn bars_and_beats_are_shown_from_one() {
        let mut said = read(SHORT).unwrap();
        let now = said.timeline().unwrap();
        assert_eq!(HostTimeline::beat_in_words(&now, 1_000_000), "120.0 bpm  bar 0.4  playing");
        assert_eq!(HostTimeline::beat_in_words(&now, 2_800_000), "120.0 bpm  bar 1.1  playing");
        assert_eq!(said.source_in_words(), "own clock");
        said.followers = 3;
        assert_eq!(said.source_in_words(), "own clock, 3 hosts follow");
        (said.source, said.error_us) = (TimelineSource::Mesh, Some(120));
        said.from = NodeId::new("h1").ok();
        assert_eq!(said.source_in_words(), "by h1, within 120 us");
        (said.source, said.peers) = (TimelineSource::Link, 1);
        assert_eq!(said.source_in_words(), "Link, 1 peer");
    }

    #[test]
    fn slewed_timeline_arrives_at_its_goal() {
        let mut said = read(SHORT).unwrap();
        let heading = said.timeline().unwrap();
        // The timeline is 10 ms behind, and removes that offset within half a second.
        said.beat -= 0.02;
        said.easing = Some(SlewRate { rate: 1.02, for_us: 500_000 });
        let course =
            said.continues(Some(TempoMap::of(heading.shifted_by(-0.02).anchored_at(0)))).unwrap();
        let off = |at: i64| course.at(at).beat_at(at) - heading.beat_at(at);
        assert!((off(0) + 0.02).abs() < 1e-9, "{}", off(0));
        assert!((off(1_250_000) + 0.01).abs() < 1e-9, "{}", off(1_250_000));
        assert!(off(1_500_000).abs() < 1e-9 && off(9_000_000).abs() < 1e-9);
    }
}
