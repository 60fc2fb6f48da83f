use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hana_engine::playout::BatcherSettings;
use hana_network::{BatchStream, DirectLink, MessageSender, Node, Publisher};
use hana_protocol::contract::routes::Publishable;
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{Modulation, NodeInfo, Ping};
use hana_protocol::parameter::ParameterName;
use hana_protocol::wire::{Lane, codec};
use zenoh::bytes::ZBytes;
use zenoh::qos::CongestionControl;
use zenoh::{Session, Wait};

use crate::assistant::{BenchWorker, SOON};
use crate::numbered::{AsLuckWill, AsTheyCome, InOrder, Newest, Numbered};
use crate::own_host::{OwnHost, free_port, join};
use crate::pace::at_pace;
use crate::part::RAW_ASK;
use crate::raw::RawEnd;
use crate::raw_mesh::RawMesh;
use crate::stamps::{now_ns, under_way};
use crate::{BenchError, Comparison, Latency, Report, WorkerRole, raw};

/// The interval between two messages: that of a sensor read a thousand times a second.
const PERIOD: Duration = Duration::from_millis(1);
/// The time the last messages of a series may be in transit.
const LAST: Duration = Duration::from_millis(30);
/// The number of parameters of the visualization.
const PARAMETERS: usize = 64;
/// The keys of the reference for the lanes, in the order of [`Lanes`]. Like hana's keys, they name the publisher.
pub(crate) const RAW_LANES: [(&str, Lane); 4] = [
    ("raw/player/topic/newest", Lane::UnreliableSequenced),
    ("raw/player/topic/in-order", Lane::ReliableOrdered),
    ("raw/player/topic/as-luck-will", Lane::UnreliableUnordered),
    ("raw/player/topic/as-they-come", Lane::ReliableUnordered),
];
/// The key expressions of the subscriptions. Like hana's, they match any publisher.
pub(crate) const RAW_PATTERNS: [&str; 4] = [
    "raw/*/topic/newest",
    "raw/*/topic/in-order",
    "raw/*/topic/as-luck-will",
    "raw/*/topic/as-they-come",
];

/// One measurement of both hana and the reference.
#[derive(Default)]
struct Series {
    ours: Vec<Vec<Duration>>,
    raw: Vec<Vec<Duration>>,
}

/// Measures latency: `rounds` rounds of `messages` messages for each series, a thousand messages a second.
///
/// # Errors
///
/// If a daemon already runs here, something cannot be started, or no message arrives.
pub fn latency(
    rounds: usize,
    messages: u64,
    told_to_end: &AtomicBool,
) -> Result<Report, BenchError> {
    let hosts = OwnHost::mesh(2)?;
    let [here, there] = &hosts[..] else { return Err(no_hosts()) };
    let stage = Stage::start(here, there)?;
    let mut all: [Series; 8] = Default::default();
    for round in 0..rounds.max(1) {
        // The order alternates between rounds.
        for turn in 0..2 {
            let is_ours = (turn == 0) == round.is_multiple_of(2);
            for (place, series) in all.iter_mut().enumerate() {
                let measured = stage.measure(place, is_ours, messages, told_to_end)?;
                if is_ours { &mut series.ours } else { &mut series.raw }.push(measured);
            }
        }
    }
    let mut figures = all.into_iter().zip(FIGURES).map(|(series, (name, meaning, reference))| {
        let (ours, raw) = (Latency::of(series.ours), Latency::of(series.raw));
        Comparison::of(name, meaning, ours, reference, Some(raw))
    });
    let first = figures.next().ok_or_else(no_hosts)?;
    Ok(Report::of("latency", rounds, first, figures.collect()))
}

fn no_hosts() -> BenchError {
    BenchError::Network { doing: "starting two hosts", problem: "there are none".into() }
}

/// The measurements, in this order.
const FIGURES: [(&str, &str, &str); 8] = [
    (
        "modulation",
        "a value, from publish to the hands of the visualization in another process, over a play link",
        "raw direct link",
    ),
    (
        "modulation, 64 at once",
        "the same of a frame with the values of 64 parameters, sent as soon as they are set",
        "raw, as many bytes",
    ),
    ("modulation, UDP", "a value over a play link that is UDP", "raw UDP link"),
    (
        "command answered",
        "from asking to the answer, from a node behind one daemon to a node behind another",
        "raw query through two gateways",
    ),
    ("unreliable_sequenced", "a custom message through two daemons", "raw through two gateways"),
    ("reliable_ordered", "a custom message through two daemons", "raw through two gateways"),
    ("unreliable_unordered", "a custom message through two daemons", "raw through two gateways"),
    ("reliable_unordered", "a custom message through two daemons", "raw through two gateways"),
];

