use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::sync::lock::{Mutex, MutexGuard};
use hana_protocol::message::{RetransmitEnd, RetransmitRequest};
use hana_protocol::wire::Lane;
use zenoh::bytes::ZBytes;

use crate::sync::timer::TimerWaker;

/// A buffer of the newest messages of one key, for retransmission.
pub(crate) struct TopicBuffer {
    ring: Mutex<RecentMessages>,
    waker: TimerWaker,
}

#[derive(Debug)]
struct RecentMessages {
    messages: VecDeque<StoredMessage>,
    /// The maximum number of messages in the buffer.
    capacity: usize,
    bytes: usize,
    newest: Option<LastSent>,
}

/// The newest message of a key.
#[derive(Debug)]
struct LastSent {
    sequence: u64,
    sent: Instant,
    /// The number of announcements of this message so far.
    announced: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct StoredMessage {
    sequence: u64,
    sent: Instant,
    pub(crate) payload: ZBytes,
    pub(crate) attachment: ZBytes,
}

/// The maximum number of messages in the buffer of one key.
const MAX_MESSAGES: usize = 4096;
/// The maximum number of bytes in the buffer of one key. A single larger message is kept too.
const MAX_BYTES: usize = 1024 * 1024;
/// Returns the delay of announcement number `count` of the newest message, from the time at which it was sent.
///
/// The delay is 100 ms, then 500 ms, then doubles each time up to 64 s.
const fn announcement_delay(count: usize) -> Option<Duration> {
    match count {
        0 => Some(Duration::from_millis(100)),
        1..=8 => Some(Duration::from_millis(250 << count)),
        _ => None,
    }
}

impl TopicBuffer {
    pub(crate) const fn new(lane: Lane, waker: TimerWaker) -> Self {
        let capacity = if lane.is_reliable() { MAX_MESSAGES } else { 0 };
        Self { ring: Mutex::new(RecentMessages::new(capacity)), waker }
    }

    /// Returns the requested messages, and the range of messages that can still be retransmitted.
    pub(crate) fn lookup_range(
        &self,
        request: &RetransmitRequest,
        now: Instant,
    ) -> (Vec<StoredMessage>, RetransmitEnd) {
        self.wake().lookup(request, now)
    }

    /// Returns a due announcement, if there is room for it, and the time of the next one.
    ///
    /// The announcement is the newest sequence number and its age in microseconds.
    pub(crate) fn announce(
        &self,
        now: Instant,
        has_room: bool,
    ) -> (Option<(u64, u64)>, Option<Instant>) {
        let mut ring = self.wake();
        let newest = if has_room { ring.announce(now) } else { None };
        (newest, ring.next_announcement())
    }

    fn wake(&self) -> MutexGuard<'_, RecentMessages> {
        self.ring.lock()
    }

    /// Stores a message that is sent at `now`.
    pub(crate) fn store(&self, sequence: u64, payload: ZBytes, attachment: ZBytes, now: Instant) {
        let was_quiet = {
            let mut ring = self.wake();
            let was_quiet = ring.next_announcement().is_none();
            ring.store(StoredMessage { sequence, sent: now, payload, attachment });
            was_quiet
        };
        // If announcements are pending, the timer fires in time without a wake-up.
        if was_quiet {
            self.waker.wake();
        }
    }
}

impl RecentMessages {
    const fn new(capacity: usize) -> Self {
        Self { messages: VecDeque::new(), capacity, bytes: 0, newest: None }
    }

    fn store(&mut self, message: StoredMessage) {
        let size = |message: &StoredMessage| message.payload.len() + message.attachment.len();
        let StoredMessage { sequence, sent, .. } = message;
        self.newest = Some(LastSent { sequence, sent, announced: 0 });
        self.bytes += size(&message);
        self.messages.push_back(message);
        while self.messages.len() > self.capacity
            || (self.bytes > MAX_BYTES && self.messages.len() > 1)
        {
            self.bytes -= self.messages.pop_front().as_ref().map_or(0, size);
        }
    }

    /// Returns the requested messages, and the range of messages that can still be retransmitted.
    fn lookup(
        &self,
        request: &RetransmitRequest,
        now: Instant,
    ) -> (Vec<StoredMessage>, RetransmitEnd) {
        let listening = Duration::from_micros(request.subscribed_for_us);
        // When the message `anchor_sequence` was sent, the requester had been subscribed for at most
        // `subscribed_for_us`. If that message is no longer in the buffer, all messages in the buffer were sent after
        // it.
        let message = |heard| self.messages.iter().find(|message| message.sequence == heard);
        let counted_from = request.anchor_sequence.and_then(message);
        let is_later = |heard| self.messages.front().is_some_and(|first| first.sequence > heard);
        let all_is_for_you = request.anchor_sequence.is_some_and(is_later);
        let counted_from = counted_from.map_or(now, |message| message.sent);
        let is_for_you = |message: &StoredMessage| {
            all_is_for_you || counted_from.saturating_duration_since(message.sent) <= listening
        };
        let newest = self.newest.as_ref().map_or(0, |newest| newest.sequence + 1);
        let first_after_join =
            self.messages.iter().find(|message| is_for_you(message)).map(|first| first.sequence);
        let first_available = self.messages.front().map_or(newest, |first| first.sequence);
        let messages = self
            .messages
            .iter()
            .filter(|message| request.includes(message.sequence))
            .filter(|message| is_for_you(message))
            .take(usize::try_from(RetransmitRequest::MAX_MESSAGES).unwrap_or(usize::MAX))
            .cloned()
            .collect();
        // If the oldest message in the buffer is for the requester, messages dropped from the buffer may have been
        // too.
        let first_after_join = match first_after_join {
            Some(first) if first == first_available => 0,
            Some(first) => first,
            None => newest,
        };
        (messages, RetransmitEnd { first_after_join, first_available })
    }

