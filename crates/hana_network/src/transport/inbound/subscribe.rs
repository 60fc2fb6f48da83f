use hana_protocol::wire::{Envelope, Message};

use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::transport::inbound::admission::AdmissionFilter;
use crate::transport::inbound::inbound_stats::InboundStats;
use crate::transport::raw_message::RawMessage;

/// Passes every message on `pattern` that `filter` admits to `receive`.
///
/// If the payload has more than `limit` bytes, `receive` gets an empty payload.
pub(crate) fn subscribe_admitted(
    worker: &SessionWorker,
    pattern: impl Into<String>,
    inbound: &InboundStats,
    filter: AdmissionFilter,
    limit: usize,
    receive: impl Fn(RawMessage) + Send + Sync + 'static,
) -> RegistrationGuard {
    let inbound = inbound.clone();
    worker.subscribe(pattern, move |sample| {
        if let Some(raw) = inbound.admit_sample(&sample, limit, &filter) {
            receive(raw);
        }
    })
}

/// Passes every message of type `M` on `pattern` that `filter` admits to `receive`, with its envelope.
///
/// A message that cannot be decoded is counted and reported.
pub(crate) fn subscribe_decoded<M: Message>(
    worker: &SessionWorker,
    pattern: impl Into<String>,
    inbound: &InboundStats,
    filter: AdmissionFilter,
    receive: impl Fn(M, Option<Envelope>) + Send + Sync + 'static,
) -> RegistrationGuard {
    let decoder = inbound.clone();
    subscribe_admitted(worker, pattern, inbound, filter, M::MAX_BYTES, move |raw| {
        if let Some(message) = decoder.decode(&raw) {
            receive(message, raw.envelope);
        }
    })
}
