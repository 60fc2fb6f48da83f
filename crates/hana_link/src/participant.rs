use std::time::{Duration, Instant};

use hana_time::{LinkOrder, LinkReport, Timeline};

/// A participant of a Link session: decides when to join, when only to listen, and when to change the session. Pure.
///
/// A participant that joins a running session adopts its tempo, bar and transport. Until it knows whether a session
/// is running, it changes nothing and defers commands. It sets the timeline to continue from before it joins, when no
/// peer can see that timeline. A running session overrides the timeline; otherwise, a new session begins with it.
///
/// When two sessions merge, the older one wins. If both began within half a second, the one with the smaller number
/// wins, which is chance. A peer that is left alone begins a new session. So this participant waits for longer than
/// half a second before it joins: any session that existed when it started, or that an earlier instance of it left
/// behind, is then the older one.
#[derive(Debug)]
pub(crate) struct Participant {
    phase: JoinPhase,
    /// The timeline to continue from if the participant is alone, until that timeline is applied.
    pending: Option<Timeline>,
    /// The timeline that the participant began with.
    initial: Timeline,
    quantum: f64,
    deferred_tempo: Option<f64>,
    deferred_playing: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JoinPhase {
    /// The participant has not joined yet. A command may set the timeline to continue from.
    Quiet { until: Instant },
    /// The participant has left the session, and will rejoin.
    Away { until: Instant },
    /// The participant has joined, but peers may exist that are not discovered yet.
    Joining { until: Instant },
    /// A peer was found, which may have just started too, and may join another session in a moment.
    Meeting { until: Instant },
    /// The participant knows whether it is alone.
    Settled,
}

/// A call to Link. Times are of this host's local clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum LinkAction {
    /// Join a session.
    Join,
    /// Leave the session.
    Leave,
    /// Change the tempo from now on, for all peers.
    Tempo(f64),
    /// Start or stop the transport, for all peers.
    Playing(bool),
    /// Continue from this timeline; sent only while there are no peers.
    Adopt(Timeline),
}

impl Participant {
    /// How long the participant waits before it joins. Link treats sessions that began within 500 ms as equally old.
    const QUIET_TIME: Duration = Duration::from_millis(600);
    /// How long the participant looks for peers before it considers itself alone.
    ///
    /// Peers answer at once and are then measured, which takes some hundred milliseconds.
    const DISCOVERY_TIME: Duration = Duration::from_secs(1);
    /// How long the participant observes a new peer before it changes anything.
    const OBSERVATION_TIME: Duration = Duration::from_millis(300);
    /// Time outside the session before rejoining: peers notice within half a second that this one has left.
    const LEAVE_TIME: Duration = Duration::from_millis(700);
    /// Difference, in microseconds, up to which two timelines count as equal.
    ///
    /// Link's resolution is no finer at slow tempos.
    const SAME_BEAT_US: f64 = 20.0;
    /// Relative tempo difference that counts as equal: Link rounds a beat to whole microseconds.
    const SAME_TEMPO: f64 = 1e-5;

    /// Creates a participant with the timeline that it begins with.
    pub(crate) fn new(initial: Timeline, now: Instant) -> Self {
        Self {
            phase: JoinPhase::Quiet { until: now + Self::QUIET_TIME },
            pending: None,
            initial,
            quantum: initial.quantum(),
            deferred_tempo: None,
            deferred_playing: None,
        }
    }

    /// Returns the timeline that Link begins with.
    pub(crate) const fn timeline(&self) -> &Timeline {
        &self.initial
    }

    /// Returns the number of beats in a bar.
    pub(crate) const fn quantum(&self) -> f64 {
        self.quantum
    }

    /// Returns whether there is a session to report; before that, the observed state belongs to no session.
    pub(crate) fn is_settled(&self) -> bool {
        self.phase == JoinPhase::Settled
    }

