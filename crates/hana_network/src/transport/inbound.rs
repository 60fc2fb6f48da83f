use std::sync::Arc;

use hana_protocol::id::NodeId;
use hana_protocol::wire::codec::{DecodeError, Encoding, PayloadError};
use hana_protocol::wire::{Envelope, Lane, Message, codec};
use zenoh::bytes::ZBytes;
use zenoh::sample::Sample;

use crate::change_counter::ChangeCounter;
use crate::transport::admission::AdmissionFilter;
use crate::transport::counters::NodeCounters;
use crate::transport::inbox::{Inbox, OverflowPolicy};
use crate::transport::problem::{Diagnostic, Diagnostics, QueueKind};

/// A message with its key and, if it comes from a hana node, its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received<M> {
    /// The key.
    pub key: String,
    /// The sender, its instance, the sequence number and the time of sending; `None` from a foreign program.
    pub envelope: Option<Envelope>,
    /// The message.
    pub message: M,
}

/// An undecoded message, for subscribers to everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawMessage {
    /// The key.
    pub key: String,
    /// The sender's envelope; `None` from a foreign program.
    pub envelope: Option<Envelope>,
    /// The encoding that the sender declared for the payload.
    pub encoding: Encoding,
    /// The payload; empty if it exceeds the size limit of the subscriber.
    pub payload: Vec<u8>,
    /// The size of the payload in bytes.
    pub bytes: usize,
}

/// The counters and warnings of received messages.
#[derive(Clone)]
pub(crate) struct InboundStats {
    pub(crate) counters: Arc<NodeCounters>,
    /// Decoding errors, logged at the pace of the status publisher. Only the last one of each key waits.
    complaints: Inbox<Diagnostic>,
    /// Warnings about excessive rates and impersonation, logged before the decoding errors, which may be many.
    warnings: Inbox<Diagnostic>,
    /// The same diagnostics, and the dropped messages, for the program.
    problems: Diagnostics,
}

impl InboundStats {
    /// The maximum number of diagnostics waiting to be logged; beyond it they are only counted.
    const COMPLAINTS: usize = 32;

    pub(crate) fn new(counters: Arc<NodeCounters>, news: ChangeCounter) -> Self {
        let inbox = || Inbox::new(OverflowPolicy::Latest, Self::COMPLAINTS);
        Self { counters, complaints: inbox(), warnings: inbox(), problems: Diagnostics::new(news) }
    }

    /// Decodes a message; a message that cannot be decoded is counted and reported.
    pub(crate) fn decode<M: Message>(&self, raw: &RawMessage) -> Option<M> {
        match raw.decode() {
            Ok(message) => Some(message),
            Err(problem) => {
                let problem = Diagnostic::DecodeFailed(DecodeError {
                    key: raw.key.clone(),
                    sender: raw.sender().cloned(),
                    message: M::NAME,
                    problem,
                });
                self.complain(M::LANE, problem);
                None
            },
        }
    }

    /// Counts and reports a message that could not be used.
    pub(crate) fn complain(&self, lane: Lane, problem: Diagnostic) {
        self.counters.malformed(lane, problem.sender());
        self.complaints.push(problem.key(), problem.clone());
        self.problems.tell(problem);
    }

    /// Reports a fault of a sender on a key.
    pub(crate) fn warn(&self, problem: Diagnostic) {
        self.warnings.push(problem.key(), problem.clone());
        self.problems.tell(problem);
    }

    /// Counts messages that an inbox removed when one from `peer` arrived.
    ///
    /// On lanes where only the newest message matters they were replaced, which is not reported.
    pub(crate) fn displaced(&self, lane: Lane, key: &str, peer: Option<&NodeId>, count: u64) {
        self.counters.displaced(lane, peer, count);
        if count > 0 && !lane.drops_older() {
            self.problems.tell(Diagnostic::Dropped {
                key: key.into(),
                queue: QueueKind::Inbox,
                count,
            });
        }
    }

    /// Counts sent messages that did not arrive, and reports them if `is_trouble`.
    pub(crate) fn missed(
        &self,
        lane: Lane,
        key: &str,
        peer: Option<&NodeId>,
        count: u64,
        is_trouble: bool,
    ) {
        if count > 0 {
            self.counters.missed(lane, peer, count);
            if is_trouble {
                let queue = QueueKind::Network;
                self.problems.tell(Diagnostic::Dropped { key: key.into(), queue, count });
            }
        }
    }

    /// Returns the diagnostics that the program has not read yet.
    pub(crate) const fn problems(&self) -> &Diagnostics {
        &self.problems
    }

    /// Returns the next diagnostic to log.
    pub(crate) fn next_complaint(&self) -> Option<Diagnostic> {
        self.warnings.try_recv().or_else(|| self.complaints.try_recv())
    }
}

impl RawMessage {
    /// Returns the sender, if the message has an envelope.
    pub(crate) fn sender(&self) -> Option<&NodeId> {
        self.envelope.as_ref().map(|envelope| &envelope.from)
    }

    /// Decodes the payload as a message of type `M`.
    pub(crate) fn decode<M: Message>(&self) -> Result<M, PayloadError> {
        if self.bytes > M::MAX_BYTES {
            return Err(PayloadError::TooLarge { bytes: self.bytes, limit: M::MAX_BYTES });
        }
        codec::decode(&self.payload, self.encoding)
    }
}

/// Converts a Zenoh sample. A payload of more than `limit` bytes is not copied.
pub(crate) fn raw(sample: &Sample, limit: usize) -> RawMessage {
    let envelope = envelope_of(sample.attachment());
    raw_parts(
        sample.key_expr().as_str(),
        sample.payload(),
        envelope,
        &sample.encoding().to_string(),
        limit,
    )
}

/// Converts a Zenoh sample that `gate` admits; the payload of any other sample is not touched.
pub(crate) fn admitted(
    sample: &Sample,
    limit: usize,
    gate: &AdmissionFilter,
    reception: &InboundStats,
) -> Option<RawMessage> {
    let key = sample.key_expr().as_str();
    let envelope = envelope_of(sample.attachment());
    if !gate.admit(key, envelope.as_ref(), reception) {
        return None;
    }
    let encoding = sample.encoding().to_string();
    Some(raw_parts(key, sample.payload(), envelope, &encoding, limit))
}

/// Returns the envelope in an attachment, if it is one. An attachment that is too long for an envelope is not copied.
pub(crate) fn envelope_of(attachment: Option<&ZBytes>) -> Option<Envelope> {
    let attachment = attachment.filter(|bytes| bytes.len() <= Envelope::MAX_BYTES)?;
    Envelope::decode(&attachment.to_bytes()).ok()
}

pub(crate) fn raw_parts(
    key: &str,
    payload: &ZBytes,
    envelope: Option<Envelope>,
    encoding: &str,
    limit: usize,
) -> RawMessage {
    let bytes = payload.len();
    RawMessage {
        key: key.into(),
        envelope,
        encoding: Encoding::from_label(encoding),
        payload: if bytes > limit { vec![] } else { payload.to_bytes().into_owned() },
        bytes,
    }
}
