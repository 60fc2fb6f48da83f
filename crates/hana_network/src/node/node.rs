use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hana_engine::playout::BatcherSettings;
use hana_protocol::contract::routes::{Publishable, ReceivedBy, Route};
use hana_protocol::contract::{Key, KeyKind, Topic, TopicHistory, Topics};
use hana_protocol::id::role::{Daemon, NodeRole, Role, Visualization};
use hana_protocol::id::{NodeId, TopicName};
use hana_protocol::message::{
    Accepted, Command, Control, Counters, Event, EventKind, LaneTraffic, LogLine, Look,
    MessageFault, Modulation, ModulationBatch, NodeInfo, OperatorState, Override, ParameterOwners,
    PlayPath, PlayStatus, SequenceHeartbeat, Take,
};
use hana_protocol::wire::codec::Encoding;
use hana_protocol::wire::{CustomMessage, Lane, Message, codec};
use hana_time::ClockReading;
use thiserror::Error;
use zenoh::query::Query;
use zenoh::sample::{Locality, Sample, SampleKind};
use zenoh::{Session, Wait};

use crate::config::network_settings::NetworkSettings;
use crate::config::node_config::{NodeConfig, Visibility};
use crate::control::batch_stream::BatchStream;
use crate::control::ownership_client::OwnershipClient;
use crate::control::play_session::{PlaySession, PlaySessions};
use crate::custom;
use crate::custom::confirmed_send::{ConfirmedSender, Destination, SendError};
use crate::custom::custom_subscription::EarlySubscriptions;
use crate::playback::direct_link::{DirectLink, DirectLinkError, DirectListener, MeshEcho};
use crate::playback::parameter_store::{ApplyOutcome, ParameterStore};
use crate::presence::frame_counter::FrameCounter;
use crate::presence::id_conflict;
use crate::presence::id_conflict::IdConflict;
use crate::presence::instance::next_instance;
use crate::presence::mesh_observer::{MeshObserver, PresenceObserver};
use crate::presence::status_publisher::StatusPublisher;
use crate::rpc::command_client;
use crate::rpc::command_client::CommandError;
use crate::rpc::incoming_command::Request;
use crate::rpc::pending::Pending;
use crate::session::connection::{ConnectionState, ConnectionWatch};
use crate::session::local_addresses::LocalAddresses;
use crate::session::open::{SessionError, SessionKind};
use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::session::zenoh_probe::ProbeResult;
use crate::session::{attach_monitor, scouting};
use crate::state::log_tail::LogTail;
use crate::state::state_publisher::{Republisher, StatePublisher};
use crate::state::state_query::QueryableGuard;
use crate::state::{log_tail, state_query};
use crate::time::clock_sync;
use crate::time::clock_sync::ClockSync;
use crate::time::timeline_handle::TimelineHandle;
use crate::time::wall_clock::unix_ms;
use crate::transport::admission::AdmissionFilter;
use crate::transport::counters::NodeCounters;
use crate::transport::gap_recovery::{GapRecovery, RecoveryRegistry};
use crate::transport::inbound::{
    InboundStats, RawMessage, Received, admitted, envelope_of, raw, raw_parts,
};
use crate::transport::inbox::{Inbox, OverflowPolicy};
use crate::transport::payload_dedup::PayloadDedup;
use crate::transport::problem::{Diagnostic, Diagnostics};
use crate::transport::publisher::{Publisher, encode};
use crate::transport::retransmit_buffer::RetransmitBuffer;
use crate::transport::send_queue::{OutgoingTopic, SendWorker, SenderIdentity};
use crate::transport::subscription::Subscription;
use crate::transport::timer::TimerThread;

/// A node on the mesh, in the role `R`. It leaves the mesh when it is dropped.
///
/// No method blocks, except those with `wait` in their name.
pub struct Node<R: NodeRole> {
    pub(crate) core: Arc<NodeContext>,
    events: Publisher<Event>,
    role: PhantomData<fn(R)>,
}

/// State shared by the threads of a node.
pub(crate) struct NodeContext {
    pub(crate) config: NodeConfig,
    pub(crate) identity: SenderIdentity,
    /// Time of joining, in Unix milliseconds.
    joined_ms: u64,
    pub(crate) worker: SessionWorker,
    /// The session that accepts direct links; only a visualization has one.
    played: Option<DirectListener>,
    /// The play sessions of this node.
    pub(crate) sessions: PlaySessions,
    fast: SendWorker,
    sure: SendWorker,
    pub(crate) counters: Arc<NodeCounters>,
    pub(crate) reception: InboundStats,
    pub(crate) board: Arc<ParameterStore>,
    pub(crate) frames: FrameCounter,
    requests: Inbox<Request>,
    copies: Mutex<PayloadDedup>,
    /// Custom message subscriptions started at joining, until the program takes them.
    pub(crate) heard: EarlySubscriptions,
    /// Sends messages to single nodes and waits for their replies.
    pub(crate) post: Arc<ConfirmedSender>,
    pub(crate) ticker: TimerThread,
    /// Retransmission buffer; created with the first reliable topic.
    archive: OnceLock<Arc<RetransmitBuffer>>,
    pub(crate) recoveries: RecoveryRegistry,
    repeats: Republisher,
    shutdown: AtomicBool,
    /// Why the program runs without a window, if it does.
    headless: Mutex<Option<String>>,
    pub(crate) connection: ConnectionWatch,
    /// The older node with the same id to which this one gave way.
    pub(crate) displaced: Inbox<IdConflict>,
    /// Created on first use.
    timeline: OnceLock<TimelineHandle>,
    declarations: Mutex<Vec<RegistrationGuard>>,
    /// For a node that listens: finds other nodes and replies to those that look for it.
    pub(crate) scouting: Mutex<Option<RegistrationGuard>>,
    /// The published info of this node, and its role.
    info: Mutex<Option<(StatePublisher<NodeInfo>, Role)>>,
}

/// Why a node could not join.
#[derive(Debug, Error)]
pub enum JoinError {
    /// Another node has this id.
    #[error("{0}")]
    IdTaken(IdConflict),
    /// This machine already has a daemon.
    #[error("a daemon runs on this machine already: '{node}', process {pid}; a machine has one")]
    SecondDaemon {
        /// Id of that daemon.
        node: NodeId,
        /// Process id of that daemon.
        pid: u32,
    },
    /// No session could be opened.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The node info is too large, or other nodes could not read it.
    #[error(
        "what this node says of itself cannot be sent: {problem}; make the types of its custom messages smaller, or spread them over several programs"
    )]
    Info {
        /// The encoding or decoding problem.
        problem: String,
    },
    /// No thread could be started.
    #[error("no thread can be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// The reason with which a visualization refuses a blackout.
