#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap
)]

use std::collections::BTreeSet;

use hana_time::{ClockOffset, ClockReading, ClockSample};
use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;
const TICK: i64 = 5_000;

/// A host with its own clock.
struct SimHost {
    id: NodeId,
    ahead: i64,
    ppm: i64,
    ensemble: TimelineSync,
    clocks: BTreeMap<NodeId, ClockOffset>,
    /// The timeline that a program on this host has received.
    heard: Option<TempoMap>,
    said: Option<HostTimeline>,
    /// The time, by the clock of the host, at which a program there last read the timeline, and that timeline.
    looked: Option<(i64, Timeline)>,
    jumps: Vec<TimelineStep>,
    is_up: bool,
    /// Whether the machine is asleep, with its clock stopped.
    sleeps: bool,
    /// The offset of its beat count, in bars, if the host takes part in the Link session.
    link: Option<f64>,
}

/// A set of hosts on networks, in virtual time.
struct Sim {
    now: i64,
    hosts: Vec<SimHost>,
    /// Sets of hosts that can reach each other; a host in no set reaches none.
    nets: Vec<BTreeSet<usize>>,
    /// The Link session of other programs, by the clock of the simulation.
    session: Option<Timeline>,
    /// Timelines in transit: arrival time, sender, receiver.
    flying: Vec<(i64, usize, usize, HostTimeline)>,
    random: u64,
}

fn id(text: &str) -> NodeId {
    NodeId::new(text).unwrap()
}

impl SimHost {
    const fn local(&self, now: i64) -> i64 {
        now + self.ahead + now * self.ppm / 1_000_000
    }
}

impl Sim {
    fn new() -> Self {
        Self {
            now: 100 * SECOND,
            hosts: vec![],
            nets: vec![BTreeSet::new()],
            session: None,
            flying: vec![],
            random: 7,
        }
    }

