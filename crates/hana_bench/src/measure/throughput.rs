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

use crate::baseline::gateways::BaselineGateways;
use crate::baseline::messages::{RAW_LANES, RAW_PATTERNS, bytes_of, numbered};
use crate::baseline::session::{BaselineSession, publisher};
use crate::error::BenchError;
use crate::figure::{FigureComparison, Rate, Report};
use crate::fixture::numbered::{
    BestEffort, Latest, Numbered, ReliableOrdered, ReliableUnordered, value_of,
};
use crate::fixture::test_host::{TestHost, free_port, join};
use crate::limits::REPLY_TIMEOUT;
use crate::worker::bench_worker::BenchWorker;
use crate::worker::receive_counter::ReceiveCount;
use crate::worker::role::WorkerRole;

/// The number of messages received, the time from the first to the last one, and the number of messages sent.
type Round = (u64, Duration, u64);

/// The number of parameters of the visualization, which is the maximum of a batch.
const PARAMETERS: usize = 1024;
/// The interval at which all parameters are set, when values are sent in batches.
const ROW: Duration = Duration::from_micros(333);
/// How long the last messages may be in transit after the sender has stopped.
const LAST: Duration = Duration::from_millis(300);

/// Measures throughput: the number of small messages a second, in `rounds` rounds of the duration `each`.
///
/// # Errors
///
/// Fails if a daemon already runs on this machine, a part of the bench cannot be started, or no message arrives.
pub(crate) fn throughput(
    rounds: usize,
    each: Duration,
    ended: &AtomicBool,
) -> Result<Report, BenchError> {
    let hosts = TestHost::mesh(2)?;
    let [here, there] = &hosts[..] else {
        return Err(BenchError::network("starting two hosts")("there are none"));
    };
    let mut ours = HanaThroughput::start(here, there)?;
    let mut reference = ThroughputBaseline::start()?;
    let (mut hana_rounds, mut baseline_rounds): (Vec<[Round; 6]>, Vec<[Round; 5]>) =
        (vec![], vec![]);
    for round in 0..rounds.max(1) {
        for turn in 0..2 {
            if ended.load(Ordering::Relaxed) {
                return Err(BenchError::Interrupted);
            }
            if (turn == 0) == round.is_multiple_of(2) {
                hana_rounds.push(ours.measure(each)?);
            } else {
                baseline_rounds.push(reference.measure(each)?);
            }
        }
    }
    let hana_rounds =
        |place: usize| Rate::of(&hana_rounds.iter().map(|of| of[place]).collect::<Vec<_>>());
    let baseline_rounds =
        |place: usize| Rate::of(&baseline_rounds.iter().map(|of| of[place]).collect::<Vec<_>>());
    let through = |place: usize, name| {
        FigureComparison::of(
            name,
            "custom messages through two daemons, as fast as possible",
            hana_rounds(place + 1),
            "raw through two gateways",
            Some(baseline_rounds(place)),
        )
    };
    let first = FigureComparison::of(
        "values in frames",
        "values of 1,024 parameters over a direct link, in batches, 3,000 a second of each; a raw message is one value",
        hana_rounds(0),
        "raw messages",
        Some(baseline_rounds(0)),
    );
    let others = vec![
        FigureComparison::of(
            "values one by one",
            "single values of 1,024 parameters over a direct link, one message each, as fast as possible",
            hana_rounds(1),
            "raw messages",
            Some(baseline_rounds(0)),
        ),
        through(1, "unreliable_sequenced"),
        through(2, "reliable_ordered"),
        through(3, "unreliable_unordered"),
        through(4, "reliable_unordered"),
    ];
    Ok(Report::of("throughput", rounds, first, others))
}

struct HanaThroughput {
    played: BenchWorker,
    values: Vec<Publisher<Modulation>>,
    link: DirectLink,
    subscriber: BenchWorker,
    latest: MessageSender<Latest>,
    reliable_ordered: MessageSender<ReliableOrdered>,
    best_effort: MessageSender<BestEffort>,
    reliable_unordered: MessageSender<ReliableUnordered>,
    app: Node<role::App>,
}

