use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hana_protocol::contract::{Key, Topic, Topics};
use hana_protocol::id::NodeId;
use hana_protocol::message::{
    Accepted, CommandReply, CustomMessageInfo, Direction, NodeInfo, Refused,
};
use hana_protocol::schema::Incompatibility;
use hana_protocol::wire::codec::{DecodeError, Encoding};
use hana_protocol::wire::{CustomMessage, Envelope, Message, codec};
use zenoh::qos::CongestionControl;
use zenoh::query::{ConsolidationMode, Query};
use zenoh::sample::{Locality, Sample};
use zenoh::{Session, Wait};

use crate::custom::INBOX;
use crate::node::node::NodeContext;
use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::transport::admission::AdmissionFilter;
use crate::transport::dedup_window::DedupWindow;
use crate::transport::inbound::{
    InboundStats, RawMessage, Received, admitted, envelope_of, raw, raw_parts,
};
use crate::transport::inbox::{Inbox, OverflowPolicy};
use crate::transport::payload_dedup::PayloadDedup;
use crate::transport::problem::Diagnostic;
use crate::transport::schema_compat::{CompatResult, DecodeFailureAction, SchemaCompatCache};
use crate::transport::send_queue::quality;

/// Messages of a custom type, heard as long as this lives.
pub struct CustomSubscription<M> {
    messages: Inbox<Received<M>>,
    mismatches: Inbox<SchemaMismatch>,
    _declarations: [RegistrationGuard; 2],
}

/// A sender has another shape of a message type than this node: nothing more is read of it on that topic, until
/// it has been started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaMismatch {
    /// The topic.
    pub topic: String,
    /// Who sends what cannot be read.
    pub sender: NodeId,
    /// The version that it announces.
    pub version: u32,
    /// Where the shapes differ, the most telling first; never empty.
    pub differences: Vec<Incompatibility>,
    /// The same in plain words.
    pub text: String,
}

/// How one type begins to be heard, before the node is announced: who sees it may send to it at once, while its
/// program may take a frame or more to ask for what came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SubscriptionFactory {
    message: TypeId,
    begin: fn(&Arc<NodeContext>) -> Box<dyn Any + Send + Sync>,
}

impl SubscriptionFactory {
    pub(crate) fn of<M: CustomMessage>() -> Self {
        Self {
            message: TypeId::of::<M>(),
            begin: |core| Box::new(CustomSubscription::<M>::start(core)),
        }
    }
}

/// What is heard since the node was announced, until its program asks for it.
#[derive(Default)]
pub(crate) struct EarlySubscriptions(Mutex<HashMap<TypeId, Box<dyn Any + Send + Sync>>>);

impl EarlySubscriptions {
    pub(crate) fn begin(&self, core: &Arc<NodeContext>) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for hearing in &core.config.hearing {
            heard.entry(hearing.message).or_insert_with(|| (hearing.begin)(core));
        }
    }

    pub(super) fn take<M: CustomMessage>(&self) -> Option<CustomSubscription<M>> {
        let heard =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&TypeId::of::<M>());
        heard?.downcast().ok().map(|heard| *heard)
    }
}

const fn inbox_policy<M: Message>() -> OverflowPolicy {
    if M::LANE.drops_older() { OverflowPolicy::Latest } else { OverflowPolicy::DropOldest }
}

/// Mismatches that wait for the program; there is one for each run of a sender.
const MISMATCHES: usize = 64;
/// How many differences are told in words.
const TOLD: usize = 3;

impl<M: CustomMessage> CustomSubscription<M> {
    pub(super) fn start(core: &Arc<NodeContext>) -> Self {
        let receiver = Arc::new(Receiver {
            own: CustomMessageInfo::of::<M>(Direction::Heard),
            id: core.identity.id.clone(),
            messages: Inbox::new(inbox_policy::<M>(), INBOX),
            mismatches: Inbox::new(OverflowPolicy::DropOldest, MISMATCHES),
            reception: core.reception.clone(),
            gate: AdmissionFilter::before_recovery::<M>(),
            senders: Mutex::default(),
            copies: Mutex::default(),
            taken: Mutex::default(),
            worker: core.worker.clone(),
        });
        let kind = core.config.kind.clone().map(Topic::<M>::to_kind);
        let kind = kind.map(|topic| topic.key().to_string());
        let published = Topics::<M>::every_custom();
        Self {
            messages: receiver.messages.clone(),
            mismatches: receiver.mismatches.clone(),
            _declarations: [
                take_published(&receiver, arrivals(core, &receiver, published.pattern())),
                take_addressed(
                    &receiver,
                    kind.map(|kind| (arrivals(core, &receiver, &kind), kind)),
                ),
            ],
        }
    }
}