    fn some(&mut self, below: i64) -> i64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as i64 % below
    }

    /// Adds a host whose clock differs by an hour from the clock of the previous host.
    fn join(&mut self, name: &str, ppm: i64) -> usize {
        let number = self.hosts.len();
        let mut host = SimHost {
            id: id(name),
            ahead: HOUR * number as i64,
            ppm,
            ensemble: TimelineSync::new(id(name), Timeline::DEFAULT, 0),
            clocks: BTreeMap::new(),
            heard: None,
            said: None,
            looked: None,
            jumps: vec![],
            is_up: true,
            sleeps: false,
            link: None,
        };
        let local = host.local(self.now);
        let first = Timeline::DEFAULT.shifted_by(-Timeline::DEFAULT.beat_at(local));
        host.ensemble = TimelineSync::new(id(name), first, local);
        self.hosts.push(host);
        self.nets[0].insert(number);
        number
    }

    fn hears(&self, a: usize, b: usize) -> bool {
        self.hosts[a].is_up
            && self.hosts[b].is_up
            && self.nets.iter().any(|net| net.contains(&a) && net.contains(&b))
    }

    fn act(&mut self, from: usize, actions: Vec<TimelineSyncAction>) {
        for action in actions {
            match action {
                TimelineSyncAction::Say(said) => {
                    let host = &mut self.hosts[from];
                    let local = host.local(self.now);
                    host.heard = said.continues(host.heard.map(|heard| heard.since(local)));
                    host.said = Some((*said).clone());
                    for to in (0..self.hosts.len()).filter(|to| *to != from) {
                        if self.hears(from, to) {
                            let takes = 300 + self.some(1500);
                            self.flying.push((self.now + takes, from, to, (*said).clone()));
                        }
                    }
                },
                TimelineSyncAction::Jumped(jump) => self.hosts[from].jumps.push(jump),
                TimelineSyncAction::Link(LinkOrder::Tempo { bpm }) => {
                    self.session =
                        self.session.map(|session| session.with_tempo(bpm, self.now).unwrap());
                },
                // Other peers are in the session, so the session keeps their beat.
                TimelineSyncAction::Link(_) => {},
            }
        }
    }

    fn order(&mut self, at: usize, order: TransportRequest) -> usize {
        let host = &mut self.hosts[at];
        let local = host.local(self.now);
        match host.ensemble.order(order, local).unwrap() {
            Routing::Done(actions) => {
                self.act(at, actions);
                at
            },
            Routing::Tell(leader) => {
                let leader = self.hosts.iter().position(|host| host.id == leader).unwrap();
                self.order(leader, order)
            },
        }
    }

    fn run(&mut self, seconds: f64) {
        let end = self.now + (seconds * 1e6) as i64;
        while self.now < end {
            self.now += TICK;
            for host in self.hosts.iter_mut().filter(|host| host.sleeps) {
                let gained = |at: i64| at * host.ppm / SECOND;
                host.ahead -= TICK + gained(self.now) - gained(self.now - TICK);
            }
            let (arrived, flying) =
                std::mem::take(&mut self.flying).into_iter().partition(|(at, ..)| *at <= self.now);
            self.flying = flying;
            let arrived: Vec<_> = arrived;
            for (_, from, to, said) in arrived {
                if self.hears(from, to) {
                    let host = &mut self.hosts[to];
                    let local = host.local(self.now);
                    let from = self.hosts[from].id.clone();
                    let actions = self.hosts[to].ensemble.hear(&from, said, local);
                    self.act(to, actions);
                }
            }
            for number in 0..self.hosts.len() {
                if self.hosts[number].is_up {
                    self.step(number);
                }
            }
        }
    }

    fn step(&mut self, number: usize) {
        let now = self.now;
        if now / TICK % 50 == 0
            && let Some(leader) = self.hosts[number].ensemble.follows().cloned()
            && let Some(other) = self.hosts.iter().position(|host| host.id == leader)
            && self.hears(number, other)
        {
            let (there, back) = (100 + self.some(900), 100 + self.some(900));
            let (host, other) = (&self.hosts[number], &self.hosts[other]);
            let reading = ClockReading {
                received_us: other.local(now - back),
                sent_us: other.local(now - back),
            };
            let exchange = ClockSample {
                asked_us: host.local(now - back - there),
                reading,
                answered_us: host.local(now),
            };
            let host = &mut self.hosts[number];
            if let Some(estimate) = host.clocks.entry(leader.clone()).or_default().take(exchange) {
                host.ensemble.clock(&leader, estimate);
            }
        }
        if now / TICK % 50 == 7
            && let Some(session) = self.session
            && let Some(bars) = self.hosts[number].link
        {
            let host = &mut self.hosts[number];
            let local = host.local(now);
            let report = LinkReport {
                bpm: session.bpm(),
                beat: bars.mul_add(session.quantum(), session.beat_at(now)),
                at_us: local,
                quantum: session.quantum(),
                playing: true,
                peers: 2,
            };
            let actions = host.ensemble.link(report, local);
            self.act(number, actions);
        }
        let host = &mut self.hosts[number];
        let local = host.local(now);
        let actions = host.ensemble.tick(local);
        self.act(number, actions);
        let host = &mut self.hosts[number];
        let Some(course) = host.heard else { return };
        let seen = course.at(local);
        let last_jump = host.jumps.last().map_or(i64::MIN, |jump| jump.at_us);
        if let Some((before, saw)) = host.looked
            && last_jump <= before - TICK
        {
            // A program on the host never sees the beat run backwards, and sees it jump only after a report.
            let passed = seen.beat_at(local) - saw.beat_at(before);
            let most = seen.bpm().max(saw.bpm()) * 1.05 * (local - before) as f64 / 60e6;
            assert!(
                (-1e-9..=most).contains(&passed),
                "{} at {} ({local}): {passed} beats passed, {most} at most; {:?}",
                host.id,
                (now - 100 * SECOND) as f64 / 1e6,
                host.jumps
            );
        }
        host.looked = Some((local, seen));
    }

    fn beat(&self, number: usize) -> f64 {
        let host = &self.hosts[number];
        let local = host.local(self.now);
        host.heard.unwrap().at(local).beat_at(local)
    }

    /// Returns the largest difference between the beats of these hosts, in microseconds.
    fn apart_us(&self, hosts: &[usize]) -> f64 {
        let beats: Vec<f64> = hosts.iter().map(|number| self.beat(*number)).collect();
        let most = beats.iter().copied().fold(f64::MIN, f64::max);
        let least = beats.iter().copied().fold(f64::MAX, f64::min);
        let bpm = self.hosts[hosts[0]].said.as_ref().unwrap().bpm;
        (most - least) * 60e6 / bpm
    }

    fn leaders(&self) -> Vec<&str> {
        self.hosts
            .iter()
            .filter(|host| host.is_up && host.ensemble.follows().is_none())
            .map(|host| host.id.as_str())
            .collect()
    }

    /// Returns the leader.
    fn leader(&self) -> String {
        let leaders = self.leaders();
        assert_eq!(leaders.len(), 1, "{leaders:?}");
        leaders[0].into()
    }

    fn jumps(&self) -> Vec<usize> {
        self.hosts.iter().map(|host| host.jumps.len()).collect()
    }
}

