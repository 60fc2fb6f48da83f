use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::sync::lock::{Mutex, MutexGuard};
use hana_engine::delivery::{RetryAction, RetryLimits, RetryQueue, SendFailure};
use hana_protocol::contract::Key;
use hana_protocol::id::{NodeId, TopicName};
use hana_protocol::message::{Accepted, CommandReply, Control};
use hana_protocol::wire::codec::PayloadError;
use hana_protocol::wire::{CustomMessage, Lane, Message, codec};
use thiserror::Error;
use zenoh::bytes::ZBytes;
use zenoh::query::Reply;
use zenoh::sample::Sample;

use crate::context::node_context::NodeContext;
use crate::session::session_worker::SessionWorker;
use crate::sync::pending::{Pending, Promise};
use crate::sync::timer::{Timer, TimerWaker};
use crate::transport::counters::NodeCounters;
use crate::transport::outbound::publisher::encode;
use crate::transport::outbound::sender_identity::SenderIdentity;
use crate::transport::query;
use crate::transport::query::QueryHandle;
use crate::transport::raw_message::RawMessage;

/// A reason why a message was not accepted by the node to which it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendError {
    /// No node with this id subscribed to the topic before the deadline.
    #[error(
        "'{node}' is not on the mesh or does not subscribe to '{topic}'; `hana nodes` lists the nodes, `hana send {node}` the topics of one"
    )]
    NoSubscriber {
        /// The id of the node.
        node: NodeId,
        /// The topic.
        topic: TopicName,
    },
    /// The message was never sent: earlier messages to the node used up the time.
    #[error(
        "'{topic}' was not sent to '{node}' in time: earlier messages still wait for their replies; send less, or allow more time"
    )]
    QueuedTooLong {
        /// The id of the node.
        node: NodeId,
        /// The topic.
        topic: TopicName,
    },
    /// The node is on the mesh, but did not reply in time. The message may or may not have arrived.
    #[error(
        "'{node}' did not acknowledge '{topic}' within {} ms; `hana nodes` shows its state",
        waited.as_millis()
    )]
    NoAnswer {
        /// The id of the node.
        node: NodeId,
        /// The topic.
        topic: TopicName,
        /// The time for which the sender waited.
        waited: Duration,
    },
    /// The node refused the message.
    #[error("'{node}' refused '{topic}': {reason}")]
    Refused {
        /// The id of the node.
        node: NodeId,
        /// The topic.
        topic: TopicName,
        /// The reason given by the node.
        reason: String,
    },
    /// The reply cannot be read. The likely cause is that the node has another version.
    #[error("cannot read the reply of '{node}': {problem}")]
    Malformed {
        /// The id of the node.
        node: NodeId,
        /// The decoding error.
        problem: PayloadError,
    },
    /// The message could not be sent.
    #[error("cannot send the message: {problem}")]
    NotSent {
        /// The reason why it could not be sent.
        problem: String,
    },
}

/// Sends messages to single nodes, and repeats each until the node replies or the deadline passes.
pub(crate) struct ConfirmedSender {
    state: Mutex<State>,
    identity: SenderIdentity,
    worker: SessionWorker,
    counters: Arc<NodeCounters>,
    waker: TimerWaker,
    itself: Weak<Self>,
}

struct State {
    retry_queue: RetryQueue<Destination>,
    pending: HashMap<u64, PendingMessage>,
}

/// A function that passes a message to Zenoh.
type SendStart = Box<dyn FnOnce(&zenoh::Session) + Send>;

/// One topic of one node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Destination {
    node: NodeId,
    topic: TopicName,
}

struct PendingMessage {
    destination: Destination,
    lane: Lane,
    payload: ZBytes,
    attachment: ZBytes,
    deadline: Duration,
    promise: Promise<Result<Accepted, SendError>>,
}

