use std::sync::Arc;
use std::time::Instant;

use hana_protocol::id::NodeId;
use hana_protocol::wire::codec::DecodeError;
use hana_protocol::wire::{Envelope, Lane, Message};
use zenoh::query::Query;
use zenoh::sample::Sample;

use crate::sync::change_counter::ChangeCounter;
use crate::sync::inbox::{Inbox, OverflowPolicy};
use crate::transport::counters::NodeCounters;
use crate::transport::diagnostic::{Diagnostic, Diagnostics, QueueKind};
use crate::transport::inbound::admission::{
    AdmissionFilter, AdmissionVerdict, Judged, SequencePolicy,
};
use crate::transport::raw_message::{RawMessage, envelope_in};

/// The counters and diagnostics of received messages.
#[derive(Clone)]
pub(crate) struct InboundStats {
    pub(crate) counters: Arc<NodeCounters>,
    /// Decoding errors, which the status publisher logs at its pace. Only the last error of each key waits.
    malformed: Inbox<Diagnostic>,
    /// Warnings about excessive rates and impersonation. They are logged before the decoding errors, which may be
    /// many.
    warnings: Inbox<Diagnostic>,
    /// All of these diagnostics and the dropped messages, for the program.
    problems: Diagnostics,
}

impl InboundStats {
    /// The maximum number of diagnostics waiting to be logged; beyond it, faults are only counted.
    const COMPLAINTS: usize = 32;

    pub(crate) fn new(counters: Arc<NodeCounters>, change_counter: ChangeCounter) -> Self {
        let inbox = || Inbox::new(OverflowPolicy::KeepLatestPerKey, Self::COMPLAINTS);
        Self {
            counters,
            malformed: inbox(),
            warnings: inbox(),
            problems: Diagnostics::new(change_counter),
        }
    }

    /// Returns the counters and the diagnostics queue for outgoing topics.
    pub(crate) fn reports(&self) -> (Arc<NodeCounters>, Diagnostics) {
        (Arc::clone(&self.counters), self.problems.clone())
    }

    /// Decodes a message. If that fails, counts and reports the error.
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
                self.report_malformed(M::LANE, problem);
                None
            },
        }
    }

    /// Counts and reports a message that could not be used.
    pub(crate) fn report_malformed(&self, lane: Lane, problem: Diagnostic) {
        self.counters.malformed(lane, problem.sender());
        self.malformed.push(problem.key(), problem.clone());
        self.problems.report(problem);
    }

    /// Reports a fault of a sender on a key.
    pub(crate) fn report_violation(&self, problem: Diagnostic) {
        self.warnings.push(problem.key(), problem.clone());
        self.problems.report(problem);
    }

    /// Counts messages that an inbox removed when a message from `peer` arrived.
    ///
    /// On lanes where only the newest message matters, such a message was replaced by a newer one, which is not
    /// reported.
    pub(crate) fn report_overflow(&self, lane: Lane, key: &str, peer: Option<&NodeId>, count: u64) {
        self.counters.displaced(lane, peer, count);
        if count > 0 && !lane.drops_older() {
            self.problems.report(Diagnostic::Dropped {
                key: key.into(),
                queue: QueueKind::Inbox,
                count,
            });
        }
    }

    /// Counts sent messages that did not arrive; reports them if `is_trouble` is true.
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
                self.problems.report(Diagnostic::Dropped { key: key.into(), queue, count });
            }
        }
    }

    /// Returns the queue of diagnostics for the program.
    pub(crate) const fn problems(&self) -> &Diagnostics {
        &self.problems
    }

    /// Returns the next diagnostic to log.
    pub(crate) fn next_report(&self) -> Option<Diagnostic> {
        self.warnings.try_recv().or_else(|| self.malformed.try_recv())
    }

    /// Returns whether to decode a message, judged by its key and envelope. Counts and reports a rejected message.
    pub(crate) fn admits(
        &self,
        filter: &AdmissionFilter,
        key: &str,
        envelope: Option<&Envelope>,
    ) -> bool {
        let Judged { lane, policy, verdict } = filter.judge(key, envelope, Instant::now());
        let peer = envelope.map(|envelope| &envelope.from);
        let is_counted = policy != SequencePolicy::Deferred;
        let drops_stale = policy == SequencePolicy::DropStale;
        let (is_admitted, violation) = match verdict {
            AdmissionVerdict::Admit { missed, violation } => {
                if is_counted {
                    self.missed(lane, key, peer, missed, !drops_stale);
                }
                (true, violation)
            },
            AdmissionVerdict::Stale => {
                if is_counted {
                    self.counters.late(lane, peer, 1);
                }
                (!drops_stale, None)
            },
            AdmissionVerdict::RateLimited(violation) => {
                self.counters.limited(lane, peer);
                (false, violation)
            },
            AdmissionVerdict::Impersonated(violation) => {
                self.counters.impersonated(lane, peer);
                (false, violation)
            },
        };
        if let Some(violation) = violation {
            self.report_violation(violation.into_diagnostic(key, envelope));
        }
        is_admitted
    }

    /// Converts a Zenoh query if `filter` admits it; the payload of any other query is not read.
    pub(crate) fn admit_query(
        &self,
        query: &Query,
        limit: usize,
        filter: &AdmissionFilter,
    ) -> Option<RawMessage> {
        let key = query.key_expr().as_str();
        let envelope = envelope_in(query.attachment());
        self.admits(filter, key, envelope.as_ref())
            .then(|| RawMessage::from_query(query, key, limit))
    }

    /// Converts a Zenoh sample if `filter` admits it; the payload of any other sample is not read.
    pub(crate) fn admit_sample(
        &self,
        sample: &Sample,
        limit: usize,
        filter: &AdmissionFilter,
    ) -> Option<RawMessage> {
        let key = sample.key_expr().as_str();
        let envelope = envelope_in(sample.attachment());
        self.admits(filter, key, envelope.as_ref()).then(|| {
            let encoding = sample.encoding().to_string();
            RawMessage::new(key, sample.payload(), envelope, &encoding, limit)
        })
    }
}
