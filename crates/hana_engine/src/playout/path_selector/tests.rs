// The values are compared as they were set, without any calculation.
#![allow(clippy::float_cmp)]

use hana_protocol::id::NodeId;
use hana_protocol::message::ModulationBatch;
use hana_protocol::wire::Envelope;
use proptest::prelude::*;

use super::*;
use crate::delivery::stale_filter::{Arrival, StaleFilter};
use crate::playout::batcher::{Batcher, BatcherSettings};
use crate::playout::jitter_buffer::JitterBufferSettings;
use crate::playout::receiver::ModulationReceiver;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const PARAMETERS: usize = 3;
/// The start of the test in Unix microseconds.
const START: i64 = 1_760_000_000_000_000;

/// A packet in transit.
#[derive(Debug, Clone)]
enum Packet {
    Frame { run: u64, sequence: u64, sent: u64, frame: ModulationBatch },
    Question { link: u64, number: u64 },
    Answer { link: u64, number: u64, run: u64 },
}

/// A path between the two ends that preserves the order of its packets.
#[derive(Debug, Default)]
struct Wire {
    /// The end of the outage in milliseconds; packets sent before it wait.
    blocked_until: u64,
    /// Whether packets sent during the outage are lost.
    loses: bool,
    delay: u64,
    under_way: VecDeque<(u64, Packet)>,
}

impl Wire {
    fn send(&mut self, now: u64, packet: Packet) {
        if now < self.blocked_until && self.loses {
            return;
        }
        self.under_way.push_back((now + self.delay, packet));
    }

    fn arrived(&mut self, now: u64) -> Vec<Packet> {
        let mut arrived = vec![];
        while now >= self.blocked_until
            && self.under_way.front().is_some_and(|(due, _)| *due <= now)
        {
            arrived.extend(self.under_way.pop_front().map(|(_, packet)| packet));
        }
        arrived
    }
}

/// The visualization: the packets that one instance of it received, and its shown values.
struct Played {
    run: u64,
    filter: StaleFilter,
    player: ModulationReceiver,
    shown: [f32; PARAMETERS],
}

impl Played {
    fn new(run: u64, look: [f32; PARAMETERS], now: Instant) -> Self {
        let settings =
            JitterBufferSettings { delay: Duration::ZERO, ..JitterBufferSettings::default() };
        let player = ModulationReceiver::new(&[settings; PARAMETERS], &look, now);
        Self { run, filter: StaleFilter::default(), player, shown: look }
    }
}

/// An app that plays a visualization over two paths, in virtual time with steps of a millisecond.
struct World {
    begun: Instant,
    now: u64,
    switch: PathSelector,
    recorder: Batcher,
    /// The instance that the batcher sends to.
    run: u64,
    sequence: u64,
    set: [(f32, u64); PARAMETERS],
    number: f32,
    /// The current link; `opening` and `opened` describe the link that may replace it.
    ///
    /// Each is a separate connection: packets stuck in a closed one still arrive.
    link: Option<u64>,
    opening: Option<(u64, u64)>,
    opened: Option<u64>,
    links: u64,
    direct_blocked_until: u64,
    there: Vec<Wire>,
    back: Vec<Wire>,
    mesh_there: Wire,
    mesh_back: Wire,
    played: Played,
    /// The time at which the visualization restarts; at `found_at`, the app finds it.
    back_at: Option<u64>,
    found_at: Option<u64>,
    /// The time since which any path has been open without interruption, and the time for the mesh alone.
    open_since: [u64; 2],
}

impl World {
    fn new() -> Self {
        let begun = Instant::now();
        let mesh = |delay| Wire { delay, ..Wire::default() };
        Self {
            begun,
            now: 0,
            switch: PathSelector::new(begun),
            recorder: Batcher::new(1, PARAMETERS, BatcherSettings::default()),
            run: 0,
            sequence: 0,
            set: [(0.0, 0); PARAMETERS],
            number: 0.0,
            link: None,
            opening: None,
            opened: None,
            links: 0,
            direct_blocked_until: 0,
            there: vec![],
            back: vec![],
            mesh_there: mesh(2),
            mesh_back: mesh(2),
            played: Played::new(1, [0.0; PARAMETERS], begun),
            back_at: None,
            found_at: Some(10),
            open_since: [0; 2],
        }
    }

