use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::sync::lock::Mutex;
use hana_protocol::contract::{Key, KeyKind, TopicHistory};
use hana_protocol::message::{Modulation, SequenceHeartbeat};
use hana_protocol::wire::{Lane, Message};
use zenoh::sample::Locality;

use crate::config::node_config::NodeConfig;
use crate::context::senders::Senders;
use crate::session::attachment::Attachment;
use crate::session::connection::ConnectionWatch;
use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::state::state_publisher::{Republisher, StatePublisher};
use crate::state::state_query;
use crate::sync::inbox::{Inbox, OverflowPolicy};
use crate::sync::pending::Pending;
use crate::sync::timer::TimerThread;
use crate::transport::counters::NodeCounters;
use crate::transport::inbound::admission::AdmissionFilter;
use crate::transport::inbound::gap_recovery::{GapRecovery, RecoveryRegistry};
use crate::transport::inbound::inbound_stats::InboundStats;
use crate::transport::inbound::subscription::Subscription;
use crate::transport::outbound::publisher::Publisher;
use crate::transport::outbound::retransmit_buffer::RetransmitBuffer;
use crate::transport::outbound::send_queue::OutgoingTopic;
use crate::transport::outbound::sender_identity::SenderIdentity;
use crate::transport::raw_message::RawMessage;
use crate::transport::received::Received;

/// The parts that all subsystems of a node share: settings, identity, session, send threads, counters and timer.
///
/// The node owns it. All other values that outlive a call refer to it weakly, and stop when the node is dropped.
pub(crate) struct NodeContext {
    pub(crate) config: Arc<NodeConfig>,
    pub(crate) identity: SenderIdentity,
    pub(crate) session_worker: SessionWorker,
    pub(crate) connection: ConnectionWatch,
    pub(crate) attachment: Arc<Attachment>,
    pub(crate) senders: Senders,
    pub(crate) inbound: InboundStats,
    pub(crate) timer: TimerThread,
    recoveries: RecoveryRegistry,
    /// The buffer for retransmission, created with the first reliable topic.
    retransmit_buffer: OnceLock<Arc<RetransmitBuffer>>,
    republisher: Republisher,
    registrations: Mutex<Vec<RegistrationGuard>>,
}

/// The capacity of each subscription's inbox, in messages.
pub(crate) const INBOX_CAPACITY: usize = 4096;
/// The time limit for sending queued messages when a node leaves.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(200);

impl NodeContext {
    pub(crate) fn new(
        config: Arc<NodeConfig>,
        identity: SenderIdentity,
        session_worker: SessionWorker,
        connection: ConnectionWatch,
    ) -> std::io::Result<Arc<Self>> {
        let counters = Arc::new(NodeCounters::default());
        Ok(Arc::new(Self {
            attachment: Attachment::new(
                Arc::clone(&config),
                session_worker.clone(),
                connection.clone(),
            ),
            inbound: InboundStats::new(counters, config.change_counter.clone()),
            config,
            identity,
            session_worker,
            connection,
            senders: Senders::start()?,
            timer: TimerThread::start()?,
            recoveries: RecoveryRegistry::default(),
            retransmit_buffer: OnceLock::new(),
            republisher: Republisher::default(),
            registrations: Mutex::default(),
        }))
    }

    /// Keeps registrations alive until the node leaves.
    pub(crate) fn keep(&self, registrations: impl IntoIterator<Item = RegistrationGuard>) {
        self.registrations.lock().extend(registrations);
    }

    /// Leaves the mesh: sends queued messages, undeclares everything and closes the session; then calls `done`.
    pub(crate) fn leave(&self, done: impl FnOnce() + Send + 'static) {
        self.connection.leaves();
        let reliable = self.senders.reliable.clone();
        self.session_worker.run(move |_| reliable.flush(FLUSH_TIMEOUT));
        self.registrations.lock().clear();
        self.session_worker.leave(done);
    }

    pub(crate) fn outgoing_topic(
        &self,
        key: &Key,
        lane: Lane,
        reach: Locality,
    ) -> Arc<OutgoingTopic> {
        // Neither states nor messages to one node need the buffer: states are republished by their publisher, and
        // messages to one node are acknowledged.
        let is_kept = match key.kind() {
            KeyKind::Custom | KeyKind::KindInbox => true,
            KeyKind::Inbox | KeyKind::Control => false,
            kind => lane.is_reliable() && kind.history() == TopicHistory::None,
        };
        let key = key.to_string();
        Arc::new(OutgoingTopic::new(
            key.clone(),
            lane,
            reach,
            self.identity.clone(),
            self.session_worker.clone(),
            self.inbound.reports(),
            is_kept.then(|| self.retransmit_buffer().topic(&key, lane)),
        ))
    }

