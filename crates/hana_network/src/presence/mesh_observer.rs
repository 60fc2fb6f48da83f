use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::sync::lock::Mutex;
use hana_engine::delivery::{Admission, TokenBucket};
use hana_engine::roster::{Observation, Roster, RosterChange, RosterEvent};
use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::message::{
    Event, Health, Look, LostPeers, NodeInfo, OperatorState, ParameterOwners, ProcessStatus,
};
use hana_protocol::wire::Message;
use zenoh::sample::{Sample, SampleKind};
use zenoh::{Session, Wait};

use crate::clock::steady_clock::WallClockSteps;
use crate::clock::wall_clock::unix_ms;
use crate::context::node_context::NodeContext;
use crate::presence::tcp_probe::probe;
use crate::session::local_addresses::LocalAddresses;
use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::sync::inbox::{Inbox, OverflowPolicy};
use crate::sync::pending::Pending;
use crate::transport::inbound::admission::AdmissionFilter;
use crate::transport::inbound::inbound_stats::InboundStats;
use crate::transport::query::{QueryHandle, query_all};

/// A current view of all nodes, for apps, bridges, daemons and command-line tools.
///
/// Visualizations do not need it.
pub struct MeshObserver {
    roster: Roster,
    steps: WallClockSteps,
    shared: Arc<ObserverShared>,
    initial_queries: Pending<()>,
    _registrations: Vec<RegistrationGuard>,
}

/// The capacity of the inbox: ten seconds of health from a hundred nodes.
const MAX_OBSERVATIONS: usize = 10_000;
/// The maximum number of new nodes that are queried individually.
///
/// More nodes are queried with one query to all nodes.
const MAX_SINGLE_QUERIES: usize = 4;
/// The maximum number of query rounds per second, and in one burst.
const QUERIES_PER_SECOND: u32 = 20;
/// The delay before the next query round when the limit is reached.
const QUERY_DELAY: Duration = Duration::from_millis(100);
/// The timeout of a query. A suspended node never replies.
const QUERY_TIMEOUT: Duration = Duration::from_millis(400);

const TOKENS: &str = "hana/*/alive/**";
const INFOS: &str = "hana/*/info";
const PROCESSES: &str = "hana/*/process/*";
const LOST: &str = "hana/*/lost_peers";
const OWNERS: &str = "hana/*/owners";
const OPERATORS: &str = "hana/*/operator";
const EVENTS: &str = "hana/*/event";

impl MeshObserver {
    pub(crate) fn start(context: &NodeContext) -> Self {
        let worker = &context.session_worker;
        let (promise, initial_queries) = Pending::new();
        let shared = Arc::new(ObserverShared::new(context, ObserverScope::Everything));
        let observer = Arc::clone(&shared);
        let mut registrations: Vec<RegistrationGuard> =
            [INFOS, "hana/*/look", OWNERS, OPERATORS, PROCESSES, LOST, "hana/*/health", EVENTS]
                .into_iter()
                .map(|pattern| watch_messages(worker, &shared, pattern))
                .collect();
        registrations.push(watch_tokens(worker, &shared));
        // Queries the state and the tokens of all nodes. `promise` is fulfilled when all queries have ended.
        worker.run(move |session| {
            let on_end = Arc::new(QueryHandle::new(move |()| promise.fulfil(())));
            for what in [INFOS, "hana/*/look", OWNERS, OPERATORS, PROCESSES, LOST] {
                shared.query(session, what, &on_end);
            }
            let tokens = session
                .liveliness()
                .get(TOKENS)
                .timeout(QUERY_TIMEOUT)
                .callback(move |reply| {
                    let _ = &on_end;
                    if let Ok(sample) = reply.result() {
                        shared.receive_token(sample);
                    }
                })
                .wait();
            if let Err(problem) = tokens {
                tracing::error!("{TOKENS}: Zenoh cannot send the query: {problem}");
            }
        });
        Self {
            roster: Roster::default(),
            steps: WallClockSteps::default(),
            shared: observer,
            initial_queries,
            _registrations: registrations,
        }
    }

