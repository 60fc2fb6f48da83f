use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::sync::lock::{Mutex, MutexGuard};
use hana_protocol::wire::Message;
use hana_protocol::wire::codec::Encoding;
use zenoh::Wait;

use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::transport::outbound::publisher::{PublishError, encode};
use crate::transport::outbound::send_queue::{OutgoingTopic, SendWorker};

/// Publishes a state: each change is published, and nodes that join later query the current value.
///
/// Dropping the publisher withdraws the state. The query is an ordinary Zenoh query on the key itself, so `zenoh get`
/// works too. On a reliable lane, a change is republished a few times, since a congested link drops messages without
/// an error; receivers discard the duplicates.
pub struct StatePublisher<M> {
    state: Arc<State<M>>,
    sender: SendWorker,
    _registration: RegistrationGuard,
}

/// The effect of setting a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SetOutcome {
    /// The value changed and was published.
    Published,
    /// The value is the same; nothing was sent.
    Unchanged,
}

/// The current value and the topic on which it is published.
struct State<M> {
    current: Mutex<Option<Current<M>>>,
    topic: Arc<OutgoingTopic>,
}

struct Current<M> {
    value: M,
    payload: Vec<u8>,
    changed: Instant,
    /// The number of times that the value was republished.
    republished: usize,
}

/// The times after a change at which the value is published again.
const REPUBLISH_DELAYS: [Duration; 3] =
    [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(4)];

/// The states of a node that must be republished.
#[derive(Default)]
pub(crate) struct Republisher(Mutex<Vec<Weak<dyn Republish>>>);

/// A state of any message type that can be republished.
trait Republish: Send + Sync {
    /// Returns the topic and payload of the state if a republication is due at `now`.
    fn due(&self, now: Instant) -> Option<(Arc<OutgoingTopic>, Vec<u8>)>;
}

impl Republisher {
    /// Republishes the states that are due. Called periodically by the status publisher.
    pub(crate) fn republish(&self, sender: &SendWorker, now: Instant) {
        let mut states = self.0.lock();
        states.retain(|state| {
            let Some(state) = state.upgrade() else { return false };
            if let Some((topic, payload)) = state.due(now) {
                // A full queue is not an error, because the next repetition covers it.
                sender.push(&topic, payload).ok();
            }
            true
        });
    }
}

impl<M> State<M> {
    fn current(&self) -> MutexGuard<'_, Option<Current<M>>> {
        self.current.lock()
    }
}

impl<M> Current<M> {
    /// Returns the payload if a republication is due at `now`.
    fn due(&mut self, now: Instant) -> Option<Vec<u8>> {
        let after = REPUBLISH_DELAYS.get(self.republished)?;
        if now.saturating_duration_since(self.changed) < *after {
            return None;
        }
        self.republished += 1;
        Some(self.payload.clone())
    }
}

impl<M: Message> Republish for State<M> {
    fn due(&self, now: Instant) -> Option<(Arc<OutgoingTopic>, Vec<u8>)> {
        let payload = self.current().as_mut().and_then(|current| current.due(now))?;
        Some((Arc::clone(&self.topic), payload))
    }
}

impl<M: Message + PartialEq + Clone> StatePublisher<M> {
    pub(crate) fn new(
        worker: &SessionWorker,
        topic: Arc<OutgoingTopic>,
        sender: SendWorker,
        republisher: &Republisher,
    ) -> Self {
        let key = topic.key().to_owned();
        let state = Arc::new(State { current: Mutex::new(None::<Current<M>>), topic });
        // On other lanes, the program itself repeats the values.
        if M::LANE.is_reliable() {
            let republished_state: Arc<dyn Republish> = Arc::<State<M>>::clone(&state);
            let mut republisher = republisher.0.lock();
            republisher.push(Arc::downgrade(&republished_state));
        }
        let (queried, replying) = (Arc::clone(&state), worker.clone());
        let declaration =
            worker.receive_queries(key, move |query| reply_with_state(&queried, &replying, query));
        Self { state, sender, _registration: declaration }
    }

    /// Publishes the current state again, if there is one, for nodes that missed all earlier publications of it.
    ///
    /// Does not block. A full queue is not an error, since the state is published again later.
    pub(crate) fn republish(&self) {
        let payload = self.state.current().as_ref().map(|current| current.payload.clone());
        if let Some(payload) = payload {
            self.sender.push(&self.state.topic, payload).ok();
        }
    }

    /// Makes `value` the current state, and publishes it if it differs. Does not block.
    ///
    /// # Errors
    ///
    /// When the queue is full, or the value cannot be encoded or is too large. If only the queue is full, `value` is
    /// nevertheless the current state.
    pub fn set(&self, value: &M) -> Result<SetOutcome, PublishError> {
        let topic = &self.state.topic;
        let payload = {
            let mut current = self.state.current();
            if current.as_ref().is_some_and(|known| known.value == *value) {
                return Ok(SetOutcome::Unchanged);
            }
            let payload = encode(topic.key(), value)?;
            *current = Some(Current {
                value: value.clone(),
                payload: payload.clone(),
                changed: Instant::now(),
                republished: 0,
            });
            payload
        };
        self.sender
            .push(topic, payload)
            .map(|()| SetOutcome::Published)
            .map_err(|_| PublishError::QueueFull { key: topic.key().into() })
    }
}

/// Replies to a query for the state.
fn reply_with_state<M>(state: &State<M>, worker: &SessionWorker, query: zenoh::query::Query) {
    // The envelope is created before the value is read. If the value is then newer than its envelope, the publication
    // that follows corrects it; an older value with a newer envelope would never be corrected.
    let Ok(attachment) = state.topic.envelope().encode() else { return };
    let payload = state.current().as_ref().map(|current| current.payload.clone());
    let Some(payload) = payload else { return };
    let key = state.topic.key().to_owned();
    // The worker sends the reply, because a foreign query may request a reply that blocks.
    worker.spawn_reply(query, move |_, query| {
        let reply = query
            .reply(key, payload)
            .encoding(Encoding::MESSAGE_PACK)
            .attachment(attachment)
            .wait();
        if let Err(problem) = reply {
            tracing::debug!("cannot reply to a state query: {problem}");
        }
    });
}