impl HanaThroughput {
    fn start(here: &TestHost, there: &TestHost) -> Result<Self, BenchError> {
        let config = here
            .config("player")?
            .with_message::<Latest>(Direction::Published)
            .with_message::<ReliableOrdered>(Direction::Published)
            .with_message::<BestEffort>(Direction::Published)
            .with_message::<ReliableUnordered>(Direction::Published);
        let app = join(config)?;
        let arguments = [&PARAMETERS.to_string(), "false", "20", "played"];
        let mut played = BenchWorker::start(WorkerRole::Visualization, &arguments, |command| {
            here.launch(command);
        })?;
        let info: NodeInfo = played.query("info", REPLY_TIMEOUT)?;
        let link = app
            .open_direct_link(&info)
            .wait(REPLY_TIMEOUT)
            .map_err(BenchError::network("opening a direct link"))?
            .map_err(BenchError::network("opening a direct link"))?;
        let values = (0..PARAMETERS)
            .map(|place| {
                ParameterName::new(&format!("p{place}"))
                    .map(|name| link.modulation(name))
                    .map_err(BenchError::network("naming a parameter"))
            })
            .collect::<Result<_, _>>()?;
        let subscriber =
            BenchWorker::start(WorkerRole::Subscriber, &[], |command| there.settle(command))?;
        let mut ours = Self {
            played,
            values,
            link,
            subscriber,
            latest: app.message_sender(),
            reliable_ordered: app.message_sender(),
            best_effort: app.message_sender(),
            reliable_unordered: app.message_sender(),
            app,
        };
        ours.meet()?;
        Ok(ours)
    }

    fn meet(&mut self) -> Result<(), BenchError> {
        let deadline = Instant::now() + REPLY_TIMEOUT;
        loop {
            self.latest.publish(&Latest::new(1)).map_err(BenchError::network("publishing"))?;
            std::thread::sleep(Duration::from_millis(20));
            let came: Vec<Vec<(u64, u64)>> = self.subscriber.query("take", REPLY_TIMEOUT)?;
            if came.iter().any(|came| !came.is_empty()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(BenchError::NotWithin {
                    awaited: "two daemons to connect".into(),
                    seen: "no messages".into(),
                    waited: REPLY_TIMEOUT,
                });
            }
        }
    }

    fn measure(&mut self, each: Duration) -> Result<[Round; 6], BenchError> {
        let frames = self.frames(each)?;
        let values = self.values(each)?;
        let latest = self.latest.clone();
        let first = self.through(0, Lane::UnreliableSequenced, each, &latest)?;
        let reliable_ordered = self.reliable_ordered.clone();
        let second = self.through(1, Lane::ReliableOrdered, each, &reliable_ordered)?;
        let best_effort = self.best_effort.clone();
        let third = self.through(2, Lane::UnreliableUnordered, each, &best_effort)?;
        let reliable_unordered = self.reliable_unordered.clone();
        let fourth = self.through(3, Lane::ReliableUnordered, each, &reliable_unordered)?;
        Ok([frames, values, first, second, third, fourth])
    }

    fn lane_of_played(&mut self) -> Result<LaneTraffic, BenchError> {
        self.played.query("lane", REPLY_TIMEOUT)
    }

    /// Sets all parameters three thousand times a second, in batches, and counts the values received and set.
    fn frames(&mut self, each: Duration) -> Result<Round, BenchError> {
        let settings =
            BatcherSettings { moment: Duration::from_micros(100), every: Duration::from_millis(1) };
        let stream = self
            .link
            .batch_stream(settings)
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
        // The count includes health messages, ten a second on this lane, which no subscriber of the bench receives.
        let sent = after.0.sent - before.0.sent;
        let missed = after.1.missed - before.1.missed;
        let rows_lost = after.0.coalesced - before.0.coalesced;
        let all = u64::from(rows) * PARAMETERS as u64;
        // A missed batch counts as the average number of values per batch. Late values are counted individually.
        let late = after.1.late - before.1.late;
        let lost = rows_lost * PARAMETERS as u64 + all * missed / sent.max(1) + late;
        Ok((all.saturating_sub(lost), took, all))
    }

    /// Publishes single values as fast as possible, and counts the messages received and sent.
    fn values(&mut self, each: Duration) -> Result<Round, BenchError> {
        let before = (self.app.lane(Lane::UnreliableSequenced), self.lane_of_played()?);
        let begun = Instant::now();
        let mut number = 0_u64;
        while begun.elapsed() < each {
            number += 1;
            let value = Modulation { value: value_of(number % 1_000_000) };
            for publisher in &self.values {
                publisher
                    .publish_blocking(&value)
                    .map_err(BenchError::network("playing a value"))?;
            }
        }
        std::thread::sleep(LAST);
        let after = (self.app.lane(Lane::UnreliableSequenced), self.lane_of_played()?);
        let took = begun.elapsed().saturating_sub(LAST);
        Ok((after.1.received - before.1.received, took, after.0.sent - before.0.sent))
    }