    /// Returns the newest sequence number and its age in microseconds if an announcement is due.
    fn announce(&mut self, now: Instant) -> Option<(u64, u64)> {
        if self.next_announcement().is_none_or(|at| at > now) {
            return None;
        }
        let newest = self.newest.as_mut()?;
        newest.announced += 1;
        let age = now.saturating_duration_since(newest.sent).as_micros();
        Some((newest.sequence, u64::try_from(age).unwrap_or(u64::MAX)))
    }

    fn next_announcement(&self) -> Option<Instant> {
        let newest = self.newest.as_ref()?;
        announcement_delay(newest.announced).map(|after| newest.sent + after)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use hana_engine::delivery::{LaneLimits, TopicAction, TopicReceiver};
    use hana_protocol::id::NodeId;
    use hana_protocol::wire::Envelope;

    use super::*;

    fn ring(count: u64, start: Instant) -> RecentMessages {
        let mut ring = RecentMessages::new(MAX_MESSAGES);
        for sequence in 0..count {
            let sent = start + Duration::from_millis(sequence);
            let payload = ZBytes::from(vec![0; 100]);
            ring.store(StoredMessage { sequence, sent, payload, attachment: ZBytes::new() });
        }
        ring
    }

    fn question(first: u64, last: u64, ms: u64) -> RetransmitRequest {
        let subscribed_for_us = ms * 1000;
        let missing = vec![(first, last)];
        RetransmitRequest {
            key: String::new(),
            instance: 1,
            missing,
            anchor_sequence: None,
            subscribed_for_us,
        }
    }

    fn numbers(messages: &[StoredMessage]) -> Vec<u64> {
        messages.iter().map(|message| message.sequence).collect()
    }

    #[test]
    fn lookup_returns_stored_range_and_its_limits() {
        let start = Instant::now();
        let ring = ring(4100, start);
        let now = start + Duration::from_millis(4100);
        let (messages, end) = ring.lookup(&question(0, 6, 10_000), now);
        assert_eq!(numbers(&messages), [4, 5, 6]);
        // It is unknown whether the dropped messages were for the requester, so they are reported as lost.
        assert_eq!(end, RetransmitEnd { first_after_join: 0, first_available: 4 });
    }

    #[test]
    fn messages_before_the_subscription_are_left_out() {
        let start = Instant::now();
        let ring = ring(100, start);
        let now = start + Duration::from_millis(100);
        let (messages, end) = ring.lookup(&question(0, 99, 3), now);
        assert_eq!(numbers(&messages), [97, 98, 99]);
        assert_eq!(end, RetransmitEnd { first_after_join: 97, first_available: 0 });
        let (messages, end) = ring.lookup(&question(0, 99, 0), now);
        assert!(messages.is_empty());
        assert_eq!(end.first_after_join, 100);
    }

    #[test]
    fn travel_time_of_the_request_does_not_matter() {
        let start = Instant::now();
        let ring = ring(100, start);
        // The requester received message 97 when it had been subscribed for 3 ms, and requests the messages before it.
        let question = RetransmitRequest { anchor_sequence: Some(97), ..question(0, 96, 3) };
        for under_way in [1, 100, 10_000] {
            let now = start + Duration::from_millis(100 + under_way);
            let (messages, end) = ring.lookup(&question, now);
            assert_eq!(numbers(&messages), [94, 95, 96]);
            assert_eq!(end, RetransmitEnd { first_after_join: 94, first_available: 0 });
        }
        let heard_is_gone = self::ring(5000, start);
        let question =
            RetransmitRequest { anchor_sequence: Some(10), missing: vec![(903, 905)], ..question };
        let (messages, end) = heard_is_gone.lookup(&question, start + Duration::from_secs(5));
        assert_eq!(numbers(&messages), [904, 905], "all that is kept came later");
        assert_eq!(end, RetransmitEnd { first_after_join: 0, first_available: 904 });
    }

    /// A packet in transit to the subscriber or the publisher.
    enum Parcel {
        Message(u64),
        Question(RetransmitRequest),
        End(RetransmitRequest, RetransmitEnd),
    }

    /// Simulates a subscription that begins while one message is sent each millisecond. `lost` selects the dropped
    /// messages.
    ///
    /// Requests and replies each take `slow` ms. Returns the messages that arrived and those reported lost, with
    /// virtual times.
    fn listened(
        lane: Lane,
        begins: u64,
        lost: impl Fn(u64) -> bool,
        slow: u64,
    ) -> (Vec<u64>, Vec<u64>) {
        const COUNT: u64 = 3000;
        let ms = Duration::from_millis;
        let start = Instant::now();
        let limits = LaneLimits {
            give_up_after: ms(10_000),
            retry_interval: ms(500),
            ..LaneLimits::default()
        };
        let node = NodeId::new("thrower").unwrap();
        let mut ring = RecentMessages::new(MAX_MESSAGES);
        let mut topic = TopicReceiver::new(lane, limits, start + ms(begins));
        let mut under_way: BTreeMap<(u64, u64), Parcel> = BTreeMap::new();
        let (mut came, mut missed, mut posted) = (vec![], vec![], 0);
        for at in 0..15_000 {
            let now = start + ms(at);
            let mut post = |after: u64, parcel| {
                posted += 1;
                under_way.insert((at + after, posted), parcel);
            };
            if at < COUNT {
                let (payload, attachment) = (ZBytes::from(vec![0; 100]), ZBytes::new());
                ring.store(StoredMessage { sequence: at, sent: now, payload, attachment });
                if !lost(at) {
                    post(1, Parcel::Message(at));
                }
            }
            let mut actions = vec![];
            while let Some(entry) = under_way.first_entry()
                && entry.key().0 <= at
            {
                match entry.remove() {
                    Parcel::Message(number) if at > begins => {
                        let at = 1_000_000 + i64::try_from(number * 1000).unwrap();
                        let (from, instance) = (node.clone(), 1_000_000);
                        let envelope = Envelope { from, instance, sequence: number, at };
                        topic.arrive("k", &envelope, number, now, &mut actions);
                    },
                    Parcel::Message(_) => {},
                    Parcel::Question(question) => {
                        let (messages, end) = ring.lookup(&question, now);
                        let mut answer: Vec<Parcel> = messages
                            .iter()
                            .map(|message| Parcel::Message(message.sequence))
                            .collect();
                        answer.push(Parcel::End(question, end));
                        for parcel in answer {
                            posted += 1;
                            under_way.insert((at + slow, posted), parcel);
                        }
                    },
                    Parcel::End(question, end) => {
                        topic.resent(&node, &question, end, now, &mut actions);
                    },
                }
            }
            if topic.next_deadline().is_some_and(|due| due <= now) {
                topic.tick(now, &mut actions);
            }
            for action in actions {
                match action {
                    TopicAction::Deliver(number) => came.push(number),
                    TopicAction::Lost { first, last, .. } => missed.extend(first..=last),
                    TopicAction::Ask { question, .. } => {
                        posted += 1;
                        under_way.insert((at + slow, posted), Parcel::Question(question));
                    },
                    TopicAction::Recovered { .. } | TopicAction::Late { .. } => {},
                }
            }
        }
        (came, missed)
    }

    #[test]
    fn subscriber_gets_all_messages_after_subscribing() {
        for lane in [Lane::ReliableOrdered, Lane::ReliableUnordered] {
            for slow in [1, 50, 400, 1500, 3000] {
                // The subscription begins at the same time as the publisher, shortly after it, and long after it.
                for begins in [0, 7, 1000] {
                    for seed in 0..8_u64 {
                        // Drops the first messages after the subscription begins, and one message in twenty.
                        let first = begins..=begins + seed * 3;
                        let lost =
                            |n: u64| first.contains(&n) || (n * 7919 + seed).is_multiple_of(20);
                        let (mut came, missed) = listened(lane, begins, lost, slow);
                        if lane == Lane::ReliableOrdered {
                            assert!(came.is_sorted());
                        }
                        came.sort_unstable();
                        let of = format!("{lane}, {slow} ms, from {begins}, seed {seed}");
                        assert!(missed.is_empty(), "{of}: {missed:?}");
                        let first = came.first().copied().unwrap();
                        // The difference may be one millisecond: the transit time of the first message.
                        assert!(first <= begins && first + 1 >= begins, "{of}: from {first}");
                        assert!(came.iter().copied().eq(first..3000), "{of}: {}", came.len());
                    }
                }
            }
        }
    }

    #[test]
    fn newest_sequence_is_announced_with_growing_delay() {
        let start = Instant::now();
        let mut ring = ring(3, start);
        let sent = start + Duration::from_millis(2);
        let mut at = vec![];
        while let Some(next) = ring.next_announcement() {
            let age = (next - sent).as_millis();
            assert_eq!(ring.announce(next), Some((2, u64::try_from(age * 1000).unwrap())));
            at.push(age);
        }
        assert_eq!(at, [100, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000]);
    }

    #[test]
    fn large_messages_are_bounded_by_their_bytes() {
        let mut ring = RecentMessages::new(MAX_MESSAGES);
        for sequence in 0..100 {
            let payload = ZBytes::from(vec![0; 100_000]);
            let (sent, attachment) = (Instant::now(), ZBytes::new());
            ring.store(StoredMessage { sequence, sent, payload, attachment });
        }
        assert_eq!(ring.messages.len(), 10);
    }
}