/// All senders and receivers.
struct Stage {
    ours: Ours,
    raw: Raw,
}

/// A direct link of hana, with the visualization at its other end.
struct Played {
    visualization: Mutex<BenchWorker>,
    value: Publisher<Modulation>,
    frames: BatchStream,
    _link: DirectLink,
}

struct Ours {
    tcp: Played,
    udp: Played,
    hearer: Mutex<BenchWorker>,
    lanes: Lanes,
    answerer: NodeId,
    _answerer: BenchWorker,
    // The app comes last, because the other fields belong to it.
    app: Node<role::App>,
}

struct Lanes {
    newest: MessageSender<Newest>,
    in_order: MessageSender<InOrder>,
    as_luck_will: MessageSender<AsLuckWill>,
    as_they_come: MessageSender<AsTheyCome>,
}

struct Raw {
    tcp: RawLink,
    udp: RawLink,
    mesh: RawMesh,
    hearer: Mutex<BenchWorker>,
    lanes: Vec<zenoh::pubsub::Publisher<'static>>,
    _answerer: BenchWorker,
}

/// A direct link of the reference, with the subscriber at its other end.
struct RawLink {
    hearer: Mutex<BenchWorker>,
    publisher: zenoh::pubsub::Publisher<'static>,
    _session: Session,
}

fn lock(assistant: &Mutex<BenchWorker>) -> std::sync::MutexGuard<'_, BenchWorker> {
    assistant.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The arrivals of each subscription.
type Came = Vec<Vec<(u64, u64)>>;