const CANNOT_BLACK_OUT: &str = "its program does not draw a blackout: with hana_plugin, build it with the feature `ui` or declare `draws_blackout_itself()`; without Bevy, declare `NodeConfig::with_blackout()`; `hana stop` ends what it shows";
/// Environment variable in which a daemon names the file that records that a visualization was closed.
const GOODBYE: &str = "HANA_GOODBYE";
/// Capacity of the inbox for commands to the program.
const REQUESTS: usize = 256;
/// Capacity of each subscription's inbox, in messages.
const INBOX: usize = 4096;
/// Size limit, in bytes, for payloads read by raw subscriptions.
const RAW: usize = 1 << 20;
/// Time a peer needs to meet all others after it has met the first; scouting takes up to 0.3 s.
const MEETING: Duration = Duration::from_millis(350);
/// Time limit for sending queued messages when a node leaves.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Time limit for a node with our id to reply, and for the token of a dead node to disappear.
const ID_CHECK: Duration = Duration::from_millis(1500);

impl<R: NodeRole> Node<R> {
    /// Joins the mesh: through this machine's daemon if one runs, otherwise as a peer of all other nodes.
    ///
    /// Takes a few milliseconds through a daemon and up to 0.5 s without one, or 2 s if a program other than a daemon
    /// occupies the daemon's port.
    #[must_use]
    pub fn join(config: NodeConfig) -> Pending<Result<Self, JoinError>> {
        let (promise, pending) = Pending::new();
        let in_thread = promise.clone();
        let spawned = thread::Builder::new().name("hana join".into()).spawn(move || {
            match Self::join_now(config) {
                Ok(node) => {
                    // Once the worker runs this, every earlier declaration has been sent.
                    let worker = node.core.worker.clone();
                    worker.run(move |_| in_thread.keep(Ok(node)));
                },
                Err(error) => in_thread.keep(Err(error)),
            }
        });
        if let Err(problem) = spawned {
            promise.keep(Err(problem.into()));
        }
        pending
    }

    fn join_now(mut config: NodeConfig) -> Result<Self, JoinError> {
        let announced = config.presence == Visibility::Announced;
        let part = if R::ROLE == Role::Daemon {
            SessionKind::Daemon { addresses: None }
        } else {
            SessionKind::of_node(&config)
        };
        let addresses = LocalAddresses::now(config.network.interface.as_deref());
        let session = part.open(&config).map_err(|problem| second_daemon(problem, &config))?;
        if matches!(part, SessionKind::Client) {
            config.learn_host(&session);
        }
        if matches!(part, SessionKind::Peer { .. }) {
            // Zenoh's open returns once it has met the first peer and does not report when it has met all of them. A
            // query sent before then does not reach every peer.
            thread::sleep(MEETING);
        }
        if announced {
            wait_until_free(&session, &config.id)?;
        }
        let played = if announced && R::ROLE == Role::Visualization {
            match DirectListener::open(&config) {
                Err(problem @ SessionError::NoPlayPort { .. }) => {
                    tracing::warn!("it is played over the mesh only: {problem}");
                    None
                },
                played => Some(played?),
            }
        } else {
            None
        };
        let news = config.news.clone();
        let connection = ConnectionWatch::new(news.clone());
        connection.expect(&session, part.way());
        let counters = Arc::new(NodeCounters::default());
        let identity = SenderIdentity::new(config.id.clone(), next_instance(config.instance_after));
        let worker = SessionWorker::start(config.id.as_str(), session)?;
        let ticker = TimerThread::start()?;
        let post = ConfirmedSender::open(&identity, &worker, &counters, &ticker);
        let core = Arc::new(NodeContext {
            identity,
            joined_ms: unix_ms(),
            worker,
            played,
            sessions: PlaySessions::default(),
            fast: SendWorker::start("send")?,
            sure: SendWorker::start("send reliably")?,
            reception: InboundStats::new(Arc::clone(&counters), news),
            counters,
            board: Arc::new(first_board(&config)),
            frames: FrameCounter::new(),
            requests: Inbox::new(OverflowPolicy::DropOldest, REQUESTS),
            copies: Mutex::default(),
            heard: EarlySubscriptions::default(),
            post,
            ticker,
            archive: OnceLock::new(),
            recoveries: RecoveryRegistry::default(),
            repeats: Republisher::default(),
            shutdown: AtomicBool::new(false),
            headless: Mutex::new(config.headless.clone()),
            connection,
            displaced: Inbox::new(OverflowPolicy::DropOldest, 1),
            timeline: OnceLock::new(),
            declarations: Mutex::default(),
            scouting: Mutex::default(),
            info: Mutex::default(),
            config,
        });
        core.connection.has_network(!addresses.is_empty());
        let watch = core.connection.start(&core.worker);
        core.declarations.lock().unwrap_or_else(PoisonError::into_inner).push(watch);
        if !matches!(part, SessionKind::Client) {
            scouting::ensure(&core);
        }
        let relies_on_gossip = core.config.network.relies_on_gossip();
        attach_monitor::AttachMonitor::new(&part, addresses.clone(), relies_on_gossip)
            .start(Arc::downgrade(&core))?;
        let events = core.publisher(&Key::Event(core.identity.id.clone()));
        let node = Self { core, events, role: PhantomData };
        if announced {
            node.announce(&addresses)?;
        }
        Ok(node)
    }

