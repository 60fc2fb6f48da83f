use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use hana_protocol::wire::Message;
use hana_protocol::wire::codec::Encoding;
use zenoh::Wait;

use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::transport::publisher::{PublishError, encode};
use crate::transport::send_queue::{OutgoingTopic, SendWorker};

/// Publishes a value with a current state: changes are published, and late joiners query it. Dropping it withdraws
/// the state.
///
/// The query of a late joiner is an ordinary Zenoh query on the key itself, so `zenoh get` works too. On a reliable
/// lane a change is published again a few times, since a congested link drops messages without an error; receivers
/// discard the duplicates.
pub struct StatePublisher<M> {
    state: Arc<State<M>>,
    outbox: SendWorker,
    _declaration: RegistrationGuard,
}

/// Whether a state that was set differs from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SetOutcome {
    /// The value changed and was published.
    Another,
    /// The value is the same; nothing was sent.
    Same,
}

/// The current value and the topic on which it is published.
struct State<M> {
    current: Mutex<Option<Current<M>>>,
    channel: Arc<OutgoingTopic>,
}

struct Current<M> {
    value: M,
    payload: Vec<u8>,
    changed: Instant,
    /// How often it was republished.
    repeated: usize,
}

/// Times after a change at which it is published again.
const REPEATS: [Duration; 3] =
    [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(4)];

/// The states of a node that are republished.
#[derive(Default)]
pub(crate) struct Republisher(Mutex<Vec<Weak<dyn Republish>>>);

/// A state of any message type.
trait Republish: Send + Sync {
    /// Returns its topic and payload, if it is due at `now`.
    fn due(&self, now: Instant) -> Option<(Arc<OutgoingTopic>, Vec<u8>)>;
}

impl Republisher {
    /// Republishes the states that are due. Called periodically by the status publisher.
    pub(crate) fn say(&self, outbox: &SendWorker, now: Instant) {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.retain(|state| {
            let Some(state) = state.upgrade() else { return false };
            if let Some((channel, payload)) = state.due(now) {
                // A full queue is not an error: the next repetition covers it.
                outbox.push(&channel, payload).ok();
            }
            true
        });
    }
}

impl<M> State<M> {
    fn current(&self) -> MutexGuard<'_, Option<Current<M>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> Current<M> {
    /// Returns the payload, if it is to be republished at `now`.
    fn due(&mut self, now: Instant) -> Option<Vec<u8>> {
        let after = REPEATS.get(self.repeated)?;
        if now.saturating_duration_since(self.changed) < *after {
            return None;
        }
        self.repeated += 1;
        Some(self.payload.clone())
    }
}

impl<M: Message> Republish for State<M> {
    fn due(&self, now: Instant) -> Option<(Arc<OutgoingTopic>, Vec<u8>)> {
        let payload = self.current().as_mut().and_then(|current| current.due(now))?;
        Some((Arc::clone(&self.channel), payload))
    }
}

impl<M: Message + PartialEq + Clone> StatePublisher<M> {
    pub(crate) fn new(
        worker: &SessionWorker,
        channel: Arc<OutgoingTopic>,
        outbox: SendWorker,
        repeats: &Republisher,
    ) -> Self {
        let key = channel.key().to_owned();
        let state = Arc::new(State { current: Mutex::new(None::<Current<M>>), channel });
        // A publisher on another lane repeats its values by itself.
        if M::LANE.is_reliable() {
            let to_repeat: Arc<dyn Republish> = Arc::<State<M>>::clone(&state);
            let mut repeats = repeats.0.lock().unwrap_or_else(PoisonError::into_inner);
            repeats.push(Arc::downgrade(&to_repeat));
        }
        let (asked, answering) = (Arc::clone(&state), worker.clone());
        let declaration = worker.declare(key.clone(), move |session| {
            let (asked, answering) = (Arc::clone(&asked), answering.clone());
            let callback = move |query| answer(&asked, &answering, query);
            Ok(Box::new(session.declare_queryable(&key).complete(true).callback(callback).wait()?))
        });
        Self { state, outbox, _declaration: declaration }
    }

    /// Publishes the current state again, if there is one, for nodes that missed all earlier publications.
    ///
    /// Does not block; a full queue is not an error, since the state is repeated.
    pub(crate) fn say_again(&self) {
        let payload = self.state.current().as_ref().map(|current| current.payload.clone());
        if let Some(payload) = payload {
            self.outbox.push(&self.state.channel, payload).ok();
        }
    }

    /// Makes `value` the current state, and publishes it if it differs. Does not block.
    ///
    /// # Errors
    ///
    /// When the queue is full, or the value cannot be encoded or is too large.
    pub fn set(&self, value: &M) -> Result<SetOutcome, PublishError> {
        let channel = &self.state.channel;
        let payload = {
            let mut current = self.state.current();
            if current.as_ref().is_some_and(|known| known.value == *value) {
                return Ok(SetOutcome::Same);
            }
            let payload = encode(channel.key(), value)?;
            *current = Some(Current {
                value: value.clone(),
                payload: payload.clone(),
                changed: Instant::now(),
                repeated: 0,
            });
            payload
        };
        self.outbox
            .push(channel, payload)
            .map(|()| SetOutcome::Another)
            .map_err(|_| PublishError::QueueFull { key: channel.key().into() })
    }
}

/// Replies to a query for the state.
fn answer<M>(state: &State<M>, worker: &SessionWorker, query: zenoh::query::Query) {
    // The envelope comes first. If the value is newer than its envelope, the publication that follows corrects it; an
    // older value with a newer envelope would stay.
    let Ok(attachment) = state.channel.envelope().encode() else { return };
    let payload = state.current().as_ref().map(|current| current.payload.clone());
    let Some(payload) = payload else { return };
    let key = state.channel.key().to_owned();
    // The worker replies, because a foreign query may request a reply that blocks.
    worker.answer(query, move |_, query| {
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