impl<M> CustomSubscription<M> {
    /// Senders whose shape of the type does not fit, as they are found out.
    #[must_use]
    pub const fn mismatches(&self) -> &Inbox<SchemaMismatch> {
        &self.mismatches
    }
}

impl<M> Deref for CustomSubscription<M> {
    type Target = Inbox<Received<M>>;

    fn deref(&self) -> &Inbox<Received<M>> {
        &self.messages
    }
}

/// What becomes of messages of one type that arrive on the keys of a pattern.
type InboundHandler = Arc<dyn Fn(RawMessage) + Send + Sync>;

/// The lane is kept: what is missing is counted and, on a reliable lane, asked for.
fn arrivals<M: CustomMessage>(
    core: &Arc<NodeContext>,
    receiver: &Arc<Receiver<M>>,
    pattern: &str,
) -> InboundHandler {
    let receiver = Arc::clone(receiver);
    let recovery = core.recovery::<M>(pattern, move |raw| drop(receiver.take(raw)));
    Arc::new(move |raw| recovery.arrive(raw))
}

fn take_published<M: CustomMessage>(
    receiver: &Arc<Receiver<M>>,
    arrive: InboundHandler,
) -> RegistrationGuard {
    let receiver = Arc::clone(receiver);
    let pattern = Topics::<M>::every_custom().pattern().to_owned();
    receiver.worker.clone().declare(pattern.clone(), move |session| {
        let (receiver, arrive) = (Arc::clone(&receiver), Arc::clone(&arrive));
        let callback = move |sample: Sample| {
            let raw = admitted(&sample, M::MAX_BYTES, &receiver.gate, &receiver.reception);
            let Some(raw) = raw else { return };
            if matches!(Key::parse(&raw.key), Some(Key::Custom { .. })) {
                arrive(raw);
            } else {
                let sender = raw.envelope.map(|envelope| envelope.from);
                let problem =
                    Diagnostic::NoSingleKey { key: raw.key, sender, wanted: "topic of one node" };
                receiver.reception.complain(M::LANE, problem);
            }
        };
        Ok(Box::new(session.declare_subscriber(pattern.clone()).callback(callback).wait()?))
    })
}

/// What is sent to this node comes as a question that is answered, or as a plain put that is not; what is sent
/// to its kind as a put.
fn take_addressed<M: CustomMessage>(
    receiver: &Arc<Receiver<M>>,
    kind: Option<(InboundHandler, String)>,
) -> RegistrationGuard {
    let receiver = Arc::clone(receiver);
    let own = Topic::<M>::to_node(receiver.id.clone()).key().to_string();
    receiver.worker.clone().declare(own.clone(), move |session| {
        let (asked, key) = (Arc::clone(&receiver), own.clone());
        let questions = session
            .declare_queryable(own.clone())
            .complete(true)
            .callback(move |query| asked.take_question(query, &key))
            .wait()?;
        let taker = Arc::clone(&receiver);
        let take: InboundHandler = Arc::new(move |raw| {
            if !taker.was_taken(&raw) {
                drop(taker.take(raw));
            }
        });
        let puts = take_puts(&receiver, session, &own, take)?;
        let to_kind = kind
            .as_ref()
            .map(|(arrive, kind)| take_puts(&receiver, session, kind, Arc::clone(arrive)));
        let to_kind = to_kind.transpose()?;
        Ok(Box::new((questions, puts, to_kind)))
    })
}

fn take_puts<M: CustomMessage>(
    receiver: &Arc<Receiver<M>>,
    session: &Session,
    key: &str,
    arrive: InboundHandler,
) -> zenoh::Result<zenoh::pubsub::Subscriber<()>> {
    let (receiver, key) = (Arc::clone(receiver), key.to_owned());
    session
        .declare_subscriber(key.clone())
        .callback(move |sample| {
            // Whatever pattern it was put to.
            let raw = RawMessage { key: key.clone(), ..raw(&sample, M::MAX_BYTES) };
            if !receiver.is_strangers_copy(&raw) && receiver.admits(&raw) {
                arrive(raw);
            }
        })
        .wait()
}

/// What Zenoh's threads do with messages of one type.
struct Receiver<M> {
    /// How this node reads them.
    own: CustomMessageInfo,
    id: NodeId,
    messages: Inbox<Received<M>>,
    mismatches: Inbox<SchemaMismatch>,
    reception: InboundStats,
    gate: AdmissionFilter,
    senders: Mutex<SchemaCompatCache>,
    /// To tell what strangers say from what comes twice, by two ways.
    copies: Mutex<PayloadDedup>,
    /// The messages to this node that were taken, so that one that is said again is taken once.
    taken: Mutex<DedupWindow>,
    worker: SessionWorker,
}