    /// Announces the node. The liveliness token comes last: a node that sees it can query everything else.
    fn announce(&self, addresses: &LocalAddresses) -> Result<(), JoinError> {
        let core = &self.core;
        let id = &core.identity.id;
        let mut declarations =
            vec![core.take_commands(&core.worker, R::ROLE), id_conflict::watch(core, R::ROLE)];
        let look = if R::ROLE == Role::Visualization {
            core.board.follow(self.timeline().clone());
            let echo = MeshEcho::start(Arc::downgrade(core))?;
            // Both paths share one filter, so that a value delayed on the slower path counts as late even if a newer
            // one arrived on the faster path.
            let gate = Arc::new(AdmissionFilter::of::<Modulation>());
            let on_mesh =
                ModulationInput { gate: Arc::clone(&gate), echo: echo.clone(), by: PlayPath::Mesh };
            declarations.push(core.take_modulation(&core.worker, on_mesh));
            if let Some(played) = &core.played {
                let directly = ModulationInput { gate, echo, by: PlayPath::Direct };
                declarations.push(core.take_modulation(&played.worker, directly));
                declarations.push(core.take_commands(&played.worker, R::ROLE));
            }
            let owners = core.state_publisher::<ParameterOwners>(&Key::Owners(id.clone()));
            Some((core.state_publisher::<Look>(&Key::Look(id.clone())), owners))
        } else {
            None
        };
        let (look, owners) = look.unzip();
        let own = core.info_of(R::ROLE, addresses);
        custom::check_info(&own)?;
        core.heard.begin(core);
        let info = core.state_publisher::<NodeInfo>(&Key::Info(id.clone()));
        if let Err(problem) = info.set(&own) {
            tracing::error!("what this node is cannot be said: {problem}");
        }
        *core.info.lock().unwrap_or_else(PoisonError::into_inner) = Some((info, R::ROLE));
        StatusPublisher {
            health: core.publisher(&Key::Health(id.clone())),
            events: self.events.clone(),
            draws: R::ROLE == Role::Visualization,
            look,
            owners,
        }
        .start(Arc::downgrade(core))?;
        let node = id.clone();
        declarations.push(core.worker.declare("token", move |session| {
            let zid = session.zid().to_string();
            let key = Key::Alive { node: node.clone(), role: R::ROLE, zid }.to_string();
            Ok(Box::new(session.liveliness().declare_token(key).wait()?))
        }));
        core.declarations.lock().unwrap_or_else(PoisonError::into_inner).extend(declarations);
        Ok(())
    }

    /// Returns the id of this node.
    #[must_use]
    pub fn id(&self) -> &NodeId {
        &self.core.identity.id
    }

    /// Returns the instance number, as in the node info and in the envelopes that the node sends.
    #[must_use]
    pub fn instance(&self) -> u64 {
        self.core.identity.instance
    }

    /// Returns the host of this node.
    #[must_use]
    pub fn host(&self) -> &NodeId {
        &self.core.config.host
    }

    /// Returns the network settings, such as the show.
    #[must_use]
    pub fn network(&self) -> &NetworkSettings {
        self.core.config.network()
    }

    /// Leaves the mesh cleanly: withdraws everything it declared before the session closes.
    #[must_use]
    pub fn leave(self) -> Pending<()> {
        let (promise, pending) = Pending::new();
        self.core.leave(move || promise.keep(()));
        pending
    }

    /// Returns a publisher for a topic.
    #[must_use]
    pub fn publisher<M: Publishable<R>>(&self, topic: &Topic<M>) -> Publisher<M> {
        self.core.publisher(topic.key())
    }

    /// Returns a publisher for a value with a current state, which late joiners receive too.
    #[must_use]
    pub fn state_publisher<M: Publishable<R> + PartialEq + Clone>(
        &self,
        topic: &Topic<M>,
    ) -> StatePublisher<M> {
        self.core.state_publisher(topic.key())
    }

    /// Subscribes to topics.
    ///
    /// On `UnreliableSequenced` the inbox keeps the newest message of each key, otherwise the newest 4,096.
    #[must_use]
    pub fn subscribe<M: Message + ReceivedBy<R>>(
        &self,
        topics: impl Into<Topics<M>>,
    ) -> Subscription<Received<M>> {
        self.core.subscribe(topics.into().pattern())
    }

    /// Queries what other nodes keep on these topics: the current state, or the last lines of a log.
    ///
    /// Resolves once all have replied or `deadline` has passed.
    #[must_use]
    pub fn ask<M: Message + ReceivedBy<R>>(
        &self,
        topics: impl Into<Topics<M>>,
        deadline: Duration,
    ) -> Pending<Vec<Received<M>>> {
        self.core.ask(topics.into().pattern().to_owned(), deadline)
    }

    /// Follows the log of a visualization or a daemon: the lines that its daemon keeps, then new ones.
    ///
    /// Keeps the last `most` lines.
    #[must_use]
    pub fn tail_log(&self, of: &NodeId, most: usize) -> LogTail
    where
        LogLine: ReceivedBy<R>,
    {
        let topics = Topics::<LogLine>::log_of(of);
        // Subscribed first, so that no line is missed between the stored lines and the new ones.
        let coming = self.subscribe(topics.clone());
        LogTail::new(of, coming, self.ask(topics, log_tail::ASK), most)
    }

    /// Replies to queries on a topic with what `kept` returns at that moment.
    ///
    /// `kept` runs on a thread of the node and should be quick.
    #[must_use]
    pub fn answer<M: Publishable<R>>(
        &self,
        topic: &Topic<M>,
        kept: impl Fn() -> Vec<M> + Send + Sync + 'static,
    ) -> QueryableGuard {
        let NodeContext { worker, identity, .. } = &*self.core;
        QueryableGuard::new(state_query::answer(worker, identity, topic.key(), kept))
    }

    /// Subscribes to all messages on `key_expression`, as bytes.
    #[must_use]
    pub fn subscribe_raw(&self, key_expression: &str) -> Subscription<RawMessage> {
        let inbox = Inbox::new(OverflowPolicy::DropOldest, INBOX);
        let (filled, pattern) = (inbox.clone(), key_expression.to_owned());
        let counters = Arc::clone(&self.core.counters);
        let declaration = self.core.worker.declare(key_expression, move |session| {
            let (inbox, counters) = (filled.clone(), Arc::clone(&counters));
            let callback = move |sample| {
                let raw = raw(&sample, RAW);
                let lane = Key::parse(&raw.key).and_then(|key| key.kind().lane());
                let lane = lane.unwrap_or(Lane::UnreliableUnordered);
                counters.received(lane);
                let (weight, sender) = (raw.payload.len(), raw.sender().cloned());
                let dropped = inbox.push_weighing("", raw, weight);
                counters.displaced(lane, sender.as_ref(), dropped);
            };
            Ok(Box::new(session.declare_subscriber(&pattern).callback(callback).wait()?))
        });
        Subscription::new(inbox, declaration)
    }

    /// Sends a command to `node`, which has the role `To`, and returns its reply within `deadline`.
    #[must_use]
    pub fn command<To: NodeRole, C: Command + Route<R, To>>(
        &self,
        node: &NodeId,
        command: C,
        deadline: Duration,
    ) -> Pending<Result<C::Reply, CommandError>> {
        command_client::ask(&self.core.worker, &self.core.identity, node, command, deadline)
    }

