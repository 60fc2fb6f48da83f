//! The roles of worker processes: the bench starts itself again as `hana bench part NAME ...` for each of them.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use hana_engine::playout::{JitterBufferSettings, ModulationReceiver};
use hana_network::{DirectLinkTransport, MachineConfig, NetworkSettings, Node, NodeConfig};
use hana_protocol::contract::routes::ReceivedBy;
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::Direction;
use hana_protocol::parameter::{Parameter, ParameterName};
use hana_protocol::wire::Lane;
use serde::Serialize;
use serde_json::{Value, json};
use zenoh::Wait;
use zenoh::sample::SampleKind;

use crate::assistant::SOON;
use crate::numbered::{AsLuckWill, AsTheyCome, InOrder, Newest, Numbered};
use crate::raw::RawEnd;
use crate::stamps::{Stamps, now_ns};
use crate::{BenchError, raw};

/// The role of a worker process: one end of a measurement, or an intermediary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerRole {
    /// Hana: a visualization.
    ///
    /// Arguments: the number of parameters, whether its direct link uses UDP, the playback delay in ms, the name.
    Played,
    /// Hana: an app that subscribes to a message type on each lane.
    Hearer,
    /// Hana: apps that observe the mesh. Arguments: their number, and the host in their names.
    Crowd,
    /// Plain Zenoh: a gateway. Arguments: its endpoint, and those it connects to.
    RawGateway,
    /// Plain Zenoh: a subscriber. Arguments: `listen` or `connect`, the endpoint, and the keys.
    RawHearer,
    /// Plain Zenoh: a queryable. Argument: the endpoint of its gateway.
    RawAnswerer,
    /// Plain Zenoh: clients that observe the mesh. Arguments: their number, and the endpoint of their gateway.
    RawCrowd,
}

/// The count of received messages of one subscription.
#[derive(Debug, Clone, Copy, Default, Serialize, serde::Deserialize)]
pub(crate) struct Count {
    /// The number of messages.
    pub(crate) came: u64,
    /// The arrival times of the first and the last message, in nanoseconds by this machine's clock.
    pub(crate) first_ns: u64,
    pub(crate) last_ns: u64,
}

/// The counters of one subscription.
#[derive(Debug, Default)]
struct Ear {
    stamps: Stamps,
    came: AtomicU64,
    first_ns: AtomicU64,
    last_ns: AtomicU64,
    /// Whether messages are only counted, without a timestamp for each.
    counts_only: AtomicBool,
}

impl Ear {
    fn hear(&self, number: u64) {
        if self.counts_only.load(Ordering::Relaxed) {
            self.count(1);
        } else {
            self.stamps.came(number);
        }
    }

    /// Adds `more` messages. The first arrival time is only as precise as this is called often.
    fn count(&self, more: u64) {
        let now = now_ns();
        if self.came.fetch_add(more, Ordering::Relaxed) == 0 {
            self.first_ns.store(now, Ordering::Relaxed);
        }
        self.last_ns.store(now, Ordering::Relaxed);
    }

    fn take_count(&self) -> Count {
        Count {
            came: self.came.swap(0, Ordering::Relaxed),
            first_ns: self.first_ns.load(Ordering::Relaxed),
            last_ns: self.last_ns.load(Ordering::Relaxed),
        }
    }
}

/// Handles the commands of subscribing workers: `stamp` or `count` selects the mode, `take` or `counted` returns the
/// result of each subscription.
fn of_ears(ears: &[Arc<Ear>], word: &str) -> Option<Value> {
    match word {
        "stamp" | "count" => {
            for ear in ears {
                ear.counts_only.store(word == "count", Ordering::Relaxed);
                ear.stamps.take();
                ear.take_count();
            }
            Some(json!(null))
        },
        "take" => Some(json!(ears.iter().map(|ear| ear.stamps.take()).collect::<Vec<_>>())),
        "counted" => Some(json!(ears.iter().map(|ear| ear.take_count()).collect::<Vec<_>>())),
        _ => None,
    }
}

const PARTS: [WorkerRole; 7] = [
    WorkerRole::Played,
    WorkerRole::Hearer,
    WorkerRole::Crowd,
    WorkerRole::RawGateway,
    WorkerRole::RawHearer,
    WorkerRole::RawAnswerer,
    WorkerRole::RawCrowd,
];

