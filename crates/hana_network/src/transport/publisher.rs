use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use hana_protocol::wire::{Message, codec};
use thiserror::Error;

use crate::transport::send_queue::{OutgoingTopic, SendWorker};

/// Publishes one type of message on one key. Cheap to clone; clones share one sequence.
pub struct Publisher<M> {
    channel: Arc<OutgoingTopic>,
    outbox: SendWorker,
    message: PhantomData<fn(M)>,
}

/// A message that was not taken.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The queue of a reliable lane is full: the network takes less than the program gives.
    #[error("{key}: the queue is full; send less, or use an unreliable lane")]
    QueueFull {
        /// The key.
        key: String,
    },
    /// The message has a field that cannot be written.
    #[error("{key}: the message cannot be written: {problem}")]
    Encode {
        /// The key.
        key: String,
        /// The writer's own words.
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
        Self {
            channel: Arc::clone(&self.channel),
            outbox: self.outbox.clone(),
            message: PhantomData,
        }
    }
}

impl<M: Message> Publisher<M> {
    pub(crate) const fn new(channel: Arc<OutgoingTopic>, outbox: SendWorker) -> Self {
        Self { channel, outbox, message: PhantomData }
    }

    /// Hands a message to the network. Does not block: it goes into a queue, a thread sends. On
    /// `UnreliableSequenced` it takes the place of one that still waits.
    ///
    /// # Errors
    ///
    /// When the queue of a reliable lane is full, or the message cannot be written or is too large.
    pub fn publish(&self, message: &M) -> Result<(), PublishError> {
        let payload = encode(self.channel.key(), message)?;
        self.outbox
            .push(&self.channel, payload)
            .map_err(|_| PublishError::QueueFull { key: self.channel.key().into() })
    }

    /// The same, sent in this thread instead of in one of the node's: it spares the message the way from thread to thread,
    /// some 30 us. Where a link is full it may block for a millisecond: for a thread that has little else to do, as one
    /// that reads a sensor, never for a frame loop.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub fn publish_at_once(&self, message: &M) -> Result<(), PublishError> {
        let payload = encode(self.channel.key(), message)?;
        self.channel
            .send_at_once(payload)
            .map_err(|_| PublishError::QueueFull { key: self.channel.key().into() })
    }

    /// As [`publish`](Self::publish), and waits for room in the queue of a reliable lane, at most for `timeout`. Blocks: for a thread that
    /// works something off, never for a frame loop.
    ///
    /// # Errors
    ///
    /// When there was no room in time, or the message cannot be written or is too large.
    pub fn publish_within(&self, message: &M, timeout: Duration) -> Result<(), PublishError> {
        self.channel.await_room(timeout);
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
