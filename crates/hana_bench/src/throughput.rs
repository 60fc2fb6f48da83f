use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hana_engine::playout::BatcherSettings;
use hana_network::{DirectLink, MessageSender, Node, Publisher};
use hana_protocol::contract::routes::Publishable;
use hana_protocol::id::role;
use hana_protocol::message::{Direction, LaneTraffic, Modulation, NodeInfo};
use hana_protocol::parameter::ParameterName;
use hana_protocol::wire::Lane;
use zenoh::{Session, Wait};

use crate::assistant::{BenchWorker, SOON};
use crate::latency::{RAW_LANES, RAW_PATTERNS, bytes_of, value_of};
use crate::numbered::{AsLuckWill, AsTheyCome, InOrder, Newest, Numbered};
use crate::own_host::{OwnHost, free_port, join};
use crate::part::Count;
use crate::raw::RawEnd;
use crate::raw_mesh::RawMesh;
use crate::{BenchError, Comparison, Rate, Report, WorkerRole, raw};

/// The number of messages received, the time from the first to the last, and the number of messages sent.
type Measured = (u64, Duration, u64);

/// The number of parameters of the visualization: the maximum of a batch.
const PARAMETERS: usize = 1024;
/// The interval at which all parameters are set, when values are sent in batches.
const ROW: Duration = Duration::from_micros(333);
/// The time the last messages may be in transit after sending has stopped.
const LAST: Duration = Duration::from_millis(300);

/// Measures throughput: the number of small messages a second, in `rounds` rounds of the duration `each`.
///
/// # Errors
///
/// If a daemon already runs here, something cannot be started, or no message arrives.
pub fn throughput(
    rounds: usize,
    each: Duration,
    told_to_end: &AtomicBool,
) -> Result<Report, BenchError> {
    let hosts = OwnHost::mesh(2)?;
    let [here, there] = &hosts[..] else {
        return Err(BenchError::network("starting two hosts")("there are none"));
    };
    let mut ours = Ours::start(here, there)?;
    let mut reference = Raw::start()?;
    let (mut of_ours, mut of_raw): (Vec<[Measured; 6]>, Vec<[Measured; 5]>) = (vec![], vec![]);
    for round in 0..rounds.max(1) {
        for turn in 0..2 {
            if told_to_end.load(Ordering::Relaxed) {
                return Err(BenchError::Interrupted);
            }
            if (turn == 0) == round.is_multiple_of(2) {
                of_ours.push(ours.measure(each)?);
            } else {
                of_raw.push(reference.measure(each)?);
            }
        }
    }
    let of_ours = |place: usize| Rate::of(&of_ours.iter().map(|of| of[place]).collect::<Vec<_>>());
    let of_raw = |place: usize| Rate::of(&of_raw.iter().map(|of| of[place]).collect::<Vec<_>>());
    let through = |place: usize, name| {
        Comparison::of(
            name,
            "custom messages through two daemons, as many as go",
            of_ours(place + 1),
            "raw through two gateways",
            Some(of_raw(place)),
        )
    };
    let first = Comparison::of(
        "values in frames",
        "values of 1,024 parameters over a play link, in frames, 3,000 a second of each; a raw message is one value",
        of_ours(0),
        "raw messages",
        Some(of_raw(0)),
    );
    let others = vec![
        Comparison::of(
            "values one by one",
            "single values of 1,024 parameters over a play link, as many as go, each a message",
            of_ours(1),
            "raw messages",
            Some(of_raw(0)),
        ),
        through(1, "unreliable_sequenced"),
        through(2, "reliable_ordered"),
        through(3, "unreliable_unordered"),
        through(4, "reliable_unordered"),
    ];
    Ok(Report::of("throughput", rounds, first, others))
}

struct Ours {
    played: BenchWorker,
    values: Vec<Publisher<Modulation>>,
    link: DirectLink,
    hearer: BenchWorker,
    newest: MessageSender<Newest>,
    in_order: MessageSender<InOrder>,
    as_luck_will: MessageSender<AsLuckWill>,
    as_they_come: MessageSender<AsTheyCome>,
    app: Node<role::App>,
}