    /// Returns the inbox of commands that the program has to carry out.
    #[must_use]
    pub fn requests(&self) -> &Inbox<Request> {
        &self.core.requests
    }

    /// Returns the inbox for an id conflict: the older node that has the same id as this one.
    ///
    /// A daemon that finds an entry here has to end. Any other node has already left the mesh and continues without
    /// it.
    #[must_use]
    pub fn displaced(&self) -> &Inbox<IdConflict> {
        &self.core.displaced
    }

    /// Returns the current state of the connection to the mesh.
    #[must_use]
    pub fn connection(&self) -> ConnectionState {
        self.core.connection.now()
    }

    /// Returns the inbox of connection changes; the first one is that the node has joined.
    ///
    /// A clone of the inbox outlives the node and also receives the final change.
    #[must_use]
    pub fn connection_changes(&self) -> &Inbox<ConnectionState> {
        self.core.connection.changes()
    }

    /// Returns the problems with received messages, as they are detected.
    ///
    /// The log contains the same problems as text, and so do the events of this node.
    #[must_use]
    pub fn problems(&self) -> &Diagnostics {
        self.core.reception.problems()
    }

    /// Returns the counter that the program bumps once per frame.
    #[must_use]
    pub fn frames(&self) -> &FrameCounter {
        &self.core.frames
    }

    /// Reports why the program has no window now, or `None` if it has one.
    ///
    /// The list of nodes shows it beside the state of the node within a tenth of a second.
    pub fn set_headless(&self, cause: Option<String>) {
        *self.core.headless.lock().unwrap_or_else(PoisonError::into_inner) = cause;
    }

    /// Queries the clock of another host's daemon repeatedly, to estimate its offset from the local clock.
    #[must_use]
    pub fn watch_clock(&self, host: &NodeId) -> ClockSync
    where
        ClockReading: ReceivedBy<R>,
    {
        let NodeContext { worker, reception, ticker, .. } = &*self.core;
        ClockSync::start(worker, reception, ticker, host)
    }

    /// Returns tempo and beat on this machine; reading them often is cheap.
    ///
    /// On first use the node subscribes to the daemon of its machine; the timeline is available a moment later.
    #[must_use]
    pub fn timeline(&self) -> &TimelineHandle {
        let core = &self.core;
        core.timeline.get_or_init(|| {
            let NodeContext { worker, reception, ticker, connection, config, .. } = &**core;
            TimelineHandle::start(worker, reception, ticker, connection, &config.host)
        })
    }

    /// Observes all nodes.
    #[must_use]
    pub fn watch_mesh(&self) -> MeshObserver
    where
        NodeInfo: ReceivedBy<R>,
    {
        MeshObserver::start(&self.core.worker, &self.core.reception, self.core.config.daemon.port())
    }

    /// Observes which nodes come and go, and the health of selected nodes.
    #[must_use]
    pub fn watch_presence(&self) -> PresenceObserver
    where
        NodeInfo: ReceivedBy<R>,
    {
        PresenceObserver::start(
            &self.core.worker,
            &self.core.reception,
            self.core.config.daemon.port(),
        )
    }

    /// Returns the publisher for the events of this node.
    #[must_use]
    pub const fn events(&self) -> &Publisher<Event> {
        &self.events
    }

    /// Returns the numbers of messages sent, received and dropped since the node joined.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.core.counters.totals()
    }

    /// Returns the same counters by lane, for lanes that carried any messages.
    #[must_use]
    pub fn lanes(&self) -> BTreeMap<Lane, LaneTraffic> {
        self.core.counters.lanes()
    }

    /// Returns the same counters for one lane. Does not allocate.
    #[must_use]
    pub fn lane(&self, lane: Lane) -> LaneTraffic {
        self.core.counters.lane(lane)
    }

    /// Returns the peers whose messages were lost, late, dropped or unusable, most affected first.
    ///
    /// At most [`Health::MAX_TROUBLES`](hana_protocol::message::Health::MAX_TROUBLES) entries.
    #[must_use]
    pub fn troubles(&self) -> Vec<MessageFault> {
        self.core.counters.troubles()
    }

    /// Counts messages of another protocol that were lost before the program could read them.
    ///
    /// An example is datagrams that the kernel had no room for.
    pub fn count_lost_input(&self, count: u64) {
        self.core.counters.input_lost(count);
    }

    /// Plays many parameters of a visualization over the mesh, in modulation batches.
    ///
    /// [`DirectLink::frame_stream`] does the same over a direct link.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn frame_stream(
        &self,
        info: &NodeInfo,
        settings: BatcherSettings,
    ) -> std::io::Result<BatchStream>
    where
        ModulationBatch: Route<R, Visualization>,
    {
        let key = Key::ModulationBatch(info.node.clone());
        let channel = self.core.channel(&key, ModulationBatch::LANE, Locality::Any);
        BatchStream::start(info, channel, settings)
    }

    /// Returns the info that this node publishes; a direct link to it is opened with this.
    ///
    /// Reads the addresses of the machine, which takes about 10 us.
    #[must_use]
    pub fn info(&self) -> NodeInfo {
        let interface = self.core.config.network.interface.as_deref();
        self.core.info_of(R::ROLE, &LocalAddresses::now(interface))
    }

    /// Returns this node as a controller that shares a show with others.
    ///
    /// Its priority is `HANA_PRIORITY`, or 0 if that is not set. A node has only one.
    #[must_use]
    pub fn operator(&self) -> OwnershipClient
    where
        OperatorState: Publishable<R>,
        Take: Route<R, Visualization>,
    {
        let NodeContext { worker, identity, config, .. } = &*self.core;
        let session = self.core.state_publisher(&Key::Operator(identity.id.clone()));
        OwnershipClient::new(identity, worker, session, config.priority)
    }

    /// Plays a visualization for as long as the session lives.
    ///
    /// The session uses a direct link, falls back to the mesh while there is none, and continues after the
    /// visualization restarts. All sessions of a node with one visualization are one session.
    #[must_use]
    pub fn play_session(&self, node: &NodeId) -> PlaySession
    where
        ModulationBatch: Route<R, Visualization>,
    {
        self.play_session_with(node, BatcherSettings::default())
    }

    /// Plays a visualization whose info is known.
    ///
    /// Every value is checked against its parameters from the start, and the session does not need the mesh to find
    /// it.
    #[must_use]
    pub fn play_session_of(&self, info: &NodeInfo) -> PlaySession
    where
        ModulationBatch: Route<R, Visualization>,
    {
        let (node, settings) = (&info.node, BatcherSettings::default());
        self.core.sessions.with(&self.core, node, settings, Some(info.clone()))
    }

    /// Plays a visualization with other batch settings than the default.
    ///
    /// If the node already has a session with this visualization, the settings of that session apply.
    #[must_use]
    pub fn play_session_with(&self, node: &NodeId, settings: BatcherSettings) -> PlaySession
    where
        ModulationBatch: Route<R, Visualization>,
    {
        self.core.sessions.with(&self.core, node, settings, None)
    }

    /// Returns the status of each visualization that this node plays in a session.
    #[must_use]
    pub fn play_sessions(&self) -> BTreeMap<NodeId, PlayStatus> {
        self.core.sessions.statuses()
    }

    /// Opens a direct link to a visualization, to play it.
    ///
    /// A [`play_session`](Self::play_session) manages its direct link by itself.
    #[must_use]
    pub fn play(&self, info: &NodeInfo) -> Pending<Result<DirectLink, DirectLinkError>>
    where
        Modulation: Route<R, Visualization>,
    {
        DirectLink::open(&self.core.config, &self.core.identity, &self.core.reception, info)
    }

    /// Returns whether the node received a shutdown command. Only visualizations receive one.
    #[must_use]
    pub fn is_shutdown_requested(&self) -> bool {
        self.core.shutdown.load(Ordering::Acquire)
    }
}

