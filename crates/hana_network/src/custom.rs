//! Custom messages: published, sent to one node, or sent to all nodes of a kind.
//!
//! Programs that have the message type send and receive it typed; other programs use JSON.

pub(crate) mod confirmed_send;
pub(crate) mod custom_subscription;
pub(crate) mod message_sender;

use std::sync::Arc;
use std::time::Duration;

use confirmed_send::{Destination, SendError};
use custom_subscription::CustomSubscription;
use hana_protocol::contract::Key;
use hana_protocol::contract::routes::{Publishable, ReceivedBy};
use hana_protocol::id::role::NodeRole;
use hana_protocol::id::{NodeId, TopicName};
use hana_protocol::message::{Accepted, NodeInfo};
use hana_protocol::wire::codec::{DecodeError, Encoding};
use hana_protocol::wire::{CustomMessage, Lane, codec};
use message_sender::MessageSender;
use serde_json::Value;
use zenoh::Wait;
use zenoh::qos::CongestionControl;

use crate::node::node::{JoinError, Node};
use crate::rpc::pending::Pending;
use crate::transport::admission::AdmissionFilter;
use crate::transport::inbound::{Received, admitted};
use crate::transport::inbox::{Inbox, OverflowPolicy};
use crate::transport::problem::Diagnostic;
use crate::transport::send_queue::quality;
use crate::transport::subscription::Subscription;

/// Capacity of each subscription's inbox, in messages.
const INBOX: usize = 4096;
/// Size limit when reading a value of unknown type; most types have the same limit.
const VALUE_BYTES: usize = 64 * 1024;
/// The lane on which values of unknown type are counted, since their real lane is unknown too.
const LANE: Lane = Lane::UnreliableUnordered;

/// Checks that other nodes can read this node's info.
///
/// The schemas of its custom messages may be too large or too deeply nested.
pub(crate) fn check_info(info: &NodeInfo) -> Result<(), JoinError> {
    let problem = match codec::encode(info) {
        Ok(payload) => match codec::decode::<NodeInfo>(&payload, Encoding::MessagePack) {
            Ok(_) => return Ok(()),
            Err(problem) => problem.to_string(),
        },
        Err(problem) => problem.to_string(),
    };
    Err(JoinError::Info { problem })
}

impl<R: NodeRole> Node<R> {
    /// Subscribes to a custom message type: published messages, those sent to this node, and those sent to its kind.
    ///
    /// On `UnreliableSequenced` the inbox keeps the newest message of each key, otherwise the newest 4,096.
    ///
    /// A message that cannot be read because its sender has another shape of the type is reported in
    /// [`CustomSubscription::mismatches`], once per instance of the sender. Further messages of that instance are not
    /// read.
    #[must_use]
    pub fn hear<M: CustomMessage + ReceivedBy<R>>(&self) -> CustomSubscription<M> {
        self.core.heard.take().unwrap_or_else(|| CustomSubscription::start(&self.core))
    }

    /// Returns a sender that publishes and sends messages of a custom type.
    #[must_use]
    pub fn courier<M: CustomMessage + Publishable<R>>(&self) -> MessageSender<M> {
        MessageSender::new(&self.core)
    }

    /// Sends a message to one node and returns its reply within `deadline`.
    ///
    /// `Accepted` means that the message is in the inbox of the receiving program. While the node is absent or does
    /// not reply, the message is retransmitted until the node replies or the deadline passes; the node accepts it
    /// only once. Messages to one node on [`Lane::ReliableOrdered`] are accepted in the order of these calls.
    ///
    /// On any lane, each call is a query with a reply; for a stream of messages use [`MessageSender::stream_to`].
    #[must_use]
    pub fn send<M: CustomMessage + Publishable<R>>(
        &self,
        node: &NodeId,
        message: &M,
        deadline: Duration,
    ) -> Pending<Result<Accepted, SendError>> {
        self.core.send(node, message, deadline)
    }

    /// Sends a message whose type this program does not have.
    ///
    /// First check it against what the node announces: [`NodeInfo::check_message`].
    #[must_use]
    pub fn send_value(
        &self,
        node: &NodeId,
        topic: &TopicName,
        message: &Value,
        deadline: Duration,
    ) -> Pending<Result<Accepted, SendError>> {
        let payload = codec::encode(message).map_err(|problem| problem.to_string());
        // The caller waits for the reply, so the send is reliable whatever lane the type has.
        let address = Destination { node: node.clone(), topic: topic.clone() };
        self.core.post.send(address, payload, Lane::ReliableOrdered, deadline)
    }

