use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use hana_protocol::contract::{Key, Topic};
use hana_protocol::id::{NodeId, TopicName};
use hana_protocol::message::Accepted;
use hana_protocol::wire::CustomMessage;

use crate::custom::confirmed_send::{Destination, SendError};
use crate::node::node::NodeContext;
use crate::rpc::pending::Pending;
use crate::transport::publisher::{PublishError, Publisher, encode};

/// Publishes messages of one custom type, or sends them to one node or to all nodes of a kind.
///
/// Cheap to clone; it does not keep the node on the mesh.
pub struct MessageSender<M> {
    core: Weak<NodeContext>,
    published: Publisher<M>,
    /// Open streams to single nodes and kinds.
    addressed: Arc<Mutex<HashMap<Key, Publisher<M>>>>,
}

/// Maximum number of open streams; beyond that, all are closed and opened again on demand.
const STREAMS: usize = 64;

impl<M> Clone for MessageSender<M> {
    fn clone(&self) -> Self {
        Self {
            core: Weak::clone(&self.core),
            published: self.published.clone(),
            addressed: Arc::clone(&self.addressed),
        }
    }
}

impl<M: CustomMessage> MessageSender<M> {
    /// How long a stream on a reliable lane retries a message to a node that does not accept it.
    pub const STREAM_DEADLINE: Duration = Duration::from_secs(10);

    pub(super) fn new(core: &Arc<NodeContext>) -> Self {
        let own = Topic::<M>::custom(core.identity.id.clone());
        Self {
            core: Arc::downgrade(core),
            published: core.publisher(own.key()),
            addressed: Arc::default(),
        }
    }

    /// Publishes a message to the subscribers of this node's topic. Does not block.
    ///
    /// # Errors
    ///
    /// When the queue of a reliable lane is full, or the message cannot be encoded or is too large.
    pub fn publish(&self, message: &M) -> Result<(), PublishError> {
        self.published.publish(message)
    }

    /// Publishes a message from the calling thread: see [`Publisher::publish_at_once`].
    ///
    /// May block for 1 ms when a link is congested; not for a frame loop.
    ///
    /// # Errors
    ///
    /// Same as [`publish`](Self::publish).
    pub fn publish_at_once(&self, message: &M) -> Result<(), PublishError> {
        self.published.publish_at_once(message)
    }

    /// Publishes like [`publish`](Self::publish), but waits up to `timeout` for room in the queue of a reliable lane.
    ///
    /// Blocks; not for a frame loop.
    ///
    /// # Errors
    ///
    /// When there is no room in time, or the message cannot be encoded or is too large.
    pub fn publish_within(&self, message: &M, timeout: Duration) -> Result<(), PublishError> {
        self.published.publish_within(message, timeout)
    }

    /// Sends a message to one node and returns its reply within `deadline`.
    #[must_use]
    pub fn send_to(
        &self,
        node: &NodeId,
        message: &M,
        deadline: Duration,
    ) -> Pending<Result<Accepted, SendError>> {
        if let Some(core) = self.core.upgrade() {
            return core.send(node, message, deadline);
        }
        let (promise, pending) = Pending::new();
        let problem = "the node has left the mesh".into();
        promise.keep(Err(SendError::NotSent { problem }));
        pending
    }

    /// Sends a message to one node with the guarantees of its lane, without reporting the outcome.
    ///
    /// On a reliable lane it is sent like [`MessageSender::send_to`], for at most [`MessageSender::STREAM_DEADLINE`];
    /// a message that fails counts as dropped. Does not block.
    ///
    /// # Errors
    ///
    /// When the message cannot be encoded or is too large.
    pub fn stream_to(&self, node: &NodeId, message: &M) -> Result<(), PublishError> {
        if !M::LANE.is_reliable() {
            return self.put(Topic::<M>::to_node(node.clone()).key(), message);
        }
        let Some(core) = self.core.upgrade() else { return Ok(()) };
        let payload = encode(M::TOPIC, message)?;
        let address = Destination { node: node.clone(), topic: TopicName::of::<M>() };
        drop(core.post.send(address, Ok(payload), M::LANE, Self::STREAM_DEADLINE));
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
        // A node that has left sends nothing, as with every publisher.
        let Some(core) = self.core.upgrade() else { return Ok(()) };
        let publisher = {
            let mut addressed = self.addressed.lock().unwrap_or_else(PoisonError::into_inner);
            if addressed.len() >= STREAMS && !addressed.contains_key(key) {
                addressed.clear();
            }
            addressed.entry(key.clone()).or_insert_with(|| core.publisher(key)).clone()
        };
        publisher.publish(message)
    }
}
