use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use crate::sync::lock::{Mutex, MutexGuard};
use hana_engine::delivery::{LaneLimits, PublisherState, TopicAction, TopicReceiver};
use hana_protocol::contract::{Key, Topics};
use hana_protocol::id::NodeId;
use hana_protocol::message::{RetransmitEnd, RetransmitRequest, SequenceHeartbeat};
use hana_protocol::wire::{Envelope, Lane, Message, codec};
use zenoh::key_expr::keyexpr;
use zenoh::query::Reply;
use zenoh::sample::Sample;

use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::sync::timer::{Timer, TimerThread, TimerWaker};
use crate::transport::diagnostic::Diagnostic;
use crate::transport::inbound::admission::AdmissionFilter;
use crate::transport::inbound::inbound_stats::InboundStats;
use crate::transport::inbound::subscribe::subscribe_decoded;
use crate::transport::query;
use crate::transport::query::QueryHandle;
use crate::transport::raw_message::RawMessage;

/// Receives the messages of one topic from all its publishers.
///
/// Enforces the guarantees of the topic's lane: requests missing messages on reliable lanes, drops duplicates, and
/// counts messages.
pub(crate) struct GapRecovery {
    lane: Lane,
    pattern: String,
    topic: Mutex<TopicReceiver<RawMessage>>,
    deliver: Box<dyn Fn(RawMessage) + Send + Sync>,
    largest: usize,
    worker: SessionWorker,
    inbound: InboundStats,
    waker: TimerWaker,
    /// A reference to this value for the replies to its queries.
    itself: Weak<Self>,
}

/// The interval between two retransmit requests.
///
/// Over a bad link, TCP itself needs a few hundred milliseconds to retransmit. If a reply lacks some of the requested
/// messages, they are requested again at once.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// The timeout of a retransmit query.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// The time after which messages of an unresponsive publisher are no longer requested.
///
/// It is longer than a node needs to rejoin the mesh after a short failure of its daemon or its cable.
pub(crate) const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

impl GapRecovery {
    /// Returns a receiver for messages of type `M` on the keys of `pattern`.
    ///
    /// It calls `deliver` for one message at a time.
    pub(crate) fn new<M: Message>(
        pattern: &str,
        worker: &SessionWorker,
        inbound: &InboundStats,
        timer: &TimerThread,
        deliver: impl Fn(RawMessage) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let patience = if M::LANE.is_reliable() { GIVE_UP_AFTER } else { RETRY_INTERVAL * 4 };
        let limits = LaneLimits {
            give_up_after: patience,
            retry_interval: RETRY_INTERVAL,
            ..LaneLimits::default()
        };
        let waker = timer.waker();
        let recovery = Arc::new_cyclic(|itself| Self {
            lane: M::LANE,
            pattern: pattern.into(),
            topic: Mutex::new(TopicReceiver::new(M::LANE, limits, Instant::now())),
            deliver: Box::new(deliver),
            largest: M::MAX_BYTES,
            worker: worker.clone(),
            inbound: inbound.clone(),
            waker: waker.clone(),
            itself: Weak::clone(itself),
        });
        timer.add(&recovery, &waker);
        recovery
    }