impl ConfirmedSender {
    pub(crate) fn start(context: &NodeContext) -> Arc<Self> {
        let NodeContext { identity, session_worker, inbound, timer, .. } = context;
        let retry_queue = RetryQueue::new(RetryLimits::default());
        let waker = timer.waker();
        let sender = Arc::new_cyclic(|itself| Self {
            state: Mutex::new(State { retry_queue, pending: HashMap::new() }),
            identity: identity.clone(),
            worker: session_worker.clone(),
            counters: Arc::clone(&inbound.counters),
            waker: waker.clone(),
            itself: Weak::clone(itself),
        });
        timer.add(&sender, &waker);
        sender
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Sends a message, and repeats it until the node replies, at most for `deadline`. Does not block.
    pub(crate) fn send<M: CustomMessage>(
        &self,
        node: &NodeId,
        message: &M,
        deadline: Duration,
    ) -> Pending<Result<Accepted, SendError>> {
        match encode(M::TOPIC, message) {
            Ok(payload) => {
                self.send_payload(node, TopicName::of::<M>(), payload, M::LANE, deadline)
            },
            Err(problem) => not_sent(problem.to_string()),
        }
    }

    /// Sends an encoded message, and repeats it until the node replies, at most for `deadline`. Does not block.
    pub(crate) fn send_payload(
        &self,
        node: &NodeId,
        topic: TopicName,
        payload: Vec<u8>,
        lane: Lane,
        deadline: Duration,
    ) -> Pending<Result<Accepted, SendError>> {
        let (promise, pending) = Pending::new();
        let destination = Destination { node: node.clone(), topic };
        let key = destination.key().to_string();
        let now = Instant::now();
        let mut actions = vec![];
        let mut state = self.state();
        match state.retry_queue.enqueue(
            destination.clone(),
            lane,
            now + deadline,
            now,
            &mut actions,
        ) {
            Ok(letter) => {
                // Every retransmission has the same envelope, by which the receiver detects duplicates.
                let attachment = self.identity.next_envelope(&key).encode().unwrap_or_default();
                let (payload, attachment) = (payload.into(), attachment.into());
                state.pending.insert(
                    letter,
                    PendingMessage { destination, lane, payload, attachment, deadline, promise },
                );
                let attempts = self.act(&mut state, actions);
                drop(state);
                self.start_sends(attempts);
                self.waker.wake();
            },
            Err(full) => {
                drop(state);
                self.counters.not_sent(lane);
                promise.fulfil(Err(SendError::NotSent { problem: full.to_string() }));
            },
        }
        pending
    }

    /// Carries out the actions, and returns the sends to start.
    ///
    /// The caller starts them after it has released the lock, because a send that fails at once calls back into this
    /// type.
    fn act(&self, state: &mut State, actions: Vec<RetryAction>) -> Vec<SendStart> {
        let mut attempts = vec![];
        for action in actions {
            match action {
                RetryAction::Send { send_id: letter, within } => {
                    if let Some(known) = state.pending.get(&letter) {
                        attempts.push(self.attempt(letter, known, within));
                    }
                },
                RetryAction::Failed { send_id: letter, why } => {
                    if let Some(failed) = state.pending.remove(&letter) {
                        self.counters.dropped(failed.lane, Some(&failed.destination.node), 1);
                        failed.fail(why);
                    }
                },
            }
        }
        attempts
    }

    fn start_sends(&self, attempts: Vec<SendStart>) {
        for attempt in attempts {
            self.worker.run(attempt);
        }
    }

    fn attempt(&self, letter: u64, known: &PendingMessage, within: Duration) -> SendStart {
        let (payload, attachment) = (known.payload.clone(), known.attachment.clone());
        let (destination, key) = (known.destination.clone(), known.destination.key().to_string());
        let (lane, counters) = (known.lane, Arc::clone(&self.counters));
        let (on_reply, on_end) = (Weak::clone(&self.itself), Weak::clone(&self.itself));
        let handle = Arc::new(QueryHandle::new(move |attempt: Attempt| {
            // If a query ends without a reply before its time limit, no node received it.
            let has_subscribers = attempt.begun.is_some_and(|begun| begun.elapsed() >= within);
            if let Some(sender) = on_end.upgrade().filter(|_| !attempt.is_answered) {
                sender.unanswered(letter, has_subscribers);
            }
        }));
        let replies = Arc::clone(&handle);
        let receive = move |reply: Reply| {
            // An error reply comes from Zenoh itself when the query times out.
            let Ok(sample) = reply.result() else { return };
            replies.record(|attempt| attempt.is_answered = true);
            if let Some(sender) = on_reply.upgrade() {
                sender.answered(letter, read_reply(&destination, sample));
            }
        };
        Box::new(move |session| {
            handle.record(|attempt| attempt.begun = Some(Instant::now()));
            drop(handle);
            let attachment = Some(attachment);
            match query::query(session, &key, payload, attachment, lane, within, receive) {
                Ok(()) => counters.sent(lane),
                Err(problem) => tracing::debug!("{key}: not sent yet, to be retried: {problem}"),
            }
        })
    }

    fn answered(&self, letter: u64, answer: Result<Accepted, SendError>) {
        let mut actions = vec![];
        let mut state = self.state();
        state.retry_queue.answered(letter, Instant::now(), &mut actions);
        let answered = state.pending.remove(&letter);
        let attempts = self.act(&mut state, actions);
        drop(state);
        self.start_sends(attempts);
        if let Some(answered) = answered {
            answered.promise.fulfil(answer);
        }
    }

    fn unanswered(&self, letter: u64, is_heard: bool) {
        let mut actions = vec![];
        let mut state = self.state();
        state.retry_queue.unanswered(letter, is_heard, Instant::now(), &mut actions);
        let attempts = self.act(&mut state, actions);
        drop(state);
        self.start_sends(attempts);
        self.waker.wake();
    }
}

impl Timer for ConfirmedSender {
    fn tick(&self, now: Instant) -> Option<Instant> {
        let mut actions = vec![];
        let mut state = self.state();
        state.retry_queue.tick(now, &mut actions);
        let attempts = self.act(&mut state, actions);
        let next = state.retry_queue.next_deadline();
        drop(state);
        self.start_sends(attempts);
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
        let Destination { node, topic } = self.destination;
        self.promise.fulfil(Err(match why {
            SendFailure::NoReceiver => SendError::NoSubscriber { node, topic },
            SendFailure::Unconfirmed => SendError::NoAnswer { node, topic, waited: self.deadline },
            SendFailure::NeverSent => SendError::QueuedTooLong { node, topic },
        }));
    }
}

/// Returns the outcome of a message that could not be sent.
pub(crate) fn not_sent<T>(problem: String) -> Pending<Result<T, SendError>> {
    let (promise, pending) = Pending::new();
    promise.fulfil(Err(SendError::NotSent { problem }));
    pending
}

/// One attempt to send a message.
#[derive(Default)]
struct Attempt {
    /// The time at which the message was passed to Zenoh; `None` before that.
    begun: Option<Instant>,
    is_answered: bool,
}

fn read_reply(destination: &Destination, sample: &Sample) -> Result<Accepted, SendError> {
    let Destination { node, topic } = destination.clone();
    let raw = RawMessage::from_sample(sample, Control::MAX_BYTES);
    match codec::decode_value(&raw.payload, raw.encoding, Control::MAX_BYTES) {
        Ok(CommandReply::Accepted(accepted)) => Ok(accepted),
        Ok(CommandReply::Refused(refused)) => {
            Err(SendError::Refused { node, topic, reason: refused.reason })
        },
        Err(problem) => Err(SendError::Malformed { node, problem }),
    }
}