    fn instant(&self) -> Instant {
        self.begun + ms(self.now)
    }

    fn us(at: u64) -> i64 {
        START + i64::try_from(at).unwrap() * 1000
    }

    fn since(&self, since: Option<Instant>) -> i64 {
        let since =
            since.map(|at| (at - self.begun).saturating_sub(PathSelector::SENT).as_millis());
        since.map_or(i64::MIN, |at| Self::us(u64::try_from(at).unwrap()))
    }

    fn hear(&mut self, event: PathEvent) {
        let now = self.instant();
        let actions = self.switch.hear(event, now);
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<PathAction>) {
        for action in actions {
            match action {
                PathAction::Open => {
                    // A lost SYN is retransmitted only after a second, so the attempt fails.
                    let took = if self.now < self.direct_blocked_until { 1000 } else { 5 };
                    self.opening = Some((self.now + took, self.played.run));
                },
                PathAction::UseLink => self.link = self.opened.take(),
                PathAction::Discard => self.opened = None,
                PathAction::Close => self.link = None,
                PathAction::Probe { way: PlayPath::Direct, number } => {
                    let link = self.link.unwrap();
                    let packet = Packet::Question { link, number };
                    self.there[usize::try_from(link).unwrap()].send(self.now, packet);
                },
                PathAction::Probe { way: PlayPath::Mesh, number } => {
                    self.mesh_there.send(self.now, Packet::Question { link: u64::MAX, number });
                },
                PathAction::SwitchPath { since, .. } | PathAction::RetransmitSince { since } => {
                    let since = self.since(since);
                    self.recorder.retransmit_since(since);
                },
            }
        }
    }

    fn set(&mut self, index: usize) {
        self.number += 1.0;
        self.set[index] = (self.number, self.now);
        self.recorder.set(index, self.number, Self::us(self.now));
        self.hear(PathEvent::Played);
    }

    fn send_frames(&mut self) {
        let mut frame = ModulationBatch::default();
        while self.run > 0 && self.recorder.take(Self::us(self.now), &mut frame) {
            let sequence = self.sequence;
            self.sequence += 1;
            let packet =
                Packet::Frame { run: self.run, sequence, sent: self.now, frame: frame.clone() };
            match (self.switch.way(), self.link) {
                (PlayPath::Direct, Some(link)) => {
                    self.there[usize::try_from(link).unwrap()].send(self.now, packet);
                },
                _ => self.mesh_there.send(self.now, packet),
            }
        }
    }

    fn deliver(&mut self) {
        let is_there = self.back_at.is_none();
        let mut arrived = self.mesh_there.arrived(self.now);
        arrived.extend(self.there.iter_mut().flat_map(|wire| wire.arrived(self.now)));
        for packet in arrived {
            match packet {
                Packet::Frame { run, sequence, sent, frame } if is_there => {
                    let envelope = Envelope {
                        from: NodeId::new("hands").unwrap(),
                        instance: 1,
                        sequence,
                        at: Self::us(sent),
                    };
                    let now = self.instant();
                    let arrival = self.played.filter.arrive(Some(&envelope), now);
                    if matches!(arrival, Arrival::New { .. }) && run == self.played.run {
                        self.played.player.frame(Some(&envelope), &frame, now);
                    }
                },
                Packet::Question { link, number } if is_there => {
                    let wire = match usize::try_from(link) {
                        Ok(link) if link < self.back.len() => &mut self.back[link],
                        _ => &mut self.mesh_back,
                    };
                    let run = self.played.run;
                    wire.send(self.now, Packet::Answer { link, number, run });
                },
                _ => {},
            }
        }
        let mut answers = self.mesh_back.arrived(self.now);
        answers.extend(self.back.iter_mut().flat_map(|wire| wire.arrived(self.now)));
        for packet in answers {
            // An answer from another instance does not prove which values this instance has received.
            if let Packet::Answer { link, number, run } = packet
                && run == self.run
                && (link == u64::MAX || self.link == Some(link))
            {
                self.hear(PathEvent::Answered(number));
            }
        }
    }

