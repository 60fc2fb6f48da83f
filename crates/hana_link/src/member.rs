use std::time::{Duration, Instant};

use hana_time::{LinkOrder, LinkReport, Timeline};

/// A polite member of a Link session: decides when to join, when to listen, and when to change the session. Pure.
///
/// A member that joins a running session adopts its tempo, bar and transport. Until it knows whether there is
/// one, it changes nothing and holds back orders. It sets the timeline to continue from before it joins, when
/// no peer can see it: a running session overrides it, and without one the session begins with it.
///
/// When two sessions meet, Link lets the older one win; of two that began within half a second, the one with
/// the smaller number wins, which is chance. A member that is left alone begins a new session. So this member
/// stays quiet for longer than that before it joins: any session that existed when it started, or that an
/// earlier instance left behind, is the older one.
#[derive(Debug)]
pub(crate) struct Participant {
    standing: JoinPhase,
    /// The timeline to continue from if it is alone, until it is applied.
    wish: Option<Timeline>,
    /// The timeline that it began with, until it has joined.
    own: Timeline,
    quantum: f64,
    held_tempo: Option<f64>,
    held_playing: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JoinPhase {
    /// Not in a session yet. The timeline to continue from may be ordered meanwhile.
    Quiet { until: Instant },
    /// Left the session, to rejoin.
    Away { until: Instant },
    /// Peers may exist that are not discovered yet.
    Joining { until: Instant },
    /// A peer is present, which may have just started too, and may join another session in a moment.
    Meeting { until: Instant },
    /// Knows whether it is alone.
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
    /// Continue from this timeline. Only ordered while there are no peers.
    Take(Timeline),
}

impl Participant {
    /// How long the member waits before it joins. Link treats sessions that began within 500 ms as equally old.
    const QUIET: Duration = Duration::from_millis(600);
    /// How long the member listens before it takes itself to be alone.
    ///
    /// Peers answer at once and are then measured, which takes some hundred milliseconds.
    const LISTENING: Duration = Duration::from_secs(1);
    /// How long the member observes a new peer before it changes anything.
    const MEETING: Duration = Duration::from_millis(300);
    /// Time outside the session before rejoining: Link's peers notice within half a second that it was disabled.
    const AWAY: Duration = Duration::from_millis(700);
    /// Timelines that differ by no more than this are equal, in microseconds; Link's resolution is no finer
    /// at slow tempos.
    const SAME_US: f64 = 20.0;
    /// Relative tempo difference that counts as equal: Link rounds a beat to whole microseconds.
    const SAME_TEMPO: f64 = 1e-5;

    /// Creates a member with a timeline of its own.
    pub(crate) fn new(own: Timeline, now: Instant) -> Self {
        Self {
            standing: JoinPhase::Quiet { until: now + Self::QUIET },
            wish: None,
            own,
            quantum: own.quantum(),
            held_tempo: None,
            held_playing: None,
        }
    }

    /// Returns the timeline that Link begins with.
    pub(crate) const fn timeline(&self) -> &Timeline {
        &self.own
    }

    /// Beats in a bar.
    pub(crate) const fn quantum(&self) -> f64 {
        self.quantum
    }

    /// Whether there is a session to report: before that, the observed state belongs to none.
    pub(crate) fn is_settled(&self) -> bool {
        self.standing == JoinPhase::Settled
    }

    /// Takes an order. `seen` is the state of the session.
    pub(crate) fn order(&mut self, order: LinkOrder, seen: &LinkReport) -> Vec<LinkAction> {
        match order {
            LinkOrder::Tempo { bpm } if self.is_settled() => vec![LinkAction::Tempo(bpm)],
            LinkOrder::Play {} if self.is_settled() => vec![LinkAction::Playing(true)],
            LinkOrder::Pause {} if self.is_settled() => vec![LinkAction::Playing(false)],
            LinkOrder::Tempo { bpm } => {
                self.held_tempo = Some(bpm);
                vec![]
            },
            LinkOrder::Play {} => {
                self.held_playing = Some(true);
                vec![]
            },
            LinkOrder::Pause {} => {
                self.held_playing = Some(false);
                vec![]
            },
            LinkOrder::Quantum { beats } => self.take_quantum(beats, seen),
            LinkOrder::Adopt { bpm, beat, at_us, quantum, playing } => {
                let wished = Timeline::new(bpm, at_us, beat)
                    .and_then(|timeline| timeline.with_quantum(quantum))
                    .map(|timeline| timeline.with_playing(playing));
                wished.map_or_else(|_| vec![], |timeline| self.adopt(timeline, seen))
            },
        }
    }

