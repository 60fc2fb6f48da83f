use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use hana_protocol::Encoding;
use hana_protocol::Message;
use zenoh::Wait;

use crate::PublishError;
use crate::outbox::Channel;
use crate::outbox::Outbox;
use crate::publisher::encode;
use crate::worker::Declaration;
use crate::worker::Worker;

/// Publishes a value that has a current state: a change is published, and whoever comes late asks for it
/// and gets it. Dropping it withdraws the state.
///
/// The late-comer's question is an ordinary Zenoh query on the key itself, so that `zenoh get` asks it too.
pub struct StatePublisher<M> {
    current: Current<M>,
    channel: Arc<Channel>,
    outbox: Outbox,
    _declaration: Declaration,
}

/// Whether a state that was set is another than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// It is another, and was published.
    Another,
    /// It is the same; nothing was sent.
    Same,
}

/// The value as it is now, and its payload; none before it was first set.
type Current<M> = Arc<Mutex<Option<(M, Vec<u8>)>>>;

impl<M: Message + PartialEq + Clone> StatePublisher<M> {
    pub(crate) fn new(worker: &Worker, channel: Arc<Channel>, outbox: Outbox) -> Self {
        let current = Arc::new(Mutex::new(None::<(M, Vec<u8>)>));
        let answer = {
            let (current, channel, worker) =
                (Arc::clone(&current), Arc::clone(&channel), worker.clone());
            move |query: zenoh::query::Query| {
                let payload = current
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .as_ref()
                    .map(|(_, payload)| payload.clone());
                let Some(payload) = payload else { return };
                let Ok(attachment) = channel.envelope().encode() else { return };
                let key = channel.key().to_owned();
                // Answered by the worker: a foreign question may ask for an answer that blocks.
                worker.run(move |_| {
                    let reply = query
                        .reply(key, payload)
                        .encoding(Encoding::MESSAGE_PACK)
                        .attachment(attachment)
                        .wait();
                    if let Err(problem) = reply {
                        tracing::debug!("a question for state was not answered: {problem}");
                    }
                });
            }
        };
        let key = channel.key().to_owned();
        let declaration = worker.declare(key.clone(), move |session| {
            let queryable =
                session.declare_queryable(key.clone()).complete(true).callback(answer).wait()?;
            Ok(Box::new(queryable))
        });
        Self { current, channel, outbox, _declaration: declaration }
    }

    /// Makes `value` the current state, and publishes it if it is another one. Does not block.
    ///
    /// # Errors
    ///
    /// When the queue is full, or the value cannot be written or is too large.
    pub fn set(&self, value: &M) -> Result<Change, PublishError> {
        let payload = {
            let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            if current.as_ref().is_some_and(|(known, _)| known == value) {
                return Ok(Change::Same);
            }
            let payload = encode(self.channel.key(), value)?;
            *current = Some((value.clone(), payload.clone()));
            payload
        };
        self.outbox
            .push(&self.channel, payload)
            .map(|()| Change::Another)
            .map_err(|_| PublishError::QueueFull { key: self.channel.key().into() })
    }
}