    fn look_around(&mut self) {
        if let Some((at, run)) = self.opening
            && at <= self.now
        {
            self.opening = None;
            let is_there = self.back_at.is_none() && run == self.played.run;
            if is_there && self.now >= self.direct_blocked_until {
                self.opened = Some(self.links);
                self.links += 1;
                self.there.push(Wire { delay: 1, ..Wire::default() });
                self.back.push(Wire { delay: 1, ..Wire::default() });
                self.hear(PathEvent::Opened);
            } else {
                self.hear(PathEvent::NotOpened);
            }
        }
        if self.back_at.is_some_and(|at| at <= self.now) {
            self.back_at = None;
            // The daemon of the visualization has kept its look.
            self.played = Played::new(self.played.run + 1, self.played.shown, self.instant());
            self.found_at = Some(self.now + 30);
        }
        if self.found_at.is_some_and(|at| at <= self.now) {
            self.found_at = None;
            let arrived = self.since(self.switch.arrived());
            self.run = self.played.run;
            self.recorder = Batcher::new(self.run, PARAMETERS, BatcherSettings::default());
            for (index, (value, at)) in self.set.into_iter().enumerate() {
                if value > 0.0 && Self::us(at) >= arrived {
                    self.recorder.restore(index, value, Self::us(at));
                }
            }
            self.hear(PathEvent::Found);
        }
    }

    fn show(&mut self) {
        if self.back_at.is_some() {
            return;
        }
        let now = self.instant();
        let shown = &mut self.played.shown;
        self.played.player.advance(now, |index, value| {
            assert!(value > shown[index], "{value} after {} of {index}", shown[index]);
            shown[index] = value;
        });
    }

    /// Advances the world by a millisecond.
    fn step(&mut self) {
        self.now += 1;
        self.look_around();
        if self.switch.due().is_some_and(|due| due <= self.instant()) {
            let actions = self.switch.tick(self.instant());
            self.act(actions);
            assert!(
                self.switch.due().is_none_or(|due| due > self.instant()),
                "it turns in circles"
            );
        }
        self.send_frames();
        self.deliver();
        self.show();
        let is_found = self.back_at.is_none() && self.run == self.played.run;
        let mesh = self.now >= self.mesh_there.blocked_until;
        let any = mesh || self.now >= self.direct_blocked_until;
        for (since, is_open) in self.open_since.iter_mut().zip([any, mesh]) {
            if !is_open || !is_found {
                *since = self.now;
            }
        }
    }

    fn block_direct(&mut self, duration: u64, backoff: u64) {
        self.direct_blocked_until = self.now + duration;
        for wire in self.there.iter_mut().chain(&mut self.back) {
            wire.blocked_until = wire.blocked_until.max(self.now + duration + backoff);
        }
    }

    fn block_mesh(&mut self, duration: u64, loses: bool) {
        for wire in [&mut self.mesh_there, &mut self.mesh_back] {
            wire.blocked_until = self.now + duration;
            wire.loses = loses;
        }
    }

    fn restart(&mut self, away: u64) {
        if self.back_at.is_none() {
            self.back_at = Some(self.now + away);
            self.found_at = None;
            for wire in self.there.iter_mut().chain(&mut self.back) {
                wire.under_way.clear();
            }
            if self.link.is_some() {
                self.hear(PathEvent::Closed);
            }
        }
    }

    /// Returns the age, in milliseconds, of the shown value of a parameter that is set each millisecond.
    fn age(&self, index: usize, values: &[u64]) -> u64 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let shown = self.played.shown[index] as usize;
        values.get(shown).map_or(0, |set| self.now - set)
    }
}

/// The events of the world.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    Direct { duration: u64, backoff: u64 },
    Mesh { duration: u64, loses: bool },
    Both { duration: u64, backoff: u64 },
    Restart { away: u64 },
    Pause { duration: u64 },
}

