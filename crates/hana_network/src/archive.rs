use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use hana_protocol::Admission;
use hana_protocol::Encoding;
use hana_protocol::Key;
use hana_protocol::Lane;
use hana_protocol::Message;
use hana_protocol::RateLimit;
use hana_protocol::Resend;
use hana_protocol::Resent;
use hana_protocol::Sent;
use hana_protocol::codec;
use zenoh::Wait;
use zenoh::bytes::ZBytes;
use zenoh::query::Query;

use crate::Publisher;
use crate::outbox::Identity;
use crate::reception::raw_parts;
use crate::ticker::Ticker;
use crate::ticker::Timed;
use crate::worker::Declaration;
use crate::worker::Worker;

/// What a node has sent: on reliable topics, to send it again to whom it did not reach; on others only how much it was,
/// so that who misses the last of it knows.
pub(crate) struct Archive {
    topics: Mutex<HashMap<String, Arc<Kept>>>,
    /// Where it is said how far they have come.
    sent: Publisher<Sent>,
    ticker: Ticker,
    _answering: Declaration,
}

/// The newest messages of one key.
pub(crate) struct Kept {
    ring: Mutex<Ring>,
    ticker: Ticker,
}

#[derive(Debug)]
struct Ring {
    messages: VecDeque<KeptMessage>,
    /// How many are kept at most.
    most: usize,
    bytes: usize,
    newest: Option<Newest>,
}

/// The newest message of a key.
#[derive(Debug)]
struct Newest {
    sequence: u64,
    sent: Instant,
    /// How often it was announced.
    announced: usize,
}

#[derive(Debug, Clone)]
struct KeptMessage {
    sequence: u64,
    sent: Instant,
    payload: ZBytes,
    attachment: ZBytes,
}

/// Messages of one key that are kept at most.
const MAX_MESSAGES: usize = 4096;
/// Bytes of one key that are kept at most; one message is, whatever its size.
const MAX_BYTES: usize = 1024 * 1024;
/// Questions in a second that are answered, of all who ask together.
const QUESTIONS_PER_SECOND: u32 = 2000;

/// How long after the newest message it is announced the `count`th time: a tenth of a second, then half a second, then
/// twice as long each time, to a good minute.
const fn announcement(count: usize) -> Option<Duration> {
    match count {
        0 => Some(Duration::from_millis(100)),
        1..=8 => Some(Duration::from_millis(250 << count)),
        _ => None,
    }
}

