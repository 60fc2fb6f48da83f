use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hana_protocol::id::NodeId;
use hana_protocol::message::{RetransmitEnd, RetransmitRequest};
use hana_protocol::wire::{Envelope, Lane};

use crate::delivery::lane_receiver::{LaneAction, LaneLimits, LaneReceiver};
use crate::delivery::succession::{Succession, Turn};

/// The receive side of a topic: one [`LaneReceiver`] per key and publisher, replaced when a publisher restarts.
///
/// Pure, like its parts: each call passes in the event and the current time and returns actions. Messages without an
/// envelope have no sequence number and must not be passed in.
#[derive(Debug)]
pub struct TopicReceiver<M> {
    lane: Lane,
    limits: LaneLimits,
    since: Instant,
    sources: BTreeMap<PublisherState, SourceInstance<M>>,
}

/// A publisher on a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublisherState {
    /// The key.
    pub key: String,
    /// The publishing node.
    pub node: NodeId,
}

#[derive(Debug)]
struct SourceInstance<M> {
    /// The current instance and the former ones.
    instances: Succession,
    receiver: LaneReceiver<M>,
    heard: Instant,
    /// Sequence number of the first message that the instance sent to this receiver or announced to it.
    first: u64,
    /// Upper bound, in microseconds, of the time from the subscription to the sending of message `first`.
    subscribed_for_us: u64,
}

/// The number of a message, and how long ago it was sent.
#[derive(Debug, Clone, Copy)]
struct SourcePosition {
    number: u64,
    /// Lower bound of the time since the message was sent.
    age: Duration,
}

/// An action for the caller of a [`TopicReceiver`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicAction<M> {
    /// Deliver the message to the program.
    Deliver(M),
    /// Send a retransmit request.
    Ask {
        /// The node to send it to.
        node: NodeId,
        /// The request.
        question: RetransmitRequest,
    },
    /// Report the messages with these numbers as lost.
    Lost {
        /// The publisher.
        source: PublisherState,
        /// The first number.
        first: u64,
        /// The last number.
        last: u64,
    },
    /// Report that missing messages arrived and were delivered.
    Recovered {
        /// The publisher.
        source: PublisherState,
        /// Number of messages.
        count: u64,
    },
    /// Count a dropped message: a duplicate, or one of a former instance.
    Late {
        /// The publisher.
        source: PublisherState,
    },
}

impl<M> SourceInstance<M> {
    const fn instance(&self) -> u64 {
        self.instances.current()
    }
}

impl<M> TopicReceiver<M> {
    /// Maximum number of pairs of a publisher and a key; beyond it, the one silent for longest is dropped.
    pub const MAX_SOURCES: usize = 1024;

    /// Creates the receiver of a subscription that began at `now`, to which earlier messages do not belong.
    #[must_use]
    pub const fn new(lane: Lane, limits: LaneLimits, now: Instant) -> Self {
        Self { lane, limits, since: now, sources: BTreeMap::new() }
    }

    /// Handles a message that arrived, either as first sent or as a retransmission.
    pub fn arrive(
        &mut self,
        key: &str,
        envelope: &Envelope,
        message: M,
        now: Instant,
        actions: &mut Vec<TopicAction<M>>,
    ) {
        let source = PublisherState { key: key.into(), node: envelope.from.clone() };
        let place = SourcePosition { number: envelope.sequence, age: Duration::ZERO };
        if let Some(run) = self.run_of(&source, envelope, place, now, actions) {
            run.heard = now;
            self.with(&source, actions, |receiver, actions| {
                receiver.arrive(envelope.sequence, message, now, actions);
            });
        } else {
            actions.push(TopicAction::Late { source });
        }
    }

    /// Handles a node's announcement of its newest number on a key, and how long ago that message was sent.
    pub fn announced(
        &mut self,
        key: &str,
        envelope: &Envelope,
        (newest, age): (u64, Duration),
        now: Instant,
        actions: &mut Vec<TopicAction<M>>,
    ) {
        let source = PublisherState { key: key.into(), node: envelope.from.clone() };
        let place = SourcePosition { number: newest, age };
        if self.run_of(&source, envelope, place, now, actions).is_some() {
            self.with(&source, actions, |receiver, actions| {
                receiver.announced(newest, now, actions);
            });
        }
    }

