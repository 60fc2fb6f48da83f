use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hana_protocol::contract::routes::{Publishable, ReceivedBy, Route};
use hana_protocol::contract::{Key, Topic, Topics};
use hana_protocol::id::NodeId;
use hana_protocol::id::role::NodeRole;
use hana_protocol::message::{
    Command, Counters, Event, LaneTraffic, LogLine, MessageFault, NodeInfo,
};
use hana_protocol::wire::{Lane, Message};
use hana_time::ClockReading;

use crate::config::network_settings::NetworkSettings;
use crate::context::node_context::{INBOX_CAPACITY, NodeContext};
use crate::node::node_shared::NodeShared;
use crate::presence::id_conflict::IdConflict;
use crate::presence::mesh_observer::{MeshObserver, PresenceObserver};
use crate::rpc::command_client::{CommandError, send_command};
use crate::rpc::incoming_command::Request;
use crate::session::connection::ConnectionState;
use crate::session::local_addresses::LocalAddresses;
use crate::state::log_tail;
use crate::state::log_tail::LogTail;
use crate::state::state_publisher::StatePublisher;
use crate::state::state_query;
use crate::state::state_query::QueryableGuard;
use crate::sync::inbox::{Inbox, OverflowPolicy};
use crate::sync::pending::Pending;
use crate::time::clock_sync::ClockSync;
use crate::time::timeline_handle::TimelineHandle;
use crate::transport::diagnostic::Diagnostics;
use crate::transport::inbound::subscription::Subscription;
use crate::transport::outbound::publisher::Publisher;
use crate::transport::raw_message::RawMessage;
use crate::transport::received::Received;

/// A node on the mesh, in the role `R`. It leaves the mesh when it is dropped.
///
/// No method blocks, except those with `wait` in their name.
pub struct Node<R: NodeRole> {
    pub(super) shared: Arc<NodeShared>,
    role: PhantomData<fn(R)>,
}

/// The maximum size, in bytes, of payloads that raw subscriptions read.
const MAX_RAW_BYTES: usize = 1 << 20;

impl<R: NodeRole> Node<R> {
    pub(super) const fn new(shared: Arc<NodeShared>) -> Self {
        Self { shared, role: PhantomData }
    }

    /// Returns the id of this node.
    #[must_use]
    pub fn id(&self) -> &NodeId {
        &self.shared.context.identity.id
    }

    /// Returns the instance number, as in the node info and in the envelopes that the node sends.
    #[must_use]
    pub fn instance(&self) -> u64 {
        self.shared.context.identity.instance
    }

    /// Returns the host of this node.
    #[must_use]
    pub fn host(&self) -> &NodeId {
        &self.shared.context.config.host
    }

    /// Returns the network settings, such as the show.
    #[must_use]
    pub fn network(&self) -> &NetworkSettings {
        self.shared.context.config.network()
    }

    /// Leaves the mesh cleanly: undeclares everything, then closes the session.
    #[must_use]
    pub fn leave(self) -> Pending<()> {
        let (promise, pending) = Pending::new();
        self.shared.leave(move || promise.fulfil(()));
        pending
    }

    /// Returns a publisher for a topic.
    #[must_use]
    pub fn publisher<M: Publishable<R>>(&self, topic: &Topic<M>) -> Publisher<M> {
        self.shared.context.publisher(topic.key())
    }

    /// Returns a publisher for a state: a value that nodes receive even if they join after it was published.
    #[must_use]
    pub fn state_publisher<M: Publishable<R> + PartialEq + Clone>(
        &self,
        topic: &Topic<M>,
    ) -> StatePublisher<M> {
        self.shared.context.state_publisher(topic.key())
    }

    /// Subscribes to topics.
    ///
    /// On `UnreliableSequenced`, the inbox keeps only the newest message of each key; on other lanes, the newest 4,096
    /// messages.
    #[must_use]
    pub fn subscribe<M: Message + ReceivedBy<R>>(
        &self,
        topics: impl Into<Topics<M>>,
    ) -> Subscription<Received<M>> {
        self.shared.context.subscribe(topics.into().pattern())
    }

