use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;
use std::thread;
use std::time::Duration;

use hana_protocol::Accepted;
use hana_protocol::Key;
use hana_protocol::Lane;
use hana_protocol::Message;
use hana_protocol::Modulation;
use hana_protocol::NodeId;
use hana_protocol::NodeInfo;
use hana_protocol::ParameterName;
use hana_protocol::Ping;
use hana_protocol::Topic;
use thiserror::Error;
use zenoh::sample::Locality;

use crate::CommandError;
use crate::NodeConfig;
use crate::Pending;
use crate::Publisher;
use crate::addresses::Addresses;
use crate::command;
use crate::counters::NodeCounters;
use crate::node::Core;
use crate::outbox::Channel;
use crate::outbox::Identity;
use crate::outbox::Outbox;
use crate::session::Part;
use crate::session::SessionError;
use crate::worker::Worker;

/// A direct link to a visualization, to play it: what is played over it goes through no daemon, and keeps
/// flowing when both daemons are gone. Closed when it is dropped.
pub struct PlayLink {
    node: NodeId,
    worker: Worker,
    outbox: Outbox,
    identity: Identity,
    counters: Arc<NodeCounters>,
}

/// Why a play link was not opened.
#[derive(Debug, Error)]
pub enum PlayError {
    /// It does not say where it listens: it is no visualization, or of a version without play links.
    #[error("'{node}' does not listen for play links; play it over the mesh")]
    NotPlayable {
        /// The node.
        node: NodeId,
    },
    /// It listens, but cannot be reached.
    #[error(
        "'{node}' cannot be reached directly at {}; is a firewall between? Playing over the mesh still works",
        endpoints.join(", ")
    )]
    Unreachable {
        /// The node.
        node: NodeId,
        /// Where it says it listens.
        endpoints: Vec<String>,
        /// Why not.
        #[source]
        problem: SessionError,
    },
    /// No thread could be started.
    #[error("no thread can be started: {0}")]
    Thread(#[from] std::io::Error),
}

impl PlayLink {
    pub(crate) fn open(
        config: &NodeConfig,
        identity: &Identity,
        counters: &Arc<NodeCounters>,
        info: &NodeInfo,
    ) -> Pending<Result<Self, PlayError>> {
        let (promise, pending) = Pending::new();
        let (config, identity, info) = (config.clone(), identity.clone(), info.clone());
        let counters = Arc::clone(counters);
        let in_thread = promise.clone();
        let spawned = thread::Builder::new().name("hana play".into()).spawn(move || {
            in_thread.keep(Self::open_now(&config, identity, counters, &info));
        });
        if let Err(problem) = spawned {
            promise.keep(Err(problem.into()));
        }
        pending
    }

    fn open_now(
        config: &NodeConfig,
        identity: Identity,
        counters: Arc<NodeCounters>,
        info: &NodeInfo,
    ) -> Result<Self, PlayError> {
        let node = info.node.clone();
        if info.play.is_empty() {
            return Err(PlayError::NotPlayable { node });
        }
        let mut endpoints = info.play.clone();
        // On one machine the shortest way is the loopback; on two it leads nowhere.
        let is_loopback = |endpoint: &String| endpoint.contains("127.0.0.1");
        if info.host == config.host {
            endpoints.sort_by_key(|endpoint| !is_loopback(endpoint));
        } else {
            endpoints.retain(|endpoint| !is_loopback(endpoint));
        }
        // One after the other: given several, Zenoh spends all its time on the first.
        let mut session = Err(SessionError::Open { problem: "it names no address".into() });
        for endpoint in &endpoints {
            session = Part::Player { endpoint: endpoint.clone() }.open(config);
            if session.is_ok() {
                break;
            }
        }
        let session = session.map_err(|problem| PlayError::Unreachable {
            node: node.clone(),
            endpoints,
            problem,
        })?;
        let worker = Worker::start("play link", session)?;
        Ok(Self { node, worker, outbox: Outbox::start("play")?, identity, counters })
    }

    /// The visualization it leads to.
    #[must_use]
    pub const fn node(&self) -> &NodeId {
        &self.node
    }

    /// Plays one parameter over the link.
    #[must_use]
    pub fn modulation(&self, parameter: ParameterName) -> Publisher<Modulation> {
        let topic = Topic::<Modulation>::modulation(self.node.clone(), parameter);
        let channel = Channel::new(
            topic.key().to_string(),
            Modulation::LANE,
            Locality::Remote,
            self.identity.clone(),
            self.worker.clone(),
            Arc::clone(&self.counters),
            None,
        );
        Publisher::new(Arc::new(channel), self.outbox.clone())
    }

