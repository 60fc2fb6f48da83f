use hana_network::Node;
use hana_network::StatePublisher;
use hana_network::local_us;
use hana_protocol::Course;
use hana_protocol::HostTimeline;
use hana_protocol::Timeline;
use hana_protocol::TimelineError;
use hana_protocol::TimelineSource;
use hana_protocol::Topic;
use hana_protocol::role;

/// Keeps the timeline of this host, and says it.
pub(crate) struct Timekeeper {
    said: StatePublisher<HostTimeline>,
    course: Course,
    began_us: i64,
    changes: u64,
    say_at_us: i64,
}

/// How long before it holds a change is said, in microseconds: what a message takes, with some to spare.
const LEAD: i64 = 25_000;
/// How often it is said in any case, in microseconds.
const PERIOD: i64 = 250_000;

impl Timekeeper {
    /// Begins at beat 0 with the tempo and the bar of `first`.
    pub(crate) fn new(node: &Node<role::Daemon>, first: Timeline) -> Self {
        let now = local_us();
        Self {
            said: node.state_publisher(&Topic::timeline(node.host().clone())),
            course: Course::of(first.moved_by(-first.beat_at(now)).anchored_at(now)),
            began_us: now,
            changes: 0,
            say_at_us: now,
        }
    }

    /// The timeline that holds at a time of this machine's clock.
    pub(crate) fn timeline(&self, at_us: i64) -> Timeline {
        self.course.at(at_us)
    }

    /// In how many microseconds it has something to do.
    pub(crate) fn next_us(&self) -> u64 {
        u64::try_from(self.say_at_us.saturating_sub(local_us())).unwrap_or(0)
    }

    /// Says how it stands, when it is time to.
    pub(crate) fn tick(&mut self) {
        let now = local_us();
        if now >= self.say_at_us {
            self.say(now);
        }
    }

    /// Another tempo.
    pub(crate) fn set_tempo(&mut self, bpm: f64) -> Result<(), TimelineError> {
        let at = local_us() + LEAD;
        self.change(self.course.at(at).with_tempo(bpm, at)?);
        Ok(())
    }

    /// Plays, or stands still.
    pub(crate) fn set_playing(&mut self, playing: bool) {
        let at = local_us() + LEAD;
        self.change(self.course.at(at).anchored_at(at).with_playing(playing));
    }

    fn change(&mut self, to: Timeline) {
        self.course = self.course.then(to);
        self.changes += 1;
        self.say(local_us());
    }

    fn say(&mut self, now: i64) {
        self.say_at_us = now + PERIOD;
        let last = self.course.last();
        // What is to come is said as it will be.
        let timeline = if last.origin().0 > now { last } else { last.anchored_at(now) };
        let (at_us, beat) = timeline.origin();
        let said = HostTimeline {
            bpm: timeline.bpm(),
            beat,
            at_us,
            rate: timeline.rate(),
            easing: None,
            quantum: timeline.quantum(),
            playing: timeline.is_playing(),
            source: TimelineSource::Internal,
            peers: 0,
            from: None,
            error_us: None,
            running_us: u64::try_from(now - self.began_us).unwrap_or(0),
            followers: 0,
            changes: self.changes,
            jump: None,
        };
        if let Err(problem) = self.said.set(&said) {
            tracing::warn!("the timeline is not said: {problem}");
        }
    }
}
