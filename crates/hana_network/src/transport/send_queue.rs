use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hana_protocol::contract::{Key, KeyKind};
use hana_protocol::id::NodeId;
use hana_protocol::wire::codec::Encoding;
use hana_protocol::wire::{Envelope, Lane};
use zenoh::Wait;
use zenoh::bytes::ZBytes;
use zenoh::qos::{CongestionControl, Priority, Reliability};
use zenoh::sample::Locality;

use crate::session::session_worker::{ActiveSession, SessionWorker};
use crate::time::steady_clock::steady_us;
use crate::time::wall_clock::unix_us;
use crate::transport::inbound::InboundStats;
use crate::transport::problem::{Diagnostic, QueueKind};
use crate::transport::retransmit_buffer::TopicBuffer;

/// The identity of a node in its envelopes, and the current sequence numbers.
#[derive(Debug, Clone)]
pub(crate) struct SenderIdentity {
    pub(crate) id: NodeId,
    pub(crate) instance: u64,
    /// One sequence per key, whatever publishes on it: a second publisher on a key continues the sequence of the
    /// first, so that receivers do not mistake its first message for an old one.
    sequences: Arc<Mutex<HashMap<String, Arc<AtomicU64>>>>,
}

impl SenderIdentity {
    pub(crate) fn new(id: NodeId, instance: u64) -> Self {
        Self { id, instance, sequences: Arc::default() }
    }

    fn sequence_of(&self, key: &str) -> Arc<AtomicU64> {
        let mut sequences = self.sequences.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(sequences.entry(key.into()).or_default())
    }

    /// Returns the envelope of the next message on `key`.
    pub(crate) fn next_envelope(&self, key: &str) -> Envelope {
        self.envelope(self.sequence_of(key).fetch_add(1, Ordering::AcqRel))
    }

    pub(crate) fn envelope(&self, sequence: u64) -> Envelope {
        self.envelope_at(sequence, i64::try_from(unix_us()).unwrap_or(i64::MAX))
    }

    fn envelope_at(&self, sequence: u64, at: i64) -> Envelope {
        Envelope { from: self.id.clone(), instance: self.instance, sequence, at }
    }
}

/// The send thread.
///
/// A node has one for the reliable lanes and one for the others, so that neither waits for the other; the publishing
/// program waits for neither.
#[derive(Clone)]
pub(crate) struct SendWorker {
    ready: flume::Sender<SendCommand>,
}

enum SendCommand {
    /// A message waits on this topic.
    Send(Arc<OutgoingTopic>),
    /// A caller waits until everything before this command is sent.
    Tell(flume::Sender<()>),
}

/// The send queue of one key, in one lane.
pub(crate) struct OutgoingTopic {
    key: String,
    lane: Lane,
    /// The destination: all nodes, or only remote ones (to forward what arrived here over another path).
    reach: Locality,
    /// Whether receivers depend on the time of sending: a change of the wall clock must not affect it.
    is_timed: bool,
    capacity: usize,
    identity: SenderIdentity,
    worker: SessionWorker,
    /// Counts the messages, and reports the dropped ones.
    reception: InboundStats,
    waiting: Mutex<VecDeque<Vec<u8>>>,
    /// Locked from taking a message out of the queue until it is sent, so that none overtakes another.
    sending: Mutex<()>,
    /// Notified when there is room in the queue again.
    room: Condvar,
    scheduled: AtomicBool,
    sequence: Arc<AtomicU64>,
    /// The sent messages, if they can be retransmitted.
    kept: Option<Arc<TopicBuffer>>,
    /// Declared on first use by the send thread; with the number of the session that it belongs to.
    publisher: Mutex<Option<(u64, zenoh::pubsub::Publisher<'static>)>>,
}

/// The queue of a reliable lane is full.
pub(crate) struct QueueFull;

impl SendWorker {
    pub(crate) fn start(name: &str) -> std::io::Result<Self> {
        let (ready, queue) = flume::unbounded();
        thread::Builder::new().name(format!("hana {name}")).spawn(move || {
            for job in queue {
                match job {
                    SendCommand::Send(channel) => channel.send_waiting(),
                    SendCommand::Tell(sent) => {
                        sent.send(()).ok();
                    },
                }
            }
        })?;
        Ok(Self { ready })
    }

