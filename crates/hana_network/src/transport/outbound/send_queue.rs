use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::sync::lock::{Condvar, Mutex, MutexGuard};
use hana_protocol::contract::{Key, KeyKind};
use hana_protocol::wire::codec::Encoding;
use hana_protocol::wire::{Envelope, Lane};
use zenoh::Wait;
use zenoh::bytes::ZBytes;
use zenoh::qos::CongestionControl;
use zenoh::sample::Locality;

use crate::clock::steady_clock::steady_us;
use crate::session::session_worker::{ActiveSession, SessionWorker};
use crate::transport::counters::NodeCounters;
use crate::transport::diagnostic::{Diagnostic, Diagnostics, QueueKind};
use crate::transport::outbound::lane_qos::zenoh_qos;
use crate::transport::outbound::sender_identity::SenderIdentity;
use crate::transport::outbound::topic_buffer::TopicBuffer;

/// The handle of a send thread.
///
/// A node has one send thread for the reliable lanes and one for the others, so that neither waits for the other. The
/// publishing program does not wait for either.
#[derive(Clone)]
pub(crate) struct SendWorker {
    command_tx: flume::Sender<SendCommand>,
}

enum SendCommand {
    /// A message waits on this topic.
    Send(Arc<OutgoingTopic>),
    /// A caller waits until all messages queued before this command are sent.
    Flush(flume::Sender<()>),
}

/// The send queue of one key, in one lane.
pub(crate) struct OutgoingTopic {
    key: String,
    lane: Lane,
    /// The destination: all nodes, or only remote nodes (to forward a message that arrived here over another path).
    reach: Locality,
    /// Whether receivers use the time of sending. If so, the time comes from the steady clock, which is never set.
    is_timed: bool,
    capacity: usize,
    identity: SenderIdentity,
    worker: SessionWorker,
    counters: Arc<NodeCounters>,
    /// The queue for reports of dropped messages.
    diagnostics: Diagnostics,
    waiting: Mutex<VecDeque<Vec<u8>>>,
    /// Locked while a message is taken from the queue and sent, so that no message overtakes another.
    sending: Mutex<()>,
    /// Notified when the queue has room again.
    room: Condvar,
    scheduled: AtomicBool,
    sequence: Arc<AtomicU64>,
    /// The sent messages, if they can be retransmitted.
    buffer: Option<Arc<TopicBuffer>>,
    /// The Zenoh publisher with the number of its session; declared by the send thread on first use.
    publisher: Mutex<Option<(u64, zenoh::pubsub::Publisher<'static>)>>,
}

/// The error that the queue of a reliable lane is full.
pub(crate) struct QueueFull;

impl SendWorker {
    pub(crate) fn start(name: &str) -> std::io::Result<Self> {
        let (command_tx, command_rx) = flume::unbounded();
        thread::Builder::new().name(format!("hana {name}")).spawn(move || {
            for command in command_rx {
                match command {
                    SendCommand::Send(topic) => topic.send_waiting(),
                    SendCommand::Flush(flushed_tx) => {
                        flushed_tx.send(()).ok();
                    },
                }
            }
        })?;
        Ok(Self { command_tx })
    }

    /// Adds a payload to the topic's queue, and schedules the topic for sending. Does not block.
    pub(crate) fn push(
        &self,
        topic: &Arc<OutgoingTopic>,
        payload: Vec<u8>,
    ) -> Result<(), QueueFull> {
        topic.queue(payload)?;
        if !topic.scheduled.swap(true, Ordering::AcqRel) {
            self.command_tx.send(SendCommand::Send(Arc::clone(topic))).ok();
        }
        Ok(())
    }
}

impl SendWorker {
    /// Blocks until all messages pushed before this call are sent, at most for `timeout`.
    pub(crate) fn flush(&self, timeout: Duration) {
        let (flushed_tx, flushed_rx) = flume::bounded(1);
        if self.command_tx.send(SendCommand::Flush(flushed_tx)).is_ok() {
            flushed_rx.recv_timeout(timeout).ok();
        }
    }
}

impl OutgoingTopic {
    /// The maximum number of waiting messages: at 1 kHz, the messages of one second.
    const CAPACITY: usize = 1024;

