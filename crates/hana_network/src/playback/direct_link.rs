use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use hana_engine::playout::BatcherSettings;
use hana_protocol::contract::{Key, Topic};
use hana_protocol::id::NodeId;
use hana_protocol::message::{Accepted, Modulation, ModulationBatch, NodeInfo, Ping};
use hana_protocol::parameter::ParameterName;
use hana_protocol::wire::{Lane, Message};
use thiserror::Error;
use zenoh::Wait;
use zenoh::sample::{Locality, SampleKind};
use zenoh::session::TransportEvent;

use crate::config::node_config::NodeConfig;
use crate::config::play_transport::DirectLinkTransport;
use crate::control::batch_stream::BatchStream;
use crate::node::node::NodeContext;
use crate::rpc::command_client;
use crate::rpc::command_client::CommandError;
use crate::rpc::pending::Pending;
use crate::session::local_addresses::LocalAddresses;
use crate::session::open::{SessionError, SessionKind};
use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::transport::inbound::InboundStats;
use crate::transport::publisher::Publisher;
use crate::transport::send_queue::{OutgoingTopic, SendWorker, SenderIdentity};

/// A direct link from a controller to a visualization. It closes when it is dropped.
///
/// Its values pass through no daemon, and keep flowing when both daemons are gone.
pub struct DirectLink {
    info: Arc<NodeInfo>,
    worker: SessionWorker,
    outbox: SendWorker,
    identity: SenderIdentity,
    reception: InboundStats,
}

/// Why a direct link was not opened.
#[derive(Debug, Error)]
pub enum DirectLinkError {
    /// The node announces no endpoints: it is not a visualization, or its version has no direct links.
    #[error("'{node}' does not listen for play links; play it over the mesh")]
    NotPlayable {
        /// The node.
        node: NodeId,
    },
    /// The node listens, but cannot be reached.
    #[error(
        "'{node}' cannot be reached directly at {}; is a firewall between? Playing over the mesh still works",
        endpoints.join(", ")
    )]
    Unreachable {
        /// The node.
        node: NodeId,
        /// The endpoints that it announces.
        endpoints: Vec<String>,
        /// The reason of the last attempt.
        #[source]
        problem: SessionError,
    },
    /// No thread could be started.
    #[error("no thread can be started: {0}")]
    Thread(#[from] std::io::Error),
}

impl DirectLink {
    pub(crate) fn open(
        config: &NodeConfig,
        identity: &SenderIdentity,
        reception: &InboundStats,
        info: &NodeInfo,
    ) -> Pending<Result<Self, DirectLinkError>> {
        let (promise, pending) = Pending::new();
        let (config, identity, info) = (config.clone(), identity.clone(), info.clone());
        let reception = reception.clone();
        let in_thread = promise.clone();
        let spawned = thread::Builder::new().name("hana play".into()).spawn(move || {
            in_thread.keep(Self::open_now(&config, identity, reception, &info));
        });
        if let Err(problem) = spawned {
            promise.keep(Err(problem.into()));
        }
        pending
    }

    fn open_now(
        config: &NodeConfig,
        identity: SenderIdentity,
        reception: InboundStats,
        info: &NodeInfo,
    ) -> Result<Self, DirectLinkError> {
        let node = info.node.clone();
        if info.play.is_empty() {
            return Err(DirectLinkError::NotPlayable { node });
        }
        let own = LocalAddresses::now(None);
        let endpoints = own.by_way(info.play.clone(), info.host == config.host);
        // One after the other: given several endpoints, Zenoh spends all its time on the first.
        let mut session = Err(SessionError::Open { problem: "it names no address".into() });
        for endpoint in &endpoints {
            session = SessionKind::Player { endpoint: endpoint.clone() }.open(config);
            if session.is_ok() {
                break;
            }
        }
        let session = session.map_err(|problem| DirectLinkError::Unreachable {
            node: node.clone(),
            endpoints,
            problem,
        })?;
        let worker = SessionWorker::start("play link", session)?;
        Ok(Self {
            info: Arc::new(info.clone()),
            worker,
            outbox: SendWorker::start("play")?,
            identity,
            reception,
        })
    }