impl FromStr for WorkerRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = PARTS.into_iter().find(|part| part.name() == text);
        known.ok_or_else(|| format!("'{text}' is no part of a bench"))
    }
}

impl WorkerRole {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Played => "played",
            Self::Hearer => "hearer",
            Self::Crowd => "crowd",
            Self::RawGateway => "raw-gateway",
            Self::RawHearer => "raw-hearer",
            Self::RawAnswerer => "raw-answerer",
            Self::RawCrowd => "raw-crowd",
        }
    }

    /// Runs this role until standard input ends, and answers each word of it with a line of JSON.
    ///
    /// # Errors
    ///
    /// If it cannot join, or its arguments are invalid.
    pub fn be(self, arguments: &[String]) -> Result<(), BenchError> {
        match self {
            Self::Played => played(arguments),
            Self::Hearer => hearer(),
            Self::Crowd => crowd(arguments),
            Self::RawGateway => raw_gateway(arguments),
            Self::RawHearer => raw_hearer(arguments),
            Self::RawAnswerer => raw_answerer(arguments),
            Self::RawCrowd => raw_crowd(arguments),
        }
    }
}

fn serve(mut answer: impl FnMut(&str) -> Result<Value, BenchError>) -> Result<(), BenchError> {
    let mut out = std::io::stdout();
    let mut say = |value: &Value| {
        writeln!(out, "{value}")
            .and_then(|()| out.flush())
            .map_err(BenchError::system("answering the bench"))
    };
    say(&json!("ready"))?;
    for word in std::io::stdin().lock().lines().map_while(Result::ok) {
        say(&answer(&word)?)?;
    }
    Ok(())
}

fn unknown(word: &str) -> BenchError {
    BenchError::Network { doing: "hearing what to do", problem: format!("'{word}' is no word") }
}

fn argument<T: FromStr>(arguments: &[String], place: usize) -> Result<T, BenchError> {
    arguments.get(place).and_then(|text| text.parse().ok()).ok_or_else(|| BenchError::Network {
        doing: "reading its arguments",
        problem: format!("argument {place} is missing, or not what it should be"),
    })
}

/// Creates the parameters played in a bench: integers that identify the message that set them.
pub(crate) fn parameters(count: usize) -> Result<Vec<Parameter>, BenchError> {
    (0..count)
        .map(|number| {
            let name = ParameterName::new(&format!("p{number}"))
                .map_err(BenchError::network("naming a parameter"))?;
            Ok(Parameter { min: 0.0, max: MOST, ..Parameter::new(name, 0.0) })
        })
        .collect()
}

/// The limit up to which an `f32` represents every integer.
pub(crate) const MOST: f32 = 16_777_216.0;

fn config(name: &str) -> Result<NodeConfig, BenchError> {
    let name = NodeId::new(name).map_err(BenchError::network("naming a node"))?;
    NodeConfig::from_environment(name)
        .map_err(BenchError::network("reading the settings of this machine"))
}

/// The visualization's view of its board, read at its own rate.
#[derive(Default)]
struct Seen {
    /// The changes of the first parameter, each recorded on arrival.
    ear: Ear,
    /// The number of values shown after newer ones, or too late.
    stale: AtomicU64,
    /// The time, in nanoseconds, at which the played value was 0; it grows by 1 each millisecond. Zero if not
    /// measured.
    epoch_ns: AtomicU64,
    ended: AtomicBool,
}