    /// Handles a request that no node answered: the publisher is gone, or does not support retransmission.
    pub fn unanswered(
        &mut self,
        node: &NodeId,
        question: &RetransmitRequest,
        now: Instant,
        actions: &mut Vec<TopicAction<M>>,
    ) {
        let source = PublisherState { key: question.key.clone(), node: node.clone() };
        if self.sources.get(&source).is_some_and(|run| run.instance() == question.instance) {
            self.with(&source, actions, |receiver, actions| receiver.unanswered(now, actions));
        }
    }

    /// Handles the end of a node's reply, which names the numbers that will not arrive.
    pub fn resent(
        &mut self,
        node: &NodeId,
        question: &RetransmitRequest,
        resent: RetransmitEnd,
        now: Instant,
        actions: &mut Vec<TopicAction<M>>,
    ) {
        let source = PublisherState { key: question.key.clone(), node: node.clone() };
        if self.sources.get(&source).is_none_or(|run| run.instance() != question.instance) {
            return;
        }
        let below = |limit: u64, (first, last): (u64, u64)| {
            let last = limit.checked_sub(1)?.min(last);
            (first <= last).then_some((first, last))
        };
        self.with(&source, actions, |receiver, actions| {
            for &stretch in &question.missing {
                if let Some((first, last)) = below(resent.first_after_join, stretch) {
                    receiver.skip_before_join(first, last, actions);
                }
                if let Some((first, last)) = below(resent.first_available, stretch) {
                    receiver.mark_unavailable(first, last, actions);
                }
            }
            receiver.answered(now, actions);
        });
    }

    /// Advances all lanes to `now`.
    pub fn tick(&mut self, now: Instant, actions: &mut Vec<TopicAction<M>>) {
        let is_due =
            |run: &SourceInstance<M>| run.receiver.next_deadline().is_some_and(|at| at <= now);
        let due: Vec<PublisherState> = self
            .sources
            .iter()
            .filter(|(_, run)| is_due(run))
            .map(|(source, _)| source.clone())
            .collect();
        for source in due {
            self.with(&source, actions, |receiver, actions| receiver.tick(now, actions));
        }
    }

