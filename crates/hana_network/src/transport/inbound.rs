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
    /// The payload; empty if it is larger than whoever looks at it takes.
    pub payload: Vec<u8>,
    /// How many bytes the payload has.
    pub bytes: usize,
}

/// Where what arrives is judged and counted, and what is wrong with it complained of.
#[derive(Clone)]
pub(crate) struct InboundStats {
    pub(crate) counters: Arc<NodeCounters>,
    /// Complaints of what cannot be read; said by the heart, at its own pace. The last one of each key waits.
    complaints: Inbox<Diagnostic>,
    /// Complaints of who sends too much or in the name of another: said before the others, which may be many.
    warnings: Inbox<Diagnostic>,
    /// The same, and what was dropped, for the program.
    problems: Diagnostics,
}

impl InboundStats {
    /// Complaints that wait to be said; more are only counted.
    const COMPLAINTS: usize = 32;

    pub(crate) fn new(counters: Arc<NodeCounters>, news: ChangeCounter) -> Self {
        let inbox = || Inbox::new(OverflowPolicy::Latest, Self::COMPLAINTS);
        Self { counters, complaints: inbox(), warnings: inbox(), problems: Diagnostics::new(news) }
    }

    /// Reads a message; what cannot be read is counted and complained of.
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

    /// Counts a message that could not be used, and says why.
    pub(crate) fn complain(&self, lane: Lane, problem: Diagnostic) {
        self.counters.malformed(lane, problem.sender());
        self.complaints.push(problem.key(), problem.clone());
        self.problems.tell(problem);
    }

    /// Says what is wrong with who sends on a key.
    pub(crate) fn warn(&self, problem: Diagnostic) {
        self.warnings.push(problem.key(), problem.clone());
        self.problems.tell(problem);
    }

    /// Counts messages that an inbox threw away when one of `peer` came. Where the newest counts they were replaced, which is
    /// no trouble.
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

    /// Counts messages that were sent and did not come. Where the newest counts, that is no trouble.
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

    /// What the program has not been told yet.
    pub(crate) const fn problems(&self) -> &Diagnostics {
        &self.problems
    }

    /// The complaint to be said next.
    pub(crate) fn next_complaint(&self) -> Option<Diagnostic> {
        self.warnings.try_recv().or_else(|| self.complaints.try_recv())
    }
}

impl RawMessage {
    /// Who sent it, as far as that is said.
    pub(crate) fn sender(&self) -> Option<&NodeId> {
        self.envelope.as_ref().map(|envelope| &envelope.from)
    }

    /// Reads it as a message.
    pub(crate) fn decode<M: Message>(&self) -> Result<M, PayloadError> {
        if self.bytes > M::MAX_BYTES {
            return Err(PayloadError::TooLarge { bytes: self.bytes, limit: M::MAX_BYTES });
        }
        codec::decode(&self.payload, self.encoding)
    }
}

/// Takes a sample of Zenoh's apart. A payload of more than `limit` bytes is not read.
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

/// The same of a sample that `gate` admits. One that it does not admit is not looked into.
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

/// The envelope in an attachment, if it is one. What is too long for one is not copied.
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
