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

/// A subscription to messages of a custom type, which ends when it is dropped.
pub struct CustomSubscription<M> {
    messages: Inbox<Received<M>>,
    mismatches: Inbox<SchemaMismatch>,
    _declarations: [RegistrationGuard; 2],
}

/// A sender whose shape of a message type differs from this node's.
///
/// Its messages on that topic are no longer read until it restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaMismatch {
    /// The topic.
    pub topic: String,
    /// The sender of the unreadable messages.
    pub sender: NodeId,
    /// The version that the sender announces.
    pub version: u32,
    /// Where the shapes differ, most significant first; never empty.
    pub differences: Vec<Incompatibility>,
    /// A description of the differences.
    pub text: String,
}

/// Starts the subscription to one type before the node is announced.
///
/// A node that sees the announcement may send at once, while the program may take a frame or more to take its
/// subscription.
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

/// Subscriptions started before the announcement, until the program takes them.
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

/// Capacity of the inbox for mismatches; each instance of a sender causes only one.
const MISMATCHES: usize = 64;
/// Maximum number of differences in the description.
const TOLD: usize = 3;

impl<M: CustomMessage> CustomSubscription<M> {
    pub(super) fn start(core: &Arc<NodeContext>) -> Self {
        let receiver = Arc::new(Receiver {
            own: CustomMessageInfo::of::<M>(Direction::Subscribed),
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
    /// Returns the senders whose shape of the type does not fit, as they are detected.
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

/// A handler for messages of one type that arrive on the keys of a pattern.
type InboundHandler = Arc<dyn Fn(RawMessage) + Send + Sync>;

/// Returns a handler that keeps the guarantees of the lane.
///
/// Losses are counted and, on a reliable lane, retransmission is requested.
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

/// Receives messages to this node, as queries with a reply or as plain puts, and messages to its kind, as puts.
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
            // The put may have used any matching pattern.
            let raw = RawMessage { key: key.clone(), ..raw(&sample, M::MAX_BYTES) };
            if !receiver.is_strangers_copy(&raw) && receiver.admits(&raw) {
                arrive(raw);
            }
        })
        .wait()
}

/// State shared with Zenoh's threads, which receive messages of one type.
struct Receiver<M> {
    /// The shape of the type in this node.
    own: CustomMessageInfo,
    id: NodeId,
    messages: Inbox<Received<M>>,
    mismatches: Inbox<SchemaMismatch>,
    reception: InboundStats,
    gate: AdmissionFilter,
    senders: Mutex<SchemaCompatCache>,
    /// Separates new messages without an envelope from duplicates that arrive on a second path.
    copies: Mutex<PayloadDedup>,
    /// The messages to this node that were accepted, so that a retransmission is not accepted twice.
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

    /// Decodes a message and puts it into the inbox.
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

    /// Returns whether a message without an envelope, and thus without a sequence number, is a duplicate from another
    /// path.
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

    /// Returns whether a message to this node was accepted before; otherwise marks it as accepted.
    ///
    /// Duplicates are retransmissions, or arrive on a second path.
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

    /// Unmarks a message that was not accepted after all, so that a retransmission can be accepted.
    fn give_back(&self, envelope: Option<&Envelope>) {
        if let Some(envelope) = envelope {
            self.taken.lock().unwrap_or_else(PoisonError::into_inner).give_back(envelope);
        }
    }

    /// Accepts a message that expects a reply, and replies.
    ///
    /// The worker does both, so that they happen both or not at all. A message accepted without a reply, while the
    /// node leaves, would be sent again to its next instance.
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
            // The first copy of a query gets the reply.
            return;
        }
        let envelope = raw.envelope.clone();
        let is_new = !self.was_taken(&raw);
        let outcome = if !is_new {
            // The message was accepted before, but its reply was lost.
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

    /// Handles an unreadable message: determines whether only the message is bad or the sender's shape differs.
    fn unreadable(self: &Arc<Self>, envelope: Option<Envelope>, error: DecodeError) {
        let Some(envelope) = envelope else {
            self.reception.complain(M::LANE, Diagnostic::DecodeFailed(error));
            return;
        };
        // Not inside the `match`, which would hold the lock while other locks are acquired.
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

/// Publishes a message that arrived as a query, which only its receiver sees, as a put for observers.
///
/// The put has the envelope of the original sender and is not delivered to this node.
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

/// Queries the info that a sender announces, and passes it to the receiver when the query has ended.
struct Announced<M: CustomMessage> {
    receiver: Arc<Receiver<M>>,
    /// The key on which the unreadable message arrived.
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