    /// Returns the time of the next [`TopicReceiver::tick`], or `None` if only a new arrival requires an action.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.sources.values().filter_map(|run| run.receiver.next_deadline()).min()
    }

    /// Returns the state of the instance of `source` that sent a message; a new instance replaces the previous one.
    ///
    /// Returns `None` if the message is from a former instance.
    fn run_of(
        &mut self,
        source: &PublisherState,
        envelope: &Envelope,
        place: SourcePosition,
        now: Instant,
        actions: &mut Vec<TopicAction<M>>,
    ) -> Option<&mut SourceInstance<M>> {
        let instance = envelope.instance;
        let known = self.sources.get(source).map(|run| &run.instances);
        let turn = known.map(|known| known.judge(instance, place.number, now));
        let listening = now.saturating_duration_since(self.since);
        let receiver = match turn {
            Some(Turn::Former) => return None,
            Some(Turn::Current) => return self.sources.get_mut(source),
            Some(Turn::Successor) => LaneReceiver::from_start(self.lane, self.limits),
            Some(Turn::Returned { reached }) => {
                LaneReceiver::going_on(self.lane, self.limits, reached)
            },
            None => {
                self.make_room(actions);
                self.receiver_of_first(envelope, place, listening)
            },
        };
        // The previous instance answers no more requests.
        self.with(source, actions, LaneReceiver::end);
        let mut instances = Succession::new(instance, now);
        if let Some(before) = self.sources.remove(source) {
            let reached = before.receiver.newest().unwrap_or_default();
            instances = before.instances;
            instances.succeed(instance, reached, now);
        }
        // This ignores transit time, so the bound errs on the long side: no message that this topic should receive is
        // skipped, and a few older messages may be delivered.
        let subscribed_for_us = microseconds(listening.saturating_sub(place.age));
        let run = SourceInstance {
            instances,
            receiver,
            heard: now,
            first: place.number,
            subscribed_for_us,
        };
        Some(self.sources.entry(source.clone()).or_insert(run))
    }

    /// Creates the lane receiver for a newly seen publisher.
    fn receiver_of_first(
        &self,
        envelope: &Envelope,
        place: SourcePosition,
        listening: Duration,
    ) -> LaneReceiver<M> {
        if place.age > listening {
            // Everything up to this message predates the subscription.
            LaneReceiver::late_joiner(self.lane, self.limits)
        } else if self.lane.is_reliable() && has_joined_within(envelope, listening) {
            LaneReceiver::from_start(self.lane, self.limits)
        } else {
            LaneReceiver::unknown_join(self.lane, self.limits)
        }
    }

    fn make_room(&mut self, actions: &mut Vec<TopicAction<M>>) {
        if self.sources.len() < Self::MAX_SOURCES {
            return;
        }
        let silent = self.sources.iter().min_by_key(|(_, run)| run.heard);
        if let Some(source) = silent.map(|(source, _)| source.clone()) {
            self.with(&source, actions, LaneReceiver::end);
            self.sources.remove(&source);
        }
    }

    /// Passes an event to the receiver of a source and translates its actions.
    fn with(
        &mut self,
        source: &PublisherState,
        actions: &mut Vec<TopicAction<M>>,
        tell: impl FnOnce(&mut LaneReceiver<M>, &mut Vec<LaneAction<M>>),
    ) {
        let Some(run) = self.sources.get_mut(source) else { return };
        let before = run.receiver.counts();
        let mut of_lane = vec![];
        tell(&mut run.receiver, &mut of_lane);
        let after = run.receiver.counts();
        if after.recovered > before.recovered {
            let count = after.recovered - before.recovered;
            actions.push(TopicAction::Recovered { source: source.clone(), count });
        }
        if after.late > before.late {
            actions.push(TopicAction::Late { source: source.clone() });
        }
        let mut missing = vec![];
        for action in of_lane {
            match action {
                LaneAction::Deliver { message, .. } => actions.push(TopicAction::Deliver(message)),
                LaneAction::Lost { first, last } => {
                    actions.push(TopicAction::Lost { source: source.clone(), first, last });
                },
                LaneAction::Ask { first, last } => missing.push((first, last)),
            }
        }
        // One request covers many gaps. Gaps beyond its capacity are requested again later.
        missing.truncate(RetransmitRequest::MAX_RANGES);
        if !missing.is_empty() {
            let question = RetransmitRequest {
                key: source.key.clone(),
                instance: run.instance(),
                missing,
                anchor_sequence: Some(run.first),
                subscribed_for_us: run.subscribed_for_us,
            };
            actions.push(TopicAction::Ask { node: source.node.clone(), question });
        }
    }
}

/// Returns whether a node joined after this subscription began, by the node's own clock.
///
/// If so, all its messages belong to the subscription, from number 0. Because of transit time, a node that joined
/// slightly earlier may qualify as well; its reply then names the messages that predate the subscription.
fn has_joined_within(envelope: &Envelope, listening: Duration) -> bool {
    let age = envelope.at.saturating_sub_unsigned(envelope.instance);
    u64::try_from(age).is_ok_and(|age| age <= microseconds(listening))
}

fn microseconds(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used)]
mod tests {
    use super::*;

    type Topic = TopicReceiver<u64>;
    type Actions = Vec<TopicAction<u64>>;

    const KEY: &str = "hana/v/topic/spark";

    fn envelope(instance: u64, sequence: u64) -> Envelope {
        // The node joined long before the subscription.
        let at = i64::try_from(instance).unwrap() + 60_000_000;
        Envelope { from: NodeId::new("v").unwrap(), instance, sequence, at }
    }

