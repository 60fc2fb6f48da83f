use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use crate::sync::lock::{Mutex, MutexGuard};
use hana_protocol::contract::{Key, Topic, Topics};
use hana_protocol::id::NodeId;
use hana_protocol::message::{
    Accepted, CommandReply, CustomMessageInfo, Direction, NodeInfo, Refused,
};
use hana_protocol::wire::codec::{DecodeError, Encoding};
use hana_protocol::wire::{CustomMessage, Envelope, Message, codec};
use zenoh::qos::CongestionControl;
use zenoh::query::{ConsolidationMode, Query};
use zenoh::sample::Locality;
use zenoh::{Session, Wait};

use crate::context::node_context::{INBOX_CAPACITY, NodeContext};
use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::sync::inbox::{Inbox, OverflowPolicy};
use crate::transport::diagnostic::Diagnostic;
use crate::transport::inbound::admission::AdmissionFilter;
use crate::transport::inbound::dedup_window::DedupWindow;
use crate::transport::inbound::inbound_stats::InboundStats;
use crate::transport::inbound::payload_dedup::PayloadDedup;
use crate::transport::inbound::schema_compat::{
    CompatResult, DecodeFailureAction, SchemaCompatCache,
};
use crate::transport::outbound::lane_qos::zenoh_qos;
use crate::transport::query::QueryHandle;
use crate::transport::raw_message::RawMessage;
use crate::transport::received::Received;
use crate::transport::schema_mismatch::SchemaMismatch;

/// A subscription to the messages of a custom type. It ends when it is dropped.
pub struct CustomSubscription<M> {
    messages: Inbox<Received<M>>,
    mismatches: Inbox<SchemaMismatch>,
    _registrations: [RegistrationGuard; 2],
}

const fn inbox_policy<M: Message>() -> OverflowPolicy {
    if M::LANE.drops_older() {
        OverflowPolicy::KeepLatestPerKey
    } else {
        OverflowPolicy::DropOldest
    }
}

/// The capacity of the inbox for mismatches. Each instance of a sender causes at most one mismatch.
const MAX_MISMATCHES: usize = 64;
/// The maximum number of differences in the text of a mismatch.
const MAX_DESCRIBED: usize = 3;

impl<M: CustomMessage> CustomSubscription<M> {
    pub(crate) fn start(context: &NodeContext) -> Self {
        let receiver = Arc::new(Receiver {
            own: CustomMessageInfo::of::<M>(Direction::Subscribed),
            id: context.identity.id.clone(),
            messages: Inbox::new(inbox_policy::<M>(), INBOX_CAPACITY),
            mismatches: Inbox::new(OverflowPolicy::DropOldest, MAX_MISMATCHES),
            inbound: context.inbound.clone(),
            filter: AdmissionFilter::for_reliable::<M>(),
            compat: Mutex::default(),
            payloads: Mutex::default(),
            accepted: Mutex::default(),
            worker: context.session_worker.clone(),
        });
        let kind = context.config.kind.clone().map(Topic::<M>::to_kind);
        let kind = kind.map(|topic| topic.key().to_string());
        let published = Topics::<M>::every_custom();
        Self {
            messages: receiver.messages.clone(),
            mismatches: receiver.mismatches.clone(),
            _registrations: [
                subscribe_published(
                    &receiver,
                    recovering_handler(context, &receiver, published.pattern()),
                ),
                receive_addressed(
                    &receiver,
                    kind.map(|kind| (recovering_handler(context, &receiver, &kind), kind)),
                ),
            ],
        }
    }
}