    fn topic(&self) -> MutexGuard<'_, TopicReceiver<RawMessage>> {
        self.topic.lock()
    }

    /// Handles a message that arrived without a retransmit request.
    pub(crate) fn arrive(&self, raw: RawMessage) {
        match raw.envelope.clone() {
            Some(envelope) => {
                let key = raw.key.clone();
                self.update(|topic, now, actions| topic.arrive(&key, &envelope, raw, now, actions));
            },
            // A message without an envelope has no sequence.
            None => (self.deliver)(raw),
        }
    }

    /// Passes an event to the receiver and carries out the resulting actions.
    ///
    /// Both happen under the receiver's lock, so that messages stay in order.
    fn update(
        &self,
        what: impl FnOnce(&mut TopicReceiver<RawMessage>, Instant, &mut Vec<TopicAction<RawMessage>>),
    ) {
        let now = Instant::now();
        let mut actions = vec![];
        let mut topic = self.topic();
        let before = topic.next_deadline();
        what(&mut topic, now, &mut actions);
        let after = topic.next_deadline();
        for action in actions {
            self.act(action);
        }
        drop(topic);
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.waker.wake();
        }
    }

    fn act(&self, action: TopicAction<RawMessage>) {
        let counters = &self.inbound.counters;
        match action {
            TopicAction::Deliver(raw) => (self.deliver)(raw),
            TopicAction::Ask { node, question } => self.query(node, question),
            TopicAction::Lost { source: PublisherState { key, node }, first, last } => {
                let count = (last - first).saturating_add(1);
                let is_trouble = !self.lane.drops_older();
                self.inbound.missed(self.lane, &key, Some(&node), count, is_trouble);
                if self.lane.is_reliable() {
                    self.inbound.report_violation(Diagnostic::Lost {
                        key,
                        sender: node,
                        first,
                        last,
                    });
                }
            },
            TopicAction::Recovered { source, count } => {
                counters.recovered(self.lane, &source.node, count);
            },
            TopicAction::Late { source } => counters.late(self.lane, Some(&source.node), 1),
        }
    }

    fn query(&self, node: NodeId, request: RetransmitRequest) {
        let Ok(payload) = codec::encode(&request) else { return };
        let (on_reply, on_end) = (Weak::clone(&self.itself), Weak::clone(&self.itself));
        self.worker.run(move |session| {
            let key = Key::Retransmit(node.clone()).to_string();
            let (unanswered_node, unanswered) = (node.clone(), request.clone());
            let handle = QueryHandle::new(move |is_answered: bool| {
                if let Some(recovery) = on_end.upgrade().filter(|_| !is_answered) {
                    recovery.update(|topic, now, actions| {
                        topic.unanswered(&unanswered_node, &unanswered, now, actions);
                    });
                }
            });
            let receive = move |reply: Reply| {
                // The timeout reply of Zenoh counts too: if even that is missing, the query reached no node.
                handle.record(|is_answered| *is_answered = true);
                if let (Some(recovery), Ok(sample)) = (on_reply.upgrade(), reply.result()) {
                    recovery.receive_reply(sample, &node, &request);
                }
            };
            let lane = RetransmitRequest::LANE;
            let sent = query::query(session, &key, payload, None, lane, QUERY_TIMEOUT, receive);
            if let Err(problem) = sent {
                tracing::debug!("{key}: Zenoh cannot send the query: {problem}");
            }
        });
    }

    /// Handles one reply to a retransmit request.
    fn receive_reply(&self, sample: &Sample, node: &NodeId, question: &RetransmitRequest) {
        let raw = RawMessage::from_sample(sample, self.largest.max(RetransmitRequest::MAX_BYTES));
        let Some(envelope) = raw.envelope.clone() else {
            let end = codec::decode_value::<RetransmitEnd>(
                &raw.payload,
                raw.encoding,
                RetransmitRequest::MAX_BYTES,
            );
            if let Ok(end) = end {
                self.update(|topic, now, actions| topic.resent(node, question, end, now, actions));
            }
            return;
        };
        let Envelope { from, instance, sequence, .. } = &envelope;
        let was_asked_for =
            from == node && *instance == question.instance && question.includes(*sequence);
        if was_asked_for {
            let raw = RawMessage { key: question.key.clone(), ..raw };
            self.update(|topic, now, actions| {
                topic.arrive(&question.key, &envelope, raw, now, actions);
            });
        }
    }

    /// Handles the announcement of a node's newest sequence numbers.
    fn announced(&self, envelope: &Envelope, sent: &SequenceHeartbeat) {
        for (key, &(newest, age_us)) in &sent.newest {
            if self.covers(key) {
                let newest = (newest, Duration::from_micros(age_us));
                self.update(|topic, now, actions| {
                    topic.announced(key, envelope, newest, now, actions);
                });
            }
        }
    }

    fn covers(&self, key: &str) -> bool {
        let (Ok(pattern), Ok(key)) = (keyexpr::new(self.pattern.as_str()), keyexpr::new(key))
        else {
            return false;
        };
        pattern.includes(key)
    }
}

impl Timer for GapRecovery {
    fn tick(&self, now: Instant) -> Option<Instant> {
        let due = self.topic().next_deadline()?;
        if due > now {
            return Some(due);
        }
        self.update(TopicReceiver::tick);
        self.topic().next_deadline()
    }
}

/// All gap recoveries of a node. They share one subscription to the sequence announcements of other nodes.
#[derive(Default)]
pub(crate) struct RecoveryRegistry {
    all: Arc<Mutex<Vec<Weak<GapRecovery>>>>,
    announcements: OnceLock<RegistrationGuard>,
}

impl RecoveryRegistry {
    pub(crate) fn add(&self, recovery: &Arc<GapRecovery>) {
        {
            let mut all = self.all.lock();
            all.retain(|known| known.strong_count() > 0);
            all.push(Arc::downgrade(recovery));
        }
        self.announcements.get_or_init(|| self.subscribe(&recovery.worker, &recovery.inbound));
    }

    fn subscribe(&self, worker: &SessionWorker, inbound: &InboundStats) -> RegistrationGuard {
        let all = Arc::clone(&self.all);
        let filter = AdmissionFilter::for_message::<SequenceHeartbeat>();
        let pattern = Topics::every_last_sent().pattern().to_owned();
        let receive = move |sent: SequenceHeartbeat, envelope: Option<Envelope>| {
            let Some(envelope) = envelope else { return };
            let recoveries: Vec<Arc<GapRecovery>> =
                all.lock().iter().filter_map(Weak::upgrade).collect();
            for recovery in recoveries {
                recovery.announced(&envelope, &sent);
            }
        };
        subscribe_decoded(worker, pattern, inbound, filter, receive)
    }
}