    /// Handles a command. `seen` is the state of the session.
    pub(crate) fn handle(&mut self, command: LinkOrder, seen: &LinkReport) -> Vec<LinkAction> {
        match command {
            LinkOrder::Tempo { bpm } if self.is_settled() => vec![LinkAction::Tempo(bpm)],
            LinkOrder::Play {} if self.is_settled() => vec![LinkAction::Playing(true)],
            LinkOrder::Pause {} if self.is_settled() => vec![LinkAction::Playing(false)],
            LinkOrder::Tempo { bpm } => {
                self.deferred_tempo = Some(bpm);
                vec![]
            },
            LinkOrder::Play {} => {
                self.deferred_playing = Some(true);
                vec![]
            },
            LinkOrder::Pause {} => {
                self.deferred_playing = Some(false);
                vec![]
            },
            LinkOrder::Quantum { beats } => self.set_quantum(beats, seen),
            LinkOrder::Adopt { bpm, beat, at_us, quantum, playing } => {
                let timeline = Timeline::new(bpm, at_us, beat)
                    .and_then(|timeline| timeline.with_quantum(quantum))
                    .map(|timeline| timeline.with_playing(playing));
                timeline.map_or_else(|_| vec![], |timeline| self.adopt(timeline, seen))
            },
        }
    }

    /// Advances time. `seen` is the state of the session; `slept` is true if the machine was suspended since the last
    /// call.
    pub(crate) fn tick(&mut self, seen: &LinkReport, slept: bool, now: Instant) -> Vec<LinkAction> {
        match self.phase {
            // While the machine slept, the peers' beats continued, and Link would notice only within half a minute.
            // After rejoining, Link measures them at once.
            JoinPhase::Joining { .. } | JoinPhase::Meeting { .. } | JoinPhase::Settled if slept => {
                self.phase = JoinPhase::Away { until: now + Self::LEAVE_TIME };
                vec![LinkAction::Leave]
            },
            JoinPhase::Quiet { until } | JoinPhase::Away { until } if now >= until => {
                self.phase = JoinPhase::Joining { until: now + Self::DISCOVERY_TIME };
                vec![LinkAction::Join]
            },
            JoinPhase::Joining { .. } if seen.peers > 0 => {
                self.phase = JoinPhase::Meeting { until: now + Self::OBSERVATION_TIME };
                vec![]
            },
            JoinPhase::Joining { until } | JoinPhase::Meeting { until } if now >= until => {
                self.settle(Some(seen).filter(|seen| seen.peers == 0))
            },
            _ => vec![],
        }
    }

    /// Ends the joining phase. `alone` is the state of the session if it has no other peers, and `None` otherwise.
    fn settle(&mut self, alone: Option<&LinkReport>) -> Vec<LinkAction> {
        self.phase = JoinPhase::Settled;
        let pending = self.pending.take();
        let adopted =
            alone.zip(pending).and_then(|(seen, pending)| Self::adopt_unless_same(pending, seen));
        let tempo = self.deferred_tempo.take().map(LinkAction::Tempo);
        let playing = self.deferred_playing.take().map(LinkAction::Playing);
        adopted.into_iter().chain(tempo).chain(playing).collect()
    }

    fn adopt(&mut self, timeline: Timeline, seen: &LinkReport) -> Vec<LinkAction> {
        let quantum = std::mem::replace(&mut self.quantum, timeline.quantum());
        match self.phase {
            JoinPhase::Quiet { .. } => vec![LinkAction::Adopt(timeline)],
            JoinPhase::Away { .. } | JoinPhase::Joining { .. } | JoinPhase::Meeting { .. } => {
                self.pending = Some(timeline);
                vec![]
            },
            JoinPhase::Settled if seen.peers > 0 => vec![],
            // The beginning of the bar is part of the adopted timeline.
            JoinPhase::Settled if differ(quantum, timeline.quantum()) => {
                vec![LinkAction::Adopt(timeline)]
            },
            JoinPhase::Settled => Self::adopt_unless_same(timeline, seen).into_iter().collect(),
        }
    }

    /// Sets the length of the bar. With peers, bars are counted from the peers' start; alone, from beat 0.
    fn set_quantum(&mut self, beats: f64, seen: &LinkReport) -> Vec<LinkAction> {
        self.quantum = beats;
        if let Some(pending) = self.pending {
            self.pending = pending.with_quantum(beats).ok();
        }
        let is_joining =
            matches!(self.phase, JoinPhase::Joining { .. } | JoinPhase::Meeting { .. });
        let alone = seen.peers == 0 && !is_joining;
        let timeline = seen.timeline().and_then(|timeline| timeline.with_quantum(beats)).ok();
        timeline.filter(|_| alone).map(LinkAction::Adopt).into_iter().collect()
    }