impl<M> CustomSubscription<M> {
    /// Returns the inbox of mismatches: senders that use an incompatible shape of the type.
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

/// Returns a handler that enforces the guarantees of the lane.
///
/// The handler counts lost messages and, on a reliable lane, requests their retransmission.
fn recovering_handler<M: CustomMessage>(
    context: &NodeContext,
    receiver: &Arc<Receiver<M>>,
    pattern: &str,
) -> InboundHandler {
    let receiver = Arc::clone(receiver);
    let recovery = context.recovery::<M>(pattern, move |raw| drop(receiver.deliver(raw)));
    Arc::new(move |raw| recovery.arrive(raw))
}

fn subscribe_published<M: CustomMessage>(
    receiver: &Arc<Receiver<M>>,
    handler: InboundHandler,
) -> RegistrationGuard {
    let receiver = Arc::clone(receiver);
    let pattern = Topics::<M>::every_custom().pattern().to_owned();
    receiver.worker.clone().subscribe(pattern, move |sample| {
        let raw = receiver.inbound.admit_sample(&sample, M::MAX_BYTES, &receiver.filter);
        let Some(raw) = raw else { return };
        if matches!(Key::parse(&raw.key), Some(Key::Custom { .. })) {
            handler(raw);
        } else {
            let sender = raw.envelope.map(|envelope| envelope.from);
            let diagnostic =
                Diagnostic::WildcardKey { key: raw.key, sender, wanted: "topic of one node" };
            receiver.inbound.report_malformed(M::LANE, diagnostic);
        }
    })
}

/// Receives messages to this node as queries with a reply or as puts, and messages to its kind as puts.
fn receive_addressed<M: CustomMessage>(
    receiver: &Arc<Receiver<M>>,
    kind: Option<(InboundHandler, String)>,
) -> RegistrationGuard {
    let receiver = Arc::clone(receiver);
    let own = Topic::<M>::to_node(receiver.id.clone()).key().to_string();
    receiver.worker.clone().declare(own.clone(), move |session| {
        let (replier, key) = (Arc::clone(&receiver), own.clone());
        let queries = session
            .declare_queryable(own.clone())
            .complete(true)
            .callback(move |query| replier.receive_query(query, &key))
            .wait()?;
        let accepting = Arc::clone(&receiver);
        let deliver: InboundHandler = Arc::new(move |raw| {
            if !accepting.is_duplicate(&raw) {
                drop(accepting.deliver(raw));
            }
        });
        let puts = receive_puts(&receiver, session, &own, deliver)?;
        let to_kind = kind
            .as_ref()
            .map(|(handler, kind)| receive_puts(&receiver, session, kind, Arc::clone(handler)));
        let to_kind = to_kind.transpose()?;
        Ok(Box::new((queries, puts, to_kind)))
    })
}

fn receive_puts<M: CustomMessage>(
    receiver: &Arc<Receiver<M>>,
    session: &Session,
    key: &str,
    handler: InboundHandler,
) -> zenoh::Result<zenoh::pubsub::Subscriber<()>> {
    let (receiver, key) = (Arc::clone(receiver), key.to_owned());
    session
        .declare_subscriber(key.clone())
        .callback(move |sample| {
            // The put may have used any key pattern that matches, so the key is set to the topic of this node.
            let raw = RawMessage::from_sample(&sample, M::MAX_BYTES);
            let raw = RawMessage { key: key.clone(), ..raw };
            if !receiver.is_duplicate_anonymous(&raw) && receiver.admits(&raw) {
                handler(raw);
            }
        })
        .wait()
}

/// The state shared with Zenoh's threads, which receive the messages of one type.
struct Receiver<M> {
    /// The shape of the type in this program.
    own: CustomMessageInfo,
    id: NodeId,
    messages: Inbox<Received<M>>,
    mismatches: Inbox<SchemaMismatch>,
    inbound: InboundStats,
    filter: AdmissionFilter,
    compat: Mutex<SchemaCompatCache>,
    /// Detects duplicates among messages without an envelope, which arrive a second time over another path.
    payloads: Mutex<PayloadDedup>,
    /// The accepted messages to this node, so that a retransmission is not accepted again.
    accepted: Mutex<DedupWindow>,
    worker: SessionWorker,
}

impl<M: CustomMessage> Receiver<M> {
    fn compat(&self) -> MutexGuard<'_, SchemaCompatCache> {
        self.compat.lock()
    }