    /// Returns the visualization at the other end.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        &self.info.node
    }

    /// Returns a publisher that plays one parameter over the link.
    #[must_use]
    pub fn modulation(&self, parameter: ParameterName) -> Publisher<Modulation> {
        let topic = Topic::<Modulation>::modulation(self.info.node.clone(), parameter);
        let channel = OutgoingTopic::new(
            topic.key().to_string(),
            Modulation::LANE,
            Locality::Remote,
            self.identity.clone(),
            self.worker.clone(),
            self.reception.clone(),
            None,
        );
        Publisher::new(Arc::new(channel), self.outbox.clone())
    }

    /// Plays many parameters over the link, in modulation batches.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn frame_stream(&self, settings: BatcherSettings) -> std::io::Result<BatchStream> {
        BatchStream::start(&self.info, self.frame_channel(), settings)
    }

    /// Returns the topic for modulation batches over the link.
    pub(crate) fn frame_channel(&self) -> Arc<OutgoingTopic> {
        Arc::new(OutgoingTopic::new(
            Key::ModulationBatch(self.info.node.clone()).to_string(),
            ModulationBatch::LANE,
            Locality::Remote,
            self.identity.clone(),
            self.worker.clone(),
            self.reception.clone(),
            None,
        ))
    }

    /// Returns the instance of the visualization at the other end.
    pub(crate) fn run(&self) -> u64 {
        self.info.instance
    }

    pub(crate) const fn worker(&self) -> &SessionWorker {
        &self.worker
    }

    /// Returns whether the link is still connected. A blocked link counts as connected until Zenoh closes it.
    pub(crate) fn is_held(&self) -> bool {
        self.worker.seat().is_some_and(|seat| {
            let info = seat.session.info();
            info.peers_zid().wait().next().is_some() || info.routers_zid().wait().next().is_some()
        })
    }

    /// Calls `gone` when the other end disconnects, until the returned guard is dropped.
    pub(crate) fn when_gone(
        &self,
        gone: impl Fn() + Clone + Send + Sync + 'static,
    ) -> RegistrationGuard {
        self.worker.declare("the end of a play link", move |session| {
            let gone = gone.clone();
            let callback = move |event: TransportEvent| {
                if event.kind() == SampleKind::Delete {
                    gone();
                }
            };
            let listener = session.info().transport_events_listener().callback(callback).wait()?;
            Ok(Box::new(listener))
        })
    }

    /// Sends a ping over the link and returns the reply.
    #[must_use]
    pub fn ping(&self, deadline: Duration) -> Pending<Result<Accepted, CommandError>> {
        command_client::ask(&self.worker, &self.identity, &self.info.node, Ping {}, deadline)
    }
}

impl Drop for DirectLink {
    fn drop(&mut self) {
        self.worker.leave(|| ());
    }
}

/// The listening end: the second session of a visualization, which accepts direct links.
pub(crate) struct DirectListener {
    pub(crate) worker: SessionWorker,
    port: u16,
    transport: DirectLinkTransport,
}

impl DirectListener {
    pub(crate) fn open(config: &NodeConfig) -> Result<Self, SessionError> {
        // The port is chosen here, because Zenoh does not report the port it chose on a machine whose only address is
        // the loopback.
        let port = free_port(config)?;
        let session = SessionKind::Played { port }.open(config)?;
        let worker = SessionWorker::start("played", session)
            .map_err(|problem| SessionError::Open { problem: problem.to_string() })?;
        Ok(Self { worker, port, transport: config.network.play_link })
    }