    /// Advances time. `seen` is the state of the session; `slept` is whether the machine was suspended since
    /// the last call.
    pub(crate) fn tick(&mut self, seen: &LinkReport, slept: bool, now: Instant) -> Vec<LinkAction> {
        match self.standing {
            // The peers' beats went on, and Link would notice within half a minute. After rejoining, Link
            // measures at once.
            JoinPhase::Joining { .. } | JoinPhase::Meeting { .. } | JoinPhase::Settled if slept => {
                self.standing = JoinPhase::Away { until: now + Self::AWAY };
                vec![LinkAction::Leave]
            },
            JoinPhase::Quiet { until } | JoinPhase::Away { until } if now >= until => {
                self.standing = JoinPhase::Joining { until: now + Self::LISTENING };
                vec![LinkAction::Join]
            },
            JoinPhase::Joining { .. } if seen.peers > 0 => {
                self.standing = JoinPhase::Meeting { until: now + Self::MEETING };
                vec![]
            },
            JoinPhase::Joining { until } | JoinPhase::Meeting { until } if now >= until => {
                self.settle(Some(seen).filter(|seen| seen.peers == 0))
            },
            _ => vec![],
        }
    }

    /// Ends the joining phase. `alone` is the state of its own session, if it has no peers.
    fn settle(&mut self, alone: Option<&LinkReport>) -> Vec<LinkAction> {
        self.standing = JoinPhase::Settled;
        let wish = self.wish.take();
        let taken = alone.zip(wish).and_then(|(seen, wish)| Self::take_unless_there(wish, seen));
        let tempo = self.held_tempo.take().map(LinkAction::Tempo);
        let playing = self.held_playing.take().map(LinkAction::Playing);
        taken.into_iter().chain(tempo).chain(playing).collect()
    }

    fn adopt(&mut self, timeline: Timeline, seen: &LinkReport) -> Vec<LinkAction> {
        let quantum = std::mem::replace(&mut self.quantum, timeline.quantum());
        match self.standing {
            JoinPhase::Quiet { .. } => vec![LinkAction::Take(timeline)],
            JoinPhase::Away { .. } | JoinPhase::Joining { .. } | JoinPhase::Meeting { .. } => {
                self.wish = Some(timeline);
                vec![]
            },
            JoinPhase::Settled if seen.peers > 0 => vec![],
            // The beginning of the bar is part of the adopted timeline.
            JoinPhase::Settled if differ(quantum, timeline.quantum()) => {
                vec![LinkAction::Take(timeline)]
            },
            JoinPhase::Settled => Self::take_unless_there(timeline, seen).into_iter().collect(),
        }
    }

    /// Among peers, bars of a new length are counted from the peers' start; alone, from beat 0.
    fn take_quantum(&mut self, beats: f64, seen: &LinkReport) -> Vec<LinkAction> {
        self.quantum = beats;
        if let Some(wish) = self.wish {
            self.wish = wish.with_quantum(beats).ok();
        }
        let is_joining =
            matches!(self.standing, JoinPhase::Joining { .. } | JoinPhase::Meeting { .. });
        let alone = seen.peers == 0 && !is_joining;
        let timeline = seen.timeline().and_then(|timeline| timeline.with_quantum(beats)).ok();
        timeline.filter(|_| alone).map(LinkAction::Take).into_iter().collect()
    }