    /// Queries the stored messages of these topics from other nodes: the current state, or the last lines of a log.
    ///
    /// Resolves once all queried nodes have replied, or when `deadline` has passed.
    #[must_use]
    pub fn query<M: Message + ReceivedBy<R>>(
        &self,
        topics: impl Into<Topics<M>>,
        deadline: Duration,
    ) -> Pending<Vec<Received<M>>> {
        self.shared.context.query(topics.into().pattern().to_owned(), deadline)
    }

    /// Follows the log of a visualization or a daemon: first the lines that its daemon stores, then new lines.
    ///
    /// The returned [`LogTail`] keeps the last `most` lines.
    #[must_use]
    pub fn tail_log(&self, of: &NodeId, most: usize) -> LogTail
    where
        LogLine: ReceivedBy<R>,
    {
        let topics = Topics::<LogLine>::log_of(of);
        // The subscription comes first, so that no line between the stored lines and the new ones is missed.
        let coming = self.subscribe(topics.clone());
        LogTail::new(of, coming, self.query(topics, log_tail::QUERY_TIMEOUT), most)
    }

    /// Replies to each query on a topic with the messages that `kept` returns when the query arrives.
    ///
    /// `kept` runs on a thread of the node and should return quickly.
    #[must_use]
    pub fn reply_to<M: Publishable<R>>(
        &self,
        topic: &Topic<M>,
        kept: impl Fn() -> Vec<M> + Send + Sync + 'static,
    ) -> QueryableGuard {
        let context = &self.shared.context;
        let (worker, identity) = (&context.session_worker, &context.identity);
        QueryableGuard::new(state_query::reply_to_queries(worker, identity, topic.key(), kept))
    }

    /// Subscribes to all messages on `key_expression`, as bytes.
    #[must_use]
    pub fn subscribe_raw(&self, key_expression: &str) -> Subscription<RawMessage> {
        let inbox = Inbox::new(OverflowPolicy::DropOldest, INBOX_CAPACITY);
        let context = &self.shared.context;
        let (received, counters) = (inbox.clone(), Arc::clone(&context.inbound.counters));
        let registration = context.session_worker.subscribe(key_expression, move |sample| {
            let raw = RawMessage::from_sample(&sample, MAX_RAW_BYTES);
            let lane = Key::parse(&raw.key).and_then(|key| key.kind().lane());
            let lane = lane.unwrap_or(Lane::UnreliableUnordered);
            counters.received(lane);
            let (size, sender) = (raw.payload.len(), raw.sender().cloned());
            let dropped = received.push_sized("", raw, size);
            counters.displaced(lane, sender.as_ref(), dropped);
        });
        Subscription::new(inbox, registration)
    }

    /// Sends a command to `node`, which has the role `To`, and returns its reply within `deadline`.
    #[must_use]
    pub fn command<To: NodeRole, C: Command + Route<R, To>>(
        &self,
        node: &NodeId,
        command: C,
        deadline: Duration,
    ) -> Pending<Result<C::Reply, CommandError>> {
        let context = &self.shared.context;
        send_command(&context.session_worker, &context.identity, node, command, deadline)
    }

    /// Returns the inbox of requests that the program must carry out.
    #[must_use]
    pub fn requests(&self) -> &Inbox<Request> {
        &self.shared.requests
    }

    /// Returns the inbox of id conflicts. An entry names the older node with the same id as this node.
    ///
    /// A daemon that receives an entry must exit. Any other node has already left the mesh when the entry arrives, and
    /// its program continues without the mesh.
    #[must_use]
    pub fn id_conflicts(&self) -> &Inbox<IdConflict> {
        &self.shared.id_conflicts
    }

    /// Returns the current state of the connection to the mesh.
    #[must_use]
    pub fn connection(&self) -> ConnectionState {
        self.shared.context.connection.now()
    }