    /// Processes the observations that arrived since the last call, and advances time. Does not block.
    pub fn poll(&mut self) -> Vec<RosterChange> {
        let now = Instant::now();
        let mut changes = vec![];
        if let Some(set_ms) = self.steps.take() {
            self.roster.wall_clock_was_set(set_ms);
        }
        while let Some(observation) = self.shared.observations.try_recv() {
            changes.extend(self.roster.observe(observation, now, unix_ms()));
        }
        changes.extend(self.roster.tick(now, unix_ms()));
        for (host, endpoints) in self.roster.to_knock(now) {
            self.shared.probe(host, endpoints);
        }
        changes
    }

    /// Returns the events of hosts that arrived since the last call.
    pub fn take_news(&mut self) -> Vec<RosterEvent> {
        self.roster.take_news()
    }

    /// Does the same as [`poll`](Self::poll), but first waits for an observation, at most for `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Vec<RosterChange> {
        let until_knock =
            self.roster.next_knock().map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = until_knock.map_or(timeout, |until| timeout.min(until));
        let mut changes = self
            .shared
            .observations
            .recv_timeout(timeout)
            .map(|observation| self.roster.observe(observation, Instant::now(), unix_ms()))
            .unwrap_or_default();
        changes.extend(self.poll());
        changes
    }

    /// Blocks until the info and health of every present node have arrived, at most for `timeout`.
    ///
    /// A suspended node never sends its info and health.
    pub fn wait_until_complete(&mut self, timeout: Duration) {
        self.wait_with(timeout, |_| ());
    }

    /// Does the same as [`wait_until_complete`](Self::wait_until_complete), and calls `on_change` after each possible
    /// change.
    ///
    /// Use it to display a partial view without waiting for late nodes.
    pub fn wait_with(&mut self, timeout: Duration, mut on_change: impl FnMut(&Roster)) {
        let deadline = Instant::now() + timeout;
        let mut is_queried = false;
        while Instant::now() < deadline {
            is_queried = is_queried || self.initial_queries.try_recv().is_some();
            self.wait(Duration::from_millis(10));
            on_change(&self.roster);
            // An empty roster is not complete: behind a daemon, it contains at least the daemon.
            let is_populated = !self.roster.is_empty();
            if is_queried && is_populated && self.roster.is_complete() {
                return;
            }
        }
    }

    /// Returns the view as of the last [`poll`](Self::poll).
    #[must_use]
    pub const fn roster(&self) -> &Roster {
        &self.roster
    }
}

/// Observes the arrival and departure of all nodes, the processes of daemons, and the health of selected nodes.
///
/// A daemon uses it to watch the programs that it launched and to detect lost hosts, without receiving every
/// heartbeat.
pub struct PresenceObserver {
    observations: Inbox<Observation>,
    shared: Arc<ObserverShared>,
    _registrations: Vec<RegistrationGuard>,
}

/// Subscribes a [`PresenceObserver`] to the health of one node until it is dropped.
pub struct HealthFeed {
    _registration: RegistrationGuard,
}

impl PresenceObserver {
    pub(crate) fn start(context: &NodeContext) -> Self {
        let worker = &context.session_worker;
        let shared = Arc::new(ObserverShared::new(context, ObserverScope::Processes));
        let mut registrations: Vec<RegistrationGuard> = [INFOS, PROCESSES, EVENTS]
            .into_iter()
            .map(|pattern| watch_messages(worker, &shared, pattern))
            .collect();
        registrations.push(watch_tokens(worker, &shared));
        Self { observations: shared.observations.clone(), _registrations: registrations, shared }
    }

    /// Returns the inbox of observations, which keeps their order.
    #[must_use]
    pub const fn observations(&self) -> &Inbox<Observation> {
        &self.observations
    }

    /// Probes the endpoints of a host's daemon. The result arrives as an observation. Does not block.
    pub fn probe(&self, host: NodeId, endpoints: Vec<String>) {
        self.shared.probe(host, endpoints);
    }

