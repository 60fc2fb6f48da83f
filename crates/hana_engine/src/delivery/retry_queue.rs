use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use hana_protocol::wire::Lane;
use thiserror::Error;

/// The send side of reliable direct messages: sends each message until it is answered or its deadline passes.
///
/// Pure: it identifies each message by a number, and returns which message to send at which time. On
/// [`Lane::ReliableOrdered`], a message waits until the previous one to the same address is answered or has failed;
/// on other lanes, up to [`RetryLimits::at_once`] are in flight at the same time. A retransmitted message keeps its
/// number, so the receiver can drop duplicates. `A` is the address: a node and a topic.
#[derive(Debug)]
pub struct RetryQueue<A> {
    limits: RetryLimits,
    sends: BTreeMap<u64, PendingSend<A>>,
    queues: HashMap<A, Queue>,
    next: u64,
}

/// Capacity and retry intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryLimits {
    /// Maximum number of unanswered messages, across all addresses.
    pub waiting: usize,
    /// Maximum number of messages in flight to one address if their order does not matter.
    pub at_once: usize,
    /// Time to wait for an answer before the message is retransmitted.
    pub attempt: Duration,
    /// Delay after an attempt that found no receiver.
    pub pause: Duration,
}

/// An action for the caller of a [`RetryQueue`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryAction {
    /// Send the message, then report the result with [`RetryQueue::answered`] or [`RetryQueue::unanswered`] within
    /// `within`.
    Send {
        /// The message.
        send_id: u64,
        /// Time to wait for the answer.
        within: Duration,
    },
    /// Report the message as failed: its deadline passed.
    Failed {
        /// The message.
        send_id: u64,
        /// The reason.
        why: SendFailure,
    },
}

/// The reason why a message failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendFailure {
    /// No attempt found a receiver.
    NoReceiver,
    /// A receiver was present but did not answer; it may or may not have accepted the message.
    Unconfirmed,
    /// The message was never sent: earlier messages used up all the time.
    NeverSent,
}

/// The error of a full queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "{waiting} messages are already waiting for acknowledgement; send fewer, or set shorter deadlines"
)]
pub struct RetryQueueFull {
    /// Number of unanswered messages.
    pub waiting: usize,
}

#[derive(Debug)]
struct PendingSend<A> {
    address: A,
    deadline: Instant,
    state: PendingSendState,
    /// Result of the last completed attempt.
    last: Option<SendAttempt>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PendingSendState {
    /// The message is in its queue and was not sent yet.
    Waiting,
    /// The message was sent and is not answered yet.
    UnderWay,
    /// The message is due for retransmission at this time.
    Again(Instant),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SendAttempt {
    NoReceiver,
    Unconfirmed,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<u64>,
    at_once: usize,
    /// Number of messages in flight or between two attempts.
    open: usize,
}

impl Default for RetryLimits {
    fn default() -> Self {
        Self {
            waiting: 1024,
            at_once: 32,
            attempt: Duration::from_millis(500),
            pause: Duration::from_millis(100),
        }
    }
}

impl<A: Clone + Eq + Hash> RetryQueue<A> {
    /// Creates an empty queue.
    #[must_use]
    pub fn new(limits: RetryLimits) -> Self {
        Self { limits, sends: BTreeMap::new(), queues: HashMap::new(), next: 0 }
    }

    /// Enqueues a message and returns its number.
    ///
    /// # Errors
    ///
    /// Fails if the queue is full.
    pub fn enqueue(
        &mut self,
        address: A,
        lane: Lane,
        deadline: Instant,
        now: Instant,
        actions: &mut Vec<RetryAction>,
    ) -> Result<u64, RetryQueueFull> {
        if self.sends.len() >= self.limits.waiting {
            return Err(RetryQueueFull { waiting: self.sends.len() });
        }
        let send_id = self.next;
        self.next += 1;
        let queue = self.queues.entry(address.clone()).or_default();
        queue.at_once = if lane == Lane::ReliableOrdered { 1 } else { self.limits.at_once };
        queue.waiting.push_back(send_id);
        self.sends.insert(
            send_id,
            PendingSend {
                address: address.clone(),
                deadline,
                state: PendingSendState::Waiting,
                last: None,
            },
        );
        self.proceed(&address, now, actions);
        Ok(send_id)
    }

    /// Completes a message that the receiver answered, whether it accepted or refused it.
    pub fn answered(&mut self, send_id: u64, now: Instant, actions: &mut Vec<RetryAction>) {
        self.close(send_id, now, actions);
    }

    /// Records an attempt that ended without an answer; `heard` is true if a receiver was present.
    pub fn unanswered(
        &mut self,
        send_id: u64,
        heard: bool,
        now: Instant,
        actions: &mut Vec<RetryAction>,
    ) {
        let pause = self.limits.pause;
        let Some(known) = self.sends.get_mut(&send_id) else { return };
        if known.state != PendingSendState::UnderWay {
            return;
        }
        // Once any attempt found a receiver, the message may have been accepted, whatever later attempts find.
        let before = known.last == Some(SendAttempt::Unconfirmed);
        known.last =
            Some(if heard || before { SendAttempt::Unconfirmed } else { SendAttempt::NoReceiver });
        known.state = PendingSendState::Again(now + if heard { Duration::ZERO } else { pause });
        self.tick(now, actions);
    }

    /// Fails expired messages and retransmits those that are due at `now`.
    pub fn tick(&mut self, now: Instant, actions: &mut Vec<RetryAction>) {
        let over: Vec<u64> = self
            .sends
            .iter()
            .filter(|(_, send_id)| send_id.deadline <= now)
            .map(|(number, _)| *number)
            .collect();
        // Remove all expired messages before any queue advances: the next one could be expired too.
        let mut addresses = vec![];
        for send_id in over {
            let Some(known) = self.sends.get(&send_id) else { continue };
            let why = match (known.state, known.last) {
                (PendingSendState::UnderWay, None) | (_, Some(SendAttempt::Unconfirmed)) => {
                    SendFailure::Unconfirmed
                },
                (_, Some(SendAttempt::NoReceiver)) => SendFailure::NoReceiver,
                (_, None) => SendFailure::NeverSent,
            };
            actions.push(RetryAction::Failed { send_id, why });
            addresses.extend(self.remove(send_id));
        }
        for address in addresses {
            self.proceed(&address, now, actions);
        }
        let again: Vec<u64> = self
            .sends
            .iter()
            .filter(
                |(_, send_id)| matches!(send_id.state, PendingSendState::Again(at) if at <= now),
            )
            .map(|(number, _)| *number)
            .collect();
        for send_id in again {
            self.send(send_id, now, actions);
        }
    }

    /// Returns the time of the next [`RetryQueue::tick`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.sends
            .values()
            .map(|send_id| match send_id.state {
                PendingSendState::Again(at) => at.min(send_id.deadline),
                PendingSendState::Waiting | PendingSendState::UnderWay => send_id.deadline,
            })
            .min()
    }

    /// Returns the number of unanswered messages.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.sends.len()
    }

