use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use hana_protocol::wire::{Message, codec};
use thiserror::Error;

use crate::transport::outbound::send_queue::{OutgoingTopic, SendWorker};

/// A publisher of one message type on one key. Cheap to clone; clones share one sequence.
pub struct Publisher<M> {
    topic: Arc<OutgoingTopic>,
    sender: SendWorker,
    message: PhantomData<fn(M)>,
}

/// A message that was not accepted.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The queue of a reliable lane is full: the program publishes faster than the network accepts.
    #[error("{key}: the queue is full; send less, or use an unreliable lane")]
    QueueFull {
        /// The key.
        key: String,
    },
    /// The message has a field that cannot be encoded.
    #[error("{key}: cannot encode the message: {problem}")]
    Encode {
        /// The key.
        key: String,
        /// The encoder's own error text.
        #[source]
        problem: codec::EncodeError,
    },
    /// The message is larger than its type allows.
    #[error("{key}: the message has {bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// The key.
        key: String,
        /// Its size.
        bytes: usize,
        /// The limit of its type.
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

    /// Queues a message for sending, without blocking; the send thread sends it.
    ///
    /// On `UnreliableSequenced`, it replaces a message that still waits.
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
    /// Saves the switch between threads, about 30 us. It may block for a millisecond if a link is full. Use it in a
    /// thread with little else to do, such as one that reads a sensor, never in a frame loop.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub fn publish_blocking(&self, message: &M) -> Result<(), PublishError> {
        let payload = encode(self.topic.key(), message)?;
        self.topic
            .send_at_once(payload)
            .map_err(|_| PublishError::QueueFull { key: self.topic.key().into() })
    }

    /// Publishes like [`publish`](Self::publish), but first waits for room in the queue of a reliable lane.
    ///
    /// Blocks for `timeout` at most. Use it in a thread that works off a backlog, never in a frame loop.
    ///
    /// # Errors
    ///
    /// When there is no room in time, or the message cannot be encoded or is too large.
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
