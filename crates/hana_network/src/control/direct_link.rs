use std::sync::Arc;
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
use crate::context::node_context::NodeContext;
use crate::control::batch_stream::BatchStream;
use crate::rpc::command_client::{CommandError, send_command};
use crate::session::local_addresses::LocalAddresses;
use crate::session::open_session::OpenSession;
use crate::session::session_kind::{SessionError, SessionKind};
use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::sync::pending::Pending;
use crate::transport::inbound::inbound_stats::InboundStats;
use crate::transport::outbound::publisher::Publisher;
use crate::transport::outbound::send_queue::{OutgoingTopic, SendWorker};
use crate::transport::outbound::sender_identity::SenderIdentity;

/// A direct link from a controller to a visualization. It closes when it is dropped.
///
/// Its values do not pass through a daemon, and still arrive when both daemons are gone.
pub struct DirectLink {
    info: Arc<NodeInfo>,
    worker: SessionWorker,
    sender: SendWorker,
    identity: SenderIdentity,
    inbound: InboundStats,
}

/// A reason why a direct link was not opened.
#[derive(Debug, Error)]
pub enum DirectLinkError {
    /// The node announces no endpoints: it is not a visualization, or its version does not support direct links.
    #[error("'{node}' does not accept direct links; play it over the mesh")]
    NotPlayable {
        /// The id of the node.
        node: NodeId,
    },
    /// The node listens, but cannot be reached.
    #[error(
        "cannot reach '{node}' directly at {}; check the firewall. Playing over the mesh still works",
        endpoints.join(", ")
    )]
    Unreachable {
        /// The id of the node.
        node: NodeId,
        /// The endpoints that were tried, in this order.
        endpoints: Vec<String>,
        /// The error of the last attempt.
        #[source]
        problem: SessionError,
    },
    /// No thread could be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

impl DirectLink {
    pub(crate) fn open(
        context: &NodeContext,
        info: &NodeInfo,
    ) -> Pending<Result<Self, DirectLinkError>> {
        let (promise, pending) = Pending::new();
        let (config, identity) = (Arc::clone(&context.config), context.identity.clone());
        let (inbound, info) = (context.inbound.clone(), Arc::new(info.clone()));
        let opened = promise.clone();
        let spawned = thread::Builder::new().name("hana play".into()).spawn(move || {
            let link = dial(&config, &info).and_then(|session| {
                let worker = SessionWorker::start("play link", session)?;
                Ok(Self { info, worker, sender: SendWorker::start("play")?, identity, inbound })
            });
            opened.fulfil(link);
        });
        if let Err(problem) = spawned {
            promise.fulfil(Err(problem.into()));
        }
        pending
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
        let topic = self.outgoing_topic(topic.key(), Modulation::LANE);
        Publisher::new(topic, self.sender.clone())
    }

    /// Plays many parameters over the link, in modulation batches.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn batch_stream(&self, settings: BatcherSettings) -> std::io::Result<BatchStream> {
        BatchStream::start(&self.info, self.batch_topic(), settings)
    }

    /// Returns the topic for modulation batches over the link.
    pub(crate) fn batch_topic(&self) -> Arc<OutgoingTopic> {
        let key = Key::ModulationBatch(self.info.node.clone());
        self.outgoing_topic(&key, ModulationBatch::LANE)
    }

    fn outgoing_topic(&self, key: &Key, lane: Lane) -> Arc<OutgoingTopic> {
        Arc::new(OutgoingTopic::new(
            key.to_string(),
            lane,
            Locality::Remote,
            self.identity.clone(),
            self.worker.clone(),
            self.inbound.reports(),
            None,
        ))
    }

    /// Returns the instance of the visualization at the other end.
    pub(crate) fn instance(&self) -> u64 {
        self.info.instance
    }

    pub(crate) const fn worker(&self) -> &SessionWorker {
        &self.worker
    }

    /// Returns whether the link is connected. A blocked link counts as connected until Zenoh closes it.
    pub(crate) fn is_connected(&self) -> bool {
        self.worker.current().is_some_and(|active| {
            let info = active.session.info();
            info.peers_zid().wait().next().is_some() || info.routers_zid().wait().next().is_some()
        })
    }

    /// Calls `closed` when the other end disconnects, until the returned guard is dropped.
    pub(crate) fn on_close(
        &self,
        closed: impl Fn() + Clone + Send + Sync + 'static,
    ) -> RegistrationGuard {
        self.worker.declare("the end of a direct link", move |session| {
            let closed = closed.clone();
            let callback = move |event: TransportEvent| {
                if event.kind() == SampleKind::Delete {
                    closed();
                }
            };
            let listener = session.info().transport_events_listener().callback(callback).wait()?;
            Ok(Box::new(listener))
        })
    }

    /// Sends a ping over the link and returns the reply.
    #[must_use]
    pub fn ping(&self, deadline: Duration) -> Pending<Result<Accepted, CommandError>> {
        send_command(&self.worker, &self.identity, &self.info.node, Ping {}, deadline)
    }
}

/// Opens a session to the first endpoint of the visualization that is reachable.
fn dial(config: &NodeConfig, info: &NodeInfo) -> Result<OpenSession, DirectLinkError> {
    let node = info.node.clone();
    if info.play.is_empty() {
        return Err(DirectLinkError::NotPlayable { node });
    }
    let own = LocalAddresses::now(None);
    let endpoints = own.by_way(info.play.clone(), info.host == config.host);
    let mut session = Err(SessionError::Open { problem: "the node announces no address".into() });
    // The endpoints are tried one after the other; given several, Zenoh would spend all its time on the first.
    for endpoint in &endpoints {
        session = SessionKind::DirectDialer { endpoint: endpoint.clone() }.open(config);
        if session.is_ok() {
            break;
        }
    }
    session.map_err(|problem| DirectLinkError::Unreachable { node, endpoints, problem })
}

impl Drop for DirectLink {
    fn drop(&mut self) {
        self.worker.leave(|| ());
    }
}