fn four() -> Sim {
    let mut sim = Sim::new();
    for (name, ppm) in [("h1", 0), ("h2", 100), ("h3", -100), ("h4", 40)] {
        sim.join(name, ppm);
        sim.run(5.0);
    }
    sim.run(20.0);
    sim
}

#[test]
fn late_joiner_adopts_the_existing_beat() {
    let mut sim = four();
    assert_eq!(sim.leaders(), ["h1"]);
    // Each newcomer had to jump once, the first host never.
    assert_eq!(sim.jumps(), [0, 1, 1, 1]);
    for _ in 0..100 {
        sim.run(0.1);
        let apart = sim.apart_us(&[0, 1, 2, 3]);
        assert!(apart < 500.0, "{apart} us");
    }
    let said = sim.hosts[2].said.as_ref().unwrap();
    assert_eq!((said.source, said.from.as_ref().unwrap().as_str()), (TimelineSource::Mesh, "h1"));
    assert!(said.error_us.unwrap() < 2000, "{said:?}");
    assert!((said.rate - 1.0001).abs() < 2e-5, "{said:?}");
}

#[test]
fn transport_request_reaches_the_leader_and_all_change_together() {
    let mut sim = four();
    assert_eq!(sim.order(3, TransportRequest::Tempo(999.0)), 0);
    for _ in 0..200 {
        sim.run(0.01);
        let apart = sim.apart_us(&[0, 1, 2, 3]);
        assert!(apart < 500.0, "{apart} us");
    }
    sim.order(2, TransportRequest::Tempo(20.0));
    sim.order(1, TransportRequest::Pause);
    sim.run(1.0);
    for host in &sim.hosts {
        let said = host.said.as_ref().unwrap();
        assert!((said.bpm - 20.0).abs() < 1e-9 && !said.playing && said.changes == 3);
    }
    assert!(sim.apart_us(&[0, 1, 2, 3]) < 500.0);
    assert_eq!(sim.jumps(), [0, 1, 1, 1]);
}

#[test]
fn others_continue_without_the_leader_and_it_follows_later() {
    let mut sim = four();
    let jumps = sim.jumps();
    sim.hosts[0].is_up = false;
    sim.run(600.0);
    let leads = sim.leader();
    assert_ne!(leads, "h1");
    assert_eq!(sim.jumps(), jumps, "nobody jumps");
    assert!(sim.apart_us(&[1, 2, 3]) < 500.0);
    // The host was suspended, not stopped: its clock advanced, and it believes that it leads.
    sim.hosts[0].is_up = true;
    sim.run(10.0);
    assert_eq!(sim.leader(), leads);
    assert_eq!(sim.jumps()[1..], jumps[1..], "those who went on are not moved");
    assert!(sim.apart_us(&[0, 1, 2, 3]) < 500.0);
}