    fn adopt_unless_same(pending: Timeline, seen: &LinkReport) -> Option<LinkAction> {
        let off = (pending.beat_at(seen.at_us) - seen.beat).abs() * 60e6 / pending.bpm();
        let is_same = off <= Self::SAME_BEAT_US
            && (pending.bpm() - seen.bpm).abs() <= pending.bpm() * Self::SAME_TEMPO
            && pending.is_playing() == seen.playing;
        (!is_same).then_some(LinkAction::Adopt(pending))
    }
}

fn differ(one: f64, other: f64) -> bool {
    (one - other).abs() > f64::EPSILON
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLL_INTERVAL: Duration = Duration::from_millis(10);

    /// A Link session in virtual time.
    struct TestSession {
        participant: Participant,
        began: Instant,
        passed: Duration,
        timeline: Timeline,
        peers: u64,
        joined: bool,
        actions: Vec<(Duration, LinkAction)>,
    }

    impl TestSession {
        fn new() -> Self {
            let began = Instant::now();
            let initial = Timeline::new(120.0, 0, 0.0).unwrap();
            Self {
                participant: Participant::new(initial, began),
                began,
                passed: Duration::ZERO,
                timeline: initial,
                peers: 0,
                joined: false,
                actions: vec![],
            }
        }

        fn at_us(&self) -> i64 {
            i64::try_from(self.passed.as_micros()).unwrap()
        }

        fn seen(&self) -> LinkReport {
            LinkReport {
                bpm: self.timeline.bpm(),
                beat: self.timeline.beat_at(self.at_us()),
                at_us: self.at_us(),
                quantum: self.participant.quantum(),
                playing: self.timeline.is_playing(),
                peers: self.peers,
            }
        }

        fn handle(&mut self, command: LinkOrder) {
            let actions = self.participant.handle(command, &self.seen());
            self.apply(actions);
        }

        /// Runs up to a time, in milliseconds since the beginning.
        fn until(&mut self, ms: u64) {
            while self.passed < Duration::from_millis(ms) {
                self.passed += POLL_INTERVAL;
                self.tick(false);
            }
        }

        fn tick(&mut self, slept: bool) {
            let actions = self.participant.tick(&self.seen(), slept, self.began + self.passed);
            self.apply(actions);
        }

        fn apply(&mut self, actions: Vec<LinkAction>) {
            for action in actions {
                let at = self.at_us();
                match action {
                    LinkAction::Join => self.joined = true,
                    LinkAction::Leave => (self.joined, self.peers) = (false, 0),
                    LinkAction::Tempo(bpm) => {
                        self.timeline = self.timeline.with_tempo(bpm, at).unwrap();
                    },
                    LinkAction::Playing(playing) => {
                        self.timeline = self.timeline.with_playing(playing);
                    },
                    LinkAction::Adopt(timeline) => self.timeline = timeline,
                }
                self.actions.push((self.passed, action));
            }
        }

        /// Returns the actions that change the session.
        fn changes(&self) -> Vec<LinkAction> {
            self.actions
                .iter()
                .map(|(_, action)| *action)
                .filter(|action| !matches!(action, LinkAction::Join | LinkAction::Leave))
                .collect()
        }
    }

    fn at_133() -> Timeline {
        Timeline::new(133.0, -7_000_000, 41.5).unwrap().with_playing(true)
    }

    #[test]
    fn alone_it_continues_the_given_timeline_without_a_jump() {
        let mut session = TestSession::new();
        session.handle(LinkOrder::adopt(&at_133()));
        session.until(1500);
        let actions = [
            (Duration::ZERO, LinkAction::Adopt(at_133())),
            (Participant::QUIET_TIME, LinkAction::Join),
        ];
        assert_eq!(session.actions, actions);
        assert!(!session.participant.is_settled());
        session.until(1700);
        assert!(session.participant.is_settled());
        assert_eq!(session.changes(), [LinkAction::Adopt(at_133())], "once, before it joined");
        // A repeated command of the daemon changes nothing.
        session.handle(LinkOrder::adopt(&at_133()));
        assert_eq!(session.changes().len(), 1);
    }

    #[test]
    fn joins_after_the_quiet_time_so_that_other_sessions_are_older() {
        let mut session = TestSession::new();
        session.until(590);
        assert!(!session.joined);
        session.until(610);
        assert!(session.joined && !session.participant.is_settled());
        session.until(1700);
        assert!(session.participant.is_settled() && session.changes().is_empty());
    }

    #[test]
    fn among_peers_it_does_not_change_the_timeline() {
        let mut session = TestSession::new();
        session.handle(LinkOrder::adopt(&Timeline::new(120.0, 0, 0.0).unwrap()));
        session.until(800);
        (session.timeline, session.peers) = (at_133(), 1);
        session.until(1000);
        assert!(!session.participant.is_settled(), "the peer may have just started too");
        session.until(1120);
        assert!(session.participant.is_settled(), "a peer is found, no need to wait longer");
        session.handle(LinkOrder::adopt(&Timeline::new(120.0, 0, 0.0).unwrap()));
        session.until(3000);
        assert_eq!(session.changes().len(), 1, "no change since it joined");
        assert!((session.timeline.bpm() - 133.0).abs() < 1e-9);
    }

    #[test]
    fn commands_while_joining_are_applied_once_settled() {
        let mut session = TestSession::new();
        session.handle(LinkOrder::Tempo { bpm: 90.0 });
        session.handle(LinkOrder::adopt(&at_133()));
        session.handle(LinkOrder::Pause {});
        session.handle(LinkOrder::Tempo { bpm: 100.0 });
        session.until(1590);
        assert_eq!(session.changes().len(), 1);
        session.until(1610);
        assert_eq!(session.changes()[1..], [LinkAction::Tempo(100.0), LinkAction::Playing(false)]);
    }

    #[test]
    fn timeline_set_while_joining_is_adopted_only_if_alone() {
        for (peers, changes) in [(0, 2), (1, 1)] {
            let mut session = TestSession::new();
            session.handle(LinkOrder::adopt(&at_133()));
            session.until(1100);
            let other = at_133().with_tempo(140.0, 0).unwrap();
            session.handle(LinkOrder::adopt(&other));
            session.until(1500);
            session.peers = peers;
            session.until(2000);
            assert_eq!(session.changes().len(), changes);
        }
    }

    #[test]
    fn new_bar_length_counts_bars_from_beat_zero() {
        let mut session = TestSession::new();
        session.until(2000);
        session.handle(LinkOrder::Quantum { beats: 7.0 });
        let (beat, quantum) = (session.seen().beat, session.participant.quantum());
        assert!(
            matches!(session.changes()[..], [LinkAction::Adopt(t)] if (t.quantum() - 7.0).abs() < 1e-9)
        );
        assert!((quantum - 7.0).abs() < 1e-9 && (beat - 4.0).abs() < 1e-6, "{beat}");
        session.peers = 1;
        session.handle(LinkOrder::Quantum { beats: 3.0 });
        assert_eq!(session.changes().len(), 1, "it does not move the beats of peers");
    }

    #[test]
    fn after_a_sleep_it_rejoins_before_it_changes_anything() {
        let mut session = TestSession::new();
        session.handle(LinkOrder::adopt(&at_133()));
        session.until(2000);
        session.tick(true);
        assert!(!session.joined && !session.participant.is_settled());
        session.until(2600);
        assert!(!session.joined);
        session.handle(LinkOrder::Play {});
        session.until(2800);
        assert!(session.joined && !session.participant.is_settled());
        session.peers = 1;
        session.until(3200);
        assert!(session.participant.is_settled());
        assert_eq!(session.changes()[1..], [LinkAction::Playing(true)]);
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn no_sequence_of_commands_moves_the_beats_of_peers(
            commands in proptest::collection::vec((0..8_u8, 20.0..=999.0_f64, -1e6..1e6_f64, 1..12_u8, 0..3_u64), 0..40),
        ) {
            let mut session = TestSession::new();
            for (kind, bpm, beat, quantum, peers) in commands {
                let among_others = session.peers > 0;
                let before = session.changes().len();
                let quantum = f64::from(quantum);
                match kind {
                    0 => session.handle(LinkOrder::Adopt { bpm, beat, at_us: session.at_us(), quantum, playing: true }),
                    1 => session.handle(LinkOrder::Quantum { beats: quantum }),
                    2 => session.handle(LinkOrder::Tempo { bpm }),
                    3 => session.handle(LinkOrder::Play {}),
                    4 => session.tick(true),
                    5 if session.joined => session.peers = peers,
                    _ => {
                        let now = u64::try_from(session.passed.as_millis()).unwrap();
                        session.until(now + 400);
                    },
                }
                let new = &session.changes()[before..];
                prop_assert!(!among_others || new.iter().all(|action| !matches!(action, LinkAction::Adopt(_))), "{new:?}");
            }
        }
    }
}