fn trouble() -> impl Strategy<Value = (u64, Trouble)> {
    let what = prop_oneof![
        4 => (1_u64..6000, 0_u64..6000)
            .prop_map(|(duration, backoff)| Trouble::Direct { duration, backoff }),
        2 => (1_u64..4000, any::<bool>())
            .prop_map(|(duration, loses)| Trouble::Mesh { duration, loses }),
        1 => (1_u64..4000, 0_u64..4000)
            .prop_map(|(duration, backoff)| Trouble::Both { duration, backoff }),
        1 => (50_u64..3000).prop_map(|away| Trouble::Restart { away }),
        1 => (100_u64..5000).prop_map(|duration| Trouble::Pause { duration }),
    ];
    (1_u64..3000, what)
}

// Run this with some thousand cases after each change of the path selector or the receiver.
proptest! {
    #![proptest_config(hana_random::cases(300))]

    /// Checks playback under any outages and delays.
    ///
    /// No value is shown twice or after a newer value, playback continues while any path is open, the last values are
    /// eventually shown, and the direct link is used again.
    #[test]
    fn newest_value_is_shown_through_any_outage(
        troubles in prop::collection::vec(trouble(), 1..12),
        stride in 1_usize..5,
    ) {
        let mut world = World::new();
        // The time at which each value was set; the value is the index.
        let mut values = vec![0];
        let mut quiet_until = 0;
        for (after, trouble) in troubles {
            for _ in 0..after {
                world.step();
                if world.now < quiet_until {
                    continue;
                }
                let index = if world.now.is_multiple_of(7) { stride % PARAMETERS } else { 0 };
                world.set(index);
                values.push(world.now);
                // Once a path has been open for this long, the shown value is recent: the mesh is usable at once, but
                // a link has to be opened first.
                for (since, oldest) in world.open_since.into_iter().zip([6000, 700]) {
                    if world.now > since.max(quiet_until) + oldest {
                        let age = world.age(0, &values);
                        prop_assert!(age < oldest, "{age} ms old at {}", world.now);
                    }
                }
            }
            match trouble {
                Trouble::Direct { duration, backoff } => world.block_direct(duration, backoff),
                Trouble::Mesh { duration, loses } => world.block_mesh(duration, loses),
                Trouble::Both { duration, backoff } => {
                    world.block_direct(duration, backoff);
                    world.block_mesh(duration, true);
                },
                Trouble::Restart { away } => world.restart(away),
                Trouble::Pause { duration } => quiet_until = world.now + duration,
            }
        }
        for _ in 0..20_000 {
            world.step();
        }
        prop_assert_eq!(world.switch.way(), PlayPath::Direct);
        prop_assert_eq!(world.played.shown, world.set.map(|(value, _)| value));
    }
}

/// Sets a value in each millisecond until the selector uses the path `way`; returns the time this took.
fn until_turned(world: &mut World, way: PlayPath) -> u64 {
    let begun = world.now;
    while world.switch.way() != way {
        world.step();
        world.set(0);
        assert!(world.now < begun + 20_000, "{:?}", world.switch);
    }
    world.now - begun
}

#[test]
fn blocked_link_is_left_in_a_third_of_a_second_and_reused_later() {
    let mut world = World::new();
    let opened = until_turned(&mut world, PlayPath::Direct);
    assert!(opened < 30, "{opened} ms");
    for _ in 0..1000 {
        world.step();
        world.set(0);
    }
    assert_eq!(world.switch.status(world.instant()).switches, 0);
    // After an outage this long, TCP may wait as long again before it retransmits.
    world.block_direct(5000, 5000);
    let left = until_turned(&mut world, PlayPath::Mesh);
    assert!((250..=360).contains(&left), "{left} ms");
    while world.now < world.direct_blocked_until {
        world.step();
        world.set(0);
    }
    let returned = until_turned(&mut world, PlayPath::Direct);
    assert!(returned < 4100, "{returned} ms");
    let status = world.switch.status(world.instant());
    assert_eq!((status.path, status.switches), (PlayPath::Direct, 2));
}

