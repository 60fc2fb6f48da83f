use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::sync::lock::{Mutex, MutexGuard};
use hana_engine::delivery::{Admission, TokenBucket};
use hana_protocol::contract::Key;
use hana_protocol::message::{RetransmitRequest, SequenceHeartbeat};
use hana_protocol::wire::codec::Encoding;
use hana_protocol::wire::{Lane, Message, codec};
use zenoh::Wait;
use zenoh::query::Query;

use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::sync::timer::{Timer, TimerThread, TimerWaker};
use crate::transport::outbound::publisher::Publisher;
use crate::transport::outbound::sender_identity::SenderIdentity;
use crate::transport::outbound::topic_buffer::{StoredMessage, TopicBuffer};
use crate::transport::raw_message::RawMessage;

/// The retransmission buffer of a node.
///
/// For reliable topics, it stores recent messages for retransmission. For other topics, it stores only the last
/// sequence number, so that receivers can detect losses at the end of a stream.
pub(crate) struct RetransmitBuffer {
    topics: Mutex<HashMap<String, Arc<TopicBuffer>>>,
    /// The publisher of the newest sequence numbers.
    sent: Publisher<SequenceHeartbeat>,
    waker: TimerWaker,
    _registration: RegistrationGuard,
}

/// The maximum number of retransmit requests answered per second, from all requesters together.
const QUERIES_PER_SECOND: u32 = 2000;

impl RetransmitBuffer {
    pub(crate) fn open(
        worker: &SessionWorker,
        identity: &SenderIdentity,
        sent: Publisher<SequenceHeartbeat>,
        timer: &TimerThread,
    ) -> Arc<Self> {
        let waker = timer.waker();
        let buffer = Arc::new_cyclic(|buffer: &Weak<Self>| {
            let (buffer, instance, replying) = (buffer.clone(), identity.instance, worker.clone());
            let limit = Mutex::new(TokenBucket::new(QUERIES_PER_SECOND, Instant::now()));
            let key = Key::Retransmit(identity.id.clone()).to_string();
            let registration = worker.receive_queries(key, move |query| {
                let Some(buffer) = buffer.upgrade() else { return };
                let is_over = limit.lock().admit(Instant::now()) == Admission::Over;
                if !is_over && let Some(request) = request_in(&query, instance) {
                    replying.spawn_reply(query, move |_, query| buffer.reply(&query, &request));
                }
            });
            Self {
                topics: Mutex::default(),
                sent,
                waker: waker.clone(),
                _registration: registration,
            }
        });
        timer.add(&buffer, &waker);
        buffer
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<String, Arc<TopicBuffer>>> {
        self.topics.lock()
    }

    /// Returns the buffer for the messages of `key`.
    pub(crate) fn topic(&self, key: &str, lane: Lane) -> Arc<TopicBuffer> {
        let new = || Arc::new(TopicBuffer::new(lane, self.waker.clone()));
        Arc::clone(self.topics().entry(key.into()).or_insert_with(new))
    }

    fn reply(&self, query: &Query, request: &RetransmitRequest) {
        let topic = self.topics().get(&request.key).cloned();
        let (messages, end) = topic
            .map_or_else(Default::default, |topic| topic.lookup_range(request, Instant::now()));
        let key = query.key_expr().clone();
        for StoredMessage { payload, attachment, .. } in messages {
            let reply = query
                .reply(key.clone(), payload)
                .encoding(Encoding::MESSAGE_PACK)
                .attachment(attachment)
                .wait();
            if let Err(problem) = reply {
                tracing::debug!("{key}: cannot retransmit a message: {problem}");
                return;
            }
        }
        let Ok(end) = codec::encode(&end) else { return };
        query.reply(key, end).encoding(Encoding::MESSAGE_PACK).wait().ok();
    }
}

/// Decodes a retransmit request. Returns `None` if the request is for another instance of this node, or is invalid.
fn request_in(query: &Query, instance: u64) -> Option<RetransmitRequest> {
    query.payload()?;
    let key = query.key_expr().as_str();
    let raw = RawMessage::from_query(query, key, RetransmitRequest::MAX_BYTES);
    raw.decode::<RetransmitRequest>().ok().filter(|request| request.instance == instance)
}

impl Timer for RetransmitBuffer {
    fn tick(&self, now: Instant) -> Option<Instant> {
        let mut sent = SequenceHeartbeat::default();
        let mut next = None;
        for (key, topic) in &*self.topics() {
            let has_room = sent.newest.len() < SequenceHeartbeat::MAX_KEYS;
            let (newest, due) = topic.announce(now, has_room);
            if let Some(newest) = newest {
                sent.newest.insert(key.clone(), newest);
            }
            next = next.into_iter().chain(due).min();
        }
        if !sent.newest.is_empty()
            && let Err(problem) = self.sent.publish(&sent)
        {
            tracing::debug!("cannot publish the sequence numbers: {problem}");
        }
        next
    }
}
