use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hana_engine::delivery::{Admission, TokenBucket};
use hana_protocol::contract::Key;
use hana_protocol::message::{RetransmitEnd, RetransmitRequest, SequenceHeartbeat};
use hana_protocol::wire::codec::Encoding;
use hana_protocol::wire::{Lane, Message, codec};
use zenoh::Wait;
use zenoh::bytes::ZBytes;
use zenoh::query::Query;

use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::transport::inbound::raw_parts;
use crate::transport::publisher::Publisher;
use crate::transport::send_queue::SenderIdentity;
use crate::transport::timer::{Timer, TimerThread, TimerWaker};

/// The retransmission buffer of a node.
///
/// Keeps recent messages of reliable topics for retransmission; for other topics only the last sequence number, so
/// that receivers can detect losses at the end of a stream.
pub(crate) struct RetransmitBuffer {
    topics: Mutex<HashMap<String, Arc<TopicBuffer>>>,
    /// Publishes the newest sequence numbers.
    sent: Publisher<SequenceHeartbeat>,
    bell: TimerWaker,
    _answering: RegistrationGuard,
}

/// The newest messages of one key.
pub(crate) struct TopicBuffer {
    ring: Mutex<Ring>,
    bell: TimerWaker,
}

#[derive(Debug)]
struct Ring {
    messages: VecDeque<StoredMessage>,
    /// The maximum number of messages kept.
    most: usize,
    bytes: usize,
    newest: Option<LastSent>,
}

/// The newest message of a key.
#[derive(Debug)]
struct LastSent {
    sequence: u64,
    sent: Instant,
    /// The number of announcements so far.
    announced: usize,
}

#[derive(Debug, Clone)]
struct StoredMessage {
    sequence: u64,
    sent: Instant,
    payload: ZBytes,
    attachment: ZBytes,
}

/// The maximum number of messages kept for one key.
const MAX_MESSAGES: usize = 4096;
/// The maximum number of bytes kept for one key; one message is kept whatever its size.
const MAX_BYTES: usize = 1024 * 1024;
/// The number of retransmit requests answered per second, over all requesters together.
const QUESTIONS_PER_SECOND: u32 = 2000;

/// Returns the delay of the `count`th announcement of the newest message, counted from its sending.
///
/// 100 ms, then 500 ms, then twice as long each time, up to 64 s.
const fn announcement(count: usize) -> Option<Duration> {
    match count {
        0 => Some(Duration::from_millis(100)),
        1..=8 => Some(Duration::from_millis(250 << count)),
        _ => None,
    }
}

