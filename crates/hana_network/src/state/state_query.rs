//! Queries for what other nodes keep: the current state of a topic, the last lines of a log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hana_engine::delivery::{Admission, TokenBucket};
use hana_protocol::contract::Key;
use hana_protocol::wire::codec::Encoding;
use hana_protocol::wire::{Message, codec};
use zenoh::Wait;
use zenoh::qos::CongestionControl;
use zenoh::query::{ConsolidationMode, Query, QueryTarget};

use crate::rpc::pending::{Pending, Promise};
use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::transport::admission::AdmissionFilter;
use crate::transport::inbound::{InboundStats, Received, admitted};
use crate::transport::send_queue::SenderIdentity;

/// Returns what is kept on the keys of `pattern`, once all nodes have replied or `deadline` has passed.
pub(crate) fn ask<M: Message>(
    worker: &SessionWorker,
    reception: &InboundStats,
    pattern: String,
    deadline: Duration,
) -> Pending<Vec<Received<M>>> {
    let (promise, pending) = Pending::new();
    let gathered = GatheredStates { found: Mutex::default(), promise };
    let reception = reception.clone();
    // A query gets many replies at once: one on each key or, for a log, all on one key.
    let gate = AdmissionFilter::of_answers::<M>();
    worker.run(move |session| {
        let asked = session
            .get(&pattern)
            .target(QueryTarget::All)
            .consolidation(ConsolidationMode::None)
            .congestion_control(CongestionControl::Drop)
            .timeout(deadline)
            // Zenoh drops the callback when the query has ended.
            .callback(move |reply| {
                let Ok(sample) = reply.result() else { return };
                let Some(raw) = admitted(sample, M::MAX_BYTES, &gate, &reception) else { return };
                if let Some(message) = reception.decode::<M>(&raw) {
                    gathered.found.lock().unwrap_or_else(PoisonError::into_inner).push(Received {
                        key: raw.key,
                        envelope: raw.envelope,
                        message,
                    });
                }
            })
            .wait();
        if let Err(problem) = asked {
            tracing::error!("{pattern}: Zenoh does not ask: {problem}");
        }
    });
    pending
}

struct GatheredStates<M> {
    found: Mutex<Vec<Received<M>>>,
    promise: Promise<Vec<Received<M>>>,
}

impl<M> Drop for GatheredStates<M> {
    fn drop(&mut self) {
        let found = std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner));
        self.promise.keep(found);
    }
}

/// Limit of queries per second, over all senders: a reply may consist of hundreds of messages.
const QUESTIONS_PER_SECOND: u32 = 20;

/// Replies to queries on `key` with what `kept` returns at that moment, in that order.
pub(crate) fn answer<M: Message>(
    worker: &SessionWorker,
    identity: &SenderIdentity,
    key: &Key,
    kept: impl Fn() -> Vec<M> + Send + Sync + 'static,
) -> RegistrationGuard {
    let key = key.to_string();
    let (kept, answering) = (Arc::new(kept), worker.clone());
    let identity = identity.clone();
    let limit = Arc::new(Mutex::new(TokenBucket::new(QUESTIONS_PER_SECOND, Instant::now())));
    worker.declare(key.clone(), move |session| {
        let (kept, worker, answer_key) = (Arc::clone(&kept), answering.clone(), key.clone());
        let (identity, limit) = (identity.clone(), Arc::clone(&limit));
        let callback = move |query: Query| {
            let mut limit = limit.lock().unwrap_or_else(PoisonError::into_inner);
            if limit.admit(Instant::now()) == Admission::Over {
                return;
            }
            drop(limit);
            let (kept, key) = (Arc::clone(&kept), answer_key.clone());
            // The envelope proves to the receiver that the reply comes from the owner of this key.
            let Ok(attachment) = identity.envelope(0).encode() else { return };
            worker.answer(query, move |_, query| {
                for payload in kept().iter().filter_map(|message| codec::encode(message).ok()) {
                    let reply = query
                        .reply(key.clone(), payload)
                        .encoding(Encoding::MESSAGE_PACK)
                        .attachment(attachment.clone())
                        .wait();
                    if let Err(problem) = reply {
                        tracing::debug!("{key}: a question was not answered: {problem}");
                        return;
                    }
                }
            });
        };
        Ok(Box::new(session.declare_queryable(&key).callback(callback).wait()?))
    })
}

/// Replies to queries until it is dropped.
pub struct QueryableGuard {
    _declaration: RegistrationGuard,
}

impl QueryableGuard {
    pub(crate) const fn new(declaration: RegistrationGuard) -> Self {
        Self { _declaration: declaration }
    }
}
