use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::sync::lock::Mutex;
use hana_protocol::contract::{Key, Topic};
use hana_protocol::id::{NodeId, TopicName};
use hana_protocol::message::Accepted;
use hana_protocol::wire::CustomMessage;

use crate::context::node_context::NodeContext;
use crate::custom::confirmed_send::{ConfirmedSender, SendError};
use crate::sync::pending::Pending;
use crate::transport::outbound::publisher::{PublishError, Publisher, encode};

/// Publishes messages of one custom type, and sends them to single nodes or to all nodes of a kind.
///
/// Cheap to clone. It does not keep the node on the mesh.
pub struct MessageSender<M> {
    context: Weak<NodeContext>,
    confirmed: Weak<ConfirmedSender>,
    published: Publisher<M>,
    /// Open publishers for single nodes and kinds.
    addressed: Arc<Mutex<HashMap<Key, Publisher<M>>>>,
}

/// The maximum number of open publishers; when it is reached, all are closed and reopened when needed.
const STREAMS: usize = 64;

impl<M> Clone for MessageSender<M> {
    fn clone(&self) -> Self {
        Self {
            context: Weak::clone(&self.context),
            confirmed: Weak::clone(&self.confirmed),
            published: self.published.clone(),
            addressed: Arc::clone(&self.addressed),
        }
    }
}

impl<M: CustomMessage> MessageSender<M> {
    /// The time for which an unconfirmed message on a reliable lane is retried until the node accepts it.
    pub const STREAM_DEADLINE: Duration = Duration::from_secs(10);

    pub(crate) fn new(context: &Arc<NodeContext>, confirmed: &Arc<ConfirmedSender>) -> Self {
        let own = Topic::<M>::custom(context.identity.id.clone());
        Self {
            context: Arc::downgrade(context),
            confirmed: Arc::downgrade(confirmed),
            published: context.publisher(own.key()),
            addressed: Arc::default(),
        }
    }

    /// Queues a message for the subscribers of this node's topic. Does not block.
    ///
    /// # Errors
    ///
    /// When the queue of a reliable lane is full, or the message cannot be encoded or is too large.
    pub fn publish(&self, message: &M) -> Result<(), PublishError> {
        self.published.publish(message)
    }

    /// Publishes a message from the calling thread: see [`Publisher::publish_blocking`].
    ///
    /// May block for 1 ms when a link is congested. Do not call it in a frame loop.
    ///
    /// # Errors
    ///
    /// Same as [`publish`](Self::publish).
    pub fn publish_blocking(&self, message: &M) -> Result<(), PublishError> {
        self.published.publish_blocking(message)
    }

    /// Publishes like [`publish`](Self::publish), but waits up to `timeout` for room in the queue of a reliable lane.
    ///
    /// Do not call it in a frame loop, because it blocks.
    ///
    /// # Errors
    ///
    /// When the queue still has no room after `timeout`, or the message cannot be encoded or is too large.
    pub fn publish_timeout(&self, message: &M, timeout: Duration) -> Result<(), PublishError> {
        self.published.publish_timeout(message, timeout)
    }

    /// Sends a message to one node and returns its reply within `deadline`.
    #[must_use]
    pub fn send_to(
        &self,
        node: &NodeId,
        message: &M,
        deadline: Duration,
    ) -> Pending<Result<Accepted, SendError>> {
        if let Some(confirmed) = self.confirmed.upgrade() {
            return confirmed.send(node, message, deadline);
        }
        let (promise, pending) = Pending::new();
        let problem = "the node has left the mesh".into();
        promise.fulfil(Err(SendError::NotSent { problem }));
        pending
    }

    /// Sends a message to one node with the guarantees of its lane, and does not report the outcome.
    ///
    /// On a reliable lane, the message is sent as by [`MessageSender::send_to`], for at most
    /// [`MessageSender::STREAM_DEADLINE`]. A message that is not accepted by then counts as dropped. Does not block.
    ///
    /// # Errors
    ///
    /// When the message cannot be encoded or is too large.
    pub fn send_unconfirmed(&self, node: &NodeId, message: &M) -> Result<(), PublishError> {
        if !M::LANE.is_reliable() {
            return self.put(Topic::<M>::to_node(node.clone()).key(), message);
        }
        let Some(confirmed) = self.confirmed.upgrade() else { return Ok(()) };
        let payload = encode(M::TOPIC, message)?;
        let topic = TopicName::of::<M>();
        drop(confirmed.send_payload(node, topic, payload, M::LANE, Self::STREAM_DEADLINE));
        Ok(())
    }

    /// Sends a message to all nodes of a kind: `ripples`, `ripples-2` and so on.
    ///
    /// The nodes do not reply. Does not block.
    ///
    /// # Errors
    ///
    /// When the queue of a reliable lane is full, or the message cannot be encoded or is too large.
    pub fn send_to_kind(&self, kind: &NodeId, message: &M) -> Result<(), PublishError> {
        self.put(Topic::<M>::to_kind(kind.clone()).key(), message)
    }

    fn put(&self, key: &Key, message: &M) -> Result<(), PublishError> {
        // As with every publisher, the message is dropped silently after the node has left.
        let Some(context) = self.context.upgrade() else { return Ok(()) };
        let publisher = {
            let mut addressed = self.addressed.lock();
            if addressed.len() >= STREAMS && !addressed.contains_key(key) {
                addressed.clear();
            }
            addressed.entry(key.clone()).or_insert_with(|| context.publisher(key)).clone()
        };
        publisher.publish(message)
    }
}
