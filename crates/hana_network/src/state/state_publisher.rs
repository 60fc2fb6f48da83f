use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use hana_protocol::wire::Message;
use hana_protocol::wire::codec::Encoding;
use zenoh::Wait;

use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::transport::publisher::{PublishError, encode};
use crate::transport::send_queue::{OutgoingTopic, SendWorker};

/// Publishes a value that has a current state: a change is published, and whoever comes late asks for it
/// and gets it. Dropping it withdraws the state.
///
/// The late-comer's question is an ordinary Zenoh query on the key itself, so that `zenoh get` asks it too.
/// On a reliable lane a change is said again a few times, since a link that is full drops what it is given and tells nobody;
/// who has heard it already takes no notice.
pub struct StatePublisher<M> {
    state: Arc<State<M>>,
    outbox: SendWorker,
    _declaration: RegistrationGuard,
}

/// Whether a state that was set is another than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SetOutcome {
    /// It is another, and was published.
    Another,
    /// It is the same; nothing was sent.
    Same,
}

/// The value as it is now, and where it is said.
struct State<M> {
    current: Mutex<Option<Current<M>>>,
    channel: Arc<OutgoingTopic>,
}

struct Current<M> {
    value: M,
    payload: Vec<u8>,
    changed: Instant,
    /// How often it was said again.
    repeated: usize,
}

/// When a change is said again, counted from the change.
const REPEATS: [Duration; 3] =
    [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(4)];

/// The states of a node that are to be said again.
#[derive(Default)]
pub(crate) struct Republisher(Mutex<Vec<Weak<dyn Republish>>>);

/// A door for states of every type of message.
trait Republish: Send + Sync {
    /// Its payload and where it goes, if it is due at `now`.
    fn due(&self, now: Instant) -> Option<(Arc<OutgoingTopic>, Vec<u8>)>;
}

impl Republisher {
    /// Says again what is due. Called by the heart.
    pub(crate) fn say(&self, outbox: &SendWorker, now: Instant) {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.retain(|state| {
            let Some(state) = state.upgrade() else { return false };
            if let Some((channel, payload)) = state.due(now) {
                // A full queue is what repeating is for: there is a next time.
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
    /// The payload, if it is to be said again at `now`.
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
        // Who publishes on another lane says everything anew by itself.
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

    /// Publishes the current state again, if there is one: for who has missed it all the times that it was said. Does not
    /// block; a full queue is what repeating is for.
    pub(crate) fn say_again(&self) {
        let payload = self.state.current().as_ref().map(|current| current.payload.clone());
        if let Some(payload) = payload {
            self.outbox.push(&self.state.channel, payload).ok();
        }
    }

    /// Makes `value` the current state, and publishes it if it is another one. Does not block.
    ///
    /// # Errors
    ///
    /// When the queue is full, or the value cannot be written or is too large.
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

/// Answers who asks for the state.
fn answer<M>(state: &State<M>, worker: &SessionWorker, query: zenoh::query::Query) {
    // The envelope first: a value that is newer than its envelope is corrected by the publication that
    // follows, an older one with a newer envelope would stay.
    let Ok(attachment) = state.channel.envelope().encode() else { return };
    let payload = state.current().as_ref().map(|current| current.payload.clone());
    let Some(payload) = payload else { return };
    let key = state.channel.key().to_owned();
    // By the worker: a foreign question may ask for an answer that blocks.
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