#[test]
fn host_that_slept_or_whose_clock_jumped_follows_the_others() {
    let mut sim = four();
    let jumps = sim.jumps();
    // The leader sleeps and its clock stops: by its clock no time has passed.
    (sim.hosts[0].is_up, sim.hosts[0].sleeps) = (false, true);
    sim.run(100.0);
    (sim.hosts[0].is_up, sim.hosts[0].sleeps) = (true, false);
    sim.run(10.0);
    let leads = sim.leader();
    assert_ne!(leads, "h1");
    assert_eq!(sim.jumps()[1..], jumps[1..]);
    assert!(sim.jumps()[0] > jumps[0], "it is told");
    assert!(sim.apart_us(&[0, 1, 2, 3]) < 500.0);
    // A follower sleeps, and its clock jumps by an hour.
    let follower = (0..4).find(|number| sim.hosts[*number].id.as_str() != leads).unwrap();
    sim.hosts[follower].is_up = false;
    sim.run(5.0);
    sim.hosts[follower].ahead += HOUR;
    sim.hosts[follower].looked = None;
    sim.hosts[follower].is_up = true;
    sim.run(10.0);
    assert_eq!(sim.leader(), leads);
    assert!(sim.apart_us(&[0, 1, 2, 3]) < 500.0);
}

#[test]
fn healed_network_keeps_the_beat_of_the_larger_part() {
    let mut sim = four();
    let jumps = sim.jumps();
    sim.nets = vec![[0].into(), [1, 2, 3].into()];
    sim.run(1200.0);
    assert_eq!(sim.leaders().len(), 2, "{:?}", sim.leaders());
    assert_eq!(sim.jumps(), jumps);
    sim.nets = vec![[0, 1, 2, 3].into()];
    sim.run(10.0);
    assert_ne!(sim.leader(), "h1");
    assert_eq!(sim.jumps()[1..], jumps[1..]);
    assert!(sim.apart_us(&[0, 1, 2, 3]) < 500.0, "{} us", sim.apart_us(&[0, 1, 2, 3]));
}

#[test]
fn used_half_of_a_partition_leads_and_the_other_reports_a_step() {
    let mut sim = four();
    sim.nets = vec![[0, 1].into(), [2, 3].into()];
    sim.run(5.0);
    sim.order(2, TransportRequest::Tempo(140.0));
    sim.run(60.0);
    let jumps = sim.jumps();
    sim.nets = vec![[0, 1, 2, 3].into()];
    sim.run(10.0);
    let leads = sim.leader();
    assert!(["h3", "h4"].contains(&&*leads), "{leads}");
    assert!(sim.apart_us(&[0, 1, 2, 3]) < 500.0);
    assert_eq!(sim.jumps()[2..], jumps[2..]);
    let jump = sim.hosts[1].said.as_ref().unwrap().jump.as_ref().unwrap();
    assert!(jump.reason.contains(&leads) && jump.beats > 10.0, "{jump:?}");
}

#[test]
fn hosts_started_together_agree() {
    let mut sim = Sim::new();
    for name in ["h3", "h1", "h4", "h2"] {
        sim.join(name, 10);
    }
    sim.run(10.0);
    assert_eq!(sim.leaders(), ["h1"]);
    assert!(sim.apart_us(&[0, 1, 2, 3]) < 500.0);
}

#[test]
fn restarted_daemon_continues_its_timeline() {
    let mut sim = Sim::new();
    sim.join("h1", 0);
    sim.order(0, TransportRequest::Tempo(140.0));
    sim.run(100.0);
    let said = sim.hosts[0].said.clone().unwrap();
    let before = sim.beat(0);
    let local = sim.hosts[0].local(sim.now);
    sim.hosts[0].ensemble = TimelineSync::resuming(id("h1"), &said, local).unwrap();
    sim.run(10.0);
    assert!((sim.beat(0) - before - 10.0 * 140.0 / 60.0).abs() < 1e-6);
    assert!(sim.hosts[0].said.as_ref().unwrap().running_us > 100_000_000);
    // The timeline was published before a reboot, which restarted the clock.
    assert!(TimelineSync::resuming(id("h1"), &said, 5).is_none());
}

