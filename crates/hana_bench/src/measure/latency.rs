use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hana_engine::playout::BatcherSettings;
use hana_network::{BatchStream, DirectLink, MessageSender, Node, Publisher};
use hana_protocol::contract::routes::Publishable;
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{Modulation, NodeInfo, Ping};
use hana_protocol::parameter::ParameterName;
use hana_protocol::wire::Lane;
use zenoh::bytes::ZBytes;
use zenoh::qos::CongestionControl;
use zenoh::{Session, Wait};

use crate::baseline::gateways::BaselineGateways;
use crate::baseline::messages::{RAW_ASK, RAW_LANES, RAW_PATTERNS, bytes_of, frame_of, numbered};
use crate::baseline::session::{BaselineSession, publisher, zenoh_qos};
use crate::error::BenchError;
use crate::figure::{FigureComparison, Latency, Report};
use crate::fixture::numbered::{
    BestEffort, Latest, Numbered, ReliableOrdered, ReliableUnordered, value_of,
};
use crate::fixture::test_host::{TestHost, free_port, join};
use crate::limits::REPLY_TIMEOUT;
use crate::measure::run_at_rate::run_at_rate;
use crate::worker::arrival_log::{latencies, now_ns};
use crate::worker::bench_worker::BenchWorker;
use crate::worker::role::WorkerRole;

/// The interval between two messages, as of a sensor that is read a thousand times a second.
const PERIOD: Duration = Duration::from_millis(1);
/// How long the last messages of a series may be in transit.
const LAST: Duration = Duration::from_millis(30);
/// The number of parameters of the visualization.
const PARAMETERS: usize = 64;
/// The latencies of one measurement, for hana and for the reference.
#[derive(Default)]
struct Series {
    ours: Vec<Vec<Duration>>,
    raw: Vec<Vec<Duration>>,
}

/// Measures latency, with a thousand messages a second.
///
/// Each series has `rounds` rounds of `messages` messages.
///
/// # Errors
///
/// Fails if a daemon already runs on this machine, a part of the bench cannot be started, or no message arrives.
pub(crate) fn latency(
    rounds: usize,
    messages: u64,
    ended: &AtomicBool,
) -> Result<Report, BenchError> {
    let hosts = TestHost::mesh(2)?;
    let [here, there] = &hosts[..] else { return Err(no_hosts()) };
    let stage = LatencyStage::start(here, there)?;
    let mut all: [Series; 8] = Default::default();
    for round in 0..rounds.max(1) {
        // The order alternates between rounds.
        for turn in 0..2 {
            let is_ours = (turn == 0) == round.is_multiple_of(2);
            for (place, series) in all.iter_mut().enumerate() {
                let measured = stage.measure(place, is_ours, messages, ended)?;
                if is_ours { &mut series.ours } else { &mut series.raw }.push(measured);
            }
        }
    }
    let mut figures = all.into_iter().zip(FIGURES).map(|(series, (name, meaning, reference))| {
        let (ours, raw) = (Latency::of(series.ours), Latency::of(series.raw));
        FigureComparison::of(name, meaning, ours, reference, Some(raw))
    });
    let first = figures.next().ok_or_else(no_hosts)?;
    Ok(Report::of("latency", rounds, first, figures.collect()))
}

fn no_hosts() -> BenchError {
    BenchError::Network { doing: "starting two hosts", problem: "there are none".into() }
}

/// The names and descriptions of the measurements, in the order in which they are made.
const FIGURES: [(&str, &str, &str); 8] = [
    (
        "modulation",
        "a value over a direct link, from publishing until the visualization in another process can read it",
        "raw direct link",
    ),
    (
        "modulation, 64 at once",
        "the same for a batch of 64 values, sent as soon as they are set",
        "raw message of the same size",
    ),
    ("modulation, UDP", "a value over a direct UDP link", "raw UDP link"),
    (
        "command answered",
        "a command and its reply, from a node behind one daemon to a node behind another",
        "raw query through two gateways",
    ),
    ("unreliable_sequenced", "a custom message through two daemons", "raw through two gateways"),
    ("reliable_ordered", "a custom message through two daemons", "raw through two gateways"),
    ("unreliable_unordered", "a custom message through two daemons", "raw through two gateways"),
    ("reliable_unordered", "a custom message through two daemons", "raw through two gateways"),
];

/// All senders and receivers of the bench.
struct LatencyStage {
    ours: HanaLatency,
    raw: LatencyBaseline,
}

/// A direct link of hana, with the visualization at its other end.
struct PlayedParameter {
    visualization: Mutex<BenchWorker>,
    value: Publisher<Modulation>,
    frames: BatchStream,
    _link: DirectLink,
}