impl<M: CustomMessage> Receiver<M> {
    fn senders(&self) -> MutexGuard<'_, SchemaCompatCache> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admits(&self, raw: &RawMessage) -> bool {
        self.gate.admit(&raw.key, raw.envelope.as_ref(), &self.reception)
    }

    /// Reads a message and puts it into the inbox.
    fn take(self: &Arc<Self>, raw: RawMessage) -> Result<(), String> {
        let counters = &self.reception.counters;
        if raw.envelope.as_ref().is_some_and(|envelope| !self.senders().reads(envelope)) {
            counters.malformed(M::LANE, raw.sender());
            return Err(format!(
                "'{}' has another shape of {}, which was said before; start the sender again with one that fits",
                self.id,
                M::NAME
            ));
        }
        match raw.decode::<M>() {
            Ok(message) => {
                counters.received(M::LANE);
                let (key, sender) = (raw.key.clone(), raw.sender().cloned());
                let received = Received { key: raw.key, envelope: raw.envelope, message };
                let dropped = self.messages.push(&key, received);
                self.reception.displaced(M::LANE, &key, sender.as_ref(), dropped);
                Ok(())
            },
            Err(problem) => {
                let reason = format!("it cannot be read: {problem}");
                let sender = raw.sender().cloned();
                let error = DecodeError { key: raw.key, sender, message: M::NAME, problem };
                self.unreadable(raw.envelope, error);
                Err(reason)
            },
        }
    }

    /// Whether a stranger's message, which has no number, is one that has come by another way.
    fn is_strangers_copy(&self, raw: &RawMessage) -> bool {
        let is_copy = raw.envelope.is_none()
            && self
                .copies
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_copy(&raw.payload, Instant::now());
        if is_copy {
            self.reception.counters.late(M::LANE, None, 1);
        }
        is_copy
    }

    /// Whether a message to this node was taken before: it was said again, or came by two ways. Else it counts as
    /// taken from now on.
    fn was_taken(&self, raw: &RawMessage) -> bool {
        let Some(envelope) = &raw.envelope else { return false };
        let was_taken = !self
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(envelope, Instant::now());
        if was_taken {
            self.reception.counters.late(M::LANE, raw.sender(), 1);
        }
        was_taken
    }

    /// A message was not taken after all: when it is said again, it may be.
    fn give_back(&self, envelope: Option<&Envelope>) {
        if let Some(envelope) = envelope {
            self.taken.lock().unwrap_or_else(PoisonError::into_inner).give_back(envelope);
        }
    }

    /// Takes a message that wants an answer, and answers. Both by the worker, and so both or neither: what is taken while
    /// the node leaves would never be answered, and be sent again to its next run.
    fn take_question(self: &Arc<Self>, query: Query, key: &str) {
        let (receiver, key) = (Arc::clone(self), key.to_owned());
        self.worker.answer(query, move |session, query| {
            receiver.take_and_answer(session, &query, &key);
        });
    }

    fn take_and_answer(self: &Arc<Self>, session: &Session, query: &Query, key: &str) {
        let none = zenoh::bytes::ZBytes::new();
        let raw = raw_parts(
            key,
            query.payload().unwrap_or(&none),
            envelope_of(query.attachment()),
            &query.encoding().map(ToString::to_string).unwrap_or_default(),
            M::MAX_BYTES,
        );
        if self.is_strangers_copy(&raw) {
            // A question is answered where it came first.
            return;
        }
        let envelope = raw.envelope.clone();
        let is_new = !self.was_taken(&raw);
        let outcome = if !is_new {
            // Its answer was lost.
            Ok(())
        } else if self.messages.len() >= INBOX && !M::LANE.drops_older() {
            self.reception.displaced(M::LANE, key, raw.sender(), 1);
            Err(format!("its program does not keep up: {INBOX} messages wait for it"))
        } else if self.admits(&raw) {
            self.take(raw)
        } else {
            Err("a newer one came before it, or more come than are taken".into())
        };
        if outcome.is_err() {
            self.give_back(envelope.as_ref());
        }
        let answer = match &outcome {
            Ok(()) => CommandReply::Accepted(Accepted {}),
            Err(reason) => CommandReply::Refused(Refused { reason: reason.clone() }),
        };
        let Ok(payload) = codec::encode(&answer) else { return };
        let reply = query.reply(key, payload).encoding(Encoding::MESSAGE_PACK).wait();
        if let Err(problem) = reply {
            tracing::debug!("{key}: a message was not answered: {problem}");
        }
        if is_new && outcome.is_ok() {
            show::<M>(session, key, query);
        }
    }

    /// A message could not be read: is it this one, or its sender's shape?
    fn unreadable(self: &Arc<Self>, envelope: Option<Envelope>, error: DecodeError) {
        let Some(envelope) = envelope else {
            self.reception.complain(M::LANE, Diagnostic::DecodeFailed(error));
            return;
        };
        // Not in the match: its guard would be held while others are waited for.
        let what = self.senders().unreadable(&envelope, &error, Instant::now());
        match what {
            DecodeFailureAction::Complain => {
                self.reception.complain(M::LANE, Diagnostic::DecodeFailed(error));
            },
            DecodeFailureAction::Count => {
                self.reception.counters.malformed(M::LANE, Some(&envelope.from));
            },
            DecodeFailureAction::Ask => {
                let answer = Announced {
                    receiver: Arc::clone(self),
                    key: error.key,
                    envelope,
                    info: Mutex::default(),
                };
                self.worker.run(move |session| answer.ask(session));
            },
        }
    }

    fn answered(&self, key: &str, envelope: &Envelope, info: Option<&NodeInfo>) {
        let finding = self.senders().answered(envelope, info, &self.own, Instant::now());
        match finding {
            None => {},
            Some(CompatResult::Unusable { problem }) => {
                self.reception.complain(M::LANE, Diagnostic::DecodeFailed(problem));
            },
            Some(CompatResult::Misfit { version, differences }) => {
                let (reader, writer) = (&self.id, &envelope.from);
                let sides: Vec<String> = differences
                    .iter()
                    .take(TOLD)
                    .map(|at| {
                        format!(
                            "'{reader}' {}, '{writer}' (version {version}) {}",
                            at.reader, at.writer
                        )
                    })
                    .collect();
                let text = format!(
                    "{key}: {}; nothing more is taken from it on this topic until it comes back with a shape that fits",
                    sides.join("; ")
                );
                let mismatch = SchemaMismatch {
                    topic: self.own.topic.clone(),
                    sender: writer.clone(),
                    version,
                    differences,
                    text,
                };
                self.mismatches.push("", mismatch.clone());
                let problem = Diagnostic::PeerIncompatible { key: key.into(), mismatch };
                self.reception.complain(M::LANE, problem);
            },
        }
    }
}

