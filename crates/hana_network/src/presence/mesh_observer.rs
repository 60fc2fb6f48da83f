use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hana_engine::delivery::{Admission, TokenBucket};
use hana_engine::roster::{Observation, Roster, RosterChange, RosterEvent};
use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::message::{
    Event, Health, Look, LostPeers, NodeInfo, OperatorState, ParameterOwners, ProcessStatus,
};
use hana_protocol::wire::Message;
use zenoh::qos::CongestionControl;
use zenoh::query::{ConsolidationMode, QueryTarget};
use zenoh::sample::{Sample, SampleKind};
use zenoh::{Session, Wait};

use crate::presence::tcp_probe::knock;
use crate::rpc::pending::Pending;
use crate::session::local_addresses::LocalAddresses;
use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::time::steady_clock::WallClockSteps;
use crate::time::wall_clock::unix_ms;
use crate::transport::admission::AdmissionFilter;
use crate::transport::inbound::{InboundStats, admitted};
use crate::transport::inbox::{Inbox, OverflowPolicy};

/// An up-to-date view of all nodes, for apps, bridges, daemons and command-line tools.
///
/// A visualization does not need it.
pub struct MeshObserver {
    roster: Roster,
    steps: WallClockSteps,
    eyes: Arc<ObserverShared>,
    first_look: Pending<()>,
    _declarations: Vec<RegistrationGuard>,
}

/// Capacity of the inbox: ten seconds of health from a hundred nodes.
const SIGHTINGS: usize = 10_000;
/// Maximum number of new nodes that are queried one by one; more are queried with one query to all.
const ASK_ONE_BY_ONE: usize = 4;
/// Maximum number of query rounds per second; a burst of as many is sent at once.
const ASKS_PER_SECOND: u32 = 20;
/// Delay before the next query round when the limit is reached.
const ASK_LATER: Duration = Duration::from_millis(100);
/// Query timeout. A suspended node never replies.
const PATIENCE: Duration = Duration::from_millis(400);

const TOKENS: &str = "hana/*/alive/**";
const INFOS: &str = "hana/*/info";
const PROCESSES: &str = "hana/*/process/*";
const LOST: &str = "hana/*/lost_peers";
const OWNERS: &str = "hana/*/owners";
const OPERATORS: &str = "hana/*/operator";
const EVENTS: &str = "hana/*/event";

impl MeshObserver {
    pub(crate) fn start(worker: &SessionWorker, reception: &InboundStats, own_port: u16) -> Self {
        let (promise, first_look) = Pending::new();
        let eyes = Arc::new(ObserverShared::new(worker, reception, own_port, Scope::Everything));
        let eyes_of_watch = Arc::clone(&eyes);
        let mut declarations: Vec<RegistrationGuard> =
            [INFOS, "hana/*/look", OWNERS, OPERATORS, PROCESSES, LOST, "hana/*/health", EVENTS]
                .into_iter()
                .map(|pattern| watch_messages(worker, &eyes, pattern.into()))
                .collect();
        declarations.push(watch_tokens(worker, &eyes));
        // Queries the tokens and the state of all nodes; when both queries have ended, the view is complete.
        worker.run(move |session| {
            let kept = Arc::new(QueryEnd(Some(move || promise.keep(()))));
            for what in [INFOS, "hana/*/look", OWNERS, OPERATORS, PROCESSES, LOST] {
                eyes.ask(session, what, &kept);
            }
            let tokens = session
                .liveliness()
                .get(TOKENS)
                .timeout(PATIENCE)
                .callback(move |reply| {
                    let _ = &kept;
                    if let Ok(sample) = reply.result() {
                        eyes.see_token(sample);
                    }
                })
                .wait();
            if let Err(problem) = tokens {
                tracing::error!("{TOKENS}: Zenoh does not ask: {problem}");
            }
        });
        Self {
            roster: Roster::default(),
            steps: WallClockSteps::default(),
            eyes: eyes_of_watch,
            first_look,
            _declarations: declarations,
        }
    }