    fn send(&mut self, send_id: u64, now: Instant, actions: &mut Vec<RetryAction>) {
        let Some(known) = self.sends.get_mut(&send_id) else { return };
        known.state = PendingSendState::UnderWay;
        let left = known.deadline.saturating_duration_since(now);
        actions.push(RetryAction::Send { send_id, within: self.limits.attempt.min(left) });
    }

    /// Removes a completed message and sends the next one of its queue.
    fn close(&mut self, send_id: u64, now: Instant, actions: &mut Vec<RetryAction>) {
        if let Some(address) = self.remove(send_id) {
            self.proceed(&address, now, actions);
        }
    }

    fn remove(&mut self, send_id: u64) -> Option<A> {
        let PendingSend { address, state, .. } = self.sends.remove(&send_id)?;
        if let Some(queue) = self.queues.get_mut(&address) {
            if state == PendingSendState::Waiting {
                queue.waiting.retain(|waiting| *waiting != send_id);
            } else {
                queue.open -= 1;
            }
        }
        Some(address)
    }

    fn proceed(&mut self, address: &A, now: Instant, actions: &mut Vec<RetryAction>) {
        let Some(queue) = self.queues.get_mut(address) else { return };
        let mut go = vec![];
        while queue.open < queue.at_once
            && let Some(send_id) = queue.waiting.pop_front()
        {
            queue.open += 1;
            go.push(send_id);
        }
        if queue.open == 0 {
            self.queues.remove(address);
        }
        for send_id in go {
            self.send(send_id, now, actions);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn enqueue(
        dispatch: &mut RetryQueue<&'static str>,
        lane: Lane,
        deadline: Instant,
        now: Instant,
    ) -> (u64, Vec<RetryAction>) {
        let mut actions = vec![];
        let send_id = dispatch.enqueue("v", lane, deadline, now, &mut actions).unwrap();
        (send_id, actions)
    }

    const fn send(send_id: u64) -> RetryAction {
        RetryAction::Send { send_id, within: ms(500) }
    }

    #[test]
    fn ordered_message_waits_for_the_previous_reply() {
        let (mut dispatch, now) = (RetryQueue::new(RetryLimits::default()), Instant::now());
        let deadline = now + ms(9000);
        let (first, actions) = enqueue(&mut dispatch, Lane::ReliableOrdered, deadline, now);
        assert_eq!(actions, [send(first)]);
        let (second, actions) = enqueue(&mut dispatch, Lane::ReliableOrdered, deadline, now);
        assert_eq!(actions, []);
        let mut actions = vec![];
        dispatch.unanswered(first, false, now, &mut actions);
        assert_eq!(actions, []);
        assert_eq!(dispatch.next_deadline(), Some(now + ms(100)));
        dispatch.tick(now + ms(100), &mut actions);
        dispatch.answered(first, now + ms(100), &mut actions);
        assert_eq!(actions, [send(first), send(second)]);
        assert_eq!(dispatch.waiting(), 1);
    }

    #[test]
    fn unordered_messages_are_in_flight_together() {
        let limits = RetryLimits { at_once: 2, ..RetryLimits::default() };
        let (mut dispatch, now) = (RetryQueue::new(limits), Instant::now());
        let sent: Vec<_> = (0..3)
            .map(|_| enqueue(&mut dispatch, Lane::ReliableUnordered, now + ms(9000), now))
            .collect();
        assert_eq!(sent.iter().map(|(_, actions)| actions.len()).collect::<Vec<_>>(), [1, 1, 0]);
        let mut actions = vec![];
        dispatch.answered(sent[1].0, now, &mut actions);
        assert_eq!(actions, [send(sent[2].0)]);
    }

    #[test]
    fn message_past_its_deadline_fails_with_the_reason() {
        let (mut dispatch, now) = (RetryQueue::new(RetryLimits::default()), Instant::now());
        let deadline = now + ms(1000);
        let (nobody, _) = enqueue(&mut dispatch, Lane::ReliableOrdered, deadline, now);
        let (behind, _) = enqueue(&mut dispatch, Lane::ReliableOrdered, deadline, now);
        let mut actions = vec![];
        dispatch.unanswered(nobody, false, now, &mut actions);
        dispatch.tick(deadline, &mut actions);
        assert!(
            actions
                .contains(&RetryAction::Failed { send_id: nobody, why: SendFailure::NoReceiver })
        );
        assert!(
            actions.contains(&RetryAction::Failed { send_id: behind, why: SendFailure::NeverSent })
        );
        assert_eq!(dispatch.waiting(), 0);
        let (silent, _) = enqueue(&mut dispatch, Lane::ReliableOrdered, now + ms(2000), deadline);
        let mut actions = vec![];
        dispatch.unanswered(silent, true, deadline + ms(500), &mut actions);
        dispatch.unanswered(silent, false, deadline + ms(600), &mut actions);
        dispatch.tick(now + ms(2000), &mut actions);
        assert_eq!(
            actions.last(),
            Some(&RetryAction::Failed { send_id: silent, why: SendFailure::Unconfirmed })
        );
    }

    #[test]
    fn message_beyond_the_limit_is_refused_at_once() {
        let limits = RetryLimits { waiting: 1, ..RetryLimits::default() };
        let (mut dispatch, now) = (RetryQueue::new(limits), Instant::now());
        enqueue(&mut dispatch, Lane::ReliableOrdered, now + ms(1000), now);
        let second = dispatch.enqueue("v", Lane::ReliableOrdered, now + ms(1000), now, &mut vec![]);
        assert_eq!(second, Err(RetryQueueFull { waiting: 1 }));
    }

    proptest! {
        #![proptest_config(hana_random::cases(300))]

        // Each message ends exactly once, whatever the order of events, and no message is forgotten. On the ordered
        // lane, no message is sent before the previous one has ended.
        #[test]
        fn every_message_is_acknowledged_or_fails_once(
            ordered: bool,
            steps in prop::collection::vec((0..5_u8, 0..40_u64, 0..700_u64), 1..200),
        ) {
            let lane = if ordered { Lane::ReliableOrdered } else { Lane::ReliableUnordered };
            let limits = RetryLimits { at_once: 4, ..RetryLimits::default() };
            let mut dispatch = RetryQueue::new(limits);
            let mut now = Instant::now();
            let (mut posted, mut ended) = (0, BTreeSet::new());
            let mut said = vec![];
            for (what, send_id, passed) in steps {
                let mut actions = vec![];
                match what {
                    0 | 1 => {
                        if dispatch.enqueue("v", lane, now + ms(1500), now, &mut actions).is_ok() {
                            posted += 1;
                        }
                    },
                    2 => {
                        // Only messages that were sent and have not ended yet are answered.
                        if said.contains(&send_id) && ended.insert(send_id) {
                            dispatch.answered(send_id, now, &mut actions);
                        }
                    },
                    3 => dispatch.unanswered(send_id, passed % 2 == 0, now, &mut actions),
                    _ => {
                        now += ms(passed);
                        dispatch.tick(now, &mut actions);
                    },
                }
                for action in actions {
                    match action {
                        RetryAction::Send { send_id, .. } => {
                            prop_assert!(!ended.contains(&send_id), "said after its end");
                            if ordered {
                                let before = |n: &u64| *n < send_id && !ended.contains(n);
                                prop_assert!(!(0..posted).any(|n| before(&n)), "out of order");
                            }
                            said.push(send_id);
                        },
                        RetryAction::Failed { send_id, .. } => {
                            prop_assert!(ended.insert(send_id), "failed twice");
                        },
                    }
                }
            }
            now += ms(2000);
            let mut actions = vec![];
            dispatch.tick(now, &mut actions);
            for action in actions {
                if let RetryAction::Failed { send_id, .. } = action {
                    prop_assert!(ended.insert(send_id));
                }
            }
            prop_assert_eq!(u64::try_from(ended.len()).unwrap(), posted);
            prop_assert!(dispatch.queues.is_empty() && dispatch.sends.is_empty());
        }
    }
}