#[test]
fn odd_bars_and_negative_beats_are_followed() {
    let mut sim = Sim::new();
    sim.join("h1", 0);
    let local = sim.hosts[0].local(sim.now);
    let first = Timeline::new(77.7, local, -1000.5).unwrap().with_quantum(7.0).unwrap();
    sim.hosts[0].ensemble = TimelineSync::new(id("h1"), first, local);
    sim.hosts[0].heard = None;
    sim.run(5.0);
    sim.join("h2", 100);
    sim.run(10.0);
    assert!(sim.apart_us(&[0, 1]) < 500.0);
    assert!(sim.beat(1) < -970.0);
    let said = sim.hosts[1].said.as_ref().unwrap();
    assert!((said.quantum - 7.0).abs() < 1e-9 && said.beat < 0.0, "{said:?}");
    sim.order(1, TransportRequest::Tempo(999.0));
    sim.run(120.0);
    assert!(sim.beat(1) > 900.0 && sim.apart_us(&[0, 1]) < 500.0);
    assert_eq!(sim.jumps(), [0, 1]);
}

#[test]
fn hosts_with_and_without_link_count_the_same_bars() {
    let mut sim = Sim::new();
    let (h1, h2, h3) = (sim.join("h1", 0), sim.join("h2", 100), sim.join("h3", -100));
    sim.run(8.0);
    assert_eq!(sim.leader(), "h1");
    // Two of the hosts join a foreign Link session; the leader has no Link.
    sim.session = Some(Timeline::new(133.0, 0, 0.9).unwrap());
    (sim.hosts[h2].link, sim.hosts[h3].link) = (Some(1000.0), Some(-77.0));
    sim.run(15.0);
    assert_eq!(sim.leader(), "h2", "{:?}", sim.hosts[h1].ensemble);
    let agree = |sim: &Sim| {
        let apart = sim.apart_us(&[h1, h2, h3]);
        assert!(apart < 1000.0, "{apart} us");
        let off = sim.beat(h3) - sim.session.unwrap().beat_at(sim.now);
        let off = (off / 4.0).round().mul_add(-4.0, off);
        assert!(off.abs() < 0.002, "{off} beats off the session");
    };
    agree(&sim);
    let jumps = sim.jumps();
    // Each host's `hana-link` restarts and counts beats from another origin.
    for (host, bars) in [(h2, 5.0), (h3, 6.0)] {
        sim.hosts[host].link = None;
        let local = sim.hosts[host].local(sim.now);
        let actions = sim.hosts[host].ensemble.link_lost(local);
        sim.act(host, actions);
        sim.run(10.0);
        agree(&sim);
        sim.hosts[host].link = Some(bars);
        sim.run(10.0);
        agree(&sim);
    }
    assert_eq!(sim.jumps(), jumps);
    // A tempo set on the host without Link reaches the session.
    assert_ne!(sim.order(h1, TransportRequest::Tempo(140.0)), h1);
    sim.run(5.0);
    agree(&sim);
    assert!((sim.session.unwrap().bpm() - 140.0).abs() < 1e-9);
    assert_eq!(sim.jumps(), jumps);
}

/// Returns a report of a Link session, by the host's clock.
fn report(timeline: &Timeline, now: i64, peers: u64) -> LinkReport {
    LinkReport {
        bpm: timeline.bpm(),
        beat: timeline.beat_at(now),
        at_us: now,
        quantum: timeline.quantum(),
        playing: timeline.is_playing(),
        peers,
    }
}

fn orders(actions: &[TimelineSyncAction]) -> Vec<&LinkOrder> {
    actions
        .iter()
        .filter_map(|action| match action {
            TimelineSyncAction::Link(order) => Some(order),
            _ => None,
        })
        .collect()
}