impl Ours {
    fn start(here: &OwnHost, there: &OwnHost) -> Result<Self, BenchError> {
        let config = here
            .config("player")?
            .with_message::<Newest>(Direction::Published)
            .with_message::<InOrder>(Direction::Published)
            .with_message::<AsLuckWill>(Direction::Published)
            .with_message::<AsTheyCome>(Direction::Published);
        let app = join(config)?;
        let arguments = [&PARAMETERS.to_string(), "false", "20", "played"];
        let mut played =
            BenchWorker::start(WorkerRole::Played, &arguments, |command| here.launch(command))?;
        let info: NodeInfo = played.ask("info", SOON)?;
        let link = app
            .play(&info)
            .wait(SOON)
            .map_err(BenchError::network("opening a play link"))?
            .map_err(BenchError::network("opening a play link"))?;
        let values = (0..PARAMETERS)
            .map(|place| {
                ParameterName::new(&format!("p{place}"))
                    .map(|name| link.modulation(name))
                    .map_err(BenchError::network("naming a parameter"))
            })
            .collect::<Result<_, _>>()?;
        let hearer = BenchWorker::start(WorkerRole::Hearer, &[], |command| there.settle(command))?;
        let mut ours = Self {
            played,
            values,
            link,
            hearer,
            newest: app.courier(),
            in_order: app.courier(),
            as_luck_will: app.courier(),
            as_they_come: app.courier(),
            app,
        };
        ours.meet()?;
        Ok(ours)
    }

    fn meet(&mut self) -> Result<(), BenchError> {
        let deadline = Instant::now() + SOON;
        loop {
            self.newest.publish(&Newest::new(1)).map_err(BenchError::network("publishing"))?;
            std::thread::sleep(Duration::from_millis(20));
            let came: Vec<Vec<(u64, u64)>> = self.hearer.ask("take", SOON)?;
            if came.iter().any(|came| !came.is_empty()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(BenchError::NotWithin {
                    awaited: "two daemons to know of each other".into(),
                    seen: "nothing comes".into(),
                    waited: SOON,
                });
            }
        }
    }

    fn measure(&mut self, each: Duration) -> Result<[Measured; 6], BenchError> {
        let frames = self.frames(each)?;
        let values = self.values(each)?;
        let newest = self.newest.clone();
        let first = self.through(0, Lane::UnreliableSequenced, each, &newest)?;
        let in_order = self.in_order.clone();
        let second = self.through(1, Lane::ReliableOrdered, each, &in_order)?;
        let as_luck_will = self.as_luck_will.clone();
        let third = self.through(2, Lane::UnreliableUnordered, each, &as_luck_will)?;
        let as_they_come = self.as_they_come.clone();
        let fourth = self.through(3, Lane::ReliableUnordered, each, &as_they_come)?;
        Ok([frames, values, first, second, third, fourth])
    }

    fn lane_of_played(&mut self) -> Result<LaneTraffic, BenchError> {
        self.played.ask("lane", SOON)
    }

    /// Sets all parameters three thousand times a second, in batches, and counts the values received and set.
    fn frames(&mut self, each: Duration) -> Result<Measured, BenchError> {
        let settings =
            BatcherSettings { moment: Duration::from_micros(100), every: Duration::from_millis(1) };
        let stream = self
            .link
            .frame_stream(settings)
            .map_err(BenchError::system("starting a thread for frames"))?;
        let before = (self.app.lane(Lane::UnreliableSequenced), self.lane_of_played()?);
        let begun = Instant::now();
        let mut rows = 0_u32;
        while begun.elapsed() < each {
            let due = begun + ROW * rows;
            let early = due.saturating_duration_since(Instant::now());
            if !early.is_zero() {
                std::thread::sleep(early);
            }
            for place in 0..PARAMETERS {
                stream
                    .set(place, value_of(u64::from(rows % 1_000_000)))
                    .map_err(BenchError::network("playing a frame"))?;
            }
            rows += 1;
        }
        let took = begun.elapsed();
        drop(stream);
        std::thread::sleep(LAST);
        let after = (self.app.lane(Lane::UnreliableSequenced), self.lane_of_played()?);
        // This includes health messages, ten a second on this lane, for which there is no subscriber here.
        let sent = after.0.sent - before.0.sent;
        let missed = after.1.missed - before.1.missed;
        let rows_lost = after.0.coalesced - before.0.coalesced;
        let all = u64::from(rows) * PARAMETERS as u64;
        // A lost batch counts as the average number of values; late values are counted individually.
        let late = after.1.late - before.1.late;
        let lost = rows_lost * PARAMETERS as u64 + all * missed / sent.max(1) + late;
        Ok((all.saturating_sub(lost), took, all))
    }

    /// Publishes single values as fast as possible, and counts the messages received and sent.
    fn values(&mut self, each: Duration) -> Result<Measured, BenchError> {
        let before = (self.app.lane(Lane::UnreliableSequenced), self.lane_of_played()?);
        let begun = Instant::now();
        let mut number = 0_u64;
        while begun.elapsed() < each {
            number += 1;
            let value = Modulation { value: value_of(number % 1_000_000) };
            for publisher in &self.values {
                publisher
                    .publish_at_once(&value)
                    .map_err(BenchError::network("playing a value"))?;
            }
        }
        std::thread::sleep(LAST);
        let after = (self.app.lane(Lane::UnreliableSequenced), self.lane_of_played()?);
        let took = begun.elapsed().saturating_sub(LAST);
        Ok((after.1.received - before.1.received, took, after.0.sent - before.0.sent))
    }

