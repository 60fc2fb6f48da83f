use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::lock::Mutex;
use hana_protocol::id::NodeId;
use hana_protocol::wire::Envelope;

use crate::clock::wall_clock::unix_us;

/// The identity of a node in its envelopes, and the current sequence numbers.
#[derive(Debug, Clone)]
pub(crate) struct SenderIdentity {
    pub(crate) id: NodeId,
    pub(crate) instance: u64,
    /// The sequence of each key, which all publishers on the key share: a second publisher on a key continues the
    /// sequence of the first, so that receivers do not discard its messages as old.
    sequences: Arc<Mutex<HashMap<String, Arc<AtomicU64>>>>,
}

impl SenderIdentity {
    pub(crate) fn new(id: NodeId, instance: u64) -> Self {
        Self { id, instance, sequences: Arc::default() }
    }

    pub(crate) fn sequence_of(&self, key: &str) -> Arc<AtomicU64> {
        let mut sequences = self.sequences.lock();
        Arc::clone(sequences.entry(key.into()).or_default())
    }

    /// Returns the envelope of the next message on `key`.
    pub(crate) fn next_envelope(&self, key: &str) -> Envelope {
        self.envelope(self.sequence_of(key).fetch_add(1, Ordering::AcqRel))
    }

    pub(crate) fn envelope(&self, sequence: u64) -> Envelope {
        self.envelope_at(sequence, i64::try_from(unix_us()).unwrap_or(i64::MAX))
    }

    pub(crate) fn envelope_at(&self, sequence: u64, at: i64) -> Envelope {
        Envelope { from: self.id.clone(), instance: self.instance, sequence, at }
    }
}
