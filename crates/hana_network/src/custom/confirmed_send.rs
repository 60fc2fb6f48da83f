use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use hana_engine::delivery::{RetryAction, RetryLimits, RetryQueue, SendFailure};
use hana_protocol::contract::Key;
use hana_protocol::id::{NodeId, TopicName};
use hana_protocol::message::{Accepted, CommandReply, Control};
use hana_protocol::wire::codec::PayloadError;
use hana_protocol::wire::{Lane, Message, codec};
use thiserror::Error;
use zenoh::bytes::ZBytes;
use zenoh::query::Reply;

use crate::rpc::pending::{Pending, Promise};
use crate::session::session_worker::SessionWorker;
use crate::transport::counters::NodeCounters;
use crate::transport::inbound::raw;
use crate::transport::query;
use crate::transport::send_queue::SenderIdentity;
use crate::transport::timer::{Timer, TimerThread, TimerWaker};

/// Why a message did not reach the node it was sent to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendError {
    /// No node with that id subscribed to the topic before the deadline.
    #[error(
        "'{node}' is not on the mesh, or does not subscribe to '{topic}'; `hana nodes` lists who is there, `hana send {node}` what it hears"
    )]
    NotHeard {
        /// Id of the node.
        node: NodeId,
        /// The topic.
        topic: TopicName,
    },
    /// The message was never sent: earlier messages to the node took all the time.
    #[error(
        "'{node}' was not sent '{topic}' in time: messages before it still wait for their answers; send less, or allow it more time"
    )]
    NotInTime {
        /// Id of the node.
        node: NodeId,
        /// The topic.
        topic: TopicName,
    },
    /// The node is on the mesh, but did not reply in time. It is unknown whether the message arrived.
    #[error(
        "'{node}' did not answer '{topic}' within {} ms; `hana nodes` says how it is",
        waited.as_millis()
    )]
    NoAnswer {
        /// Id of the node.
        node: NodeId,
        /// The topic.
        topic: TopicName,
        /// Time waited for the reply.
        waited: Duration,
    },
    /// The node refused the message.
    #[error("'{node}' refuses '{topic}': {reason}")]
    Refused {
        /// Id of the node.
        node: NodeId,
        /// The topic.
        topic: TopicName,
        /// The reason that the node gave.
        reason: String,
    },
    /// The reply cannot be read; most likely the node has another version.
    #[error("the answer of '{node}' cannot be read: {problem}")]
    Malformed {
        /// Id of the node.
        node: NodeId,
        /// The decoding problem.
        problem: PayloadError,
    },
    /// The message could not be sent.
    #[error("the message was not sent: {problem}")]
    NotSent {
        /// Why it could not be sent.
        problem: String,
    },
}

/// Sends messages to single nodes until they reply or the deadline passes.
pub(crate) struct ConfirmedSender {
    state: Mutex<State>,
    identity: SenderIdentity,
    worker: SessionWorker,
    counters: Arc<NodeCounters>,
    bell: TimerWaker,
    itself: Weak<Self>,
}

struct State {
    dispatch: RetryQueue<Destination>,
    letters: HashMap<u64, PendingMessage>,
}

/// Passes a message to Zenoh.
type SendStart = Box<dyn FnOnce(&zenoh::Session) + Send>;

/// A topic of one node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Destination {
    pub(crate) node: NodeId,
    pub(crate) topic: TopicName,
}

struct PendingMessage {
    address: Destination,
    lane: Lane,
    payload: ZBytes,
    attachment: ZBytes,
    deadline: Duration,
    promise: Promise<Result<Accepted, SendError>>,
}

