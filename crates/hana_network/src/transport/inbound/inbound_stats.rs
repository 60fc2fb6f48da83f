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

/// The counters and warnings of received messages.
#[derive(Clone)]
pub(crate) struct InboundStats {
    pub(crate) counters: Arc<NodeCounters>,
    /// Decoding errors, logged at the pace of the status publisher. Only the last one of each key waits.
    malformed: Inbox<Diagnostic>,
    /// Warnings about excessive rates and impersonation, logged before the decoding errors, which may be many.
    warnings: Inbox<Diagnostic>,
    /// The same diagnostics, and the dropped messages, for the program.
    problems: Diagnostics,
}

impl InboundStats {
    /// The maximum number of diagnostics waiting to be logged; beyond it they are only counted.
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

    /// Returns where outgoing topics count and report.
    pub(crate) fn reports(&self) -> (Arc<NodeCounters>, Diagnostics) {
        (Arc::clone(&self.counters), self.problems.clone())
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

    /// Counts messages that an inbox removed when one from `peer` arrived.
    ///
    /// On lanes where only the newest message matters they were replaced, which is not reported.
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
                self.problems.report(Diagnostic::Dropped { key: key.into(), queue, count });
            }
        }
    }

    /// Returns the diagnostics that the program has not read yet.
    pub(crate) const fn problems(&self) -> &Diagnostics {
        &self.problems
    }

    /// Returns the next diagnostic to log.
    pub(crate) fn next_report(&self) -> Option<Diagnostic> {
        self.warnings.try_recv().or_else(|| self.malformed.try_recv())
    }

    /// Returns whether to decode a message, judged by its key and envelope; counts and reports a rejected one.
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

    /// Converts a Zenoh query that `filter` admits; the payload of any other query is not touched.
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

    /// Converts a Zenoh sample that `filter` admits; the payload of any other sample is not touched.
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
