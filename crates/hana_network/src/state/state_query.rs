//! Queries for stored messages of other nodes: the current state of a topic, or the last lines of a log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::lock::Mutex;
use hana_engine::delivery::{Admission, TokenBucket};
use hana_protocol::contract::Key;
use hana_protocol::wire::codec::Encoding;
use hana_protocol::wire::{Message, codec};
use zenoh::Wait;
use zenoh::query::Query;

use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::sync::pending::Pending;
use crate::transport::inbound::admission::AdmissionFilter;
use crate::transport::inbound::inbound_stats::InboundStats;
use crate::transport::outbound::sender_identity::SenderIdentity;
use crate::transport::query::{QueryHandle, query_all};
use crate::transport::received::Received;

/// Returns the stored messages on the keys of `pattern`, once all nodes have replied or `deadline` has passed.
pub(crate) fn query_states<M: Message>(
    worker: &SessionWorker,
    inbound: &InboundStats,
    pattern: String,
    deadline: Duration,
) -> Pending<Vec<Received<M>>> {
    let (promise, pending) = Pending::new();
    let found = QueryHandle::new(move |found: Vec<Received<M>>| promise.fulfil(found));
    let inbound = inbound.clone();
    // A query causes many replies at once: one on each key or, for a log, all on one key.
    let filter = AdmissionFilter::for_replies::<M>();
    worker.run(move |session| {
        query_all(session, &pattern, deadline, move |reply| {
            let Ok(sample) = reply.result() else { return };
            let raw = inbound.admit_sample(sample, M::MAX_BYTES, &filter);
            if let Some(raw) = raw
                && let Some(message) = inbound.decode(&raw)
            {
                found.record(|found| {
                    found.push(Received { key: raw.key, envelope: raw.envelope, message });
                });
            }
        });
    });
    pending
}

/// The maximum number of queries per second, from all senders together. A reply may consist of hundreds of messages.
const QUERIES_PER_SECOND: u32 = 20;

/// Replies to each query on `key` with the messages that `kept` returns when it is called, in their order.
pub(crate) fn reply_to_queries<M: Message>(
    worker: &SessionWorker,
    identity: &SenderIdentity,
    key: &Key,
    kept: impl Fn() -> Vec<M> + Send + Sync + 'static,
) -> RegistrationGuard {
    let key = key.to_string();
    let (kept, replying) = (Arc::new(kept), worker.clone());
    let identity = identity.clone();
    let limit = Arc::new(Mutex::new(TokenBucket::new(QUERIES_PER_SECOND, Instant::now())));
    worker.declare(key.clone(), move |session| {
        let (kept, worker, answer_key) = (Arc::clone(&kept), replying.clone(), key.clone());
        let (identity, limit) = (identity.clone(), Arc::clone(&limit));
        let callback = move |query: Query| {
            if limit.lock().admit(Instant::now()) == Admission::Over {
                return;
            }
            let (kept, key) = (Arc::clone(&kept), answer_key.clone());
            // The envelope shows the receiver that the reply comes from the owner of this key.
            let Ok(attachment) = identity.envelope(0).encode() else { return };
            worker.spawn_reply(query, move |_, query| {
                for payload in kept().iter().filter_map(|message| codec::encode(message).ok()) {
                    let reply = query
                        .reply(key.clone(), payload)
                        .encoding(Encoding::MESSAGE_PACK)
                        .attachment(attachment.clone())
                        .wait();
                    if let Err(problem) = reply {
                        tracing::debug!("{key}: cannot reply to a query: {problem}");
                        return;
                    }
                }
            });
        };
        Ok(Box::new(session.declare_queryable(&key).callback(callback).wait()?))
    })
}

/// Keeps a node replying to queries until it is dropped.
pub struct QueryableGuard {
    _registration: RegistrationGuard,
}

impl QueryableGuard {
    pub(crate) const fn new(declaration: RegistrationGuard) -> Self {
        Self { _registration: declaration }
    }
}