    /// Subscribes to the health of `node` until the returned feed is dropped.
    #[must_use]
    pub fn subscribe_health(&self, node: &NodeId) -> HealthFeed {
        let pattern = Key::Health(node.clone()).to_string();
        HealthFeed { _registration: watch_messages(&self.shared.worker, &self.shared, &pattern) }
    }
}

fn watch_tokens(worker: &SessionWorker, shared: &Arc<ObserverShared>) -> RegistrationGuard {
    let shared = Arc::clone(shared);
    worker.declare(TOKENS, move |session| {
        let shared = Arc::clone(&shared);
        let subscriber = session
            .liveliness()
            .declare_subscriber(TOKENS)
            .history(true)
            .callback(move |sample| shared.receive_token(&sample))
            .wait()?;
        Ok(Box::new(subscriber))
    })
}

fn watch_messages(
    worker: &SessionWorker,
    shared: &Arc<ObserverShared>,
    pattern: &str,
) -> RegistrationGuard {
    let shared = Arc::clone(shared);
    worker.subscribe(pattern, move |sample| shared.receive(&sample))
}

/// State shared with Zenoh's threads, which put observations into the inbox and query new nodes.
struct ObserverShared {
    observations: Inbox<Observation>,
    inbound: InboundStats,
    filter: AdmissionFilter,
    worker: SessionWorker,
    info_requests: Mutex<BTreeSet<NodeId>>,
    /// The limit on the rate of queries.
    limiter: Mutex<TokenBucket>,
    /// The port on which the daemon of this machine listens.
    own_port: u16,
    scope: ObserverScope,
}

/// The state that is queried when a new node appears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ObserverScope {
    /// All state that the node publishes.
    Everything,
    /// The info of the node and, for a daemon, the programs that it launched.
    Processes,
}

impl ObserverShared {
    fn new(context: &NodeContext, scope: ObserverScope) -> Self {
        Self {
            observations: Inbox::new(OverflowPolicy::DropOldest, MAX_OBSERVATIONS),
            inbound: context.inbound.clone(),
            filter: AdmissionFilter::for_node_state(),
            limiter: Mutex::new(TokenBucket::new(QUERIES_PER_SECOND, Instant::now())),
            worker: context.session_worker.clone(),
            info_requests: Mutex::default(),
            own_port: context.config.daemon.port(),
            scope,
        }
    }

    fn receive_token(self: &Arc<Self>, sample: &Sample) {
        let Some(Key::Alive { node, role, zid }) = Key::parse(sample.key_expr().as_str()) else {
            return;
        };
        if sample.kind() == SampleKind::Delete {
            self.observations.push("", Observation::TokenRemoved { node, zid });
            return;
        }
        self.observations.push("", Observation::TokenAdded { node: node.clone(), role, zid });
        // A daemon does not need to track apps and bridges.
        if self.scope == ObserverScope::Processes && matches!(role, Role::App | Role::Bridge) {
            return;
        }
        let mut info_requests = self.info_requests.lock();
        // If another node already waits to be queried, the query round is already scheduled.
        let is_first = info_requests.is_empty();
        if info_requests.len() < Roster::MAX_NODES {
            info_requests.insert(node);
        }
        drop(info_requests);
        if is_first {
            self.schedule_queries();
        }
    }

    fn schedule_queries(self: &Arc<Self>) {
        let shared = Arc::clone(self);
        self.worker.run(move |session| shared.query_requested(session));
    }