    fn source() -> PublisherState {
        PublisherState { key: KEY.into(), node: NodeId::new("v").unwrap() }
    }

    fn arrive(topic: &mut Topic, instance: u64, sequence: u64, now: Instant) -> Actions {
        let mut actions = vec![];
        let message = instance * 100 + sequence;
        topic.arrive(KEY, &envelope(instance, sequence), message, now, &mut actions);
        actions
    }

    fn topic(now: Instant) -> Topic {
        Topic::new(Lane::ReliableOrdered, LaneLimits::default(), now)
    }

    fn question(first: u64, last: u64, heard: u64, subscribed_for_us: u64) -> RetransmitRequest {
        let missing = vec![(first, last)];
        RetransmitRequest {
            key: KEY.into(),
            instance: 1,
            missing,
            anchor_sequence: Some(heard),
            subscribed_for_us,
        }
    }

    #[test]
    fn first_messages_of_a_restarted_publisher_are_requested() {
        let start = Instant::now();
        let mut topic = topic(start);
        assert_eq!(arrive(&mut topic, 1, 0, start), [TopicAction::Deliver(100)]);
        let actions = arrive(&mut topic, 2, 1, start);
        let [TopicAction::Ask { question, .. }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!((question.instance, &question.missing[..]), (2, &[(0, 0)][..]));
        let actions = arrive(&mut topic, 2, 0, start);
        assert!(actions.ends_with(&[TopicAction::Deliver(200), TopicAction::Deliver(201)]));
        // A late message of the previous instance.
        assert_eq!(arrive(&mut topic, 1, 1, start), [TopicAction::Late { source: source() }]);
    }

    #[test]
    fn gaps_of_the_previous_instance_are_lost_and_rest_delivered() {
        let start = Instant::now();
        let mut topic = topic(start);
        arrive(&mut topic, 1, 0, start);
        arrive(&mut topic, 1, 2, start);
        assert_eq!(
            arrive(&mut topic, 2, 0, start),
            [
                TopicAction::Lost { source: source(), first: 1, last: 1 },
                TopicAction::Deliver(102),
                TopicAction::Deliver(200),
            ]
        );
    }

    /// Returns the delivered messages.
    fn delivered(actions: &Actions) -> Vec<u64> {
        let message = |action: &TopicAction<u64>| match action {
            TopicAction::Deliver(message) => Some(*message),
            _ => None,
        };
        actions.iter().filter_map(message).collect()
    }

    #[test]
    fn publisher_back_with_a_smaller_number_is_received() {
        let start = Instant::now();
        let mut topic = topic(start);
        arrive(&mut topic, 9, 0, start);
        let back = start + Succession::GRACE;
        assert_eq!(delivered(&arrive(&mut topic, 3, 0, back)), [300]);
        assert_eq!(arrive(&mut topic, 9, 1, back), [TopicAction::Late { source: source() }]);
        assert_eq!(delivered(&arrive(&mut topic, 3, 1, back)), [301]);
    }

    #[test]
    fn instance_that_never_ended_continues_without_a_loss() {
        let start = Instant::now();
        let mut topic = topic(start);
        arrive(&mut topic, 1, 0, start);
        // Another program briefly uses the same id.
        arrive(&mut topic, 2, 0, start + Duration::from_millis(600));
        let late = arrive(&mut topic, 1, 1, start + Duration::from_millis(700));
        assert_eq!(late, [TopicAction::Late { source: source() }]);
        let back = start + Duration::from_millis(600) + Succession::RETURN;
        let actions = arrive(&mut topic, 1, 2, back);
        let [TopicAction::Ask { question, .. }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!((question.instance, &question.missing[..]), (1, &[(1, 1)][..]));
        assert_eq!(delivered(&arrive(&mut topic, 1, 1, back)), [101, 102]);
    }

    #[test]
    fn messages_before_the_subscription_are_not_delivered() {
        let start = Instant::now();
        let mut topic = topic(start);
        let now = start + Duration::from_micros(7);
        let actions = arrive(&mut topic, 1, 4, now);
        let node = NodeId::new("v").unwrap();
        let asked = question(0, 3, 4, 7);
        assert_eq!(actions, [TopicAction::Ask { node: node.clone(), question: asked.clone() }]);
        arrive(&mut topic, 1, 3, now);
        let mut actions = vec![];
        let end = RetransmitEnd { first_after_join: 2, first_available: 3 };
        topic.resent(&node, &asked, end, now, &mut actions);
        assert_eq!(
            actions,
            [
                TopicAction::Lost { source: source(), first: 2, last: 2 },
                TopicAction::Deliver(103),
                TopicAction::Deliver(104),
            ]
        );
    }

    #[test]
    fn lost_last_message_is_requested_after_a_heartbeat() {
        let start = Instant::now();
        let mut topic = topic(start);
        arrive(&mut topic, 1, 0, start);
        let mut actions = vec![];
        topic.announced(KEY, &envelope(1, 9), (2, Duration::ZERO), start, &mut actions);
        let [TopicAction::Ask { question, .. }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!(question.missing, [(1, 2)]);
        assert_eq!(topic.next_deadline(), Some(start + LaneLimits::default().retry_interval));
    }

    #[test]
    fn request_has_the_time_since_subscribing_however_late() {
        let start = Instant::now();
        let mut topic = topic(start);
        let first = start + Duration::from_millis(20);
        arrive(&mut topic, 1, 4, first);
        arrive(&mut topic, 1, 5, first + Duration::from_millis(50));
        let mut actions = vec![];
        topic.tick(first + LaneLimits::default().retry_interval, &mut actions);
        let node = NodeId::new("v").unwrap();
        assert_eq!(actions, [TopicAction::Ask { node, question: question(0, 3, 4, 20_000) }]);
    }

    #[test]
    fn announced_message_predates_subscription_or_is_requested() {
        let start = Instant::now();
        let now = start + Duration::from_millis(20);
        for (age_ms, asks) in [(21, None), (15, Some(question(0, 2, 2, 5000)))] {
            let (mut topic, mut actions) = (topic(start), vec![]);
            let newest = (2, Duration::from_millis(age_ms));
            topic.announced(KEY, &envelope(1, 9), newest, now, &mut actions);
            let asked = actions.iter().find_map(|action| match action {
                TopicAction::Ask { question, .. } => Some(question.clone()),
                _ => None,
            });
            assert_eq!(asked, asks);
        }
    }

    #[test]
    fn later_publisher_is_requested_from_its_start() {
        let start = Instant::now();
        let now = start + Duration::from_millis(20);
        let lost = TopicAction::Lost { source: source(), first: 0, last: 3 };
        for (joined_ms, is_ours) in [(19, true), (21, false)] {
            let (mut topic, mut actions) = (topic(start), vec![]);
            let at = 1_000_000 + joined_ms * 1000;
            let envelope = Envelope { at, ..envelope(1_000_000, 4) };
            topic.arrive(KEY, &envelope, 4, now, &mut actions);
            let Some(TopicAction::Ask { node, question }) = actions.pop() else { panic!() };
            topic.unanswered(&node, &question, now, &mut actions);
            topic.tick(now + LaneLimits::default().give_up_after, &mut actions);
            assert_eq!(actions.contains(&lost), is_ours, "{actions:?}");
            assert!(actions.contains(&TopicAction::Deliver(4)), "{actions:?}");
        }
    }

    #[test]
    fn made_up_senders_do_not_grow_the_topic() {
        let start = Instant::now();
        let mut topic = topic(start);
        let mut actions = vec![];
        for number in 0..3000 {
            let from = NodeId::new("x").unwrap().numbered(number);
            let envelope = Envelope { from, ..envelope(1, 0) };
            topic.arrive(KEY, &envelope, 0, start, &mut actions);
        }
        assert_eq!(topic.sources.len(), Topic::MAX_SOURCES);
    }
}