    fn admits(&self, raw: &RawMessage) -> bool {
        self.inbound.admits(&self.filter, &raw.key, raw.envelope.as_ref())
    }

    /// Decodes a message and puts it into the inbox.
    fn deliver(self: &Arc<Self>, raw: RawMessage) -> Result<(), String> {
        let counters = &self.inbound.counters;
        if raw.envelope.as_ref().is_some_and(|envelope| !self.compat().accepts(envelope)) {
            counters.malformed(M::LANE, raw.sender());
            return Err(format!(
                "'{}' has an incompatible schema of {}, as reported before; restart the sender with a compatible one",
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
                self.inbound.report_overflow(M::LANE, &key, sender.as_ref(), dropped);
                Ok(())
            },
            Err(problem) => {
                let reason = format!("cannot decode it: {problem}");
                let sender = raw.sender().cloned();
                let error = DecodeError { key: raw.key, sender, message: M::NAME, problem };
                self.on_decode_failure(raw.envelope, error);
                Err(reason)
            },
        }
    }

    /// Returns whether a message without an envelope is a duplicate that arrived over another path.
    ///
    /// Such a message has no sequence number, so its payload is compared.
    fn is_duplicate_anonymous(&self, raw: &RawMessage) -> bool {
        let is_duplicate = raw.envelope.is_none()
            && self.payloads.lock().is_duplicate(&raw.payload, Instant::now());
        if is_duplicate {
            self.inbound.counters.late(M::LANE, None, 1);
        }
        is_duplicate
    }

    /// Returns whether a message to this node was accepted before; if not, marks it as accepted.
    ///
    /// A duplicate is a retransmission, or arrives over a second path.
    fn is_duplicate(&self, raw: &RawMessage) -> bool {
        let Some(envelope) = &raw.envelope else { return false };
        let is_duplicate = !self.accepted.lock().insert(envelope, Instant::now());
        if is_duplicate {
            self.inbound.counters.late(M::LANE, raw.sender(), 1);
        }
        is_duplicate
    }

    /// Removes the mark of a message that was not accepted after all, so that a retransmission can be accepted.
    fn forget(&self, envelope: Option<&Envelope>) {
        if let Some(envelope) = envelope {
            self.accepted.lock().remove(envelope);
        }
    }

    /// Accepts a message that expects a reply, and sends the reply.
    ///
    /// The worker does both, so that either both happen or neither does. If a message were accepted without a reply
    /// while the node leaves, the sender would send it again to the next instance of the node.
    fn receive_query(self: &Arc<Self>, query: Query, key: &str) {
        let (receiver, key) = (Arc::clone(self), key.to_owned());
        self.worker.spawn_reply(query, move |session, query| {
            receiver.deliver_and_reply(session, &query, &key);
        });
    }

    fn deliver_and_reply(self: &Arc<Self>, session: &Session, query: &Query, key: &str) {
        let raw = RawMessage::from_query(query, key, M::MAX_BYTES);
        if self.is_duplicate_anonymous(&raw) {
            // The first copy of the query gets the reply.
            return;
        }
        let envelope = raw.envelope.clone();
        let is_new = !self.is_duplicate(&raw);
        let outcome = if !is_new {
            // The message was accepted before, but its reply was lost.
            Ok(())
        } else if self.messages.len() >= INBOX_CAPACITY && !M::LANE.drops_older() {
            self.inbound.report_overflow(M::LANE, key, raw.sender(), 1);
            Err(format!(
                "its program does not read fast enough: {INBOX_CAPACITY} messages are waiting"
            ))
        } else if self.admits(&raw) {
            self.deliver(raw)
        } else {
            Err("a newer message arrived before it, or the sender exceeds its rate".into())
        };
        if outcome.is_err() {
            self.forget(envelope.as_ref());
        }
        let answer = match &outcome {
            Ok(()) => CommandReply::Accepted(Accepted {}),
            Err(reason) => CommandReply::Refused(Refused { reason: reason.clone() }),
        };
        let Ok(payload) = codec::encode(&answer) else { return };
        let reply = query.reply(key, payload).encoding(Encoding::MESSAGE_PACK).wait();
        if let Err(problem) = reply {
            tracing::debug!("{key}: cannot reply to a message: {problem}");
        }
        if is_new && outcome.is_ok() {
            mirror_as_put::<M>(session, key, query);
        }
    }

    /// Handles an unreadable message: checks whether only this message is invalid or the sender has another shape.
    fn on_decode_failure(self: &Arc<Self>, envelope: Option<Envelope>, error: DecodeError) {
        let Some(envelope) = envelope else {
            self.inbound.report_malformed(M::LANE, Diagnostic::DecodeFailed(error));
            return;
        };
        // This call is outside the `match`, which would hold the lock while other locks are acquired.
        let what = self.compat().on_decode_failure(&envelope, &error, Instant::now());
        match what {
            DecodeFailureAction::Report => {
                self.inbound.report_malformed(M::LANE, Diagnostic::DecodeFailed(error));
            },
            DecodeFailureAction::Count => {
                self.inbound.counters.malformed(M::LANE, Some(&envelope.from));
            },
            DecodeFailureAction::QueryInfo => {
                self.query_info(error.key, envelope);
            },
        }
    }

    /// Queries the info of a sender, and compares the sender's schema when the query has ended.
    ///
    /// `key` is the key on which the unreadable message arrived.
    fn query_info(self: &Arc<Self>, key: String, envelope: Envelope) {
        let receiver = Arc::clone(self);
        let info_key = Key::Info(envelope.from.clone()).to_string();
        let handle = QueryHandle::new(move |info: Option<NodeInfo>| {
            receiver.on_info(&key, &envelope, info.as_ref());
        });
        self.worker.run(move |session| {
            let sent = session
                .get(&info_key)
                .consolidation(ConsolidationMode::None)
                .congestion_control(CongestionControl::Drop)
                .timeout(SchemaCompatCache::QUERY_TIMEOUT)
                .callback(move |reply| {
                    let Ok(sample) = reply.result() else { return };
                    let raw = RawMessage::from_sample(sample, NodeInfo::MAX_BYTES);
                    if let Ok(info) = codec::decode::<NodeInfo>(&raw.payload, raw.encoding) {
                        handle.record(|known| *known = Some(info));
                    }
                })
                .wait();
            if let Err(problem) = sent {
                tracing::error!("{info_key}: Zenoh cannot send the query: {problem}");
            }
        });
    }

    fn on_info(&self, key: &str, envelope: &Envelope, info: Option<&NodeInfo>) {
        let finding = self.compat().on_info(envelope, info, &self.own, Instant::now());
        match finding {
            None => {},
            Some(CompatResult::Unreadable { problem }) => {
                self.inbound.report_malformed(M::LANE, Diagnostic::DecodeFailed(problem));
            },
            Some(CompatResult::Incompatible { version, differences }) => {
                let (reader, writer) = (&self.id, &envelope.from);
                let sides: Vec<String> = differences
                    .iter()
                    .take(MAX_DESCRIBED)
                    .map(|at| {
                        format!(
                            "'{reader}' {}, '{writer}' (version {version}) {}",
                            at.reader, at.writer
                        )
                    })
                    .collect();
                let text = format!(
                    "{key}: {}; ignoring its messages on this topic until it restarts with a compatible schema",
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
                self.inbound.report_malformed(M::LANE, problem);
            },
        }
    }
}

/// Publishes a message that arrived as a query again as a put, because only the receiver sees a query.
///
/// The put has the envelope of the original sender, and is delivered only to other nodes.
fn mirror_as_put<M: Message>(session: &Session, key: &str, query: &Query) {
    let (priority, reliability, express) = zenoh_qos(M::LANE);
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
        tracing::debug!("{key}: cannot mirror a message for observers: {problem}");
    }
}