    fn receive(&self, sample: &Sample) {
        // A query reply and a publication may arrive in either order; the newer one is kept.
        let raw = self.inbound.admit_sample(sample, NodeInfo::MAX_BYTES, &self.filter);
        let Some(raw) = raw else { return };
        let now_ms = unix_ms();
        // Converts a time of the sender's clock to the wall clock of this machine.
        let local = |ms| raw.envelope.as_ref().map_or(ms, |by| by.to_local_ms(ms, now_ms));
        let observation = match Key::parse(&raw.key) {
            Some(Key::Info(node)) => {
                self.inbound.decode::<NodeInfo>(&raw).filter(|info| info.node == node).map(|info| {
                    Observation::Info(NodeInfo { started_ms: local(info.started_ms), ..info })
                })
            },
            Some(Key::Health(node)) => {
                self.inbound.decode::<Health>(&raw).map(|health| Observation::Health(node, health))
            },
            Some(Key::Look(node)) => {
                self.inbound.decode::<Look>(&raw).map(|look| Observation::Look(node, look))
            },
            Some(Key::Owners(node)) => self
                .inbound
                .decode::<ParameterOwners>(&raw)
                .map(|owners| Observation::Owners(node, owners)),
            Some(Key::Operator(node)) => self
                .inbound
                .decode::<OperatorState>(&raw)
                .map(|session| Observation::Operator(node, session)),
            Some(Key::LostPeers(host)) => {
                let lost = self.inbound.decode::<LostPeers>(&raw);
                lost.map(|lost| Observation::LostPeers(host, lost.with_times(local)))
            },
            Some(Key::Event(node)) => self
                .inbound
                .decode::<Event>(&raw)
                .and_then(|event| Observation::of_event(&node, &event)),
            Some(Key::Process { host, node }) => {
                self.inbound.decode::<ProcessStatus>(&raw).filter(|status| status.node == node).map(
                    |status| {
                        let since_ms = local(status.since_ms);
                        Observation::Process(host, ProcessStatus { since_ms, ..status })
                    },
                )
            },
            _ => None,
        };
        if let Some(observation) = observation {
            self.observations.push_sized("", observation, raw.bytes);
        }
    }

    fn probe(self: &Arc<Self>, host: NodeId, endpoints: Vec<String>) {
        let shared = Arc::clone(self);
        let spawned = thread::Builder::new().name("hana knock".into()).spawn(move || {
            // An address that both machines have, such as one of a container network, leads to the daemon of this
            // machine.
            let endpoints = LocalAddresses::now(None).elsewhere(endpoints, shared.own_port);
            shared.observations.push("", Observation::Probed(host, probe(&endpoints)));
        });
        if let Err(problem) = spawned {
            tracing::warn!("cannot start a thread to probe a host: {problem}");
        }
    }

    fn query_requested(self: &Arc<Self>, session: &Session) {
        let mut limiter = self.limiter.lock();
        let admission = limiter.admit(Instant::now());
        drop(limiter);
        if admission == Admission::Over {
            // The query limit is reached. All nodes that appear during the delay are queried together.
            let shared = Arc::clone(self);
            let later = thread::Builder::new().name("hana ask later".into()).spawn(move || {
                thread::sleep(QUERY_DELAY);
                shared.schedule_queries();
            });
            if let Err(problem) = later {
                tracing::error!("cannot query new nodes: {problem}");
            }
            return;
        }
        let info_requests = std::mem::take(&mut *self.info_requests.lock());
        if info_requests.len() > MAX_SINGLE_QUERIES {
            self.query_node(session, "*");
        } else {
            for node in info_requests {
                self.query_node(session, node.as_str());
            }
        }
    }

    fn query_node(self: &Arc<Self>, session: &Session, node: &str) {
        let on_end: &[&str] = match self.scope {
            ObserverScope::Everything => {
                &["info", "look", "owners", "operator", "process/*", "lost_peers"]
            },
            ObserverScope::Processes => &["info", "process/*"],
        };
        for what in on_end {
            self.query(session, &format!("{}/{node}/{what}", Key::ROOT), &Arc::new(()));
        }
        if self.scope == ObserverScope::Everything {
            // Queries the process status of this node, which the daemon of its host publishes.
            self.query(session, &format!("{}/*/process/{node}", Key::ROOT), &Arc::new(()));
        }
    }

    /// Queries state. `on_end` is dropped when the query has ended.
    fn query<K: Send + Sync + 'static>(
        self: &Arc<Self>,
        session: &Session,
        key: &str,
        on_end: &Arc<K>,
    ) {
        let (shared, on_end) = (Arc::clone(self), Arc::clone(on_end));
        query_all(session, key, QUERY_TIMEOUT, move |reply| {
            let _ = &on_end;
            if let Ok(sample) = reply.result() {
                shared.receive(sample);
            }
        });
    }
}