struct HanaLatency {
    tcp: PlayedParameter,
    udp: PlayedParameter,
    subscriber: Mutex<BenchWorker>,
    lanes: Lanes,
    answerer: NodeId,
    _answerer: BenchWorker,
    // This field is last, because the other fields belong to the app and must be dropped first.
    app: Node<role::App>,
}

struct Lanes {
    latest: MessageSender<Latest>,
    reliable_ordered: MessageSender<ReliableOrdered>,
    best_effort: MessageSender<BestEffort>,
    reliable_unordered: MessageSender<ReliableUnordered>,
}

struct LatencyBaseline {
    tcp: RawLink,
    udp: RawLink,
    mesh: BaselineGateways,
    subscriber: Mutex<BenchWorker>,
    lanes: Vec<zenoh::pubsub::Publisher<'static>>,
    _answerer: BenchWorker,
}

/// A direct link of the reference, with the subscriber at its other end.
struct RawLink {
    subscriber: Mutex<BenchWorker>,
    publisher: zenoh::pubsub::Publisher<'static>,
    _session: Session,
}

fn lock(worker: &Mutex<BenchWorker>) -> std::sync::MutexGuard<'_, BenchWorker> {
    worker.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The arrivals of each subscription.
type Came = Vec<Vec<(u64, u64)>>;

/// Collects the arrivals of a subscription up to the last message.
///
/// Gives up if no message arrives for the duration [`LAST`] after an earlier one.
fn take_until_last(
    subscriber: &Mutex<BenchWorker>,
    counter: usize,
    last: u64,
) -> Result<Vec<(u64, u64)>, BenchError> {
    let deadline = Instant::now() + REPLY_TIMEOUT;
    let mut received = Vec::new();
    loop {
        std::thread::sleep(LAST);
        let mut came: Came = lock(subscriber).query("take", REPLY_TIMEOUT)?;
        let new = came.get_mut(counter).map(std::mem::take).unwrap_or_default();
        let is_quiet = new.is_empty() && !received.is_empty();
        received.extend(new);
        let is_complete = received.iter().any(|(number, _)| *number == last);
        if is_complete || is_quiet || Instant::now() >= deadline {
            return Ok(received);
        }
    }
}

/// Measures one series: sends at a steady rate, waits for the last message, and returns the latencies.
fn series(
    subscriber: &Mutex<BenchWorker>,
    counter: usize,
    messages: u64,
    ended: &AtomicBool,
    mut send: impl FnMut(u64) -> Result<(), BenchError>,
) -> Result<Vec<Duration>, BenchError> {
    lock(subscriber).query::<Came>("take", REPLY_TIMEOUT)?;
    let mut stamps = Vec::with_capacity(usize::try_from(messages).unwrap_or_default());
    run_at_rate(PERIOD, messages, ended, |number| {
        // Numbers start at 1, since setting a value to 0, its initial value, would not change it.
        stamps.push((number + 1, now_ns()));
        send(number + 1)
    })?;
    let came = take_until_last(subscriber, counter, messages)?;
    let measured = latencies(&stamps, &came);
    if measured.is_empty() {
        return Err(BenchError::NotWithin {
            awaited: "messages to arrive".into(),
            seen: "none".into(),
            waited: REPLY_TIMEOUT,
        });
    }
    Ok(measured)
}

impl LatencyStage {
    fn start(here: &TestHost, there: &TestHost) -> Result<Self, BenchError> {
        Ok(Self { ours: HanaLatency::start(here, there)?, raw: LatencyBaseline::start()? })
    }

    fn measure(
        &self,
        place: usize,
        is_ours: bool,
        messages: u64,
        ended: &AtomicBool,
    ) -> Result<Vec<Duration>, BenchError> {
        if is_ours {
            self.ours.measure(place, messages, ended)
        } else {
            self.raw.measure(place, messages, ended)
        }
    }
}

impl PlayedParameter {
    fn start(
        host: &TestHost,
        app: &Node<role::App>,
        name: &str,
        is_udp: bool,
    ) -> Result<Self, BenchError> {
        let arguments = [&PARAMETERS.to_string(), &is_udp.to_string(), "0", name];
        let mut visualization =
            BenchWorker::start(WorkerRole::Visualization, &arguments, |command| {
                host.launch(command);
            })?;
        let info: NodeInfo = visualization.query("info", REPLY_TIMEOUT)?;
        let link = app
            .open_direct_link(&info)
            .wait(REPLY_TIMEOUT)
            .map_err(BenchError::network("opening a direct link"))?
            .map_err(BenchError::network("opening a direct link"))?;
        let at_once = BatcherSettings { moment: Duration::ZERO, every: Duration::ZERO };
        let name = ParameterName::new("p0").map_err(BenchError::network("naming a parameter"))?;
        Ok(Self {
            visualization: Mutex::new(visualization),
            value: link.modulation(name),
            frames: link
                .batch_stream(at_once)
                .map_err(BenchError::system("starting a thread for frames"))?,
            _link: link,
        })
    }