    /// Adds a payload to the topic's queue and schedules its sending. Does not block.
    pub(crate) fn push(
        &self,
        channel: &Arc<OutgoingTopic>,
        payload: Vec<u8>,
    ) -> Result<(), QueueFull> {
        channel.queue(payload)?;
        if !channel.scheduled.swap(true, Ordering::AcqRel) {
            self.ready.send(SendCommand::Send(Arc::clone(channel))).ok();
        }
        Ok(())
    }
}

impl SendWorker {
    /// Blocks until everything pushed before is sent, for `timeout` at most.
    pub(crate) fn flush(&self, timeout: Duration) {
        let (sent, all_sent) = flume::bounded(1);
        if self.ready.send(SendCommand::Tell(sent)).is_ok() {
            all_sent.recv_timeout(timeout).ok();
        }
    }
}

impl OutgoingTopic {
    /// The maximum number of waiting messages. Enough for a burst: at 1 kHz, one second of messages.
    const CAPACITY: usize = 1024;

    pub(crate) fn new(
        key: String,
        lane: Lane,
        reach: Locality,
        identity: SenderIdentity,
        worker: SessionWorker,
        reception: InboundStats,
        kept: Option<Arc<TopicBuffer>>,
    ) -> Self {
        let sequence = identity.sequence_of(&key);
        let kind = Key::parse(&key).map(|key| key.kind());
        let is_timed = matches!(kind, Some(KeyKind::Modulation | KeyKind::ModulationBatch));
        Self {
            is_timed,
            key,
            lane,
            reach,
            capacity: if lane.drops_older() { 1 } else { Self::CAPACITY },
            identity,
            worker,
            reception,
            waiting: Mutex::new(VecDeque::new()),
            sending: Mutex::new(()),
            room: Condvar::new(),
            scheduled: AtomicBool::new(false),
            sequence,
            kept,
            publisher: Mutex::new(None),
        }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    fn envelope_of(&self, sequence: u64) -> Envelope {
        if self.is_timed {
            self.identity.envelope_at(sequence, steady_us())
        } else {
            self.identity.envelope(sequence)
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self, payload: Vec<u8>) -> Result<(), QueueFull> {
        let counters = &self.reception.counters;
        let mut waiting = self.waiting();
        let is_full = waiting.len() >= self.capacity;
        if is_full {
            if self.lane.is_reliable() {
                counters.not_sent(self.lane);
                return Err(QueueFull);
            }
            waiting.pop_front();
        }
        waiting.push_back(payload);
        drop(waiting);
        if is_full && self.lane.drops_older() {
            counters.coalesced(self.lane, 1);
        } else if is_full {
            counters.not_sent(self.lane);
            let (key, queue) = (self.key.clone(), QueueKind::Outbox);
            self.reception.problems().tell(Diagnostic::Dropped { key, queue, count: 1 });
        }
        Ok(())
    }

    /// Blocks until there is room in the queue of a reliable lane, for `timeout` at most.
    pub(crate) fn await_room(&self, timeout: Duration) {
        if self.lane.is_reliable() {
            let is_full = |waiting: &mut VecDeque<Vec<u8>>| waiting.len() >= self.capacity;
            drop(self.room.wait_timeout_while(self.waiting(), timeout, is_full));
        }
    }

    fn send_waiting(&self) {
        self.scheduled.store(false, Ordering::Release);
        loop {
            let sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(payload) = self.waiting().pop_front() else { return };
            self.room.notify_one();
            self.send(payload);
            drop(sending);
        }
    }

    /// Sends a message, and those waiting before it, in the calling thread.
    pub(crate) fn send_at_once(&self, payload: Vec<u8>) -> Result<(), QueueFull> {
        self.queue(payload)?;
        self.send_waiting();
        Ok(())
    }

    /// Returns the envelope of the last message, for state that is queried between two changes.
    pub(crate) fn envelope(&self) -> Envelope {
        self.envelope_of(self.sequence.load(Ordering::Acquire).saturating_sub(1))
    }

    /// Sends immediately in the calling thread: for threads that have nothing else to do.
    pub(crate) fn send(&self, payload: Vec<u8>) {
        let envelope = self.envelope_of(self.sequence.fetch_add(1, Ordering::AcqRel));
        let Ok(attachment) = envelope.encode() else { return };
        let (payload, attachment) = (ZBytes::from(payload), ZBytes::from(attachment));
        if let Some(kept) = &self.kept {
            kept.keep(envelope.sequence, payload.clone(), attachment.clone(), Instant::now());
        }
        let sent =
            self.with_publisher(|publisher| publisher.put(payload).attachment(attachment).wait());
        let counters = &self.reception.counters;
        match sent {
            Ok(()) => counters.sent(self.lane),
            // It can be retransmitted once the node is back on the mesh.
            Err(_) if self.kept.is_some() => counters.sent(self.lane),
            Err(problem) => {
                counters.not_sent(self.lane);
                if self.worker.seat().is_some() {
                    tracing::warn!("{}: not sent: {problem}", self.key);
                }
            },
        }
    }

    /// Counts messages that were replaced by newer ones before they were sent.
    pub(crate) fn count_replaced(&self, count: u64) {
        self.reception.counters.coalesced(self.lane, count);
    }

    /// Returns whether any subscriber matches, according to Zenoh.
    pub(crate) fn is_heard(&self) -> bool {
        self.with_publisher(|publisher| publisher.matching_status().wait())
            .is_ok_and(|status| status.matching())
    }

    /// Calls `act` with the publisher, which is declared on first use.
    fn with_publisher<T>(
        &self,
        act: impl FnOnce(&zenoh::pubsub::Publisher<'static>) -> zenoh::Result<T>,
    ) -> zenoh::Result<T> {
        let mut publisher = self.publisher.lock().unwrap_or_else(PoisonError::into_inner);
        let ActiveSession { session, number, .. } =
            self.worker.seat().ok_or("the node is off the mesh")?;
        if let Some((_, declared)) = publisher.as_ref().filter(|(of, _)| *of == number) {
            return act(declared);
        }
        let declared = declare(&session, &self.key, self.lane, self.reach)?;
        let outcome = act(&declared);
        *publisher = Some((number, declared));
        drop(publisher);
        outcome
    }
}

/// Returns the quality of service of a lane in Zenoh.
///
/// No lane blocks: a full link costs a message, never the sender's time. Each lane has its own priority, so that none
/// waits in another's queue.
pub(crate) const fn quality(lane: Lane) -> (Priority, Reliability, bool) {
    match lane {
        Lane::UnreliableSequenced => (Priority::RealTime, Reliability::BestEffort, true),
        Lane::ReliableOrdered => (Priority::InteractiveHigh, Reliability::Reliable, true),
        Lane::UnreliableUnordered => (Priority::Data, Reliability::BestEffort, false),
        Lane::ReliableUnordered => (Priority::DataLow, Reliability::Reliable, false),
    }
}

fn declare(
    session: &zenoh::Session,
    key: &str,
    lane: Lane,
    reach: Locality,
) -> zenoh::Result<zenoh::pubsub::Publisher<'static>> {
    let (priority, reliability, express) = quality(lane);
    session
        .declare_publisher(key.to_owned())
        .encoding(Encoding::MESSAGE_PACK)
        .congestion_control(CongestionControl::Drop)
        .priority(priority)
        .reliability(reliability)
        .express(express)
        .allowed_destination(reach)
        .wait()
}