impl Node<Daemon> {
    /// Replies to clock queries for this host until the returned guard is dropped.
    #[must_use]
    pub fn answer_clock(&self) -> QueryableGuard {
        let NodeContext { worker, identity, config, .. } = &*self.core;
        QueryableGuard::new(clock_sync::answer(worker, identity, &config.host))
    }
}

impl Node<Visualization> {
    /// Returns the parameters with their current values.
    #[must_use]
    pub fn board(&self) -> &Arc<ParameterStore> {
        &self.core.board
    }

    /// Reports that the operator closed the visualization, and leaves the mesh.
    ///
    /// The supervising daemon then marks it as closed and does not restart it. This also works for a daemon that is
    /// not the parent process and cannot read the exit code. For a daemon that is not running at the moment, the
    /// visualization leaves a note in the file named by `HANA_GOODBYE`.
    ///
    /// Blocks only while it writes that file. The returned value resolves once the node has left. Wait for it before
    /// the process ends, but no longer than 0.3 s, since a link may be gone.
    #[must_use]
    pub fn close(self) -> Pending<()> {
        if let Some(note) = std::env::var_os(GOODBYE).filter(|note| !note.is_empty())
            && let Err(problem) = write_note(Path::new(&note))
        {
            let note = note.display();
            tracing::warn!(
                "{note}: a daemon that is away will not know that this was closed: {problem}"
            );
        }
        let id = self.id().clone();
        let text =
            if self.is_shutdown_requested() { "ends as it was told" } else { "closed by a person" };
        let event = Event { kind: EventKind::Closed, about: id, text: text.into() };
        if let Err(problem) = self.events.publish(&event) {
            tracing::warn!("that this is closed is not said: {problem}");
        }
        self.leave()
    }
}

impl<R: NodeRole> Drop for Node<R> {
    fn drop(&mut self) {
        self.core.leave(|| ());
    }
}

impl NodeContext {
    pub(crate) const fn worker(&self) -> &SessionWorker {
        &self.worker
    }

    pub(crate) fn leave(&self, done: impl FnOnce() + Send + 'static) {
        self.connection.leaves();
        // Sends queued messages before the session closes.
        let sure = self.sure.clone();
        self.worker.run(move |_| sure.flush(LAST_WORDS));
        self.declarations.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.info.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(played) = &self.played {
            played.worker.leave(|| ());
        }
        self.worker.leave(done);
    }

    pub(crate) fn channel(&self, key: &Key, lane: Lane, reach: Locality) -> Arc<OutgoingTopic> {
        // States are republished by their publisher, and messages to one node are acknowledged; neither needs the
        // buffer.
        let is_kept = match key.kind() {
            KeyKind::Custom | KeyKind::KindInbox => true,
            KeyKind::Inbox | KeyKind::Control => false,
            kind => lane.is_reliable() && kind.history() == TopicHistory::None,
        };
        Arc::new(OutgoingTopic::new(
            key.to_string(),
            lane,
            reach,
            self.identity.clone(),
            self.worker.clone(),
            self.reception.clone(),
            is_kept.then(|| self.archive().kept(&key.to_string(), lane)),
        ))
    }

    fn archive(&self) -> &Arc<RetransmitBuffer> {
        self.archive.get_or_init(|| {
            let sent =
                self.publisher::<SequenceHeartbeat>(&Key::LastSent(self.identity.id.clone()));
            RetransmitBuffer::open(&self.worker, &self.identity, sent, &self.ticker)
        })
    }

    /// Sends a message to one node until it replies.
    pub(crate) fn send<M: CustomMessage>(
        &self,
        node: &NodeId,
        message: &M,
        deadline: Duration,
    ) -> Pending<Result<Accepted, SendError>> {
        let payload = encode(M::TOPIC, message).map_err(|problem| problem.to_string());
        let address = Destination { node: node.clone(), topic: TopicName::of::<M>() };
        self.post.send(address, payload, M::LANE, deadline)
    }

    /// Creates the receiving end of a topic whose publishers keep messages for retransmission.
    pub(crate) fn recovery<M: Message>(
        &self,
        pattern: &str,
        deliver: impl Fn(RawMessage) + Send + Sync + 'static,
    ) -> Arc<GapRecovery> {
        let recovery =
            GapRecovery::new::<M>(pattern, &self.worker, &self.reception, &self.ticker, deliver);
        self.recoveries.add(&recovery);
        recovery
    }

    const fn outbox(&self, lane: Lane) -> &SendWorker {
        match lane {
            Lane::ReliableOrdered | Lane::ReliableUnordered => &self.sure,
            Lane::UnreliableSequenced | Lane::UnreliableUnordered => &self.fast,
        }
    }

    pub(crate) fn publisher<M: Message>(&self, key: &Key) -> Publisher<M> {
        Publisher::new(self.channel(key, M::LANE, Locality::Any), self.outbox(M::LANE).clone())
    }