#[test]
fn values_stuck_in_a_link_are_not_shown_afterwards() {
    let mut world = World::new();
    until_turned(&mut world, PlayPath::Direct);
    for _ in 0..1000 {
        world.step();
        world.set(0);
    }
    world.block_direct(5000, 0);
    for _ in 0..2000 {
        world.step();
        world.set(0);
    }
    let last = world.set[0].0;
    for _ in 0..10_000 {
        world.step();
        // After this value is shown, it stays: `show` checks that no older value follows.
        assert!(world.now < 4000 || world.played.shown[0] == last);
    }
}

#[test]
fn retransmission_is_not_acknowledged_before_it_is_sent() {
    // In each iteration, the outage ends at another moment around the answer that indicates a possible loss.
    for ends_after in 0..600 {
        let mut world = World::new();
        until_turned(&mut world, PlayPath::Direct);
        world.block_mesh(1500, true);
        world.block_direct(1000, 2000);
        world.step();
        world.set(1);
        for _ in 0..1500 + ends_after {
            world.step();
            world.set(0);
        }
        world.restart(50);
        for _ in 0..5000 {
            world.step();
        }
        assert_eq!(world.played.shown[1], world.set[1].0, "ended {ends_after} ms after");
    }
}

#[test]
fn values_lost_on_the_mesh_are_retransmitted_over_the_link() {
    // The outage covers the regular retransmissions of a value; in each iteration, it starts at another moment
    // between two probes.
    for begins_after in 0..1100 {
        let mut world = World::new();
        world.block_direct(20_000, 0);
        for _ in 0..100 + begins_after {
            world.step();
            world.set(0);
        }
        world.set(1);
        world.block_mesh(210, true);
        for _ in 0..3000 {
            world.step();
        }
        assert_eq!(world.played.shown[1], world.set[1].0, "lost {begins_after} ms after");
    }
}

#[test]
fn idle_controller_probes_seldom_and_resumes_on_the_best_path() {
    let mut world = World::new();
    until_turned(&mut world, PlayPath::Direct);
    for _ in 0..10_000 {
        world.step();
    }
    let before = world.switch.next_number;
    for _ in 0..10_000 {
        world.step();
    }
    assert!((9..=11).contains(&(world.switch.next_number - before)), "one a second");
    world.block_direct(3000, 0);
    world.set(1);
    for _ in 0..400 {
        world.step();
    }
    assert_eq!(world.played.shown[1], world.set[1].0, "it came by the mesh");
}

#[test]
fn many_sessions_probe_less_and_give_up_later() {
    let mut world = World::new();
    until_turned(&mut world, PlayPath::Direct);
    world.switch.share_with(10);
    let before = world.switch.next_number;
    for _ in 0..3000 {
        world.step();
        world.set(0);
    }
    assert!((9..=11).contains(&(world.switch.next_number - before)));
    world.block_direct(5000, 5000);
    let left = until_turned(&mut world, PlayPath::Mesh);
    assert!((750..=1100).contains(&left), "{left} ms");
}

#[test]
fn links_are_opened_rarely_without_any_reply() {
    let mut world = World::new();
    until_turned(&mut world, PlayPath::Direct);
    for _ in 0..1000 {
        world.step();
        world.set(0);
    }
    world.block_mesh(10_000, true);
    world.block_direct(10_000, 0);
    let mut attempts = 0;
    for _ in 0..9000 {
        let before = world.opening.is_some();
        world.step();
        world.set(0);
        attempts += usize::from(!before && world.opening.is_some());
    }
    assert!((1..=4).contains(&attempts), "{attempts}");
}

#[test]
fn status_shows_missing_replies() {
    let mut world = World::new();
    until_turned(&mut world, PlayPath::Direct);
    let status = world.switch.status(world.instant());
    assert_eq!((status.round_trip_us, status.loss_percent), (Some(2000), 0));
    world.restart(100_000);
    for _ in 0..6000 {
        world.step();
        world.set(0);
    }
    let status = world.switch.status(world.instant());
    assert_eq!((status.path, status.round_trip_us), (PlayPath::Mesh, None));
    assert!(status.loss_percent > 90, "{status:?}");
}