    fn retransmit_buffer(&self) -> &Arc<RetransmitBuffer> {
        self.retransmit_buffer.get_or_init(|| {
            let sent =
                self.publisher::<SequenceHeartbeat>(&Key::LastSent(self.identity.id.clone()));
            RetransmitBuffer::open(&self.session_worker, &self.identity, sent, &self.timer)
        })
    }

    pub(crate) fn publisher<M: Message>(&self, key: &Key) -> Publisher<M> {
        let topic = self.outgoing_topic(key, M::LANE, Locality::Any);
        Publisher::new(topic, self.senders.of_lane(M::LANE).clone())
    }

    pub(crate) fn state_publisher<M: Message + PartialEq + Clone>(
        &self,
        key: &Key,
    ) -> StatePublisher<M> {
        let topic = self.outgoing_topic(key, M::LANE, Locality::Any);
        let sender = self.senders.of_lane(M::LANE).clone();
        StatePublisher::new(&self.session_worker, topic, sender, &self.republisher)
    }

    /// Republishes the states on reliable lanes for which a republication is due.
    pub(crate) fn republish_states(&self, now: Instant) {
        self.republisher.republish(&self.senders.reliable, now);
    }

    /// Queries the state that other nodes have stored for the keys of a pattern.
    pub(crate) fn query<M: Message>(
        &self,
        pattern: String,
        deadline: Duration,
    ) -> Pending<Vec<Received<M>>> {
        state_query::query_states(&self.session_worker, &self.inbound, pattern, deadline)
    }

    /// Creates the receiving end of a topic whose publishers can retransmit messages.
    pub(crate) fn recovery<M: Message>(
        &self,
        pattern: &str,
        deliver: impl Fn(RawMessage) + Send + Sync + 'static,
    ) -> Arc<GapRecovery> {
        let (worker, inbound) = (&self.session_worker, &self.inbound);
        let recovery = GapRecovery::new::<M>(pattern, worker, inbound, &self.timer, deliver);
        self.recoveries.add(&recovery);
        recovery
    }

    /// Subscribes to a pattern.
    ///
    /// On a reliable lane, lost messages are requested again, except states, which are republished.
    pub(crate) fn subscribe<M: Message>(&self, pattern: &str) -> Subscription<Received<M>> {
        let policy = if M::LANE.drops_older() {
            OverflowPolicy::KeepLatestPerKey
        } else {
            OverflowPolicy::DropOldest
        };
        let inbox = Inbox::new(policy, INBOX_CAPACITY);
        let (received, inbound) = (inbox.clone(), self.inbound.clone());
        let deliver = move |raw: RawMessage| {
            let Some(message) = inbound.decode::<M>(&raw) else { return };
            inbound.counters.received(M::LANE);
            let RawMessage { key, envelope, bytes, .. } = raw;
            let sender = envelope.as_ref().map(|envelope| envelope.from.clone());
            let message = Received { key: key.clone(), envelope, message };
            let dropped = received.push_sized(&key, message, bytes);
            inbound.report_overflow(M::LANE, &key, sender.as_ref(), dropped);
        };
        let is_state = |kind: KeyKind| {
            kind.message() == Some(M::NAME) && kind.history() == TopicHistory::State
        };
        let is_recovered = M::LANE.is_reliable() && !KeyKind::ALL.into_iter().any(is_state);
        let (filter, receive): (AdmissionFilter, Box<dyn Fn(RawMessage) + Send + Sync>) =
            if is_recovered {
                let recovery = self.recovery::<M>(pattern, deliver);
                (AdmissionFilter::for_reliable::<M>(), Box::new(move |raw| recovery.arrive(raw)))
            } else {
                (AdmissionFilter::for_message::<M>(), Box::new(deliver))
            };
        let inbound = self.inbound.clone();
        let registration = self.session_worker.subscribe(pattern, move |sample| {
            // The pattern for single parameters also matches the key of the modulation batches.
            let is_batch =
                M::NAME == Modulation::NAME && sample.key_expr().ends_with("/modulation/_batch");
            if !is_batch && let Some(raw) = inbound.admit_sample(&sample, M::MAX_BYTES, &filter) {
                receive(raw);
            }
        });
        Subscription::new(inbox, registration)
    }
}
