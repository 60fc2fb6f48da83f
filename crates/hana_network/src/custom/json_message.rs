//! Custom messages, as JSON values, for programs that do not have the message type.

use std::sync::Arc;

use hana_protocol::contract::Key;
use hana_protocol::id::{NodeId, TopicName};
use hana_protocol::wire::codec::{DecodeError, Encoding};
use hana_protocol::wire::{Lane, codec};
use serde_json::Value;
use zenoh::Wait;
use zenoh::qos::CongestionControl;

use crate::context::node_context::{INBOX_CAPACITY, NodeContext};
use crate::custom::confirmed_send::{SendError, not_sent};
use crate::sync::inbox::{Inbox, OverflowPolicy};
use crate::sync::pending::Pending;
use crate::transport::diagnostic::Diagnostic;
use crate::transport::inbound::admission::AdmissionFilter;
use crate::transport::inbound::subscribe::subscribe_admitted;
use crate::transport::inbound::subscription::Subscription;
use crate::transport::outbound::lane_qos::zenoh_qos;
use crate::transport::raw_message::RawMessage;
use crate::transport::received::Received;

/// The maximum size of a value of unknown type, in bytes; most types have the same limit.
const MAX_JSON_BYTES: usize = 64 * 1024;
/// The lane on which values of unknown type are counted, since their lane is unknown too.
const COUNTED_LANE: Lane = Lane::UnreliableUnordered;

/// Sends a JSON message to all nodes of a kind.
pub(crate) fn send_json_to_kind(
    context: &NodeContext,
    kind: &NodeId,
    topic: &TopicName,
    lane: Lane,
    message: &Value,
) -> Pending<Result<(), SendError>> {
    let key = Key::KindInbox { kind: kind.clone(), topic: topic.clone() }.to_string();
    let attachment = context.identity.next_envelope(&key).encode().unwrap_or_default();
    let payload = match codec::encode(message) {
        Ok(payload) => payload,
        Err(problem) => return not_sent(problem.to_string()),
    };
    let (promise, pending) = Pending::new();
    let counters = Arc::clone(&context.inbound.counters);
    context.session_worker.run(move |session| {
        let (priority, reliability, express) = zenoh_qos(lane);
        let sent = session
            .put(key, payload)
            .encoding(Encoding::MESSAGE_PACK)
            .attachment(attachment)
            .congestion_control(CongestionControl::Drop)
            .priority(priority)
            .reliability(reliability)
            .express(express)
            .wait();
        if sent.is_ok() {
            counters.sent(lane);
        }
        promise.fulfil(sent.map_err(|problem| SendError::NotSent { problem: problem.to_string() }));
    });
    pending
}

/// Subscribes to one custom topic, or to all custom topics, and delivers the messages as JSON.
pub(crate) fn subscribe_json(
    context: &NodeContext,
    topic: Option<&TopicName>,
) -> Subscription<Received<Value>> {
    let pattern = format!("{}/*/topic/{}", Key::ROOT, topic.map_or("*", TopicName::as_str));
    let inbox = Inbox::new(OverflowPolicy::DropOldest, INBOX_CAPACITY);
    let (received, inbound) = (inbox.clone(), context.inbound.clone());
    let receive = move |raw: RawMessage| match codec::decode_any(
        &raw.payload,
        raw.encoding,
        MAX_JSON_BYTES,
    ) {
        Ok(message) => {
            inbound.counters.received(COUNTED_LANE);
            let (key, sender) = (raw.key.clone(), raw.sender().cloned());
            let message = Received { key: raw.key, envelope: raw.envelope, message };
            let dropped = received.push("", message);
            inbound.report_overflow(COUNTED_LANE, &key, sender.as_ref(), dropped);
        },
        Err(problem) => {
            let error = DecodeError {
                key: raw.key,
                sender: raw.envelope.map(|envelope| envelope.from),
                message: "custom message",
                problem,
            };
            inbound.report_malformed(COUNTED_LANE, Diagnostic::DecodeFailed(error));
        },
    };
    let (worker, inbound) = (&context.session_worker, &context.inbound);
    let filter = AdmissionFilter::for_json();
    let registration =
        subscribe_admitted(worker, pattern, inbound, filter, MAX_JSON_BYTES, receive);
    Subscription::new(inbox, registration)
}