/// Shows others what came as a question, which only its receiver sees: the same message as a put, with the
/// envelope of its sender, that does not come back here.
fn show<M: Message>(session: &Session, key: &str, query: &Query) {
    let (priority, reliability, express) = quality(M::LANE);
    let payload = query.payload().cloned().unwrap_or_default();
    let mut put = session
        .put(key, payload)
        .encoding(query.encoding().cloned().unwrap_or_default())
        .congestion_control(CongestionControl::Drop)
        .priority(priority)
        .reliability(reliability)
        .express(express)
        .allowed_destination(Locality::Remote);
    if let Some(attachment) = query.attachment() {
        put = put.attachment(attachment.clone());
    }
    if let Err(problem) = put.wait() {
        tracing::debug!("{key}: a message is not shown: {problem}");
    }
}

/// What a sender announces, while it is asked for. Tells the receiver when the question has ended.
struct Announced<M: CustomMessage> {
    receiver: Arc<Receiver<M>>,
    /// Where the message came that could not be read.
    key: String,
    envelope: Envelope,
    info: Mutex<Option<NodeInfo>>,
}

impl<M: CustomMessage> Announced<M> {
    fn ask(self, session: &Session) {
        let key = Key::Info(self.envelope.from.clone()).to_string();
        let asked = session
            .get(&key)
            .consolidation(ConsolidationMode::None)
            .congestion_control(CongestionControl::Drop)
            .timeout(SchemaCompatCache::PATIENCE)
            .callback(move |reply| {
                let Ok(sample) = reply.result() else { return };
                let raw = raw(sample, NodeInfo::MAX_BYTES);
                if let Ok(info) = codec::decode::<NodeInfo>(&raw.payload, raw.encoding) {
                    *self.info.lock().unwrap_or_else(PoisonError::into_inner) = Some(info);
                }
            })
            .wait();
        if let Err(problem) = asked {
            tracing::error!("{key}: Zenoh does not ask: {problem}");
        }
    }
}

impl<M: CustomMessage> Drop for Announced<M> {
    fn drop(&mut self) {
        let info = self.info.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.receiver.answered(&self.key, &self.envelope, info.as_ref());
    }
}