    fn take_unless_there(wish: Timeline, seen: &LinkReport) -> Option<LinkAction> {
        let off = (wish.beat_at(seen.at_us) - seen.beat).abs() * 60e6 / wish.bpm();
        let there = off <= Self::SAME_US
            && (wish.bpm() - seen.bpm).abs() <= wish.bpm() * Self::SAME_TEMPO
            && wish.is_playing() == seen.playing;
        (!there).then_some(LinkAction::Take(wish))
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

    const TURN: Duration = Duration::from_millis(10);

    /// A Link session in virtual time.
    struct Scene {
        member: Participant,
        began: Instant,
        passed: Duration,
        session: Timeline,
        peers: u64,
        joined: bool,
        acts: Vec<(Duration, LinkAction)>,
    }

    impl Scene {
        fn new() -> Self {
            let began = Instant::now();
            let own = Timeline::new(120.0, 0, 0.0).unwrap();
            Self {
                member: Participant::new(own, began),
                began,
                passed: Duration::ZERO,
                session: own,
                peers: 0,
                joined: false,
                acts: vec![],
            }
        }

        fn at_us(&self) -> i64 {
            i64::try_from(self.passed.as_micros()).unwrap()
        }

        fn seen(&self) -> LinkReport {
            LinkReport {
                bpm: self.session.bpm(),
                beat: self.session.beat_at(self.at_us()),
                at_us: self.at_us(),
                quantum: self.member.quantum(),
                playing: self.session.is_playing(),
                peers: self.peers,
            }
        }

        fn order(&mut self, order: LinkOrder) {
            let acts = self.member.order(order, &self.seen());
            self.carry_out(acts);
        }

        /// Runs up to a time, in milliseconds since the beginning.
        fn until(&mut self, ms: u64) {
            while self.passed < Duration::from_millis(ms) {
                self.passed += TURN;
                self.tick(false);
            }
        }

        fn tick(&mut self, slept: bool) {
            let acts = self.member.tick(&self.seen(), slept, self.began + self.passed);
            self.carry_out(acts);
        }

        fn carry_out(&mut self, acts: Vec<LinkAction>) {
            for act in acts {
                let at = self.at_us();
                match act {
                    LinkAction::Join => self.joined = true,
                    LinkAction::Leave => (self.joined, self.peers) = (false, 0),
                    LinkAction::Tempo(bpm) => {
                        self.session = self.session.with_tempo(bpm, at).unwrap();
                    },
                    LinkAction::Playing(playing) => {
                        self.session = self.session.with_playing(playing);
                    },
                    LinkAction::Take(timeline) => self.session = timeline,
                }
                self.acts.push((self.passed, act));
            }
        }

        /// The actions that peers in its session would notice.
        fn spoke(&self) -> Vec<LinkAction> {
            self.acts
                .iter()
                .map(|(_, act)| *act)
                .filter(|act| !matches!(act, LinkAction::Join | LinkAction::Leave))
                .collect()
        }
    }

    fn at_133() -> Timeline {
        Timeline::new(133.0, -7_000_000, 41.5).unwrap().with_playing(true)
    }

    #[test]
    fn alone_it_goes_on_from_what_it_was_given_and_nothing_jumps() {
        let mut scene = Scene::new();
        scene.order(LinkOrder::adopt(&at_133()));
        scene.until(1500);
        let acts =
            [(Duration::ZERO, LinkAction::Take(at_133())), (Participant::QUIET, LinkAction::Join)];
        assert_eq!(scene.acts, acts);
        assert!(!scene.member.is_settled());
        scene.until(1700);
        assert!(scene.member.is_settled());
        assert_eq!(
            scene.spoke(),
            [LinkAction::Take(at_133())],
            "once, before anybody could hear it"
        );
        // The daemon's repeated order changes nothing.
        scene.order(LinkOrder::adopt(&at_133()));
        assert_eq!(scene.spoke().len(), 1);
    }

    #[test]
    fn it_is_there_for_half_a_second_before_it_joins_so_that_others_are_older() {
        let mut scene = Scene::new();
        scene.until(590);
        assert!(!scene.joined);
        scene.until(610);
        assert!(scene.joined && !scene.member.is_settled());
        scene.until(1700);
        assert!(scene.member.is_settled() && scene.spoke().is_empty());
    }

    #[test]
    fn among_others_it_says_nothing_of_its_own() {
        let mut scene = Scene::new();
        scene.order(LinkOrder::adopt(&Timeline::new(120.0, 0, 0.0).unwrap()));
        scene.until(800);
        (scene.session, scene.peers) = (at_133(), 1);
        scene.until(1000);
        assert!(!scene.member.is_settled(), "it may be one that has just come too");
        scene.until(1120);
        assert!(scene.member.is_settled(), "who is there is found, no need to wait on");
        scene.order(LinkOrder::adopt(&Timeline::new(120.0, 0, 0.0).unwrap()));
        scene.until(3000);
        assert_eq!(scene.spoke().len(), 1, "nothing but before it joined");
        assert!((scene.session.bpm() - 133.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_ordered_while_it_listens_is_done_afterwards() {
        let mut scene = Scene::new();
        scene.order(LinkOrder::Tempo { bpm: 90.0 });
        scene.order(LinkOrder::adopt(&at_133()));
        scene.order(LinkOrder::Pause {});
        scene.order(LinkOrder::Tempo { bpm: 100.0 });
        scene.until(1590);
        assert_eq!(scene.spoke().len(), 1);
        scene.until(1610);
        assert_eq!(scene.spoke()[1..], [LinkAction::Tempo(100.0), LinkAction::Playing(false)]);
    }

    #[test]
    fn a_timeline_that_comes_while_it_listens_is_taken_only_if_it_is_alone() {
        for (peers, taken) in [(0, 2), (1, 1)] {
            let mut scene = Scene::new();
            scene.order(LinkOrder::adopt(&at_133()));
            scene.until(1100);
            let other = at_133().with_tempo(140.0, 0).unwrap();
            scene.order(LinkOrder::adopt(&other));
            scene.until(1500);
            scene.peers = peers;
            scene.until(2000);
            assert_eq!(scene.spoke().len(), taken);
        }
    }

    #[test]
    fn a_bar_of_another_length_begins_at_a_multiple_of_it() {
        let mut scene = Scene::new();
        scene.until(2000);
        scene.order(LinkOrder::Quantum { beats: 7.0 });
        let (beat, quantum) = (scene.seen().beat, scene.member.quantum());
        assert!(
            matches!(scene.spoke()[..], [LinkAction::Take(t)] if (t.quantum() - 7.0).abs() < 1e-9)
        );
        assert!((quantum - 7.0).abs() < 1e-9 && (beat - 4.0).abs() < 1e-6, "{beat}");
        scene.peers = 1;
        scene.order(LinkOrder::Quantum { beats: 3.0 });
        assert_eq!(scene.spoke().len(), 1, "others' beats are not moved for it");
    }

    #[test]
    fn after_a_sleep_it_joins_anew_and_listens_first() {
        let mut scene = Scene::new();
        scene.order(LinkOrder::adopt(&at_133()));
        scene.until(2000);
        scene.tick(true);
        assert!(!scene.joined && !scene.member.is_settled());
        scene.until(2600);
        assert!(!scene.joined);
        scene.order(LinkOrder::Play {});
        scene.until(2800);
        assert!(scene.joined && !scene.member.is_settled());
        scene.peers = 1;
        scene.until(3200);
        assert!(scene.member.is_settled());
        assert_eq!(scene.spoke()[1..], [LinkAction::Playing(true)]);
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn whatever_happens_it_moves_nobodys_beats_by_itself(
            orders in proptest::collection::vec((0..8_u8, 20.0..=999.0_f64, -1e6..1e6_f64, 1..12_u8, 0..3_u64), 0..40),
        ) {
            let mut scene = Scene::new();
            for (kind, bpm, beat, quantum, peers) in orders {
                let among_others = scene.peers > 0;
                let before = scene.spoke().len();
                let quantum = f64::from(quantum);
                match kind {
                    0 => scene.order(LinkOrder::Adopt { bpm, beat, at_us: scene.at_us(), quantum, playing: true }),
                    1 => scene.order(LinkOrder::Quantum { beats: quantum }),
                    2 => scene.order(LinkOrder::Tempo { bpm }),
                    3 => scene.order(LinkOrder::Play {}),
                    4 => scene.tick(true),
                    5 if scene.joined => scene.peers = peers,
                    _ => {
                        let now = u64::try_from(scene.passed.as_millis()).unwrap();
                        scene.until(now + 400);
                    },
                }
                let new = &scene.spoke()[before..];
                prop_assert!(!among_others || new.iter().all(|act| !matches!(act, LinkAction::Take(_))), "{new:?}");
            }
        }
    }
}
