use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use hana_engine::delivery::{LaneLimits, Source, TopicAction, TopicReceiver};
use hana_protocol::contract::{Key, Topics};
use hana_protocol::id::NodeId;
use hana_protocol::message::{RetransmitEnd, RetransmitRequest, SequenceHeartbeat};
use hana_protocol::wire::{Envelope, Lane, Message, codec};
use zenoh::Wait;
use zenoh::key_expr::keyexpr;
use zenoh::query::Reply;
use zenoh::sample::Sample;

use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::transport::admission::AdmissionFilter;
use crate::transport::inbound::{InboundStats, RawMessage, admitted, raw};
use crate::transport::problem::Diagnostic;
use crate::transport::query;
use crate::transport::timer::{Timer, TimerThread, TimerWaker};

/// Receives the messages of one topic from all its publishers.
///
/// Enforces the guarantees of the topic's lane: requests missing messages on reliable lanes, drops duplicates, and
/// counts.
pub(crate) struct GapRecovery {
    lane: Lane,
    pattern: String,
    topic: Mutex<TopicReceiver<RawMessage>>,
    deliver: Box<dyn Fn(RawMessage) + Send + Sync>,
    largest: usize,
    worker: SessionWorker,
    reception: InboundStats,
    bell: TimerWaker,
    /// For the replies to its queries.
    itself: Weak<Self>,
}

/// The interval between retransmit requests.
///
/// TCP itself needs a few hundred milliseconds to retransmit over a bad link. Messages missing from a reply are
/// requested again at once.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// The timeout of a retransmit query.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The time after which an unresponsive publisher is given up.
///
/// Longer than a node needs to rejoin the mesh after a short outage of its daemon or its cable.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

impl GapRecovery {
    /// Returns a receiver for messages of type `M` on the keys of `pattern`, which calls `deliver` for one message at
    /// a time.
    pub(crate) fn new<M: Message>(
        pattern: &str,
        worker: &SessionWorker,
        reception: &InboundStats,
        ticker: &TimerThread,
        deliver: impl Fn(RawMessage) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let patience = if M::LANE.is_reliable() { PATIENCE } else { ASK_EVERY * 4 };
        let limits = LaneLimits {
            give_up_after: patience,
            retry_interval: ASK_EVERY,
            ..LaneLimits::default()
        };
        let bell = ticker.bell();
        let recovery = Arc::new_cyclic(|itself| Self {
            lane: M::LANE,
            pattern: pattern.into(),
            topic: Mutex::new(TopicReceiver::new(M::LANE, limits, Instant::now())),
            deliver: Box::new(deliver),
            largest: M::MAX_BYTES,
            worker: worker.clone(),
            reception: reception.clone(),
            bell: bell.clone(),
            itself: Weak::clone(itself),
        });
        ticker.add(&recovery, &bell);
        recovery
    }

    fn topic(&self) -> MutexGuard<'_, TopicReceiver<RawMessage>> {
        self.topic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handles a message that arrived without being requested.
    pub(crate) fn arrive(&self, raw: RawMessage) {
        match raw.envelope.clone() {
            Some(envelope) => {
                let key = raw.key.clone();
                self.tell(|topic, now, actions| topic.arrive(&key, &envelope, raw, now, actions));
            },
            // A message without an envelope has no sequence.
            None => (self.deliver)(raw),
        }
    }

