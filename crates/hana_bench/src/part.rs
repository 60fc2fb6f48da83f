//! What a process of the bench's own can be. `hana bench part NAME ...` is one: the bench starts itself again for it.

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

/// One end of what is measured, or what lies between, in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerRole {
    /// Ours: a visualization. Its number of parameters, whether its play link is over UDP, milliseconds of playout.
    Played,
    /// Ours: an app that hears a message type on each lane.
    Hearer,
    /// Ours: so many apps that watch who is there.
    Crowd,
    /// Plain Zenoh: a gateway; where it listens, and whom it connects to.
    RawGateway,
    /// Plain Zenoh: hears what comes on some keys; `listen` or `connect`, where, and the keys.
    RawHearer,
    /// Plain Zenoh: answers whoever asks; where its gateway listens.
    RawAnswerer,
    /// Plain Zenoh: so many clients that watch who is there; how many, and where their gateway listens.
    RawCrowd,
}

/// What came, of one thing that is heard.
#[derive(Debug, Clone, Copy, Default, Serialize, serde::Deserialize)]
pub(crate) struct Count {
    /// How many.
    pub(crate) came: u64,
    /// When the first came, and the last; nanoseconds by the clock of this machine.
    pub(crate) first_ns: u64,
    pub(crate) last_ns: u64,
}

/// What is counted of one thing that is heard.
#[derive(Debug, Default)]
struct Ear {
    stamps: Stamps,
    came: AtomicU64,
    first_ns: AtomicU64,
    last_ns: AtomicU64,
    /// Whether each is stamped, or all are only counted.
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

    /// So many have come since. When the first of them came is known only as well as this is called often.
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

/// What the parts that hear are told: `stamp` or `count` says how, `take` and `counted` bring it, of each thing heard.
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

    /// Is this part, until standard input ends. Answers each word there with a line of JSON.
    ///
    /// # Errors
    ///
    /// When it cannot join, or its arguments are not what it takes.
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

/// The parameters that are played in a bench: whole numbers, which say which message they came with.
pub(crate) fn parameters(count: usize) -> Result<Vec<Parameter>, BenchError> {
    (0..count)
        .map(|number| {
            let name = ParameterName::new(&format!("p{number}"))
                .map_err(BenchError::network("naming a parameter"))?;
            Ok(Parameter { min: 0.0, max: MOST, ..Parameter::new(name, 0.0) })
        })
        .collect()
}

/// Up to here every whole number is a float.
pub(crate) const MOST: f32 = 16_777_216.0;

fn config(name: &str) -> Result<NodeConfig, BenchError> {
    let name = NodeId::new(name).map_err(BenchError::network("naming a node"))?;
    NodeConfig::from_environment(name)
        .map_err(BenchError::network("reading the settings of this machine"))
}

/// What the visualization sees on its board, at its own pace.
#[derive(Default)]
struct Seen {
    /// Each change of the first parameter, as soon as it is there.
    ear: Ear,
    /// Values that were shown although newer ones had been, or too late.
    stale: AtomicU64,
    /// When what is played was 0, and how many milliseconds one more is; nanoseconds.
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
                    // As a visualization does, once a frame.
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
    /// What is on the board now, after what was.
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

/// Never negative, and below [`MOST`].
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
const fn whole(value: f32) -> u64 {
    value as u64
}

fn hearer() -> Result<(), BenchError> {
    let config = config("hearer")?
        .with_message::<Newest>(Direction::Heard)
        .with_message::<InOrder>(Direction::Heard)
        .with_message::<AsLuckWill>(Direction::Heard)
        .with_message::<AsTheyCome>(Direction::Heard);
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

/// A thread that takes what comes of a type.
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
                // Also those that newer ones replaced before this thread looked: they were delivered.
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

/// When one that watches had seen so many for the first time.
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

/// Joins, and looks who is there until it is to leave.
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

/// When the last of them had seen so many; none if one does not within a while.
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
        // As ours: Zenoh's thread hands over, another one takes it in its hands. What is only counted, is counted at once.
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

/// The key that the reference's questions are asked on.
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

/// As much as `{"accepted": {}}` takes in `MessagePack`.
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