    pub(crate) fn new(
        key: String,
        lane: Lane,
        reach: Locality,
        identity: SenderIdentity,
        worker: SessionWorker,
        (counters, diagnostics): (Arc<NodeCounters>, Diagnostics),
        buffer: Option<Arc<TopicBuffer>>,
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
            counters,
            diagnostics,
            waiting: Mutex::new(VecDeque::new()),
            sending: Mutex::new(()),
            room: Condvar::new(),
            scheduled: AtomicBool::new(false),
            sequence,
            buffer,
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
        self.waiting.lock()
    }

    fn queue(&self, payload: Vec<u8>) -> Result<(), QueueFull> {
        let counters = &self.counters;
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
            self.diagnostics.report(Diagnostic::Dropped { key, queue, count: 1 });
        }
        Ok(())
    }

    /// Blocks until the queue of a reliable lane has room, at most for `timeout`.
    pub(crate) fn await_room(&self, timeout: Duration) {
        if self.lane.is_reliable() {
            let is_full = |waiting: &mut VecDeque<Vec<u8>>| waiting.len() >= self.capacity;
            drop(self.room.wait_timeout_while(self.waiting(), timeout, is_full));
        }
    }

    fn send_waiting(&self) {
        self.scheduled.store(false, Ordering::Release);
        loop {
            let sending = self.sending.lock();
            let Some(payload) = self.waiting().pop_front() else { return };
            self.room.notify_one();
            self.send(payload);
            drop(sending);
        }
    }

    /// Sends a message in the calling thread, after the messages that wait before it.
    pub(crate) fn send_at_once(&self, payload: Vec<u8>) -> Result<(), QueueFull> {
        self.queue(payload)?;
        self.send_waiting();
        Ok(())
    }

    /// Returns the envelope of the last message, for replies to queries of a state.
    pub(crate) fn envelope(&self) -> Envelope {
        self.envelope_of(self.sequence.load(Ordering::Acquire).saturating_sub(1))
    }

    /// Sends a message immediately in the calling thread, which must have no other work.
    pub(crate) fn send(&self, payload: Vec<u8>) {
        let envelope = self.envelope_of(self.sequence.fetch_add(1, Ordering::AcqRel));
        let Ok(attachment) = envelope.encode() else { return };
        let (payload, attachment) = (ZBytes::from(payload), ZBytes::from(attachment));
        if let Some(buffer) = &self.buffer {
            buffer.store(envelope.sequence, payload.clone(), attachment.clone(), Instant::now());
        }
        let sent =
            self.with_publisher(|publisher| publisher.put(payload).attachment(attachment).wait());
        let counters = &self.counters;
        match sent {
            Ok(()) => counters.sent(self.lane),
            // The message can be retransmitted when the node is back on the mesh.
            Err(_) if self.buffer.is_some() => counters.sent(self.lane),
            Err(problem) => {
                counters.not_sent(self.lane);
                if self.worker.current().is_some() {
                    tracing::warn!("{}: cannot send: {problem}", self.key);
                }
            },
        }
    }

    /// Counts messages that were replaced by newer messages before they were sent.
    pub(crate) fn count_replaced(&self, count: u64) {
        self.counters.coalesced(self.lane, count);
    }

    /// Returns whether any subscriber matches, according to Zenoh.
    pub(crate) fn has_subscribers(&self) -> bool {
        self.with_publisher(|publisher| publisher.matching_status().wait())
            .is_ok_and(|status| status.matching())
    }

    /// Calls `act` with the Zenoh publisher, which is declared on first use.
    fn with_publisher<T>(
        &self,
        act: impl FnOnce(&zenoh::pubsub::Publisher<'static>) -> zenoh::Result<T>,
    ) -> zenoh::Result<T> {
        let mut publisher = self.publisher.lock();
        let ActiveSession { session, generation, .. } =
            self.worker.current().ok_or("the node is off the mesh")?;
        if let Some((_, declared)) =
            publisher.as_ref().filter(|(declared_in, _)| *declared_in == generation)
        {
            return act(declared);
        }
        let declared = declare(&session, &self.key, self.lane, self.reach)?;
        let outcome = act(&declared);
        *publisher = Some((generation, declared));
        drop(publisher);
        outcome
    }
}

fn declare(
    session: &zenoh::Session,
    key: &str,
    lane: Lane,
    reach: Locality,
) -> zenoh::Result<zenoh::pubsub::Publisher<'static>> {
    let (priority, reliability, express) = zenoh_qos(lane);
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