    /// Sends a message whose type this program does not have to all nodes of a kind, on the lane that they announce.
    ///
    /// Resolves once the message has been handed to the network; the nodes do not reply.
    #[must_use]
    pub fn send_value_to_kind(
        &self,
        kind: &NodeId,
        topic: &TopicName,
        lane: Lane,
        message: &Value,
    ) -> Pending<Result<(), SendError>> {
        let (promise, pending) = Pending::new();
        let key = Key::KindInbox { kind: kind.clone(), topic: topic.clone() }.to_string();
        let identity = &self.core.identity;
        let attachment = identity.next_envelope(&key).encode().unwrap_or_default();
        let payload = match codec::encode(message) {
            Ok(payload) => payload,
            Err(problem) => {
                promise.keep(Err(SendError::NotSent { problem: problem.to_string() }));
                return pending;
            },
        };
        let counters = Arc::clone(&self.core.counters);
        self.core.worker.run(move |session| {
            let (priority, reliability, express) = quality(lane);
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
            promise
                .keep(sent.map_err(|problem| SendError::NotSent { problem: problem.to_string() }));
        });
        pending
    }

    /// Subscribes to one custom topic, or to all, without having the type.
    ///
    /// Messages that cannot be read as JSON are counted and reported.
    #[must_use]
    pub fn hear_values(&self, topic: Option<&TopicName>) -> Subscription<Received<Value>> {
        let pattern = format!("{}/*/topic/{}", Key::ROOT, topic.map_or("*", TopicName::as_str));
        let inbox = Inbox::new(OverflowPolicy::DropOldest, INBOX);
        let (filled, reception) = (inbox.clone(), self.core.reception.clone());
        let gate = Arc::new(AdmissionFilter::of_values());
        let declaration = self.core.worker.declare(pattern.clone(), move |session| {
            let (inbox, reception, gate) = (filled.clone(), reception.clone(), Arc::clone(&gate));
            let callback = move |sample| {
                let raw = admitted(&sample, VALUE_BYTES, &gate, &reception);
                let Some(raw) = raw else { return };
                match codec::decode_any(&raw.payload, raw.encoding, VALUE_BYTES) {
                    Ok(message) => {
                        reception.counters.received(LANE);
                        let (key, sender) = (raw.key.clone(), raw.sender().cloned());
                        let received = Received { key: raw.key, envelope: raw.envelope, message };
                        let dropped = inbox.push("", received);
                        reception.displaced(LANE, &key, sender.as_ref(), dropped);
                    },
                    Err(problem) => reception.complain(
                        LANE,
                        Diagnostic::DecodeFailed(DecodeError {
                            key: raw.key,
                            sender: raw.envelope.map(|envelope| envelope.from),
                            message: "custom message",
                            problem,
                        }),
                    ),
                }
            };
            Ok(Box::new(session.declare_subscriber(pattern.clone()).callback(callback).wait()?))
        });
        Subscription::new(inbox, declaration)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hana_protocol::id::role::Role;
    use hana_protocol::message::{CustomMessageInfo, Direction};
    use serde_json::json;

    use super::*;

    fn info(schema: Value) -> NodeInfo {
        let node = NodeId::new("v").unwrap();
        NodeInfo {
            host: node.clone(),
            node,
            kind: None,
            role: Role::Visualization,
            pid: 1,
            instance: 1,
            started_ms: 0,
            version: String::new(),
            program: String::new(),
            parameters: vec![],
            messages: vec![CustomMessageInfo {
                name: "Spark".into(),
                topic: "spark".into(),
                lane: Lane::ReliableOrdered,
                version: 1,
                direction: Direction::Both,
                schema,
            }],
            play: vec![],
            listen: vec![],
        }
    }

    #[test]
    fn a_node_that_would_say_too_much_of_itself_does_not_join() {
        check_info(&info(json!({"description": "x".repeat(200_000)}))).unwrap();
        let error = check_info(&info(json!({"description": "x".repeat(300_000)}))).unwrap_err();
        assert!(error.to_string().contains("at most 262144 are allowed"), "{error}");
        let deep = (0..40).fold(json!({}), |inner, _| json!({"items": inner}));
        let error = check_info(&info(deep)).unwrap_err();
        assert!(error.to_string().contains("nested deeper than 32"), "{error}");
    }
}