#[test]
fn running_link_session_is_joined_unchanged() {
    let mut ensemble = TimelineSync::new(id("h1"), Timeline::DEFAULT, 0);
    let session = Timeline::new(133.0, 0, 1000.3).unwrap().with_playing(true);
    let mut jumped = vec![];
    for now in (SECOND..10 * SECOND).step_by(50_000) {
        let mut actions = ensemble.tick(now);
        if now % 250_000 == 0 {
            actions.extend(ensemble.link(report(&session, now, 1), now));
        }
        for order in orders(&actions) {
            assert!(matches!(order, LinkOrder::Quantum { .. }), "{order:?}");
        }
        jumped.extend(
            actions.into_iter().filter(|action| matches!(action, TimelineSyncAction::Jumped(_))),
        );
    }
    assert_eq!(jumped.len(), 1, "{jumped:?}");
    let now = 10 * SECOND;
    let own = ensemble.course().at(now);
    assert!((own.bpm() - 133.0).abs() < 1e-9);
    assert!((own.phase_at(now) - session.phase_at(now)).abs() < 1e-4);
    assert_eq!(ensemble.source(), TimelineSource::Link);
    // The session ends: the beat continues from there.
    let before = ensemble.course();
    assert!(
        ensemble.link_lost(now).iter().all(|action| matches!(action, TimelineSyncAction::Say(_)))
    );
    assert_eq!(ensemble.source(), TimelineSource::Internal);
    let later = now + 60 * SECOND;
    let off = ensemble.course().at(later).beat_at(later) - before.at(later).beat_at(later);
    assert!(off.abs() < 1e-9);
}

#[test]
fn link_alone_receives_the_beat_and_no_timeline_jumps() {
    let mut ensemble = TimelineSync::new(id("h1"), Timeline::DEFAULT, 0);
    let mut session = Timeline::new(120.0, 0, 0.77).unwrap();
    let mut told = 0;
    for now in (SECOND..20 * SECOND).step_by(50_000) {
        let mut actions = ensemble.tick(now);
        if now % 250_000 == 0 {
            actions.extend(ensemble.link(report(&session, now, 0), now));
        }
        for order in orders(&actions) {
            let LinkOrder::Adopt { bpm, beat, at_us, playing, .. } = order else {
                panic!("{order:?}")
            };
            session = Timeline::new(*bpm, *at_us, *beat).unwrap().with_playing(*playing);
            told += 1;
        }
        assert!(!actions.iter().any(|action| matches!(action, TimelineSyncAction::Jumped(_))));
        let off = ensemble.course().at(now).beat_at(now) - Timeline::DEFAULT.beat_at(now);
        assert!(off.abs() < 1e-6, "{off}");
    }
    assert_eq!(told, 1);
    assert!(ensemble.course().last().is_playing());
}

#[test]
fn older_link_report_does_not_undo_a_command() {
    let mut ensemble = TimelineSync::new(id("h1"), Timeline::DEFAULT, 0);
    let session = Timeline::DEFAULT;
    for now in (0..5 * SECOND).step_by(250_000) {
        ensemble.link(report(&session, now, 1), now);
        ensemble.tick(now);
    }
    let now = 5 * SECOND;
    let Routing::Done(actions) = ensemble.order(TransportRequest::Tempo(150.0), now).unwrap()
    else {
        panic!()
    };
    assert_eq!(orders(&actions), [&LinkOrder::Tempo { bpm: 150.0 }]);
    // This report was sent before the request arrived.
    ensemble.link(report(&session, now + 1000, 1), now + 2000);
    let changed = session.with_tempo(150.0, now + 10_000).unwrap();
    for now in (now + 250_000..10 * SECOND).step_by(250_000) {
        let actions = ensemble.link(report(&changed, now, 1), now);
        assert!(!actions.iter().any(|action| matches!(action, TimelineSyncAction::Jumped(_))));
        ensemble.tick(now);
        assert!((ensemble.course().at(now).bpm() - 150.0).abs() < 1e-9);
    }
    let now = 10 * SECOND;
    let off = ensemble.course().at(now).beat_at(now) - changed.beat_at(now);
    assert!(off.abs() < 1e-4, "{off}");
}

