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

/// Takes messages of one custom type to everybody, to one node, to all of a kind. Cheap to clone; does not
/// keep the node on the mesh.
pub struct MessageSender<M> {
    core: Weak<NodeContext>,
    published: Publisher<M>,
    /// The streams to single nodes and kinds.
    addressed: Arc<Mutex<HashMap<Key, Publisher<M>>>>,
}

/// Streams that are kept open; where there are more, all are opened anew.
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
    /// How long a message of a stream on a reliable lane is sent to a node that does not take it.
    pub const STREAM_DEADLINE: Duration = Duration::from_secs(10);

    pub(super) fn new(core: &Arc<NodeContext>) -> Self {
        let own = Topic::<M>::custom(core.identity.id.clone());
        Self {
            core: Arc::downgrade(core),
            published: core.publisher(own.key()),
            addressed: Arc::default(),
        }
    }

    /// Publishes a message for whoever hears this node's topic. Does not block.
    ///
    /// # Errors
    ///
    /// When the queue of a reliable lane is full, or the message cannot be written or is too large.
    pub fn publish(&self, message: &M) -> Result<(), PublishError> {
        self.published.publish(message)
    }

    /// The same, sent in this thread: see [`Publisher::publish_at_once`]. May block for a millisecond where a link is full:
    /// never for a frame loop.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub fn publish_at_once(&self, message: &M) -> Result<(), PublishError> {
        self.published.publish_at_once(message)
    }

    /// As [`publish`](Self::publish), and waits for room in the queue of a reliable lane, at most for `timeout`. Blocks: never for a frame
    /// loop.
    ///
    /// # Errors
    ///
    /// When there was no room in time, or the message cannot be written or is too large.
    pub fn publish_within(&self, message: &M, timeout: Duration) -> Result<(), PublishError> {
        self.published.publish_within(message, timeout)
    }

    /// Sends a message to one node, and brings its answer within `deadline`.
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

    /// Sends a message to one node by the promise of its lane; nobody is told how it ended. On a reliable lane it is sent
    /// as by [`MessageSender::send_to`], for [`MessageSender::STREAM_DEADLINE`] at most; one that fails is counted as dropped. Does
    /// not block.
    ///
    /// # Errors
    ///
    /// When the message cannot be written or is too large.
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

    /// Sends a message to all nodes of a kind: `ripples`, `ripples-2` and so on. Nobody answers. Does not
    /// block.
    ///
    /// # Errors
    ///
    /// When the queue of a reliable lane is full, or the message cannot be written or is too large.
    pub fn send_to_kind(&self, kind: &NodeId, message: &M) -> Result<(), PublishError> {
        self.put(Topic::<M>::to_kind(kind.clone()).key(), message)
    }

    fn put(&self, key: &Key, message: &M) -> Result<(), PublishError> {
        // A node that has left says nothing more, as with everything that is published.
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