    fn send_value(&self, number: u64) -> Result<(), BenchError> {
        let value = Modulation { value: value_of(number) };
        self.value.publish_blocking(&value).map_err(BenchError::network("playing a value"))
    }

    fn send_frame(&self, number: u64) -> Result<(), BenchError> {
        // The first parameter is set last, because the visualization records only its changes.
        for place in (0..PARAMETERS).rev() {
            self.frames
                .set(place, value_of(number))
                .map_err(BenchError::network("playing a frame"))?;
        }
        Ok(())
    }
}

impl HanaLatency {
    fn start(here: &TestHost, there: &TestHost) -> Result<Self, BenchError> {
        let config = here
            .config("player")?
            .with_message::<Latest>(hana_protocol::message::Direction::Published)
            .with_message::<ReliableOrdered>(hana_protocol::message::Direction::Published)
            .with_message::<BestEffort>(hana_protocol::message::Direction::Published)
            .with_message::<ReliableUnordered>(hana_protocol::message::Direction::Published);
        let app = join(config)?;
        let subscriber =
            BenchWorker::start(WorkerRole::Subscriber, &[], |command| there.settle(command))?;
        let arguments = ["1", "false", "0", "answerer"];
        let answerer = BenchWorker::start(WorkerRole::Visualization, &arguments, |command| {
            there.launch(command);
        })?;
        let ours = Self {
            tcp: PlayedParameter::start(here, &app, "played-tcp", false)?,
            udp: PlayedParameter::start(here, &app, "played-udp", true)?,
            subscriber: Mutex::new(subscriber),
            lanes: Lanes {
                latest: app.message_sender(),
                reliable_ordered: app.message_sender(),
                best_effort: app.message_sender(),
                reliable_unordered: app.message_sender(),
            },
            answerer: NodeId::new("answerer").map_err(BenchError::network("naming a node"))?,
            _answerer: answerer,
            app,
        };
        ours.meet()?;
        Ok(ours)
    }

    /// Waits until the nodes on the two hosts have discovered each other.
    fn meet(&self) -> Result<(), BenchError> {
        let deadline = Instant::now() + REPLY_TIMEOUT;
        loop {
            if self.ask().is_ok() && self.is_heard()? {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(BenchError::NotWithin {
                    awaited: "two daemons to connect".into(),
                    seen: "no replies or no messages".into(),
                    waited: REPLY_TIMEOUT,
                });
            }
        }
    }

    fn is_heard(&self) -> Result<bool, BenchError> {
        for place in 4..8 {
            self.send_on_lane(place, 1)?;
        }
        std::thread::sleep(LAST);
        let came: Came = lock(&self.subscriber).query("take", REPLY_TIMEOUT)?;
        Ok(came.len() == 4 && came.iter().all(|came| !came.is_empty()))
    }

    fn ask(&self) -> Result<(), BenchError> {
        self.app
            .command::<role::Visualization, _>(&self.answerer, Ping {}, REPLY_TIMEOUT)
            .wait(REPLY_TIMEOUT)
            .map_err(BenchError::network("pinging a node"))?
            .map_err(BenchError::network("pinging a node"))?;
        Ok(())
    }

    fn send_on_lane(&self, place: usize, number: u64) -> Result<(), BenchError> {
        fn send<M: Numbered + Publishable<role::App>>(
            sender: &MessageSender<M>,
            number: u64,
        ) -> Result<(), BenchError> {
            sender.publish_blocking(&M::new(number)).map_err(BenchError::network("publishing"))
        }
        match place {
            4 => send(&self.lanes.latest, number),
            5 => send(&self.lanes.reliable_ordered, number),
            6 => send(&self.lanes.best_effort, number),
            _ => send(&self.lanes.reliable_unordered, number),
        }
    }

    fn measure(
        &self,
        place: usize,
        messages: u64,
        ended: &AtomicBool,
    ) -> Result<Vec<Duration>, BenchError> {
        let Self { tcp, udp, subscriber, .. } = self;
        match place {
            0 => series(&tcp.visualization, 0, messages, ended, |n| tcp.send_value(n)),
            1 => series(&tcp.visualization, 0, messages, ended, |n| tcp.send_frame(n)),
            2 => series(&udp.visualization, 0, messages, ended, |n| udp.send_value(n)),
            3 => questions(messages, ended, || self.ask()),
            _ => series(subscriber, place - 4, messages, ended, |number| {
                self.send_on_lane(place, number)
            }),
        }
    }
}