    /// Publishes custom messages of the type `M` as fast as possible.
    fn through<M: Numbered + Publishable<role::App>>(
        &mut self,
        counter: usize,
        lane: Lane,
        each: Duration,
        sender: &MessageSender<M>,
    ) -> Result<Round, BenchError> {
        self.subscriber.query::<()>("count", REPLY_TIMEOUT)?;
        let before = self.app.lane(lane).sent;
        let begun = Instant::now();
        let mut number = 0;
        while begun.elapsed() < each {
            for _ in 0..64 {
                number += 1;
                sender
                    .publish_blocking(&M::new(number))
                    .map_err(BenchError::network("publishing"))?;
            }
        }
        std::thread::sleep(LAST);
        let sent = self.app.lane(lane).sent - before;
        counted(&mut self.subscriber, counter, sent)
    }
}

/// Returns the number of messages received, the time from the first to the last one, and the number sent.
fn counted(subscriber: &mut BenchWorker, counter: usize, sent: u64) -> Result<Round, BenchError> {
    let counts: Vec<ReceiveCount> = subscriber.query("counted", REPLY_TIMEOUT)?;
    let ReceiveCount { came, first_ns, last_ns } = counts.get(counter).copied().unwrap_or_default();
    Ok((came, Duration::from_nanos(last_ns.saturating_sub(first_ns)), sent.max(came)))
}

struct ThroughputBaseline {
    direct: BenchWorker,
    subscriber: BenchWorker,
    to_direct: Vec<zenoh::pubsub::Publisher<'static>>,
    lanes: Vec<zenoh::pubsub::Publisher<'static>>,
    _session: Session,
    _mesh: BaselineGateways,
}

impl ThroughputBaseline {
    fn start() -> Result<Self, BenchError> {
        let endpoint = format!("tcp/127.0.0.1:{}", free_port()?);
        let arguments = ["listen", &endpoint, "raw/modulation/*"];
        let direct = BenchWorker::start(WorkerRole::BaselineSubscriber, &arguments, |_| ())?;
        let session = BaselineSession::Client(&endpoint).open()?;
        let lane = Lane::UnreliableSequenced;
        let to_direct = (0..PARAMETERS)
            .map(|place| publisher(&session, format!("raw/modulation/p{place}"), lane))
            .collect::<Result<_, _>>()?;
        let mesh = BaselineGateways::start(2)?;
        let arguments = [&["connect", mesh.endpoint(1)][..], &RAW_PATTERNS[..]].concat();
        let subscriber = BenchWorker::start(WorkerRole::BaselineSubscriber, &arguments, |_| ())?;
        let lanes = RAW_LANES
            .iter()
            .map(|(key, lane)| publisher(mesh.session(), (*key).into(), *lane))
            .collect::<Result<_, _>>()?;
        let mut raw = Self { direct, subscriber, to_direct, lanes, _session: session, _mesh: mesh };
        raw.meet()?;
        Ok(raw)
    }

    fn meet(&mut self) -> Result<(), BenchError> {
        let deadline = Instant::now() + REPLY_TIMEOUT;
        loop {
            for lane in &self.lanes {
                lane.put(numbered(1, 8)).wait().map_err(BenchError::baseline("putting"))?;
            }
            std::thread::sleep(Duration::from_millis(20));
            let came: Vec<Vec<(u64, u64)>> = self.subscriber.query("take", REPLY_TIMEOUT)?;
            if came.len() == 4 && came.iter().all(|came| !came.is_empty()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(BenchError::NotWithin {
                    awaited: "two raw gateways to connect".into(),
                    seen: "no messages".into(),
                    waited: REPLY_TIMEOUT,
                });
            }
        }
    }

    fn measure(&mut self, each: Duration) -> Result<[Round; 5], BenchError> {
        let bytes = bytes_of(&Modulation { value: 1.0 });
        let direct = flood(&mut self.direct, 0, &self.to_direct, bytes, each)?;
        let bytes = bytes_of(&Latest::new(1));
        let mut through = |place: usize| {
            let lane = self.lanes.get(place..=place).unwrap_or_default();
            flood(&mut self.subscriber, place, lane, bytes, each)
        };
        Ok([direct, through(0)?, through(1)?, through(2)?, through(3)?])
    }
}

/// Publishes over plain Zenoh as fast as Zenoh allows.
fn flood(
    subscriber: &mut BenchWorker,
    counter: usize,
    publishers: &[zenoh::pubsub::Publisher<'static>],
    bytes: usize,
    each: Duration,
) -> Result<Round, BenchError> {
    subscriber.query::<()>("count", REPLY_TIMEOUT)?;
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < each {
        for publisher in publishers.iter().cycle().take(1024) {
            sent += 1;
            publisher.put(numbered(sent, bytes)).wait().map_err(BenchError::baseline("putting"))?;
        }
    }
    std::thread::sleep(LAST);
    counted(subscriber, counter, sent)
}