impl RetransmitBuffer {
    pub(crate) fn open(
        worker: &SessionWorker,
        identity: &SenderIdentity,
        sent: Publisher<SequenceHeartbeat>,
        ticker: &TimerThread,
    ) -> Arc<Self> {
        let bell = ticker.bell();
        let archive = Arc::new_cyclic(|archive: &std::sync::Weak<Self>| {
            let (archive, identity, answering) =
                (archive.clone(), identity.clone(), worker.clone());
            let key = Key::Retransmit(identity.id.clone()).to_string();
            let limit =
                Arc::new(Mutex::new(TokenBucket::new(QUESTIONS_PER_SECOND, Instant::now())));
            let declaration = worker.declare(key.clone(), move |session| {
                let (archive, worker) = (archive.clone(), answering.clone());
                let (instance, limit) = (identity.instance, Arc::clone(&limit));
                let callback = move |query: Query| {
                    let Some(archive) = archive.upgrade() else { return };
                    let mut limit = limit.lock().unwrap_or_else(PoisonError::into_inner);
                    let is_over = limit.admit(Instant::now()) == Admission::Over;
                    drop(limit);
                    if !is_over && let Some(question) = question(&query, instance) {
                        worker.answer(query, move |_, query| archive.answer(&query, &question));
                    }
                };
                let queryable = session.declare_queryable(&key).complete(true);
                Ok(Box::new(queryable.callback(callback).wait()?))
            });
            Self { topics: Mutex::default(), sent, bell: bell.clone(), _answering: declaration }
        });
        ticker.add(&archive, &bell);
        archive
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<String, Arc<TopicBuffer>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the buffer for the messages of `key`.
    pub(crate) fn kept(&self, key: &str, lane: Lane) -> Arc<TopicBuffer> {
        let ring = || Mutex::new(Ring::new(if lane.is_reliable() { MAX_MESSAGES } else { 0 }));
        let new = || Arc::new(TopicBuffer { ring: ring(), bell: self.bell.clone() });
        Arc::clone(self.topics().entry(key.into()).or_insert_with(new))
    }

    fn answer(&self, query: &Query, question: &RetransmitRequest) {
        let kept = self.topics().get(&question.key).cloned();
        let (messages, end) =
            kept.map_or_else(Default::default, |kept| kept.ring().find(question, Instant::now()));
        let key = query.key_expr().clone();
        for StoredMessage { payload, attachment, .. } in messages {
            let reply = query
                .reply(key.clone(), payload)
                .encoding(Encoding::MESSAGE_PACK)
                .attachment(attachment)
                .wait();
            if let Err(problem) = reply {
                tracing::debug!("{key}: a message was not sent again: {problem}");
                return;
            }
        }
        let Ok(end) = codec::encode(&end) else { return };
        query.reply(key, end).encoding(Encoding::MESSAGE_PACK).wait().ok();
    }
}

/// Decodes a retransmit request; `None` if it is meant for another instance of this node.
fn question(query: &Query, instance: u64) -> Option<RetransmitRequest> {
    let raw = raw_parts(
        query.key_expr().as_str(),
        query.payload()?,
        None,
        &query.encoding().map(ToString::to_string).unwrap_or_default(),
        RetransmitRequest::MAX_BYTES,
    );
    raw.decode::<RetransmitRequest>().ok().filter(|question| question.instance == instance)
}

impl Timer for RetransmitBuffer {
    fn tick(&self, now: Instant) -> Option<Instant> {
        let mut sent = SequenceHeartbeat::default();
        let mut next = None;
        for (key, kept) in &*self.topics() {
            let mut ring = kept.ring();
            let may = sent.newest.len() < SequenceHeartbeat::MAX_KEYS;
            if may && let Some(newest) = ring.announce(now) {
                sent.newest.insert(key.clone(), newest);
            }
            next = next.into_iter().chain(ring.next_announcement()).min();
        }
        if !sent.newest.is_empty()
            && let Err(problem) = self.sent.publish(&sent)
        {
            tracing::debug!("what was sent is not announced: {problem}");
        }
        next
    }
}

impl TopicBuffer {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a message that is sent at `now`.
    pub(crate) fn keep(&self, sequence: u64, payload: ZBytes, attachment: ZBytes, now: Instant) {
        let was_quiet = {
            let mut ring = self.ring();
            let was_quiet = ring.next_announcement().is_none();
            ring.keep(StoredMessage { sequence, sent: now, payload, attachment });
            was_quiet
        };
        // Otherwise the timer fires in time anyway, and then finds that nothing is due yet.
        if was_quiet {
            self.bell.ring();
        }
    }
}

impl Ring {
    const fn new(most: usize) -> Self {
        Self { messages: VecDeque::new(), most, bytes: 0, newest: None }
    }

    fn keep(&mut self, message: StoredMessage) {
        let size = |message: &StoredMessage| message.payload.len() + message.attachment.len();
        let StoredMessage { sequence, sent, .. } = message;
        self.newest = Some(LastSent { sequence, sent, announced: 0 });
        self.bytes += size(&message);
        self.messages.push_back(message);
        while self.messages.len() > self.most || (self.bytes > MAX_BYTES && self.messages.len() > 1)
        {
            self.bytes -= self.messages.pop_front().as_ref().map_or(0, size);
        }
    }

    /// Returns the requested messages, and the limits of what can still be retransmitted.
    fn find(
        &self,
        question: &RetransmitRequest,
        now: Instant,
    ) -> (Vec<StoredMessage>, RetransmitEnd) {
        let listening = Duration::from_micros(question.subscribed_for_us);
        // When `anchor_sequence` was sent, the requester had been subscribed for at most `subscribed_for_us`. If `anchor_sequence` is no
        // longer in the buffer, every message that is was sent after it.
        let message = |heard| self.messages.iter().find(|message| message.sequence == heard);
        let counted_from = question.anchor_sequence.and_then(message);
        let is_later = |heard| self.messages.front().is_some_and(|first| first.sequence > heard);
        let all_is_for_you = question.anchor_sequence.is_some_and(is_later);
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
            .filter(|message| question.includes(message.sequence))
            .filter(|message| is_for_you(message))
            .take(usize::try_from(RetransmitRequest::MAX_MESSAGES).unwrap_or(usize::MAX))
            .cloned()
            .collect();
        // If the oldest message in the buffer is for the requester, dropped ones may have been for it too.
        let first_after_join = match first_after_join {
            Some(first) if first == first_available => 0,
            Some(first) => first,
            None => newest,
        };
        (messages, RetransmitEnd { first_after_join, first_available })
    }

    /// Returns the newest sequence number and its age in microseconds, if an announcement is due.
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
        announcement(newest.announced).map(|after| newest.sent + after)
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
    use crate::transport::gap_recovery::PATIENCE;