/// Sends queries one after another, each at its scheduled time but not before the previous reply.
fn questions(
    messages: u64,
    ended: &AtomicBool,
    ask: impl Fn() -> Result<(), BenchError>,
) -> Result<Vec<Duration>, BenchError> {
    let mut measured = vec![];
    run_at_rate(PERIOD, messages, ended, |_| {
        let asked = Instant::now();
        ask()?;
        measured.push(asked.elapsed());
        Ok(())
    })?;
    Ok(measured)
}

impl RawLink {
    fn start(transport: &str) -> Result<Self, BenchError> {
        let endpoint = format!("{transport}/127.0.0.1:{}", free_port()?);
        let arguments = ["listen", &endpoint, "raw/modulation"];
        let subscriber = BenchWorker::start(WorkerRole::BaselineSubscriber, &arguments, |_| ())?;
        let session = BaselineSession::Client(&endpoint).open()?;
        let lane = Lane::UnreliableSequenced;
        let publisher = publisher(&session, "raw/modulation".into(), lane)?;
        Ok(Self { subscriber: Mutex::new(subscriber), publisher, _session: session })
    }

    fn send(&self, number: u64, bytes: usize) -> Result<(), BenchError> {
        put(&self.publisher, number, bytes)
    }
}

fn put(
    publisher: &zenoh::pubsub::Publisher<'static>,
    number: u64,
    bytes: usize,
) -> Result<(), BenchError> {
    publisher.put(numbered(number, bytes)).wait().map_err(BenchError::baseline("putting"))
}

impl LatencyBaseline {
    fn start() -> Result<Self, BenchError> {
        let mesh = BaselineGateways::start(2)?;
        let arguments = [&["connect", mesh.endpoint(1)][..], &RAW_PATTERNS[..]].concat();
        let subscriber = BenchWorker::start(WorkerRole::BaselineSubscriber, &arguments, |_| ())?;
        let answerer =
            BenchWorker::start(WorkerRole::BaselineQueryable, &[mesh.endpoint(1)], |_| ())?;
        let lanes = RAW_LANES
            .iter()
            .map(|(key, lane)| publisher(mesh.session(), (*key).into(), *lane))
            .collect::<Result<_, _>>()?;
        let raw = Self {
            tcp: RawLink::start("tcp")?,
            udp: RawLink::start("udp")?,
            mesh,
            subscriber: Mutex::new(subscriber),
            lanes,
            _answerer: answerer,
        };
        raw.meet()?;
        Ok(raw)
    }

    fn meet(&self) -> Result<(), BenchError> {
        let deadline = Instant::now() + REPLY_TIMEOUT;
        loop {
            for lane in &self.lanes {
                put(lane, 1, 8)?;
            }
            std::thread::sleep(LAST);
            let came: Came = lock(&self.subscriber).query("take", REPLY_TIMEOUT)?;
            if came.len() == 4 && came.iter().all(|came| !came.is_empty()) && self.ask().is_ok() {
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

    fn ask(&self) -> Result<(), BenchError> {
        let (priority, _, express) = zenoh_qos(Lane::ReliableOrdered);
        let question: ZBytes =
            vec![0_u8; bytes_of(&hana_protocol::message::Control::from(Ping {}))].into();
        let answers = self
            .mesh
            .session()
            .get(RAW_ASK)
            .payload(question)
            .congestion_control(CongestionControl::Drop)
            .priority(priority)
            .express(express)
            .timeout(REPLY_TIMEOUT)
            .wait()
            .map_err(BenchError::baseline("querying"))?;
        answers
            .recv_timeout(REPLY_TIMEOUT)
            .map_err(BenchError::baseline("waiting for a reply"))?
            .ok_or_else(|| BenchError::baseline("waiting for a reply")("no reply"))?;
        Ok(())
    }

    fn measure(
        &self,
        place: usize,
        messages: u64,
        ended: &AtomicBool,
    ) -> Result<Vec<Duration>, BenchError> {
        let value = bytes_of(&Modulation { value: 1.0 });
        let frame = bytes_of(&frame_of(PARAMETERS, 1));
        let numbered = bytes_of(&Latest::new(1));
        match place {
            0 => series(&self.tcp.subscriber, 0, messages, ended, |n| self.tcp.send(n, value)),
            1 => series(&self.tcp.subscriber, 0, messages, ended, |n| self.tcp.send(n, frame)),
            2 => series(&self.udp.subscriber, 0, messages, ended, |n| self.udp.send(n, value)),
            3 => questions(messages, ended, || self.ask()),
            _ => series(&self.subscriber, place - 4, messages, ended, |number| {
                self.lanes.get(place - 4).map_or(Ok(()), |lane| put(lane, number, numbered))
            }),
        }
    }
}