fn played(arguments: &[String]) -> Result<(), BenchError> {
    let count: usize = argument(arguments, 0)?;
    let is_udp: bool = argument(arguments, 1)?;
    let delay = Duration::from_millis(argument(arguments, 2)?);
    let name: String = argument(arguments, 3)?;
    let network =
        MachineConfig::find(None).map_err(BenchError::network("reading its settings"))?.network;
    let play_link = if is_udp { DirectLinkTransport::Udp } else { DirectLinkTransport::Tcp };
    let config = config(&name)?
        .with_network(NetworkSettings { play_link, ..network })
        .with_parameters(parameters(count)?)
        .with_playout(JitterBufferSettings { delay, ..JitterBufferSettings::default() });
    let node = Node::<role::Visualization>::join(config)
        .wait(SOON)
        .map_err(BenchError::network("joining the mesh"))?
        .map_err(BenchError::network("joining the mesh"))?;
    let seen = Arc::new(Seen::default());
    let board = Arc::clone(node.board());
    let looking = {
        let seen = Arc::clone(&seen);
        let at_once = delay.is_zero();
        thread::spawn(move || {
            let (mut version, mut arrivals, mut values) = (0, 0, vec![]);
            let mut shown = vec![0.0_f32; count];
            while !seen.ended.load(Ordering::Relaxed) {
                if at_once {
                    arrivals = board.wait_for_arrival(arrivals, Duration::from_millis(50));
                } else {
                    // A visualization reads its board once a frame.
                    thread::sleep(Duration::from_micros(16_667));
                }
                let now = board.read_since(version, &mut values);
                if now != version {
                    version = now;
                    seen.look(&mut shown, &values, delay);
                }
            }
        })
    };
    let outcome = serve(|word| {
        let lane = node.lane(Lane::UnreliableSequenced);
        if let Some(epoch) = word.strip_prefix("epoch ") {
            seen.epoch_ns.store(epoch.parse().unwrap_or_default(), Ordering::Relaxed);
            return Ok(json!(null));
        }
        match word {
            "info" => Ok(json!(node.info())),
            "take" => Ok(json!(vec![seen.ear.stamps.take()])),
            "lane" => Ok(json!(lane)),
            "stale" => Ok(json!(seen.stale.swap(0, Ordering::Relaxed))),
            _ => Err(unknown(word)),
        }
    });
    seen.ended.store(true, Ordering::Relaxed);
    looking.join().ok();
    node.leave().wait(Duration::from_secs(1)).ok();
    outcome
}

impl Seen {
    /// Compares the current values on the board with the previous ones.
    fn look(&self, shown: &mut [f32], values: &[f32], delay: Duration) {
        let epoch = self.epoch_ns.load(Ordering::Relaxed);
        if epoch == 0 {
            if let (Some(was), Some(is)) = (shown.first_mut(), values.first())
                && was.to_bits() != is.to_bits()
            {
                *was = *is;
                self.ear.stamps.came(whole(*is));
            }
            return;
        }
        let now = now_ns();
        let oldest = delay + ModulationReceiver::STALE;
        let mut stale = 0;
        for (was, is) in shown.iter_mut().zip(values) {
            if was.to_bits() != is.to_bits() {
                let set = epoch + whole(*is) * 1_000_000;
                let age = Duration::from_nanos(now.saturating_sub(set));
                stale += u64::from(is < was || age > oldest);
                *was = *is;
            }
        }
        self.stale.fetch_add(stale, Ordering::Relaxed);
    }
}

/// Converts a value, which is never negative and is below [`MOST`].
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
const fn whole(value: f32) -> u64 {
    value as u64
}

fn hearer() -> Result<(), BenchError> {
    let config = config("hearer")?
        .with_message::<Newest>(Direction::Subscribed)
        .with_message::<InOrder>(Direction::Subscribed)
        .with_message::<AsLuckWill>(Direction::Subscribed)
        .with_message::<AsTheyCome>(Direction::Subscribed);
    let node = Arc::new(
        Node::<role::App>::join(config)
            .wait(SOON)
            .map_err(BenchError::network("joining the mesh"))?
            .map_err(BenchError::network("joining the mesh"))?,
    );
    let ended = Arc::new(AtomicBool::new(false));
    let ears = [
        listen::<Newest>(&node, &ended),
        listen::<InOrder>(&node, &ended),
        listen::<AsLuckWill>(&node, &ended),
        listen::<AsTheyCome>(&node, &ended),
    ];
    let outcome = serve(|word| match word {
        "lanes" => Ok(json!(node.lanes())),
        _ => of_ears(&ears, word).ok_or_else(|| unknown(word)),
    });
    ended.store(true, Ordering::Relaxed);
    outcome
}

