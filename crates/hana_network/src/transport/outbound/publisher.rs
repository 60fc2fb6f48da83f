use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use hana_protocol::wire::{Message, codec};
use thiserror::Error;

use crate::transport::outbound::send_queue::{OutgoingTopic, SendWorker};

/// A publisher of one message type on one key. Cheap to clone; clones share one sequence of numbers.
pub struct Publisher<M> {
    topic: Arc<OutgoingTopic>,
    sender: SendWorker,
    message: PhantomData<fn(M)>,
}

/// A reason why a message was not accepted for publication.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The queue of a reliable lane is full: the program publishes faster than the network accepts.
    #[error("{key}: the queue is full; send less, or use an unreliable lane")]
    QueueFull {
        /// The key of the message.
        key: String,
    },
    /// The message has a field that cannot be encoded.
    #[error("{key}: cannot encode the message: {problem}")]
    Encode {
        /// The key of the message.
        key: String,
        /// The error text of the encoder.
        #[source]
        problem: codec::EncodeError,
    },
    /// The message is larger than its type allows.
    #[error("{key}: the message has {bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// The key of the message.
        key: String,
        /// The size of the message in bytes.
        bytes: usize,
        /// The size limit of its type in bytes.
        limit: usize,
    },
}

impl<M> Clone for Publisher<M> {
    fn clone(&self) -> Self {
        Self { topic: Arc::clone(&self.topic), sender: self.sender.clone(), message: PhantomData }
    }
}

impl<M: Message> Publisher<M> {
    pub(crate) const fn new(topic: Arc<OutgoingTopic>, sender: SendWorker) -> Self {
        Self { topic, sender, message: PhantomData }
    }

    /// Queues a message, which the send thread then sends. Does not block.
    ///
    /// On `UnreliableSequenced`, the message replaces a message that is still waiting.
    ///
    /// # Errors
    ///
    /// When the queue of a reliable lane is full, or the message cannot be encoded or is too large.
    pub fn publish(&self, message: &M) -> Result<(), PublishError> {
        let payload = encode(self.topic.key(), message)?;
        self.sender
            .push(&self.topic, payload)
            .map_err(|_| PublishError::QueueFull { key: self.topic.key().into() })
    }

    /// Publishes a message from the calling thread instead of the send thread.
    ///
    /// Saves the switch between threads, about 30 µs. It may block for a millisecond if a link is full. Use it in a
    /// thread with little other work, such as one that reads a sensor, and never in a frame loop.
    ///
    /// # Errors
    ///
    /// The same as for [`publish`](Self::publish).
    pub fn publish_blocking(&self, message: &M) -> Result<(), PublishError> {
        let payload = encode(self.topic.key(), message)?;
        self.topic
            .send_at_once(payload)
            .map_err(|_| PublishError::QueueFull { key: self.topic.key().into() })
    }

    /// Publishes like [`publish`](Self::publish), but first waits for room in the queue of a reliable lane.
    ///
    /// Blocks for `timeout` at most. Use it in a thread that processes a backlog, and never in a frame loop.
    ///
    /// # Errors
    ///
    /// When the queue still has no room after `timeout`, or the message cannot be encoded or is too large.
    pub fn publish_timeout(&self, message: &M, timeout: Duration) -> Result<(), PublishError> {
        self.topic.await_room(timeout);
        self.publish(message)
    }
}

pub(crate) fn encode<M: Message>(key: &str, message: &M) -> Result<Vec<u8>, PublishError> {
    let payload = codec::encode(message)
        .map_err(|problem| PublishError::Encode { key: key.into(), problem })?;
    if payload.len() > M::MAX_BYTES {
        return Err(PublishError::TooLarge {
            key: key.into(),
            bytes: payload.len(),
            limit: M::MAX_BYTES,
        });
    }
    Ok(payload)
}
