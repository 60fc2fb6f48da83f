//! Custom messages of a node.

use std::time::Duration;

use hana_protocol::contract::routes::{Publishable, ReceivedBy};
use hana_protocol::id::role::NodeRole;
use hana_protocol::id::{NodeId, TopicName};
use hana_protocol::message::Accepted;
use hana_protocol::wire::{CustomMessage, Lane, codec};
use serde_json::Value;

use crate::custom::confirmed_send::{SendError, not_sent};
use crate::custom::custom_subscription::CustomSubscription;
use crate::custom::json_message;
use crate::custom::message_sender::MessageSender;
use crate::node::node::Node;
use crate::node::node_shared::NodeShared;
use crate::sync::pending::Pending;
use crate::transport::inbound::subscription::Subscription;
use crate::transport::received::Received;

impl<R: NodeRole> Node<R> {
    /// Subscribes to a custom message type: published messages, and messages sent to this node or to its kind.
    ///
    /// On `UnreliableSequenced`, the inbox keeps only the newest message of each key; on other lanes, the newest 4,096
    /// messages.
    ///
    /// If a message cannot be read because its sender has another shape of the type, this is reported in
    /// [`CustomSubscription::mismatches`], once per instance of the sender. Further messages of that instance are not
    /// read.
    #[must_use]
    pub fn subscribe_custom<M: CustomMessage + ReceivedBy<R>>(&self) -> CustomSubscription<M> {
        let NodeShared { early_subscriptions, context, .. } = &*self.shared;
        early_subscriptions.take().unwrap_or_else(|| CustomSubscription::start(context))
    }

    /// Returns a sender that publishes and sends messages of a custom type.
    #[must_use]
    pub fn message_sender<M: CustomMessage + Publishable<R>>(&self) -> MessageSender<M> {
        MessageSender::new(&self.shared.context, &self.shared.confirmed)
    }

    /// Sends a message to one node and returns its reply within `deadline`.
    ///
    /// `Accepted` means that the message is in the inbox of the receiving program. While the node is absent or does
    /// not reply, the message is retransmitted until the node replies or the deadline passes; the node accepts it
    /// only once. On [`Lane::ReliableOrdered`], messages to one node are accepted in the order of the calls.
    ///
    /// On every lane, each call is a query with a reply. For a stream of messages, use
    /// [`MessageSender::send_unconfirmed`].
    #[must_use]
    pub fn send<M: CustomMessage + Publishable<R>>(
        &self,
        node: &NodeId,
        message: &M,
        deadline: Duration,
    ) -> Pending<Result<Accepted, SendError>> {
        self.shared.confirmed.send(node, message, deadline)
    }

    /// Sends a JSON message whose type is not part of this program.
    ///
    /// First check the message against the node's info with `NodeInfo::check_message`.
    #[must_use]
    pub fn send_json(
        &self,
        node: &NodeId,
        topic: &TopicName,
        message: &Value,
        deadline: Duration,
    ) -> Pending<Result<Accepted, SendError>> {
        match codec::encode(message) {
            // The caller waits for the reply, so the message is sent reliably, whatever the lane of its type.
            Ok(payload) => self.shared.confirmed.send_payload(
                node,
                topic.clone(),
                payload,
                Lane::ReliableOrdered,
                deadline,
            ),
            Err(problem) => not_sent(problem.to_string()),
        }
    }

    /// Sends a JSON message to all nodes of a kind, on the lane that the nodes announce for its type.
    ///
    /// Resolves when the message has been passed to Zenoh; the nodes do not reply.
    #[must_use]
    pub fn send_json_to_kind(
        &self,
        kind: &NodeId,
        topic: &TopicName,
        lane: Lane,
        message: &Value,
    ) -> Pending<Result<(), SendError>> {
        json_message::send_json_to_kind(&self.shared.context, kind, topic, lane, message)
    }

    /// Subscribes to one custom topic, or to all, without the message type. Messages are delivered as JSON values.
    ///
    /// Messages that cannot be read as JSON are counted and reported.
    #[must_use]
    pub fn subscribe_json(&self, topic: Option<&TopicName>) -> Subscription<Received<Value>> {
        json_message::subscribe_json(&self.shared.context, topic)
    }
}
