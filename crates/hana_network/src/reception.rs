use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use hana_protocol::Arrival;
use hana_protocol::DecodeError;
use hana_protocol::Encoding;
use hana_protocol::Envelope;
use hana_protocol::Message;
use hana_protocol::SequenceFilter;
use hana_protocol::codec;
use zenoh::bytes::ZBytes;
use zenoh::sample::Sample;

use crate::Inbox;
use crate::Policy;
use crate::counters::NodeCounters;

/// A message with the key it came on and its envelope, if its sender is one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received<M> {
    /// The key.
    pub key: String,
    /// Who sent it, in which run, in which place, when; `None` from a foreign program.
    pub envelope: Option<Envelope>,
    /// The message.
    pub message: M,
}

/// A message as its bytes, for those who look at everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawMessage {
    /// The key.
    pub key: String,
    /// Who sent it; `None` from a foreign program.
    pub envelope: Option<Envelope>,
    /// What the sender said the payload is.
    pub encoding: Encoding,
    /// The payload.
    pub payload: Vec<u8>,
}

/// Where what arrives is judged and counted, and what is wrong with it complained of.
#[derive(Clone)]
pub(crate) struct Reception {
    pub(crate) counters: Arc<NodeCounters>,
    /// Complaints, in plain words; said by the heart, at its own pace.
    pub(crate) complaints: Inbox<String>,
}

impl Reception {
    /// Complaints that wait to be said; more are only counted.
    const COMPLAINTS: usize = 32;

    pub(crate) fn new(counters: Arc<NodeCounters>) -> Self {
        Self { counters, complaints: Inbox::new(Policy::DropOldest, Self::COMPLAINTS) }
    }

    /// Reads a message; what cannot be read is counted and complained of.
    pub(crate) fn decode<M: Message>(&self, raw: &RawMessage) -> Option<M> {
        match codec::decode(&raw.payload, raw.encoding) {
            Ok(message) => Some(message),
            Err(problem) => {
                self.complain(
                    DecodeError {
                        key: raw.key.clone(),
                        sender: raw.envelope.as_ref().map(|envelope| envelope.from.clone()),
                        message: M::NAME,
                        problem,
                    }
                    .to_string(),
                );
                None
            },
        }
    }

    /// Counts a message that could not be used, and says why.
    pub(crate) fn complain(&self, text: String) {
        self.counters.malformed.add(1);
        self.complaints.push("", text);
    }
}

/// Takes a sample of Zenoh's apart. Reads at most `limit` bytes of the payload and one more, so that what
/// is too large is seen to be.
pub(crate) fn raw(sample: &Sample, limit: usize) -> RawMessage {
    raw_parts(
        sample.key_expr().as_str(),
        sample.payload(),
        sample.attachment(),
        &sample.encoding().to_string(),
        limit,
    )
}

pub(crate) fn raw_parts(
    key: &str,
    payload: &ZBytes,
    attachment: Option<&ZBytes>,
    encoding: &str,
    limit: usize,
) -> RawMessage {
    RawMessage {
        key: key.into(),
        envelope: attachment.and_then(|bytes| Envelope::decode(&bytes.to_bytes()).ok()),
        encoding: Encoding::from_label(encoding),
        payload: if payload.len() > limit {
            vec![0; limit.saturating_add(1)]
        } else {
            payload.to_bytes().into_owned()
        },
    }
}

/// The receive side of a subscription: one sequence filter for each key.
#[derive(Default)]
pub(crate) struct Sequences(Mutex<HashMap<String, SequenceFilter>>);

impl Sequences {
    /// Keys beyond this many are not followed; what comes on them is delivered unfiltered.
    const MAX_KEYS: usize = 4096;

    /// Judges a message; whether it is to be delivered.
    pub(crate) fn admit(
        &self,
        raw: &RawMessage,
        drops_older: bool,
        counters: &NodeCounters,
    ) -> bool {
        let arrival = {
            let mut filters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !filters.contains_key(&raw.key) {
                if filters.len() >= Self::MAX_KEYS {
                    return true;
                }
                filters.insert(raw.key.clone(), SequenceFilter::default());
            }
            filters
                .get_mut(&raw.key)
                .map_or(Arrival::New { missed: 0 }, |filter| filter.arrive(raw.envelope.as_ref()))
        };
        match arrival {
            Arrival::New { missed } => {
                counters.missed.add(missed);
                true
            },
            Arrival::Stale => {
                counters.late.add(1);
                !drops_older
            },
        }
    }
}