/// Collects the arrivals of a subscription up to the last message; gives up after [`LAST`] without arrivals.
fn take_until_last(
    hearer: &Mutex<BenchWorker>,
    ear: usize,
    last: u64,
) -> Result<Vec<(u64, u64)>, BenchError> {
    let deadline = Instant::now() + SOON;
    let mut received = Vec::new();
    loop {
        std::thread::sleep(LAST);
        let mut came: Came = lock(hearer).ask("take", SOON)?;
        let new = came.get_mut(ear).map(std::mem::take).unwrap_or_default();
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
    hearer: &Mutex<BenchWorker>,
    ear: usize,
    messages: u64,
    told_to_end: &AtomicBool,
    mut send: impl FnMut(u64) -> Result<(), BenchError>,
) -> Result<Vec<Duration>, BenchError> {
    lock(hearer).ask::<Came>("take", SOON)?;
    let mut stamps = Vec::with_capacity(usize::try_from(messages).unwrap_or_default());
    at_pace(PERIOD, messages, told_to_end, |number| {
        // Numbers start at 1: setting a value to 0, its initial value, would not change it.
        stamps.push((number + 1, now_ns()));
        send(number + 1)
    })?;
    let came = take_until_last(hearer, ear, messages)?;
    let measured = under_way(&stamps, &came);
    if measured.is_empty() {
        return Err(BenchError::NotWithin {
            awaited: "messages to come".into(),
            seen: "none".into(),
            waited: SOON,
        });
    }
    Ok(measured)
}

impl Stage {
    fn start(here: &OwnHost, there: &OwnHost) -> Result<Self, BenchError> {
        Ok(Self { ours: Ours::start(here, there)?, raw: Raw::start()? })
    }

    fn measure(
        &self,
        place: usize,
        is_ours: bool,
        messages: u64,
        told_to_end: &AtomicBool,
    ) -> Result<Vec<Duration>, BenchError> {
        if is_ours {
            self.ours.measure(place, messages, told_to_end)
        } else {
            self.raw.measure(place, messages, told_to_end)
        }
    }
}

/// Returns the parameter value for a message number. The numbers of a series are small.
#[allow(clippy::cast_precision_loss)]
pub(crate) const fn value_of(number: u64) -> f32 {
    number as f32
}

impl Played {
    fn start(
        host: &OwnHost,
        app: &Node<role::App>,
        name: &str,
        is_udp: bool,
    ) -> Result<Self, BenchError> {
        let arguments = [&PARAMETERS.to_string(), &is_udp.to_string(), "0", name];
        let mut visualization =
            BenchWorker::start(WorkerRole::Played, &arguments, |command| host.launch(command))?;
        let info: NodeInfo = visualization.ask("info", SOON)?;
        let link = app
            .play(&info)
            .wait(SOON)
            .map_err(BenchError::network("opening a play link"))?
            .map_err(BenchError::network("opening a play link"))?;
        let at_once = BatcherSettings { moment: Duration::ZERO, every: Duration::ZERO };
        let name = ParameterName::new("p0").map_err(BenchError::network("naming a parameter"))?;
        Ok(Self {
            visualization: Mutex::new(visualization),
            value: link.modulation(name),
            frames: link
                .frame_stream(at_once)
                .map_err(BenchError::system("starting a thread for frames"))?,
            _link: link,
        })
    }

    fn send_value(&self, number: u64) -> Result<(), BenchError> {
        let value = Modulation { value: value_of(number) };
        self.value.publish_at_once(&value).map_err(BenchError::network("playing a value"))
    }

    fn send_frame(&self, number: u64) -> Result<(), BenchError> {
        // The first parameter is set last, because it is the one observed.
        for place in (0..PARAMETERS).rev() {
            self.frames
                .set(place, value_of(number))
                .map_err(BenchError::network("playing a frame"))?;
        }
        Ok(())
    }
}

impl Ours {
    fn start(here: &OwnHost, there: &OwnHost) -> Result<Self, BenchError> {
        let config = here
            .config("player")?
            .with_message::<Newest>(hana_protocol::message::Direction::Published)
            .with_message::<InOrder>(hana_protocol::message::Direction::Published)
            .with_message::<AsLuckWill>(hana_protocol::message::Direction::Published)
            .with_message::<AsTheyCome>(hana_protocol::message::Direction::Published);
        let app = join(config)?;
        let hearer = BenchWorker::start(WorkerRole::Hearer, &[], |command| there.settle(command))?;
        let arguments = ["1", "false", "0", "answerer"];
        let answerer =
            BenchWorker::start(WorkerRole::Played, &arguments, |command| there.launch(command))?;
        let ours = Self {
            tcp: Played::start(here, &app, "played-tcp", false)?,
            udp: Played::start(here, &app, "played-udp", true)?,
            hearer: Mutex::new(hearer),
            lanes: Lanes {
                newest: app.courier(),
                in_order: app.courier(),
                as_luck_will: app.courier(),
                as_they_come: app.courier(),
            },
            answerer: NodeId::new("answerer").map_err(BenchError::network("naming a node"))?,
            _answerer: answerer,
            app,
        };
        ours.meet()?;
        Ok(ours)
    }

    /// Waits until the two hosts see each other.
    fn meet(&self) -> Result<(), BenchError> {
        let deadline = Instant::now() + SOON;
        loop {
            if self.ask().is_ok() && self.is_heard()? {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(BenchError::NotWithin {
                    awaited: "two daemons to know of each other".into(),
                    seen: "neither answers nor messages".into(),
                    waited: SOON,
                });
            }
        }
    }

    fn is_heard(&self) -> Result<bool, BenchError> {
        for place in 4..8 {
            self.send_on_lane(place, 1)?;
        }
        std::thread::sleep(LAST);
        let came: Came = lock(&self.hearer).ask("take", SOON)?;
        Ok(came.len() == 4 && came.iter().all(|came| !came.is_empty()))
    }

    fn ask(&self) -> Result<(), BenchError> {
        self.app
            .command::<role::Visualization, _>(&self.answerer, Ping {}, SOON)
            .wait(SOON)
            .map_err(BenchError::network("asking a node"))?
            .map_err(BenchError::network("asking a node"))?;
        Ok(())
    }

    fn send_on_lane(&self, place: usize, number: u64) -> Result<(), BenchError> {
        fn send<M: Numbered + Publishable<role::App>>(
            courier: &MessageSender<M>,
            number: u64,
        ) -> Result<(), BenchError> {
            courier.publish_at_once(&M::new(number)).map_err(BenchError::network("publishing"))
        }
        match place {
            4 => send(&self.lanes.newest, number),
            5 => send(&self.lanes.in_order, number),
            6 => send(&self.lanes.as_luck_will, number),
            _ => send(&self.lanes.as_they_come, number),
        }
    }

    fn measure(
        &self,
        place: usize,
        messages: u64,
        told_to_end: &AtomicBool,
    ) -> Result<Vec<Duration>, BenchError> {
        let Self { tcp, udp, hearer, .. } = self;
        match place {
            0 => series(&tcp.visualization, 0, messages, told_to_end, |n| tcp.send_value(n)),
            1 => series(&tcp.visualization, 0, messages, told_to_end, |n| tcp.send_frame(n)),
            2 => series(&udp.visualization, 0, messages, told_to_end, |n| udp.send_value(n)),
            3 => questions(messages, told_to_end, || self.ask()),
            _ => series(hearer, place - 4, messages, told_to_end, |number| {
                self.send_on_lane(place, number)
            }),
        }
    }
}

/// Sends queries one after the other, each at its scheduled time but not before the previous answer.
fn questions(
    messages: u64,
    told_to_end: &AtomicBool,
    ask: impl Fn() -> Result<(), BenchError>,
) -> Result<Vec<Duration>, BenchError> {
    let mut measured = vec![];
    at_pace(PERIOD, messages, told_to_end, |_| {
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
        let hearer = BenchWorker::start(WorkerRole::RawHearer, &arguments, |_| ())?;
        let session = RawEnd::Client(&endpoint).open()?;
        let lane = Lane::UnreliableSequenced;
        let publisher = raw::publisher(&session, "raw/modulation".into(), lane)?;
        Ok(Self { hearer: Mutex::new(hearer), publisher, _session: session })
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
    publisher.put(raw::numbered(number, bytes)).wait().map_err(BenchError::raw("putting"))
}

/// Returns the encoded size of one of hana's messages.
pub(crate) fn bytes_of(message: &impl serde::Serialize) -> usize {
    codec::encode(message).map_or(0, |payload| payload.len())
}

impl Raw {
    fn start() -> Result<Self, BenchError> {
        let mesh = RawMesh::start(2)?;
        let arguments = [&["connect", mesh.endpoint(1)][..], &RAW_PATTERNS[..]].concat();
        let hearer = BenchWorker::start(WorkerRole::RawHearer, &arguments, |_| ())?;
        let answerer = BenchWorker::start(WorkerRole::RawAnswerer, &[mesh.endpoint(1)], |_| ())?;
        let lanes = RAW_LANES
            .iter()
            .map(|(key, lane)| raw::publisher(mesh.session(), (*key).into(), *lane))
            .collect::<Result<_, _>>()?;
        let raw = Self {
            tcp: RawLink::start("tcp")?,
            udp: RawLink::start("udp")?,
            mesh,
            hearer: Mutex::new(hearer),
            lanes,
            _answerer: answerer,
        };
        raw.meet()?;
        Ok(raw)
    }

    fn meet(&self) -> Result<(), BenchError> {
        let deadline = Instant::now() + SOON;
        loop {
            for lane in &self.lanes {
                put(lane, 1, 8)?;
            }
            std::thread::sleep(LAST);
            let came: Came = lock(&self.hearer).ask("take", SOON)?;
            if came.len() == 4 && came.iter().all(|came| !came.is_empty()) && self.ask().is_ok() {
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

    fn ask(&self) -> Result<(), BenchError> {
        let (priority, _, express) = raw::quality(Lane::ReliableOrdered);
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
            .timeout(SOON)
            .wait()
            .map_err(BenchError::raw("asking"))?;
        answers
            .recv_timeout(SOON)
            .map_err(BenchError::raw("waiting for an answer"))?
            .ok_or_else(|| BenchError::raw("waiting for an answer")("nobody answers"))?;
        Ok(())
    }

    fn measure(
        &self,
        place: usize,
        messages: u64,
        told_to_end: &AtomicBool,
    ) -> Result<Vec<Duration>, BenchError> {
        let value = bytes_of(&Modulation { value: 1.0 });
        let frame = bytes_of(&frame_of(PARAMETERS, 1));
        let numbered = bytes_of(&Newest::new(1));
        match place {
            0 => series(&self.tcp.hearer, 0, messages, told_to_end, |n| self.tcp.send(n, value)),
            1 => series(&self.tcp.hearer, 0, messages, told_to_end, |n| self.tcp.send(n, frame)),
            2 => series(&self.udp.hearer, 0, messages, told_to_end, |n| self.udp.send(n, value)),
            3 => questions(messages, told_to_end, || self.ask()),
            _ => series(&self.hearer, place - 4, messages, told_to_end, |number| {
                self.lanes.get(place - 4).map_or(Ok(()), |lane| put(lane, number, numbered))
            }),
        }
    }
}

/// Creates a modulation batch of this size, from which the reference's messages take their size.
pub(crate) fn frame_of(
    parameters: usize,
    moments: usize,
) -> hana_protocol::message::ModulationBatch {
    hana_protocol::message::ModulationBatch {
        instance: 1_760_000_000_000_000,
        at: 1_760_000_000_000_000,
        after: (0..moments)
            .map(|moment| u32::try_from(moment * 1000).unwrap_or_default())
            .collect(),
        indices: (0..parameters).map(|place| u16::try_from(place).unwrap_or_default()).collect(),
        samples: vec![0.5; parameters * moments],
    }
}