impl ConfirmedSender {
    pub(crate) fn open(
        identity: &SenderIdentity,
        worker: &SessionWorker,
        counters: &Arc<NodeCounters>,
        ticker: &TimerThread,
    ) -> Arc<Self> {
        let state =
            State { dispatch: RetryQueue::new(RetryLimits::default()), letters: HashMap::new() };
        let bell = ticker.bell();
        let post = Arc::new_cyclic(|itself| Self {
            state: Mutex::new(state),
            identity: identity.clone(),
            worker: worker.clone(),
            counters: Arc::clone(counters),
            bell: bell.clone(),
            itself: Weak::clone(itself),
        });
        ticker.add(&post, &bell);
        post
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message until the node replies, at most for `deadline`. Does not block.
    pub(crate) fn send(
        &self,
        address: Destination,
        payload: Result<Vec<u8>, String>,
        lane: Lane,
        deadline: Duration,
    ) -> Pending<Result<Accepted, SendError>> {
        let (promise, pending) = Pending::new();
        let payload = match payload {
            Ok(payload) => payload,
            Err(problem) => {
                promise.keep(Err(SendError::NotSent { problem }));
                return pending;
            },
        };
        let key = address.key().to_string();
        let now = Instant::now();
        let mut actions = vec![];
        let mut state = self.state();
        match state.dispatch.enqueue(address.clone(), lane, now + deadline, now, &mut actions) {
            Ok(letter) => {
                // Every retransmission has the same envelope, by which the receiver detects duplicates.
                let attachment = self.identity.next_envelope(&key).encode().unwrap_or_default();
                let (payload, attachment) = (payload.into(), attachment.into());
                state.letters.insert(
                    letter,
                    PendingMessage { address, lane, payload, attachment, deadline, promise },
                );
                let attempts = self.act(&mut state, actions);
                drop(state);
                self.begin(attempts);
                self.bell.ring();
            },
            Err(full) => {
                drop(state);
                self.counters.not_sent(lane);
                promise.keep(Err(SendError::NotSent { problem: full.to_string() }));
            },
        }
        pending
    }

    /// Applies the actions and returns the sends to start.
    ///
    /// They start after the lock is released, because an attempt that fails at once calls back into this type.
    fn act(&self, state: &mut State, actions: Vec<RetryAction>) -> Vec<SendStart> {
        let mut attempts = vec![];
        for action in actions {
            match action {
                RetryAction::Send { send_id: letter, within } => {
                    if let Some(known) = state.letters.get(&letter) {
                        attempts.push(self.attempt(letter, known, within));
                    }
                },
                RetryAction::Failed { send_id: letter, why } => {
                    if let Some(failed) = state.letters.remove(&letter) {
                        self.counters.dropped(failed.lane, Some(&failed.address.node), 1);
                        failed.fail(why);
                    }
                },
            }
        }
        attempts
    }

    fn begin(&self, attempts: Vec<SendStart>) {
        for attempt in attempts {
            self.worker.run(attempt);
        }
    }

    fn attempt(&self, letter: u64, known: &PendingMessage, within: Duration) -> SendStart {
        let mut attempt = Attempt {
            post: Weak::clone(&self.itself),
            letter,
            address: known.address.clone(),
            within,
            begun: None,
            is_answered: Mutex::new(false),
        };
        let (payload, attachment) = (known.payload.clone(), known.attachment.clone());
        let key = known.address.key().to_string();
        let (lane, counters) = (known.lane, Arc::clone(&self.counters));
        Box::new(move |session| {
            attempt.begun = Some(Instant::now());
            let hear = move |reply| attempt.hear(&reply);
            let sent = query::ask(session, &key, payload, Some(attachment), lane, within, hear);
            match sent {
                Ok(()) => counters.sent(lane),
                Err(problem) => tracing::debug!("a message is said again later: {problem}"),
            }
        })
    }

    fn answered(&self, letter: u64, answer: Result<Accepted, SendError>) {
        let mut actions = vec![];
        let mut state = self.state();
        state.dispatch.answered(letter, Instant::now(), &mut actions);
        let answered = state.letters.remove(&letter);
        let attempts = self.act(&mut state, actions);
        drop(state);
        self.begin(attempts);
        if let Some(answered) = answered {
            answered.promise.keep(answer);
        }
    }

    fn unanswered(&self, letter: u64, heard: bool) {
        let mut actions = vec![];
        let mut state = self.state();
        state.dispatch.unanswered(letter, heard, Instant::now(), &mut actions);
        let attempts = self.act(&mut state, actions);
        drop(state);
        self.begin(attempts);
        self.bell.ring();
    }
}

impl Timer for ConfirmedSender {
    fn tick(&self, now: Instant) -> Option<Instant> {
        let mut actions = vec![];
        let mut state = self.state();
        state.dispatch.tick(now, &mut actions);
        let attempts = self.act(&mut state, actions);
        let next = state.dispatch.next_deadline();
        drop(state);
        self.begin(attempts);
        next
    }
}

impl Destination {
    fn key(&self) -> Key {
        Key::Inbox { node: self.node.clone(), topic: self.topic.clone() }
    }
}

impl PendingMessage {
    fn fail(self, why: SendFailure) {
        let Destination { node, topic } = self.address;
        self.promise.keep(Err(match why {
            SendFailure::NoReceiver => SendError::NotHeard { node, topic },
            SendFailure::Unconfirmed => SendError::NoAnswer { node, topic, waited: self.deadline },
            SendFailure::NeverSent => SendError::NotInTime { node, topic },
        }));
    }
}

/// One attempt to send a message.
struct Attempt {
    post: Weak<ConfirmedSender>,
    letter: u64,
    address: Destination,
    within: Duration,
    /// Time at which the message was passed to Zenoh; `None` before.
    begun: Option<Instant>,
    is_answered: Mutex<bool>,
}

impl Attempt {
    fn hear(&self, reply: &Reply) {
        let Ok(sample) = reply.result() else {
            // An error reply comes from Zenoh itself, when a query times out.
            return;
        };
        let raw = raw(sample, Control::MAX_BYTES);
        let answer = codec::decode_value::<CommandReply<Accepted>>(
            &raw.payload,
            raw.encoding,
            Control::MAX_BYTES,
        );
        *self.is_answered.lock().unwrap_or_else(PoisonError::into_inner) = true;
        let Destination { node, topic } = self.address.clone();
        let Some(post) = self.post.upgrade() else { return };
        post.answered(
            self.letter,
            match answer {
                Ok(CommandReply::Accepted(accepted)) => Ok(accepted),
                Ok(CommandReply::Refused(refused)) => {
                    Err(SendError::Refused { node, topic, reason: refused.reason })
                },
                Err(problem) => Err(SendError::Malformed { node, problem }),
            },
        );
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if *self.is_answered.get_mut().unwrap_or_else(PoisonError::into_inner) {
            return;
        }
        // A query that ends before its time limit reached no node.
        let heard = self.begun.is_some_and(|begun| begun.elapsed() >= self.within);
        if let Some(post) = self.post.upgrade() {
            post.unanswered(self.letter, heard);
        }
    }
}