    /// Returns the endpoints for the given addresses of the machine.
    ///
    /// The listener accepts on all addresses, including those added later.
    pub(crate) fn endpoints(&self, addresses: &LocalAddresses) -> Vec<String> {
        // A controller uses the first endpoint that it can reach.
        let transports = match self.transport {
            DirectLinkTransport::Tcp => &[DirectLinkTransport::Tcp][..],
            DirectLinkTransport::Udp => &[DirectLinkTransport::Udp, DirectLinkTransport::Tcp],
        };
        let of = |transport: &DirectLinkTransport| {
            let mut endpoints = addresses.endpoints_over(*transport, self.port);
            endpoints.push(format!("{transport}/127.0.0.1:{}", self.port));
            endpoints
        };
        transports.iter().flat_map(of).collect()
    }
}

/// Returns a currently unused port from the configured range.
fn free_port(config: &NodeConfig) -> Result<u16, SessionError> {
    let bind = |port| {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
        let port = listener.local_addr()?.port();
        if config.network.play_link == DirectLinkTransport::Udp {
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
        }
        Ok::<u16, std::io::Error>(port)
    };
    if let Some(range) = config.network.play_ports {
        // Visualizations that start together begin their search at different ports.
        let ports: Vec<u16> = range.ports().collect();
        let begin = usize::try_from(std::process::id()).unwrap_or_default() % ports.len().max(1);
        return ports
            .iter()
            .cycle()
            .skip(begin)
            .take(ports.len())
            .copied()
            .find(|port| bind(*port).is_ok())
            .ok_or(SessionError::NoPlayPort { range });
    }
    let mut port = bind(0);
    // A port that is free for TCP is nearly always free for UDP.
    for _ in 0..8 {
        if port.is_ok() {
            break;
        }
        port = bind(0);
    }
    port.map_err(|problem| SessionError::Open { problem: problem.to_string() })
}

/// Publishes on the mesh the values that arrived over a direct link.
///
/// It publishes single named values, at most 60 per second of each, and only while the mesh has a subscriber.
#[derive(Clone)]
pub(crate) struct MeshEcho {
    /// The newest value of each parameter that is not published yet.
    played: Arc<Mutex<Vec<Option<f32>>>>,
    wake: flume::Sender<()>,
}

impl MeshEcho {
    const PERIOD: Duration = Duration::from_micros(16_667);

    pub(crate) fn start(core: Weak<NodeContext>) -> std::io::Result<Self> {
        let played = Arc::new(Mutex::new(vec![]));
        let (wake, woken) = flume::bounded(1);
        let of_thread = Arc::clone(&played);
        let Some(of_start) = core.upgrade() else { return Ok(Self { played, wake }) };
        // Declared early: Zenoh needs a moment to determine whether there are subscribers.
        let channels: Vec<Arc<OutgoingTopic>> = of_start
            .board
            .declared()
            .into_iter()
            .map(|parameter| {
                let node = of_start.identity.id.clone();
                let key = Key::Modulation { node, parameter: parameter.name };
                let lane = Lane::UnreliableSequenced;
                of_start.channel(&key, lane, Locality::Remote)
            })
            .collect();
        drop(of_start);
        played.lock().unwrap_or_else(PoisonError::into_inner).resize(channels.len(), None);
        thread::Builder::new().name("hana echo".into()).spawn(move || {
            for channel in &channels {
                channel.is_heard();
            }
            let mut waiting = vec![None; channels.len()];
            for () in woken {
                let Some(core) = core.upgrade() else { return };
                std::mem::swap(
                    &mut waiting,
                    &mut *of_thread.lock().unwrap_or_else(PoisonError::into_inner),
                );
                for (channel, value) in channels.iter().zip(&mut waiting) {
                    if let Some(value) = value.take().filter(|_| channel.is_heard()) {
                        core.echo(channel, value);
                    }
                }
                drop(core);
                thread::sleep(Self::PERIOD);
            }
        })?;
        Ok(Self { played, wake })
    }

    /// Queues values that arrived over a direct link, by parameter index. Does not block.
    pub(crate) fn played(&self, values: impl IntoIterator<Item = (usize, f32)>) {
        let mut played = self.played.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, value) in values {
            if let Some(waiting) = played.get_mut(place) {
                *waiting = Some(value);
            }
        }
        drop(played);
        // A full channel means that the thread is already awake.
        self.wake.try_send(()).ok();
    }
}