    fn state_publisher<M: Message + PartialEq + Clone>(&self, key: &Key) -> StatePublisher<M> {
        let channel = self.channel(key, M::LANE, Locality::Any);
        StatePublisher::new(&self.worker, channel, self.outbox(M::LANE).clone(), &self.repeats)
    }

    /// Republishes states on reliable lanes that changed a while ago.
    pub(crate) fn repeat_states(&self, now: Instant) {
        self.repeats.say(&self.sure, now);
    }

    /// Publishes on the mesh a value that arrived over a direct link.
    pub(crate) fn echo(&self, channel: &Arc<OutgoingTopic>, value: f32) {
        if let Ok(payload) = codec::encode(&Modulation { value }) {
            // On this lane a new value replaces the queued one, so the queue is never full.
            self.fast.push(channel, payload).ok();
        }
    }

    pub(crate) fn subscribe<M: Message>(&self, pattern: &str) -> Subscription<Received<M>> {
        let policy =
            if M::LANE.drops_older() { OverflowPolicy::Latest } else { OverflowPolicy::DropOldest };
        let inbox = Inbox::new(policy, INBOX);
        let (filled, pattern) = (inbox.clone(), pattern.to_owned());
        let reception = self.reception.clone();
        let deliver = move |raw: RawMessage| {
            let Some(message) = reception.decode::<M>(&raw) else { return };
            reception.counters.received(M::LANE);
            let RawMessage { key, envelope, bytes, .. } = raw;
            let sender = envelope.as_ref().map(|envelope| envelope.from.clone());
            let received = Received { key: key.clone(), envelope, message };
            let dropped = filled.push_weighing(&key, received, bytes);
            reception.displaced(M::LANE, &key, sender.as_ref(), dropped);
        };
        let is_state = |kind: KeyKind| {
            kind.message() == Some(M::NAME) && kind.history() == TopicHistory::State
        };
        let is_recovered = M::LANE.is_reliable() && !KeyKind::ALL.into_iter().any(is_state);
        let (gate, arrive): (AdmissionFilter, Box<dyn Fn(RawMessage) + Send + Sync>) =
            if is_recovered {
                let recovery = self.recovery::<M>(&pattern, deliver);
                (AdmissionFilter::before_recovery::<M>(), Box::new(move |raw| recovery.arrive(raw)))
            } else {
                (AdmissionFilter::of::<M>(), Box::new(deliver))
            };
        let (gate, arrive) = (Arc::new(gate), Arc::new(arrive));
        let reception = self.reception.clone();
        // A parameter pattern also matches the key of the modulation batches.
        let is_other = |sample: &Sample| {
            M::NAME == Modulation::NAME && sample.key_expr().ends_with("/modulation/_batch")
        };
        let declaration = self.worker.declare(pattern.clone(), move |session| {
            let (gate, arrive, reception) =
                (Arc::clone(&gate), Arc::clone(&arrive), reception.clone());
            let callback = move |sample| {
                if is_other(&sample) {
                    return;
                }
                if let Some(raw) = admitted(&sample, M::MAX_BYTES, &gate, &reception) {
                    arrive(raw);
                }
            };
            Ok(Box::new(session.declare_subscriber(&pattern).callback(callback).wait()?))
        });
        Subscription::new(inbox, declaration)
    }

    /// Queries what other nodes keep on a key.
    pub(crate) fn ask<M: Message>(
        &self,
        pattern: String,
        deadline: Duration,
    ) -> Pending<Vec<Received<M>>> {
        state_query::ask(&self.worker, &self.reception, pattern, deadline)
    }

    /// Applies received modulation directly to the parameter store.
    fn take_modulation(
        self: &Arc<Self>,
        worker: &SessionWorker,
        entrance: ModulationInput,
    ) -> RegistrationGuard {
        let pattern = Topics::<Modulation>::modulation_of(&self.identity.id).pattern().to_owned();
        let (board, reception) = (Arc::clone(&self.board), self.reception.clone());
        let run = self.identity.instance;
        worker.declare(pattern.clone(), move |session| {
            let (board, reception, entrance) =
                (Arc::clone(&board), reception.clone(), entrance.clone());
            let callback = move |sample| {
                // A parameter pattern also matches the modulation batches, which are larger.
                let limit = ModulationBatch::MAX_BYTES;
                let raw = admitted(&sample, limit, &entrance.gate, &reception);
                let Some(raw) = raw else { return };
                let taken = take_values(&raw, run, &board, &reception, &entrance);
                if let Err(problem) = taken {
                    reception.complain(Modulation::LANE, problem);
                }
            };
            Ok(Box::new(session.declare_subscriber(&pattern).callback(callback).wait()?))
        })
    }

    /// Watches the liveliness tokens of controllers that have started to play this visualization.
    pub(crate) fn watch_new_players(&self, now: Instant) {
        let new = self.board.tell_hands(|hands| hands.take_unwatched(now));
        if !new.is_empty() {
            let watches: Vec<RegistrationGuard> =
                new.iter().map(|player| self.watch_player(player)).collect();
            self.declarations.lock().unwrap_or_else(PoisonError::into_inner).extend(watches);
        }
    }

    /// Watches the liveliness token of a controller, to detect when it comes and goes.
    fn watch_player(&self, player: &NodeId) -> RegistrationGuard {
        let pattern = format!("{}/{player}/alive/**", Key::ROOT);
        let board = Arc::clone(&self.board);
        self.worker.declare(pattern.clone(), move |session| {
            let way = session.zid().to_string();
            board.tell_hands(|hands| hands.reset_tokens(&way, Instant::now()));
            let board = Arc::clone(&board);
            let callback = move |sample: Sample| {
                let token = sample.key_expr().as_str();
                let Some(Key::Alive { node, role, zid }) = Key::parse(token) else { return };
                if !matches!(role, Role::App | Role::Bridge) {
                    return;
                }
                board.tell_hands(|hands| match sample.kind() {
                    SampleKind::Put => hands.token_added(&node, &zid, Instant::now()),
                    SampleKind::Delete => hands.token_removed(&node, &zid, Instant::now()),
                });
            };
            let tokens = session.liveliness().declare_subscriber(&pattern).history(true);
            Ok(Box::new(tokens.callback(callback).wait()?))
        })
    }