#[test]
fn invalid_tempo_is_refused_and_changes_nothing() {
    let mut ensemble = TimelineSync::new(id("h1"), Timeline::DEFAULT, 0);
    let before = ensemble.course();
    for bpm in [0.0, 19.9, 1000.0, f64::NAN] {
        ensemble.order(TransportRequest::Tempo(bpm), 0).unwrap_err();
    }
    assert_eq!(ensemble.course(), before);
}

proptest! {
    #![proptest_config(hana_random::cases(24))]

    /// All hosts eventually agree after any failures of hosts and network.
    ///
    /// Each step checks that the beat runs backwards only with a reported jump.
    #[test]
    fn all_hosts_agree_after_any_failures(
        deeds in prop::collection::vec((0..6_u8, 0..4_usize, 20.0..=999.0_f64, 0.1..8.0_f64), 1..12),
        seed: u64,
    ) {
        let mut sim = Sim::new();
        sim.random = seed;
        for (name, ppm) in [("h1", 0), ("h2", 100), ("h3", -100), ("h4", 40)] {
            sim.join(name, ppm);
        }
        sim.run(3.0);
        for (deed, host, number, seconds) in deeds {
            match deed {
                0 => sim.hosts[host].is_up = !sim.hosts[host].is_up,
                1 => sim.nets = vec![(0..=host).collect(), (host + 1..4).collect()],
                2 => sim.nets = vec![(0..4).collect()],
                3 if sim.hosts[host].is_up => {
                    let local = sim.hosts[host].local(sim.now);
                    if let Ok(Routing::Done(actions)) = sim.hosts[host].ensemble.order(TransportRequest::Tempo(number), local) {
                        sim.act(host, actions);
                    }
                },
                4 => {
                    let sleeps = !sim.hosts[host].sleeps;
                    (sim.hosts[host].is_up, sim.hosts[host].sleeps) = (!sleeps, sleeps);
                },
                _ => {},
            }
            sim.run(seconds);
        }
        for host in &mut sim.hosts {
            (host.is_up, host.sleeps) = (true, false);
        }
        sim.nets = vec![(0..4).collect()];
        sim.run(15.0);
        prop_assert_eq!(sim.leaders().len(), 1, "{:?}", sim.leaders());
        let apart = sim.apart_us(&[0, 1, 2, 3]);
        prop_assert!(apart < 1000.0, "{} us apart", apart);
    }

    #[test]
    fn no_message_or_report_causes_a_panic(
        said in prop::collection::vec(
            (20.0..=999.0_f64, prop::num::f64::NORMAL, any::<i64>(), 0.9..=1.1_f64, any::<(u64, u32, u64)>(), any::<bool>()), 1..20,
        ),
        times in prop::collection::vec(any::<i64>(), 1..20),
    ) {
        let mut ensemble = TimelineSync::new(id("h1"), Timeline::DEFAULT, 0);
        for ((bpm, beat, at_us, rate, (running_us, followers, changes), flag), now) in said.into_iter().zip(times) {
            let timeline = HostTimeline {
                bpm, beat, at_us, rate, easing: None, quantum: 3.0, playing: flag, source: TimelineSource::Link,
                peers: followers.into(), from: None, error_us: None, running_us, followers, changes, jump: None,
            };
            let reading = ClockReading { received_us: at_us, sent_us: at_us };
            let exchange = ClockSample { asked_us: now, reading, answered_us: now };
            if let Some(clock) = ClockOffset::default().take(exchange) {
                ensemble.clock(&id("h2"), clock);
            }
            ensemble.hear(&id("h2"), timeline, now);
            ensemble.link(LinkReport { bpm, beat, at_us, quantum: 7.0, playing: flag, peers: 1 }, now);
            ensemble.order(TransportRequest::Tempo(bpm), now).ok();
            ensemble.tick(now);
        }
    }
}