    /// Publishes custom messages as fast as possible.
    fn through<M: Numbered + Publishable<role::App>>(
        &mut self,
        ear: usize,
        lane: Lane,
        each: Duration,
        courier: &MessageSender<M>,
    ) -> Result<Measured, BenchError> {
        self.hearer.ask::<()>("count", SOON)?;
        let before = self.app.lane(lane).sent;
        let begun = Instant::now();
        let mut number = 0;
        while begun.elapsed() < each {
            for _ in 0..64 {
                number += 1;
                courier
                    .publish_at_once(&M::new(number))
                    .map_err(BenchError::network("publishing"))?;
            }
        }
        std::thread::sleep(LAST);
        let sent = self.app.lane(lane).sent - before;
        counted(&mut self.hearer, ear, sent)
    }
}

/// Returns the number received, and the time from the first to the last.
fn counted(hearer: &mut BenchWorker, ear: usize, sent: u64) -> Result<Measured, BenchError> {
    let counts: Vec<Count> = hearer.ask("counted", SOON)?;
    let Count { came, first_ns, last_ns } = counts.get(ear).copied().unwrap_or_default();
    Ok((came, Duration::from_nanos(last_ns.saturating_sub(first_ns)), sent.max(came)))
}

struct Raw {
    direct: BenchWorker,
    hearer: BenchWorker,
    to_direct: Vec<zenoh::pubsub::Publisher<'static>>,
    lanes: Vec<zenoh::pubsub::Publisher<'static>>,
    _session: Session,
    _mesh: RawMesh,
}

impl Raw {
    fn start() -> Result<Self, BenchError> {
        let endpoint = format!("tcp/127.0.0.1:{}", free_port()?);
        let arguments = ["listen", &endpoint, "raw/modulation/*"];
        let direct = BenchWorker::start(WorkerRole::RawHearer, &arguments, |_| ())?;
        let session = RawEnd::Client(&endpoint).open()?;
        let lane = Lane::UnreliableSequenced;
        let to_direct = (0..PARAMETERS)
            .map(|place| raw::publisher(&session, format!("raw/modulation/p{place}"), lane))
            .collect::<Result<_, _>>()?;
        let mesh = RawMesh::start(2)?;
        let arguments = [&["connect", mesh.endpoint(1)][..], &RAW_PATTERNS[..]].concat();
        let hearer = BenchWorker::start(WorkerRole::RawHearer, &arguments, |_| ())?;
        let lanes = RAW_LANES
            .iter()
            .map(|(key, lane)| raw::publisher(mesh.session(), (*key).into(), *lane))
            .collect::<Result<_, _>>()?;
        let mut raw = Self { direct, hearer, to_direct, lanes, _session: session, _mesh: mesh };
        raw.meet()?;
        Ok(raw)
    }

    fn meet(&mut self) -> Result<(), BenchError> {
        let deadline = Instant::now() + SOON;
        loop {
            for lane in &self.lanes {
                lane.put(raw::numbered(1, 8)).wait().map_err(BenchError::raw("putting"))?;
            }
            std::thread::sleep(Duration::from_millis(20));
            let came: Vec<Vec<(u64, u64)>> = self.hearer.ask("take", SOON)?;
            if came.len() == 4 && came.iter().all(|came| !came.is_empty()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(BenchError::NotWithin {
                    awaited: "two raw gateways to know of each other".into(),
                    seen: "nothing comes".into(),
                    waited: SOON,
                });
            }
        }
    }

    fn measure(&mut self, each: Duration) -> Result<[Measured; 5], BenchError> {
        let bytes = bytes_of(&Modulation { value: 1.0 });
        let direct = flood(&mut self.direct, 0, &self.to_direct, bytes, each)?;
        let bytes = bytes_of(&Newest::new(1));
        let mut through = |place: usize| {
            let lane = self.lanes.get(place..=place).unwrap_or_default();
            flood(&mut self.hearer, place, lane, bytes, each)
        };
        Ok([direct, through(0)?, through(1)?, through(2)?, through(3)?])
    }
}

/// Publishes over plain Zenoh as fast as it allows.
fn flood(
    hearer: &mut BenchWorker,
    ear: usize,
    publishers: &[zenoh::pubsub::Publisher<'static>],
    bytes: usize,
    each: Duration,
) -> Result<Measured, BenchError> {
    hearer.ask::<()>("count", SOON)?;
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < each {
        for publisher in publishers.iter().cycle().take(1024) {
            sent += 1;
            publisher.put(raw::numbered(sent, bytes)).wait().map_err(BenchError::raw("putting"))?;
        }
    }
    std::thread::sleep(LAST);
    counted(hearer, ear, sent)
}