    /// Receives commands, both as queries, which get a reply, and as plain puts, which do not.
    fn take_commands(self: &Arc<Self>, worker: &SessionWorker, role: Role) -> RegistrationGuard {
        let key = Key::Control(self.identity.id.clone()).to_string();
        let core = Arc::downgrade(self);
        let answering = worker.clone();
        let gate = Arc::new(AdmissionFilter::of_commands());
        worker.declare(key.clone(), move |session| {
            let of_questions = (core.clone(), answering.clone(), Arc::clone(&gate));
            let questions = session
                .declare_queryable(key.clone())
                .complete(true)
                .callback(move |query: Query| {
                    let (core, worker, gate) = &of_questions;
                    let Some(core) = core.upgrade() else { return };
                    let envelope = envelope_of(query.attachment());
                    let key = query.key_expr().as_str();
                    if !gate.admit(key, envelope.as_ref(), &core.reception) {
                        return;
                    }
                    let raw = raw_parts(
                        key,
                        query.payload().unwrap_or(&zenoh::bytes::ZBytes::new()),
                        envelope,
                        &query.encoding().map(ToString::to_string).unwrap_or_default(),
                        Control::MAX_BYTES,
                    );
                    core.take_command(&raw, Some(query), role, worker);
                })
                .wait()?;
            let of_puts = (core.clone(), answering.clone(), Arc::clone(&gate));
            let puts = session
                .declare_subscriber(key.clone())
                .callback(move |sample| {
                    let (core, worker, gate) = &of_puts;
                    let Some(core) = core.upgrade() else { return };
                    let raw = admitted(&sample, Control::MAX_BYTES, gate, &core.reception);
                    if let Some(raw) = raw {
                        core.take_command(&raw, None, role, worker);
                    }
                })
                .wait()?;
            Ok(Box::new((questions, puts)))
        })
    }

    fn take_command(
        &self,
        raw: &RawMessage,
        query: Option<Query>,
        role: Role,
        worker: &SessionWorker,
    ) {
        let is_copy = raw.envelope.is_none()
            && self
                .copies
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_copy(&raw.payload, Instant::now());
        if is_copy {
            // The first copy of a query gets the reply.
            self.counters.late(Control::LANE, None, 1);
            return;
        }
        let from = raw.envelope.as_ref().map(|envelope| envelope.from.clone());
        let key = Key::Control(self.identity.id.clone()).to_string();
        let Some(control) = self.reception.decode::<Control>(raw) else {
            // The sender gets the same reason as the log.
            if let Some(query) = query {
                refuse_unread(worker, query, key, raw);
            }
            return;
        };
        self.counters.received(Control::LANE);
        let signature = self.identity.envelope(0).encode().unwrap_or_default();
        let (worker, reception) = (worker.clone(), self.reception.clone());
        let request = Request::new(control, from, key, query, worker, reception, signature);
        if !request.control().is_for(role) {
            let reason = match (request.control(), role) {
                (Control::Shutdown(_), Role::Daemon) => {
                    "a daemon is ended on its own machine, by Ctrl-C or SIGTERM".into()
                },
                (control, _) => {
                    format!("'{}' is no command for a node of role {role}", control.name())
                },
            };
            request.refuse(reason);
            return;
        }
        match request.control() {
            Control::Ping(_) => request.accept(Accepted {}),
            Control::Set(set) => match self.board.change_by(request.from(), set) {
                Ok(report) => request.accept(report),
                Err(problem) => request.refuse(problem.to_string()),
            },
            Control::Take(take) => match self.board.take(request.from(), take) {
                Ok(took) => request.accept(took),
                Err(problem) => request.refuse(problem.to_string()),
            },
            Control::Release(release) => match self.board.release(request.from(), release) {
                Ok(()) => request.accept(Accepted {}),
                Err(problem) => request.refuse(problem.to_string()),
            },
            Control::Shutdown(_) => {
                self.shutdown.store(true, Ordering::Release);
                self.config.news.tell();
                request.accept(Accepted {});
            },
            Control::Freeze(_) => self.override_by(request, Some(Override::Freeze)),
            Control::Blackout(_) if !self.config.draws_blackout => request.refuse(CANNOT_BLACK_OUT),
            Control::Blackout(_) => self.override_by(request, Some(Override::Blackout)),
            Control::Resume(_) => self.override_by(request, None),
            Control::Start(_)
            | Control::Stop(_)
            | Control::Restart(_)
            | Control::Kill(_)
            | Control::Acknowledge(_)
            | Control::Reload(_)
            | Control::Tempo(_)
            | Control::Play(_)
            | Control::Pause(_) => {
                let from = request.from().cloned();
                let dropped = self.requests.push("", request);
                self.counters.dropped(Control::LANE, from.as_ref(), dropped);
            },
        }
    }