impl Archive {
    pub(crate) fn open(
        worker: &Worker,
        identity: &Identity,
        sent: Publisher<Sent>,
        ticker: &Ticker,
    ) -> Arc<Self> {
        let archive = Arc::new_cyclic(|archive: &std::sync::Weak<Self>| {
            let (archive, identity, answering) =
                (archive.clone(), identity.clone(), worker.clone());
            let key = Key::Resend(identity.id.clone()).to_string();
            let limit = Arc::new(Mutex::new(RateLimit::new(QUESTIONS_PER_SECOND, Instant::now())));
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
            Self { topics: Mutex::default(), sent, ticker: ticker.clone(), _answering: declaration }
        });
        ticker.add(&archive);
        archive
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<String, Arc<Kept>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the messages of `key` are kept.
    pub(crate) fn kept(&self, key: &str, lane: Lane) -> Arc<Kept> {
        let ring = || Mutex::new(Ring::new(if lane.is_reliable() { MAX_MESSAGES } else { 0 }));
        let new = || Arc::new(Kept { ring: ring(), ticker: self.ticker.clone() });
        Arc::clone(self.topics().entry(key.into()).or_insert_with(new))
    }

    fn answer(&self, query: &Query, question: &Resend) {
        let kept = self.topics().get(&question.key).cloned();
        let (messages, end) =
            kept.map_or_else(Default::default, |kept| kept.ring().find(question, Instant::now()));
        let key = query.key_expr().clone();
        for KeptMessage { payload, attachment, .. } in messages {
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

/// What is asked for, if this run of the node is meant.
fn question(query: &Query, instance: u64) -> Option<Resend> {
    let raw = raw_parts(
        query.key_expr().as_str(),
        query.payload()?,
        None,
        &query.encoding().map(ToString::to_string).unwrap_or_default(),
        Resend::MAX_BYTES,
    );
    raw.decode::<Resend>().ok().filter(|question| question.instance == instance)
}

impl Timed for Archive {
    fn tick(&self, now: Instant) -> Option<Instant> {
        let mut sent = Sent::default();
        let mut next = None;
        for (key, kept) in &*self.topics() {
            let mut ring = kept.ring();
            let may = sent.newest.len() < Sent::MAX_KEYS;
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

impl Kept {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a message that is sent now.
    pub(crate) fn keep(&self, sequence: u64, payload: ZBytes, attachment: ZBytes, now: Instant) {
        let was_quiet = {
            let mut ring = self.ring();
            let was_quiet = ring.next_announcement().is_none();
            ring.keep(KeptMessage { sequence, sent: now, payload, attachment });
            was_quiet
        };
        // Else it is called in time anyhow, and sees then that it was too early.
        if was_quiet {
            self.ticker.wake();
        }
    }
}

impl Ring {
    const fn new(most: usize) -> Self {
        Self { messages: VecDeque::new(), most, bytes: 0, newest: None }
    }

    fn keep(&mut self, message: KeptMessage) {
        let size = |message: &KeptMessage| message.payload.len() + message.attachment.len();
        let KeptMessage { sequence, sent, .. } = message;
        self.newest = Some(Newest { sequence, sent, announced: 0 });
        self.bytes += size(&message);
        self.messages.push_back(message);
        while self.messages.len() > self.most || (self.bytes > MAX_BYTES && self.messages.len() > 1)
        {
            self.bytes -= self.messages.pop_front().as_ref().map_or(0, size);
        }
    }

    /// What was asked for, and what will not come.
    fn find(&self, question: &Resend, now: Instant) -> (Vec<KeptMessage>, Resent) {
        let listening = Duration::from_micros(question.listening_us);
        let is_for_you =
            |message: &KeptMessage| now.saturating_duration_since(message.sent) <= listening;
        let newest = self.newest.as_ref().map_or(0, |newest| newest.sequence + 1);
        let first_for_you =
            self.messages.iter().find(|message| is_for_you(message)).map(|first| first.sequence);
        let first_kept = self.messages.front().map_or(newest, |first| first.sequence);
        let messages = self
            .messages
            .iter()
            .filter(|message| question.asks_for(message.sequence))
            .filter(|message| is_for_you(message))
            .take(usize::try_from(Resend::MAX_MESSAGES).unwrap_or(usize::MAX))
            .cloned()
            .collect();
        // Where the oldest that is kept was for him, so may some have been that are not kept any more.
        let first_for_you = match first_for_you {
            Some(first) if first == first_kept => 0,
            Some(first) => first,
            None => newest,
        };
        (messages, Resent { first_for_you, first_kept })
    }

    /// The newest number, if it is to be announced.
    fn announce(&mut self, now: Instant) -> Option<u64> {
        if self.next_announcement().is_none_or(|at| at > now) {
            return None;
        }
        let newest = self.newest.as_mut()?;
        newest.announced += 1;
        Some(newest.sequence)
    }

    fn next_announcement(&self) -> Option<Instant> {
        let newest = self.newest.as_ref()?;
        announcement(newest.announced).map(|after| newest.sent + after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(count: u64, start: Instant) -> Ring {
        let mut ring = Ring::new(MAX_MESSAGES);
        for sequence in 0..count {
            let sent = start + Duration::from_millis(sequence);
            let payload = ZBytes::from(vec![0; 100]);
            ring.keep(KeptMessage { sequence, sent, payload, attachment: ZBytes::new() });
        }
        ring
    }

    fn question(first: u64, last: u64, ms: u64) -> Resend {
        let listening_us = ms * 1000;
        Resend { key: String::new(), instance: 1, missing: vec![(first, last)], listening_us }
    }

    fn numbers(messages: &[KeptMessage]) -> Vec<u64> {
        messages.iter().map(|message| message.sequence).collect()
    }

    #[test]
    fn what_is_kept_comes_and_what_is_not_is_said() {
        let start = Instant::now();
        let ring = ring(4100, start);
        let now = start + Duration::from_millis(4100);
        let (messages, end) = ring.find(&question(0, 6, 10_000), now);
        assert_eq!(numbers(&messages), [4, 5, 6]);
        // Whether the lost ones were for him is not known: they are lost.
        assert_eq!(end, Resent { first_for_you: 0, first_kept: 4 });
    }

    #[test]
    fn what_was_sent_before_who_asks_was_there_is_not_for_him() {
        let start = Instant::now();
        let ring = ring(100, start);
        let now = start + Duration::from_millis(100);
        let (messages, end) = ring.find(&question(0, 99, 3), now);
        assert_eq!(numbers(&messages), [97, 98, 99]);
        assert_eq!(end, Resent { first_for_you: 97, first_kept: 0 });
        let (messages, end) = ring.find(&question(0, 99, 0), now);
        assert!(messages.is_empty());
        assert_eq!(end.first_for_you, 100);
    }

    #[test]
    fn the_newest_is_announced_when_it_has_become_quiet_and_then_less_and_less_often() {
        let start = Instant::now();
        let mut ring = ring(3, start);
        let sent = start + Duration::from_millis(2);
        let mut at = vec![];
        while let Some(next) = ring.next_announcement() {
            assert_eq!(ring.announce(next), Some(2));
            at.push((next - sent).as_millis());
        }
        assert_eq!(at, [100, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000]);
    }

    #[test]
    fn large_messages_are_bounded_by_their_bytes() {
        let mut ring = Ring::new(MAX_MESSAGES);
        for sequence in 0..100 {
            let payload = ZBytes::from(vec![0; 100_000]);
            let (sent, attachment) = (Instant::now(), ZBytes::new());
            ring.keep(KeptMessage { sequence, sent, payload, attachment });
        }
        assert_eq!(ring.messages.len(), 10);
    }
}