    /// Processes the observations since the last call and advances time. Does not block.
    pub fn poll(&mut self) -> Vec<RosterChange> {
        let now = Instant::now();
        let mut changes = vec![];
        if let Some(set_ms) = self.steps.take() {
            self.roster.wall_clock_was_set(set_ms);
        }
        while let Some(sighting) = self.eyes.sightings.try_recv() {
            changes.extend(self.roster.observe(sighting, now, unix_ms()));
        }
        changes.extend(self.roster.tick(now, unix_ms()));
        for (host, endpoints) in self.roster.to_knock(now) {
            self.eyes.knock(host, endpoints);
        }
        changes
    }

    /// Returns the host events since the last call.
    pub fn take_news(&mut self) -> Vec<RosterEvent> {
        self.roster.take_news()
    }

    /// Does the same as [`poll`](Self::poll), but blocks until there is an observation, at most for `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Vec<RosterChange> {
        let until_knock =
            self.roster.next_knock().map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = until_knock.map_or(timeout, |until| timeout.min(until));
        let mut changes = self
            .eyes
            .sightings
            .recv_timeout(timeout)
            .map(|sighting| self.roster.observe(sighting, Instant::now(), unix_ms()))
            .unwrap_or_default();
        changes.extend(self.poll());
        changes
    }

    /// Blocks until the info and health of every present node has arrived, at most for `timeout`.
    ///
    /// A suspended node never sends them.
    pub fn wait_until_complete(&mut self, timeout: Duration) {
        self.look_around(timeout, |_| ());
    }

    /// Does the same as [`wait_until_complete`](Self::wait_until_complete), and calls `seen` after every possible
    /// change.
    ///
    /// Use it to show a partial view without waiting for late nodes.
    pub fn look_around(&mut self, timeout: Duration, mut seen: impl FnMut(&Roster)) {
        let deadline = Instant::now() + timeout;
        let mut looked = false;
        while Instant::now() < deadline {
            looked = looked || self.first_look.take().is_some();
            self.wait(Duration::from_millis(10));
            seen(&self.roster);
            // An empty roster is not complete yet: behind a daemon there is at least the daemon.
            let anybody = !self.roster.is_empty();
            if looked && anybody && self.roster.is_complete() {
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

/// Observes which nodes come and go on the whole mesh, what daemons launched, and the health of selected nodes.
///
/// A daemon uses it to watch the programs it launched and to detect lost hosts, without receiving every heartbeat.
pub struct PresenceObserver {
    sightings: Inbox<Observation>,
    eyes: Arc<ObserverShared>,
    _declarations: Vec<RegistrationGuard>,
}

/// Subscribes a [`PresenceObserver`] to the health of one node until it is dropped.
pub struct HealthFeed {
    _declaration: RegistrationGuard,
}

impl PresenceObserver {
    pub(crate) fn start(worker: &SessionWorker, reception: &InboundStats, own_port: u16) -> Self {
        let eyes = Arc::new(ObserverShared::new(worker, reception, own_port, Scope::Processes));
        let mut declarations: Vec<RegistrationGuard> = [INFOS, PROCESSES, EVENTS]
            .into_iter()
            .map(|pattern| watch_messages(worker, &eyes, pattern.into()))
            .collect();
        declarations.push(watch_tokens(worker, &eyes));
        Self { sightings: eyes.sightings.clone(), _declarations: declarations, eyes }
    }

    /// Returns the observations, in order.
    #[must_use]
    pub const fn sightings(&self) -> &Inbox<Observation> {
        &self.sightings
    }

    /// Probes the endpoints of a host's daemon; the outcome arrives as an observation. Does not block.
    pub fn knock(&self, host: NodeId, endpoints: Vec<String>) {
        self.eyes.knock(host, endpoints);
    }

    /// Subscribes to the health of `node` too.
    #[must_use]
    pub fn hear_health_of(&self, node: &NodeId) -> HealthFeed {
        let pattern = Key::Health(node.clone()).to_string();
        HealthFeed { _declaration: watch_messages(&self.eyes.worker, &self.eyes, pattern) }
    }
}

fn watch_tokens(worker: &SessionWorker, eyes: &Arc<ObserverShared>) -> RegistrationGuard {
    let eyes = Arc::clone(eyes);
    worker.declare(TOKENS, move |session| {
        let eyes = Arc::clone(&eyes);
        let subscriber = session
            .liveliness()
            .declare_subscriber(TOKENS)
            .history(true)
            .callback(move |sample| eyes.see_token(&sample))
            .wait()?;
        Ok(Box::new(subscriber))
    })
}

fn watch_messages(
    worker: &SessionWorker,
    eyes: &Arc<ObserverShared>,
    pattern: String,
) -> RegistrationGuard {
    let eyes = Arc::clone(eyes);
    worker.declare(pattern.clone(), move |session| {
        let eyes = Arc::clone(&eyes);
        let subscriber = session
            .declare_subscriber(&pattern)
            .callback(move |sample| eyes.see(&sample))
            .wait()?;
        Ok(Box::new(subscriber))
    })
}

/// Runs a function when the last reference is dropped; Zenoh drops a callback when its query has ended.
struct QueryEnd<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for QueryEnd<F> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}

/// State shared with Zenoh's threads, which put observations into the inbox and query new nodes.
struct ObserverShared {
    sightings: Inbox<Observation>,
    reception: InboundStats,
    gate: AdmissionFilter,
    worker: SessionWorker,
    wanted: Mutex<BTreeSet<NodeId>>,
    /// Limits the query rate.
    asking: Mutex<TokenBucket>,
    /// The port on which the daemon of this machine listens.
    own_port: u16,
    curiosity: Scope,
}

/// Which state a new node is queried for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// All state that it keeps.
    Everything,
    /// Its info and, for a daemon, the programs that it launched.
    Processes,
}

impl ObserverShared {
    fn new(
        worker: &SessionWorker,
        reception: &InboundStats,
        own_port: u16,
        curiosity: Scope,
    ) -> Self {
        Self {
            sightings: Inbox::new(OverflowPolicy::DropOldest, SIGHTINGS),
            reception: reception.clone(),
            gate: AdmissionFilter::of_owned(),
            asking: Mutex::new(TokenBucket::new(ASKS_PER_SECOND, Instant::now())),
            worker: worker.clone(),
            wanted: Mutex::default(),
            own_port,
            curiosity,
        }
    }

    fn see_token(self: &Arc<Self>, sample: &Sample) {
        let Some(Key::Alive { node, role, zid }) = Key::parse(sample.key_expr().as_str()) else {
            return;
        };
        if sample.kind() == SampleKind::Delete {
            self.sightings.push("", Observation::TokenRemoved { node, zid });
            return;
        }
        self.sightings.push("", Observation::TokenAdded { node: node.clone(), role, zid });
        // A daemon does not need to know about apps that come and go.
        if self.curiosity == Scope::Processes && matches!(role, Role::App | Role::Bridge) {
            return;
        }
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        // If a node is already wanted, the query round is already scheduled.
        let is_first = wanted.is_empty();
        if wanted.len() < Roster::MAX_NODES {
            wanted.insert(node);
        }
        drop(wanted);
        if is_first {
            self.ask_soon();
        }
    }

    fn ask_soon(self: &Arc<Self>) {
        let eyes = Arc::clone(self);
        self.worker.run(move |session| eyes.ask_wanted(session));
    }

    fn see(&self, sample: &Sample) {
        // A query reply and a fresh publication may cross; the newer one wins.
        let raw = admitted(sample, NodeInfo::MAX_BYTES, &self.gate, &self.reception);
        let Some(raw) = raw else { return };
        let now_ms = unix_ms();
        // Converts a time to the wall clock of this machine.
        let local = |ms| raw.envelope.as_ref().map_or(ms, |by| by.to_local_ms(ms, now_ms));
        let sighting = match Key::parse(&raw.key) {
            Some(Key::Info(node)) => {
                self.reception.decode::<NodeInfo>(&raw).filter(|info| info.node == node).map(
                    |info| {
                        Observation::Info(NodeInfo { started_ms: local(info.started_ms), ..info })
                    },
                )
            },
            Some(Key::Health(node)) => self
                .reception
                .decode::<Health>(&raw)
                .map(|health| Observation::Health(node, health)),
            Some(Key::Look(node)) => {
                self.reception.decode::<Look>(&raw).map(|look| Observation::Look(node, look))
            },
            Some(Key::Owners(node)) => self
                .reception
                .decode::<ParameterOwners>(&raw)
                .map(|owners| Observation::Owners(node, owners)),
            Some(Key::Operator(node)) => self
                .reception
                .decode::<OperatorState>(&raw)
                .map(|session| Observation::Operator(node, session)),
            Some(Key::LostPeers(host)) => {
                let lost = self.reception.decode::<LostPeers>(&raw);
                lost.map(|lost| Observation::LostPeers(host, lost.with_times(local)))
            },
            Some(Key::Event(node)) => self
                .reception
                .decode::<Event>(&raw)
                .and_then(|event| Observation::of_event(&node, &event)),
            Some(Key::Process { host, node }) => self
                .reception
                .decode::<ProcessStatus>(&raw)
                .filter(|status| status.node == node)
                .map(|status| {
                    let since_ms = local(status.since_ms);
                    Observation::Process(host, ProcessStatus { since_ms, ..status })
                }),
            _ => None,
        };
        if let Some(sighting) = sighting {
            self.sightings.push_weighing("", sighting, raw.bytes);
        }
    }

    fn knock(self: &Arc<Self>, host: NodeId, endpoints: Vec<String>) {
        let eyes = Arc::clone(self);
        let spawned = thread::Builder::new().name("hana knock".into()).spawn(move || {
            // An address that both machines have, as with container networks, leads to the daemon of this machine.
            let endpoints = LocalAddresses::now(None).elsewhere(endpoints, eyes.own_port);
            eyes.sightings.push("", Observation::Probed(host, knock(&endpoints)));
        });
        if let Err(problem) = spawned {
            tracing::warn!("nobody can be sent to knock: {problem}");
        }
    }

    fn ask_wanted(self: &Arc<Self>, session: &Session) {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let admission = asking.admit(Instant::now());
        drop(asking);
        if admission == Admission::Over {
            // Too many tokens arrive. All nodes that appear in the meantime are queried together.
            let eyes = Arc::clone(self);
            let later = thread::Builder::new().name("hana ask later".into()).spawn(move || {
                thread::sleep(ASK_LATER);
                eyes.ask_soon();
            });
            if let Err(problem) = later {
                tracing::error!("who comes is not asked: {problem}");
            }
            return;
        }
        let wanted =
            std::mem::take(&mut *self.wanted.lock().unwrap_or_else(PoisonError::into_inner));
        if wanted.len() > ASK_ONE_BY_ONE {
            self.ask_of(session, "*");
        } else {
            for node in wanted {
                self.ask_of(session, node.as_str());
            }
        }
    }

    fn ask_of(self: &Arc<Self>, session: &Session, node: &str) {
        let kept: &[&str] = match self.curiosity {
            Scope::Everything => &["info", "look", "owners", "operator", "process/*", "lost_peers"],
            Scope::Processes => &["info", "process/*"],
        };
        for what in kept {
            self.ask(session, &format!("{}/{node}/{what}", Key::ROOT), &Arc::new(()));
        }
        if self.curiosity == Scope::Everything {
            // Queries the process status that the daemon of its host publishes.
            self.ask(session, &format!("{}/*/process/{node}", Key::ROOT), &Arc::new(()));
        }
    }

    /// Queries state; `kept` is held until the query has ended.
    fn ask<K: Send + Sync + 'static>(
        self: &Arc<Self>,
        session: &Session,
        key: &str,
        kept: &Arc<K>,
    ) {
        let (eyes, kept) = (Arc::clone(self), Arc::clone(kept));
        let asked = session
            .get(key.to_owned())
            .target(QueryTarget::All)
            .consolidation(ConsolidationMode::None)
            .congestion_control(CongestionControl::Drop)
            .timeout(PATIENCE)
            .callback(move |reply| {
                let _ = &kept;
                if let Ok(sample) = reply.result() {
                    eyes.see(sample);
                }
            })
            .wait();
        if let Err(problem) = asked {
            tracing::error!("{key}: Zenoh does not ask: {problem}");
        }
    }
}