    /// Passes an event to the receiver and carries out the resulting actions, under its lock, so that messages stay
    /// in order.
    fn tell(
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
            self.bell.ring();
        }
    }

    fn act(&self, action: TopicAction<RawMessage>) {
        let counters = &self.reception.counters;
        match action {
            TopicAction::Deliver(raw) => (self.deliver)(raw),
            TopicAction::Ask { node, question } => self.ask(node, question),
            TopicAction::Lost { source: Source { key, node }, first, last } => {
                let count = (last - first).saturating_add(1);
                let is_trouble = !self.lane.drops_older();
                self.reception.missed(self.lane, &key, Some(&node), count, is_trouble);
                if self.lane.is_reliable() {
                    self.reception.warn(Diagnostic::Lost { key, sender: node, first, last });
                }
            },
            TopicAction::Recovered { source, count } => {
                counters.recovered(self.lane, &source.node, count);
            },
            TopicAction::Late { source } => counters.late(self.lane, Some(&source.node), 1),
        }
    }

    fn ask(&self, node: NodeId, question: RetransmitRequest) {
        let Ok(payload) = codec::encode(&question) else { return };
        let recovery = Weak::clone(&self.itself);
        self.worker.run(move |session| {
            let key = Key::Retransmit(node.clone()).to_string();
            let asked =
                RetransmitQuery { recovery, node, question, is_answered: AtomicBool::new(false) };
            let hear = move |reply: Reply| asked.hear(&reply);
            let (lane, within) = (RetransmitRequest::LANE, ANSWER_WITHIN);
            let asked = query::ask(session, &key, payload, None, lane, within, hear);
            if let Err(problem) = asked {
                tracing::debug!("{key}: Zenoh does not ask: {problem}");
            }
        });
    }

    /// Handles one reply to a retransmit request.
    fn hear(&self, sample: &Sample, node: &NodeId, question: &RetransmitRequest) {
        let raw = raw(sample, self.largest.max(RetransmitRequest::MAX_BYTES));
        let Some(envelope) = raw.envelope.clone() else {
            let end = codec::decode_value::<RetransmitEnd>(
                &raw.payload,
                raw.encoding,
                RetransmitRequest::MAX_BYTES,
            );
            if let Ok(end) = end {
                self.tell(|topic, now, actions| topic.resent(node, question, end, now, actions));
            }
            return;
        };
        let Envelope { from, instance, sequence, .. } = &envelope;
        let was_asked_for =
            from == node && *instance == question.instance && question.includes(*sequence);
        if was_asked_for {
            let raw = RawMessage { key: question.key.clone(), ..raw };
            self.tell(|topic, now, actions| {
                topic.arrive(&question.key, &envelope, raw, now, actions);
            });
        }
    }

    /// Handles the announcement of a node's newest sequence numbers.
    fn announced(&self, envelope: &Envelope, sent: &SequenceHeartbeat) {
        for (key, &(newest, age_us)) in &sent.newest {
            if self.hears(key) {
                let newest = (newest, Duration::from_micros(age_us));
                self.tell(|topic, now, actions| {
                    topic.announced(key, envelope, newest, now, actions);
                });
            }
        }
    }

    fn hears(&self, key: &str) -> bool {
        let (Ok(pattern), Ok(key)) = (keyexpr::new(self.pattern.as_str()), keyexpr::new(key))
        else {
            return false;
        };
        pattern.includes(key)
    }
}

/// A retransmit query in flight.
///
/// Zenoh drops it when the query ends: at once if no node replies on its key.
struct RetransmitQuery {
    recovery: Weak<GapRecovery>,
    node: NodeId,
    question: RetransmitRequest,
    /// Whether any reply arrived, including Zenoh's timeout reply.
    is_answered: AtomicBool,
}

impl RetransmitQuery {
    fn hear(&self, reply: &Reply) {
        self.is_answered.store(true, Ordering::Release);
        if let (Some(recovery), Ok(sample)) = (self.recovery.upgrade(), reply.result()) {
            recovery.hear(sample, &self.node, &self.question);
        }
    }
}

impl Drop for RetransmitQuery {
    fn drop(&mut self) {
        if !*self.is_answered.get_mut()
            && let Some(recovery) = self.recovery.upgrade()
        {
            recovery.tell(|topic, now, actions| {
                topic.unanswered(&self.node, &self.question, now, actions);
            });
        }
    }
}

impl Timer for GapRecovery {
    fn tick(&self, now: Instant) -> Option<Instant> {
        let due = self.topic().next_deadline()?;
        if due > now {
            return Some(due);
        }
        self.tell(TopicReceiver::tick);
        self.topic().next_deadline()
    }
}

/// All gap recoveries of a node, which receive the sequence announcements of other nodes.
#[derive(Default)]
pub(crate) struct RecoveryRegistry {
    all: Arc<Mutex<Vec<Weak<GapRecovery>>>>,
    announcements: OnceLock<RegistrationGuard>,
}

impl RecoveryRegistry {
    pub(crate) fn add(&self, recovery: &Arc<GapRecovery>) {
        {
            let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|known| known.strong_count() > 0);
            all.push(Arc::downgrade(recovery));
        }
        self.announcements.get_or_init(|| self.hear(&recovery.worker, &recovery.reception));
    }

    fn hear(&self, worker: &SessionWorker, reception: &InboundStats) -> RegistrationGuard {
        let (all, reception) = (Arc::clone(&self.all), reception.clone());
        let gate = Arc::new(AdmissionFilter::of::<SequenceHeartbeat>());
        let pattern = Topics::every_last_sent().pattern().to_owned();
        worker.declare(pattern.clone(), move |session| {
            let (all, reception, gate) = (Arc::clone(&all), reception.clone(), Arc::clone(&gate));
            let callback = move |sample| {
                let raw = admitted(&sample, SequenceHeartbeat::MAX_BYTES, &gate, &reception);
                let Some(raw) = raw else { return };
                let (Some(sent), Some(envelope)) =
                    (reception.decode::<SequenceHeartbeat>(&raw), raw.envelope)
                else {
                    return;
                };
                let recoveries: Vec<Arc<GapRecovery>> = {
                    let all = all.lock().unwrap_or_else(PoisonError::into_inner);
                    all.iter().filter_map(Weak::upgrade).collect()
                };
                for recovery in recoveries {
                    recovery.announced(&envelope, &sent);
                }
            };
            Ok(Box::new(session.declare_subscriber(pattern.clone()).callback(callback).wait()?))
        })
    }
}