    /// Returns why the program runs without a window, if it does.
    pub(crate) fn headless(&self) -> Option<String> {
        self.headless.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn override_by(&self, request: Request, what: Option<Override>) {
        self.board.put_in_force(what);
        request.accept(Accepted {});
    }

    fn info_of(&self, role: Role, addresses: &LocalAddresses) -> NodeInfo {
        NodeInfo {
            node: self.identity.id.clone(),
            kind: self.config.kind.clone(),
            role,
            host: self.config.host.clone(),
            pid: std::process::id(),
            instance: self.identity.instance,
            started_ms: self.joined_ms,
            version: env!("CARGO_PKG_VERSION").into(),
            program: self.config.program.clone(),
            parameters: self.board.declared(),
            messages: self.config.messages.clone(),
            play: self.played.as_ref().map(|end| end.endpoints(addresses)).unwrap_or_default(),
            listen: if role == Role::Daemon {
                addresses.endpoints(self.config.daemon.port())
            } else {
                vec![]
            },
        }
    }

    /// Republishes the node info with the current addresses.
    pub(crate) fn say_addresses(&self, addresses: &LocalAddresses) {
        let said = {
            let info = self.info.lock().unwrap_or_else(PoisonError::into_inner);
            info.as_ref().map(|(publisher, role)| publisher.set(&self.info_of(*role, addresses)))
        };
        if let Some(Err(problem)) = said {
            tracing::warn!("where this node can be reached is not said: {problem}");
        }
    }
}

/// One of the two inputs for modulation: the mesh or a direct link.
#[derive(Clone)]
struct ModulationInput {
    gate: Arc<AdmissionFilter>,
    echo: MeshEcho,
    by: PlayPath,
}

/// Applies a received value or modulation batch to the parameter store.
///
/// Messages that cannot be read were already reported. `run` is the instance of this node.
fn take_values(
    raw: &RawMessage,
    run: u64,
    board: &ParameterStore,
    reception: &InboundStats,
    entrance: &ModulationInput,
) -> Result<(), Diagnostic> {
    let envelope = raw.envelope.as_ref();
    let (key, sender) = (|| raw.key.clone(), || raw.sender().cloned());
    let refused = |problem| Diagnostic::ValueRefused { key: key(), sender: sender(), problem };
    let key_of = Key::parse(&raw.key);
    let is_frame = matches!(key_of, Some(Key::ModulationBatch(_)));
    let played = match key_of {
        Some(Key::Modulation { parameter, .. }) => {
            let Some(Modulation { value }) = reception.decode(raw) else { return Ok(()) };
            board.play(envelope, &parameter, value).map_err(refused)?
        },
        Some(Key::ModulationBatch(_)) => {
            let Some(frame) = reception.decode::<ModulationBatch>(raw) else { return Ok(()) };
            if frame.instance != run {
                let of = frame.instance;
                return Err(Diagnostic::OtherRun { key: key(), sender: sender(), of, run });
            }
            board.play_frame(envelope, frame).map_err(refused)?
        },
        _ => {
            let wanted = "parameter of one node";
            return Err(Diagnostic::NoSingleKey { key: key(), sender: sender(), wanted });
        },
    };
    let ApplyOutcome { taken, values, held, told } = played;
    // Other nodes on the mesh already receive a single value that arrives over the mesh.
    if !values.is_empty() && (is_frame || entrance.by == PlayPath::Direct) {
        entrance.echo.played(values);
    }
    if taken.taken > 0 {
        reception.counters.received(Modulation::LANE);
    }
    if taken.late > 0 {
        reception.counters.late(Modulation::LANE, raw.sender(), taken.late);
    }
    if held > 0 {
        reception.counters.held(Modulation::LANE, raw.sender(), held);
    }
    if let Some((by, count)) = told {
        reception.warn(Diagnostic::Held { key: key(), sender: sender(), by, count });
    }
    Ok(())
}

/// Writes the note that the visualization was closed.
///
/// Creates the daemon's directory again, since it may have been cleaned up meanwhile.
fn write_note(note: &Path) -> std::io::Result<()> {
    if let Some(directory) = note.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(note, "closed\n")
}

fn refuse_unread(worker: &SessionWorker, query: Query, key: String, raw: &RawMessage) {
    let Err(problem) = raw.decode::<Control>() else { return };
    let refused = hana_protocol::message::Refused {
        reason: format!("the command cannot be read: {problem}"),
    };
    let answer = hana_protocol::message::CommandReply::<Accepted>::Refused(refused);
    let Ok(payload) = codec::encode(&answer) else { return };
    worker.answer(query, move |_, query| {
        if let Err(problem) = query.reply(key, payload).encoding(Encoding::MESSAGE_PACK).wait() {
            tracing::warn!("a command was not answered: {problem}");
        }
    });
}

/// Waits until no other node has this id; the token of a node that just died may take a moment to disappear.
fn wait_until_free(session: &Session, id: &NodeId) -> Result<(), JoinError> {
    let deadline = Instant::now() + ID_CHECK;
    let tokens = format!("{}/{id}/alive/**", Key::ROOT);
    loop {
        let token = first_reply(|sender| {
            session
                .liveliness()
                .get(&tokens)
                .timeout(ID_CHECK)
                .callback(move |reply| {
                    if reply.result().is_ok() {
                        sender.try_send(()).ok();
                    }
                })
                .wait()
        });
        if token.is_none() {
            return Ok(());
        }
        let holder = holder_of(session, id);
        if holder.is_some() || Instant::now() >= deadline {
            return Err(JoinError::IdTaken(IdConflict { node: id.clone(), holder }));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Returns host and process id of the node that has this id, if it replies.
fn holder_of(session: &Session, id: &NodeId) -> Option<(NodeId, u32)> {
    first_reply(|sender| {
        session
            .get(Key::Info(id.clone()).to_string())
            .congestion_control(zenoh::qos::CongestionControl::Drop)
            .timeout(Duration::from_millis(300))
            .callback(move |reply| {
                if let Ok(sample) = reply.result() {
                    let raw = raw(sample, NodeInfo::MAX_BYTES);
                    if let Ok(info) = codec::decode::<NodeInfo>(&raw.payload, raw.encoding) {
                        sender.try_send((info.host, info.pid)).ok();
                    }
                }
            })
            .wait()
    })
}

/// Refines a "port in use" error: names the daemon that uses the port, if it belongs to this show.
fn second_daemon(problem: SessionError, config: &NodeConfig) -> JoinError {
    let resident = || {
        if !matches!(
            ProbeResult::at(config.daemon, MEETING),
            ProbeResult::Open(_) | ProbeResult::Guarded
        ) {
            return None;
        }
        let session = SessionKind::Client.open(config).ok()?;
        let zid = session.info().peers_zid().wait().next()?;
        let token = first_reply(|sender| {
            session
                .liveliness()
                .get(format!("{}/*/alive/*/{zid}", Key::ROOT))
                .timeout(ID_CHECK)
                .callback(move |reply| {
                    if let Ok(sample) = reply.result() {
                        sender.try_send(sample.key_expr().to_string()).ok();
                    }
                })
                .wait()
        })?;
        let node = Key::parse(&token)?.owner().clone();
        let (_, pid) = holder_of(&session, &node)?;
        session.close().ok();
        Some(JoinError::SecondDaemon { node, pid })
    };
    match problem {
        SessionError::PortInUse { .. } => resident().unwrap_or(JoinError::Session(problem)),
        problem => problem.into(),
    }
}

/// Returns the first reply to a query, or `None` if the query ends without one.
pub(crate) fn first_reply<T>(ask: impl FnOnce(flume::Sender<T>) -> zenoh::Result<()>) -> Option<T> {
    let (sender, receiver) = flume::bounded(1);
    ask(sender).ok()?;
    receiver.recv_timeout(ID_CHECK * 2).ok()
}

/// Creates the parameters with the declared values, or with those of the saved last look.
fn first_board(config: &NodeConfig) -> ParameterStore {
    let declared = config.parameters.clone();
    let board = ParameterStore::new(&config.id, declared, |name| config.playout_of(name));
    let board = board.with_vanishing_apps(config.when_app_vanishes);
    for left_out in config.last_look().map(|look| board.restore(look)).unwrap_or_default() {
        tracing::warn!("of the last look, this is left out: {left_out}");
    }
    board
}