    /// Goes there and back.
    #[must_use]
    pub fn ping(&self, deadline: Duration) -> Pending<Result<Accepted, CommandError>> {
        command::ask(&self.worker, &self.identity, &self.node, Ping {}, deadline)
    }
}

impl Drop for PlayLink {
    fn drop(&mut self) {
        self.worker.leave(|| ());
    }
}

/// The end that is played: the visualization's second session, where play links arrive.
pub(crate) struct PlayedEnd {
    pub(crate) worker: Worker,
    port: u16,
}

impl PlayedEnd {
    pub(crate) fn open(config: &NodeConfig) -> Result<Self, SessionError> {
        // The port is chosen here, since Zenoh does not tell which one it took on a machine whose only
        // address is the loopback.
        let port = free_port(config)?;
        let session = Part::Played { port }.open(config)?;
        let worker = Worker::start("played", session)
            .map_err(|problem| SessionError::Open { problem: problem.to_string() })?;
        Ok(Self { worker, port })
    }

    /// Where it is reached while the machine has these addresses: it listens on all, also on those that
    /// come later.
    pub(crate) fn endpoints(&self, addresses: &Addresses) -> Vec<String> {
        let mut endpoints = addresses.endpoints(self.port);
        endpoints.push(format!("tcp/127.0.0.1:{}", self.port));
        endpoints
    }
}

/// A port that nobody listens on right now, of those that are meant for it.
fn free_port(config: &NodeConfig) -> Result<u16, SessionError> {
    if let Some(range) = config.network.play_ports {
        // Two that start together begin at different places.
        let ports: Vec<u16> = range.ports().collect();
        let begin = usize::try_from(std::process::id()).unwrap_or_default() % ports.len().max(1);
        return ports
            .iter()
            .cycle()
            .skip(begin)
            .take(ports.len())
            .copied()
            .find(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok())
            .ok_or(SessionError::NoPlayPort { range });
    }
    TcpListener::bind("0.0.0.0:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|problem| SessionError::Open { problem: problem.to_string() })
}

/// Shows on the mesh what was played over a link: single named values, at most 60 a second of each, and
/// only while somebody listens.
#[derive(Clone)]
pub(crate) struct Echo {
    played: Arc<Mutex<Vec<(ParameterName, f32)>>>,
    wake: flume::Sender<()>,
}

impl Echo {
    const PERIOD: Duration = Duration::from_micros(16_667);

    pub(crate) fn start(core: Weak<Core>) -> std::io::Result<Self> {
        let played = Arc::new(Mutex::new(Vec::<(ParameterName, f32)>::new()));
        let (wake, woken) = flume::bounded(1);
        let of_thread = Arc::clone(&played);
        let Some(of_start) = core.upgrade() else { return Ok(Self { played, wake }) };
        // Declared now: Zenoh knows only after a moment whether anybody listens.
        let channels: Vec<(ParameterName, Arc<Channel>)> = of_start
            .board
            .declared()
            .into_iter()
            .map(|parameter| {
                let node = of_start.identity.id.clone();
                let key = Key::Modulation { node, parameter: parameter.name.clone() };
                let lane = Lane::UnreliableSequenced;
                (parameter.name, of_start.channel(&key, lane, Locality::Remote))
            })
            .collect();
        drop(of_start);
        thread::Builder::new().name("hana echo".into()).spawn(move || {
            for (_, channel) in &channels {
                channel.is_heard();
            }
            for () in woken {
                let Some(core) = core.upgrade() else { return };
                let played =
                    std::mem::take(&mut *of_thread.lock().unwrap_or_else(PoisonError::into_inner));
                for (name, value) in played {
                    let channel = channels.iter().find(|(known, _)| *known == name);
                    if let Some((_, channel)) = channel.filter(|(_, channel)| channel.is_heard()) {
                        core.echo(channel, value);
                    }
                }
                drop(core);
                thread::sleep(Self::PERIOD);
            }
        })?;
        Ok(Self { played, wake })
    }

    /// A value has come over a play link. Does not block; declared names only, so the list stays small.
    pub(crate) fn played(&self, name: &ParameterName, value: f32) {
        let mut played = self.played.lock().unwrap_or_else(PoisonError::into_inner);
        match played.iter_mut().find(|(known, _)| known == name) {
            Some(waiting) => waiting.1 = value,
            None => played.push((name.clone(), value)),
        }
        drop(played);
        // Full means that it is awake already.
        self.wake.try_send(()).ok();
    }
}
