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

/// Who a node is, as its envelopes say, and where its sequences stand.
#[derive(Debug, Clone)]
pub(crate) struct SenderIdentity {
    pub(crate) id: NodeId,
    pub(crate) instance: u64,
    /// One sequence for each key, whatever publishes on it: a second publisher on a key goes on where the
    /// first one stopped, and a receiver does not take its first message for an old one.
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

    /// The envelope of the next message on `key`.
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

/// The thread that sends. A node has one for the reliable lanes and one for the others, so that neither
/// waits for the other; the program that publishes waits for neither.
#[derive(Clone)]
pub(crate) struct SendWorker {
    ready: flume::Sender<SendCommand>,
}

enum SendCommand {
    /// Something waits to be sent on this channel.
    Send(Arc<OutgoingTopic>),
    /// Somebody waits until all before this is sent.
    Tell(flume::Sender<()>),
}

/// What waits to be sent on one key, in one lane.
pub(crate) struct OutgoingTopic {
    key: String,
    lane: Lane,
    /// Where it goes: everywhere, or to others only (an echo of what reached us by another way).
    reach: Locality,
    /// Whether its receivers go by when its messages were sent: no wall clock that is set may change that.
    is_timed: bool,
    capacity: usize,
    identity: SenderIdentity,
    worker: SessionWorker,
    /// Where it is counted what becomes of them, and told what was thrown away.
    reception: InboundStats,
    waiting: Mutex<VecDeque<Vec<u8>>>,
    /// Held from taking a message out of the queue until it is sent, so that none overtakes another.
    sending: Mutex<()>,
    /// Told when there is room in the queue again.
    room: Condvar,
    scheduled: AtomicBool,
    sequence: Arc<AtomicU64>,
    /// What was sent, where it may be asked for again.
    kept: Option<Arc<TopicBuffer>>,
    /// Declared when it is first needed, by the sending thread, with the number of the session it lives in.
    publisher: Mutex<Option<(u64, zenoh::pubsub::Publisher<'static>)>>,
}

/// A queue of a reliable lane that is full.
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

    /// Puts a payload into the channel's queue and sees to it that it is sent. Does not block.
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
    /// Blocks until what was pushed before is sent, at most for `timeout`.
    pub(crate) fn flush(&self, timeout: Duration) {
        let (sent, all_sent) = flume::bounded(1);
        if self.ready.send(SendCommand::Tell(sent)).is_ok() {
            all_sent.recv_timeout(timeout).ok();
        }
    }
}

impl OutgoingTopic {
    /// How many messages wait at most. Enough for a burst; at 100 bytes and 1 kHz, a second of them.
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
        let is_timed = matches!(kind, Some(KeyKind::Modulation | KeyKind::ModulationFrame));
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

    /// Blocks until there is room in the queue of a reliable lane, at most for `timeout`.
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

    /// Sends a message, and what waits before it, in the caller's thread.
    pub(crate) fn send_at_once(&self, payload: Vec<u8>) -> Result<(), QueueFull> {
        self.queue(payload)?;
        self.send_waiting();
        Ok(())
    }

    /// The envelope that the next message will have, for state that is asked for between two changes.
    pub(crate) fn envelope(&self) -> Envelope {
        self.envelope_of(self.sequence.load(Ordering::Acquire).saturating_sub(1))
    }

    /// Sends at once, in the caller's thread: for threads that have nothing else to do.
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
            // It can be asked for when there is a way onto the mesh again.
            Err(_) if self.kept.is_some() => counters.sent(self.lane),
            Err(problem) => {
                counters.not_sent(self.lane);
                if self.worker.seat().is_some() {
                    tracing::warn!("{}: not sent: {problem}", self.key);
                }
            },
        }
    }

    /// Counts what was replaced by something newer before it came to be sent.
    pub(crate) fn count_replaced(&self, count: u64) {
        self.reception.counters.coalesced(self.lane, count);
    }

    /// Whether anybody listens. Asks Zenoh, which knows.
    pub(crate) fn is_heard(&self) -> bool {
        self.with_publisher(|publisher| publisher.matching_status().wait())
            .is_ok_and(|status| status.matching())
    }

    /// Does something with the publisher, which is declared when it is first needed.
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

/// How a lane rides on Zenoh. No lane blocks: a full link costs a message, never the sender's time. Each
/// lane has a priority of its own, so that none waits in another's queue.
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