    /// Returns the inbox of connection changes. The first entry reports that the node has joined.
    ///
    /// A clone of the inbox remains valid after the node is dropped, and receives the final change too.
    #[must_use]
    pub fn connection_changes(&self) -> &Inbox<ConnectionState> {
        self.shared.context.connection.changes()
    }

    /// Returns the queue of diagnostics about messages.
    ///
    /// The log, and the events of this node, contain the same faults as text.
    #[must_use]
    pub fn diagnostics(&self) -> &Diagnostics {
        self.shared.context.inbound.problems()
    }

    /// Queries the clock of another host's daemon repeatedly, to estimate the offset of that clock from the local
    /// clock.
    #[must_use]
    pub fn watch_clock(&self, host: &NodeId) -> ClockSync
    where
        ClockReading: ReceivedBy<R>,
    {
        let NodeContext { session_worker, inbound, timer, .. } = &*self.shared.context;
        ClockSync::start(session_worker, inbound, timer, host)
    }

    /// Returns the tempo and the beat on this machine. Frequent calls are cheap.
    ///
    /// On the first call, the node subscribes to the daemon of its machine, so the timeline is available a moment
    /// later.
    #[must_use]
    pub fn timeline(&self) -> &TimelineHandle {
        self.shared.timeline()
    }

    /// Observes all nodes.
    #[must_use]
    pub fn watch_mesh(&self) -> MeshObserver
    where
        NodeInfo: ReceivedBy<R>,
    {
        MeshObserver::start(&self.shared.context)
    }

    /// Observes the arrival and departure of all nodes, and the health of selected nodes.
    #[must_use]
    pub fn watch_presence(&self) -> PresenceObserver
    where
        NodeInfo: ReceivedBy<R>,
    {
        PresenceObserver::start(&self.shared.context)
    }

    /// Returns the publisher for the events of this node.
    #[must_use]
    pub fn events(&self) -> &Publisher<Event> {
        &self.shared.events
    }

    /// Returns the numbers of messages sent, received and dropped since the node joined.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.context.inbound.counters.totals()
    }

    /// Returns the same counters for each lane that carried messages.
    #[must_use]
    pub fn lanes(&self) -> BTreeMap<Lane, LaneTraffic> {
        self.shared.context.inbound.counters.lanes()
    }

    /// Returns the same counters for one lane. Does not allocate.
    #[must_use]
    pub fn lane(&self, lane: Lane) -> LaneTraffic {
        self.shared.context.inbound.counters.lane(lane)
    }

    /// Returns the peers whose messages were lost, late, dropped or unusable; the peer with the most faults comes
    /// first.
    ///
    /// Contains at most [`Health::MAX_TROUBLES`](hana_protocol::message::Health::MAX_TROUBLES) entries.
    #[must_use]
    pub fn troubles(&self) -> Vec<MessageFault> {
        self.shared.context.inbound.counters.troubles()
    }

    /// Counts messages of another protocol that were lost before the program could read them.
    ///
    /// An example is datagrams that the kernel dropped because its buffer was full.
    pub fn count_lost_input(&self, count: u64) {
        self.shared.context.inbound.counters.input_lost(count);
    }

    /// Returns the info that this node publishes. A controller needs it to open a direct link to this node.
    ///
    /// Reads the addresses of the machine, which takes about 10 µs.
    #[must_use]
    pub fn info(&self) -> NodeInfo {
        let interface = self.shared.context.config.network.interface.as_deref();
        self.shared.info(&LocalAddresses::now(interface))
    }

    /// Returns whether the node received a shutdown command. Only visualizations receive this command.
    #[must_use]
    pub fn is_shutdown_requested(&self) -> bool {
        self.shared.is_shutdown_requested.load(Ordering::Acquire)
    }
}

impl<R: NodeRole> Drop for Node<R> {
    fn drop(&mut self) {
        self.shared.leave(|| ());
    }
}