/// Starts a thread that receives the messages of a type.
fn listen<M: Numbered + ReceivedBy<role::App>>(
    node: &Arc<Node<role::App>>,
    ended: &Arc<AtomicBool>,
) -> Arc<Ear> {
    let ear = Arc::new(Ear::default());
    let (of_thread, ended, node) = (Arc::clone(&ear), Arc::clone(ended), Arc::clone(node));
    let heard = node.hear::<M>();
    thread::spawn(move || {
        let mut received = 0;
        while !ended.load(Ordering::Relaxed) {
            let message = heard.recv_timeout(Duration::from_millis(20));
            if of_thread.counts_only.load(Ordering::Relaxed) {
                // Counts messages that newer ones replaced before this thread read them, since they were delivered.
                let now = node.lane(M::LANE).received;
                if now > received {
                    of_thread.count(now - received);
                    received = now;
                }
            } else if let Some(message) = message {
                received = node.lane(M::LANE).received;
                of_thread.hear(message.message.number());
            }
        }
    });
    ear
}

/// The times at which an observer had first seen each number of nodes.
type Reached = Arc<Mutex<BTreeMap<usize, u64>>>;

fn crowd(arguments: &[String]) -> Result<(), BenchError> {
    let count: usize = argument(arguments, 0)?;
    let host: String = argument(arguments, 1)?;
    let mut nodes: Vec<(Arc<AtomicBool>, thread::JoinHandle<()>)> = vec![];
    let mut reached: Vec<Reached> = vec![];
    let outcome = serve(|word| match words(word)[..] {
        ["join", round] => {
            reached.clear();
            for number in 0..count {
                let config = config(&format!("crowd-{host}-{round}-{number}"))?;
                let (ended, seen) = (Arc::new(AtomicBool::new(false)), Reached::default());
                reached.push(Arc::clone(&seen));
                let of_thread = Arc::clone(&ended);
                nodes.push((ended, thread::spawn(move || watch(config, &of_thread, &seen))));
            }
            Ok(json!(null))
        },
        ["seen", wanted] => Ok(json!(await_seen(&reached, wanted))),
        ["leave"] => {
            for (ended, _) in &nodes {
                ended.store(true, Ordering::Relaxed);
            }
            for (_, node) in std::mem::take(&mut nodes) {
                node.join().ok();
            }
            Ok(json!(null))
        },
        _ => Err(unknown(word)),
    });
    for (ended, _) in &nodes {
        ended.store(true, Ordering::Relaxed);
    }
    outcome
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// Joins, and observes the mesh until `ended` is set.
fn watch(config: NodeConfig, ended: &AtomicBool, reached: &Reached) {
    let Ok(Ok(node)) = Node::<role::App>::join(config).wait(SOON) else { return };
    let mut watch = node.watch_mesh();
    while !ended.load(Ordering::Relaxed) {
        watch.wait(Duration::from_millis(50));
        note(reached, watch.roster().present().count());
    }
    drop(watch);
    node.leave().wait(Duration::from_secs(2)).ok();
}

fn note(reached: &Reached, count: usize) {
    reached.lock().unwrap_or_else(PoisonError::into_inner).entry(count).or_insert_with(now_ns);
}

/// Returns the time at which the last observer had seen this many nodes; `None` if one does not within a limit.
fn await_seen(reached: &[Reached], wanted: &str) -> Option<u64> {
    let wanted: usize = wanted.parse().ok()?;
    let deadline = now_ns() + u64::try_from(SOON.as_nanos()).ok()?;
    loop {
        let when = |of: &Reached| {
            let of = of.lock().unwrap_or_else(PoisonError::into_inner);
            of.range(wanted..).map(|(_, at)| *at).min()
        };
        let all: Option<Vec<u64>> = reached.iter().map(when).collect();
        if let Some(all) = all {
            return all.into_iter().max();
        }
        if now_ns() > deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn raw_gateway(arguments: &[String]) -> Result<(), BenchError> {
    let endpoint: String = argument(arguments, 0)?;
    let others = arguments.get(1..).unwrap_or_default();
    let _session = RawEnd::Gateway(&endpoint, others).open()?;
    serve(|word| Err(unknown(word)))
}

fn raw_hearer(arguments: &[String]) -> Result<(), BenchError> {
    let how: String = argument(arguments, 0)?;
    let endpoint: String = argument(arguments, 1)?;
    let session = match how.as_str() {
        "listen" => RawEnd::Listener(&endpoint).open()?,
        _ => RawEnd::Client(&endpoint).open()?,
    };
    let mut ears = vec![];
    for key in arguments.get(2..).unwrap_or_default() {
        let ear = Arc::new(Ear::default());
        // As in hana, Zenoh's thread passes messages on to another thread. In counting mode they are counted at once.
        let (of_callback, of_thread) = (Arc::clone(&ear), Arc::clone(&ear));
        let (hand_over, handed) = std::sync::mpsc::channel::<u64>();
        thread::spawn(move || {
            for number in handed {
                of_thread.hear(number);
            }
        });
        session
            .declare_subscriber(key.clone())
            .callback(move |sample| {
                let number = raw::number(&sample.payload().to_bytes()).unwrap_or_default();
                if of_callback.counts_only.load(Ordering::Relaxed) {
                    of_callback.count(1);
                } else {
                    hand_over.send(number).ok();
                }
            })
            .background()
            .wait()
            .map_err(BenchError::raw("subscribing"))?;
        ears.push(ear);
    }
    serve(|word| of_ears(&ears, word).ok_or_else(|| unknown(word)))
}

/// The key of the reference's queries.
pub(crate) const RAW_ASK: &str = "raw/ask";

fn raw_answerer(arguments: &[String]) -> Result<(), BenchError> {
    let endpoint: String = argument(arguments, 0)?;
    let session = RawEnd::Client(&endpoint).open()?;
    let _queryable = session
        .declare_queryable(RAW_ASK)
        .callback(|query| {
            query.reply(RAW_ASK, vec![0_u8; ANSWER_BYTES]).wait().ok();
        })
        .wait()
        .map_err(BenchError::raw("declaring a queryable"))?;
    serve(|word| Err(unknown(word)))
}

/// The size of `{"accepted": {}}` in `MessagePack`.
const ANSWER_BYTES: usize = 11;

fn raw_crowd(arguments: &[String]) -> Result<(), BenchError> {
    let count: usize = argument(arguments, 0)?;
    let host: String = argument(arguments, 1)?;
    let endpoint: String = argument(arguments, 2)?;
    let mut nodes: Vec<(Arc<AtomicBool>, thread::JoinHandle<()>)> = vec![];
    let mut reached: Vec<Reached> = vec![];
    serve(|word| match words(word)[..] {
        ["join", round] => {
            reached.clear();
            for number in 0..count {
                let token = format!("raw/alive/{host}-{round}-{number}");
                let (ended, seen) = (Arc::new(AtomicBool::new(false)), Reached::default());
                reached.push(Arc::clone(&seen));
                let (of_thread, endpoint) = (Arc::clone(&ended), endpoint.clone());
                let node = thread::spawn(move || watch_raw(&endpoint, &token, &of_thread, &seen));
                nodes.push((ended, node));
            }
            Ok(json!(null))
        },
        ["seen", wanted] => Ok(json!(await_seen(&reached, wanted))),
        ["leave"] => {
            for (ended, _) in &nodes {
                ended.store(true, Ordering::Relaxed);
            }
            for (_, node) in std::mem::take(&mut nodes) {
                node.join().ok();
            }
            Ok(json!(null))
        },
        _ => Err(unknown(word)),
    })
}

fn watch_raw(endpoint: &str, token: &str, ended: &AtomicBool, reached: &Reached) {
    let Ok(session) = RawEnd::Client(endpoint).open() else { return };
    let (say, said) = std::sync::mpsc::channel();
    let watch = session.liveliness().declare_subscriber("raw/alive/*").history(true);
    let watch = watch.callback(move |sample| {
        say.send((sample.kind(), sample.key_expr().to_string())).ok();
    });
    let Ok(_watch) = watch.wait() else { return };
    let Ok(_token) = session.liveliness().declare_token(token).wait() else { return };
    let mut there = std::collections::BTreeSet::new();
    while !ended.load(Ordering::Relaxed) {
        if let Ok((kind, key)) = said.recv_timeout(Duration::from_millis(50)) {
            if kind == SampleKind::Put {
                there.insert(key);
            } else {
                there.remove(&key);
            }
            note(reached, there.len());
        }
    }
    session.close().wait().ok();
}