    fn ring(count: u64, start: Instant) -> Ring {
        let mut ring = Ring::new(MAX_MESSAGES);
        for sequence in 0..count {
            let sent = start + Duration::from_millis(sequence);
            let payload = ZBytes::from(vec![0; 100]);
            ring.keep(StoredMessage { sequence, sent, payload, attachment: ZBytes::new() });
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
    fn what_is_kept_comes_and_what_is_not_is_said() {
        let start = Instant::now();
        let ring = ring(4100, start);
        let now = start + Duration::from_millis(4100);
        let (messages, end) = ring.find(&question(0, 6, 10_000), now);
        assert_eq!(numbers(&messages), [4, 5, 6]);
        // It is unknown whether the dropped messages were for the requester, so they count as lost.
        assert_eq!(end, RetransmitEnd { first_after_join: 0, first_available: 4 });
    }

    #[test]
    fn what_was_sent_before_who_asks_was_there_is_not_for_him() {
        let start = Instant::now();
        let ring = ring(100, start);
        let now = start + Duration::from_millis(100);
        let (messages, end) = ring.find(&question(0, 99, 3), now);
        assert_eq!(numbers(&messages), [97, 98, 99]);
        assert_eq!(end, RetransmitEnd { first_after_join: 97, first_available: 0 });
        let (messages, end) = ring.find(&question(0, 99, 0), now);
        assert!(messages.is_empty());
        assert_eq!(end.first_after_join, 100);
    }

    #[test]
    fn it_does_not_matter_how_long_the_question_was_under_way() {
        let start = Instant::now();
        let ring = ring(100, start);
        // The requester received 97 after it had been subscribed for 3 ms, and requested the messages before it.
        let question = RetransmitRequest { anchor_sequence: Some(97), ..question(0, 96, 3) };
        for under_way in [1, 100, 10_000] {
            let now = start + Duration::from_millis(100 + under_way);
            let (messages, end) = ring.find(&question, now);
            assert_eq!(numbers(&messages), [94, 95, 96]);
            assert_eq!(end, RetransmitEnd { first_after_join: 94, first_available: 0 });
        }
        let heard_is_gone = self::ring(5000, start);
        let question =
            RetransmitRequest { anchor_sequence: Some(10), missing: vec![(903, 905)], ..question };
        let (messages, end) = heard_is_gone.find(&question, start + Duration::from_secs(5));
        assert_eq!(numbers(&messages), [904, 905], "all that is kept came later");
        assert_eq!(end, RetransmitEnd { first_after_join: 0, first_available: 904 });
    }

    /// A packet in transit to the subscriber or the publisher.
    enum Parcel {
        Message(u64),
        Question(RetransmitRequest),
        End(RetransmitRequest, RetransmitEnd),
    }

    /// Simulates a subscription that begins while one message is sent each millisecond; `lost` messages are dropped.
    ///
    /// Requests and replies each take `slow` ms. Returns, in virtual time, the messages that arrived and those
    /// reported lost.
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
            give_up_after: PATIENCE,
            retry_interval: ms(500),
            ..LaneLimits::default()
        };
        let node = NodeId::new("thrower").unwrap();
        let mut ring = Ring::new(MAX_MESSAGES);
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
                ring.keep(StoredMessage { sequence: at, sent: now, payload, attachment });
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
                        let (messages, end) = ring.find(&question, now);
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
    fn who_begins_to_listen_gets_all_from_then_on_however_slow_his_questions_are() {
        for lane in [Lane::ReliableOrdered, Lane::ReliableUnordered] {
            for slow in [1, 50, 400, 1500, 3000] {
                // The subscription begins before the publisher, at about the same time, and long after it.
                for begins in [0, 7, 1000] {
                    for seed in 0..8_u64 {
                        // Drops the first messages after the subscription, and one of twenty.
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
                        // One millisecond more is possible: the transit time of the first message.
                        assert!(first <= begins && first + 1 >= begins, "{of}: from {first}");
                        assert!(came.iter().copied().eq(first..3000), "{of}: {}", came.len());
                    }
                }
            }
        }
    }

    #[test]
    fn the_newest_is_announced_when_it_has_become_quiet_and_then_less_and_less_often() {
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
        let mut ring = Ring::new(MAX_MESSAGES);
        for sequence in 0..100 {
            let payload = ZBytes::from(vec![0; 100_000]);
            let (sent, attachment) = (Instant::now(), ZBytes::new());
            ring.keep(StoredMessage { sequence, sent, payload, attachment });
        }
        assert_eq!(ring.messages.len(), 10);
    }
}
