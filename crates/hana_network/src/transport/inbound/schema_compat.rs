use std::collections::HashMap;
use std::time::{Duration, Instant};

use hana_engine::delivery::Succession;
use hana_protocol::id::NodeId;
use hana_protocol::message::{CustomMessageInfo, NodeInfo};
use hana_protocol::schema::Incompatibility;
use hana_protocol::wire::Envelope;
use hana_protocol::wire::codec::DecodeError;

/// The schema compatibility of every sender of one message type.
///
/// Pure: each event comes with the current time, and the return value is the action to take. A sender is one instance
/// of a node; after the node restarts, its new instance is checked again.
#[derive(Debug, Default)]
pub(crate) struct SchemaCompatCache {
    senders: HashMap<NodeId, SenderSchemas>,
}

#[derive(Debug)]
struct SenderSchemas {
    /// The current instance of the sender, and its earlier instances.
    instances: Succession,
    compat: SenderCompat,
}

#[derive(Debug)]
enum SenderCompat {
    /// A message could not be decoded because of `problem`, and the sender's info was queried at `at`.
    Checking { at: Instant, problem: DecodeError },
    /// The schema was checked at `since`, and no incompatibility is known.
    Compatible { since: Instant },
    /// The schema is incompatible. Further messages are not decoded.
    Muted,
}

/// The reaction to a message that could not be decoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DecodeFailureAction {
    /// Query the info of the sender; a report waits for the reply.
    QueryInfo,
    /// Report the fault.
    Report,
    /// Only count the fault.
    Count,
}

/// The conclusion drawn from the info of a sender.
#[derive(Debug, PartialEq)]
pub(crate) enum CompatResult {
    /// The schema is incompatible.
    Incompatible {
        /// The version that the sender's info names.
        version: u32,
        /// The differences between the schemas; never empty.
        differences: Vec<Incompatibility>,
    },
    /// No incompatibility is known: only this message could not be decoded.
    Unreadable {
        /// The decoding error.
        problem: DecodeError,
    },
}

impl SchemaCompatCache {
    /// The maximum number of senders tracked; a message of any further sender is reported individually.
    const MAX_SENDERS: usize = 1024;
    /// The time after which a compatible sender is queried again.
    const RECHECK_INTERVAL: Duration = Duration::from_secs(10);
    /// The timeout of a query.
    pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(1);

    /// Returns whether messages of this sender are decoded.
    pub(crate) fn accepts(&self, envelope: &Envelope) -> bool {
        self.senders.get(&envelope.from).is_none_or(|sender| {
            sender.instances.current() != envelope.instance
                || !matches!(sender.compat, SenderCompat::Muted)
        })
    }

    /// Handles a message of this sender that could not be decoded because of `problem`.
    pub(crate) fn on_decode_failure(
        &mut self,
        envelope: &Envelope,
        problem: &DecodeError,
        now: Instant,
    ) -> DecodeFailureAction {
        if !self.senders.contains_key(&envelope.from) && self.senders.len() >= Self::MAX_SENDERS {
            return DecodeFailureAction::Report;
        }
        let checking = SenderCompat::Checking { at: now, problem: problem.clone() };
        let Some(known) = self.senders.get_mut(&envelope.from) else {
            let instances = Succession::new(envelope.instance, now);
            let sender = SenderSchemas { instances, compat: checking };
            self.senders.insert(envelope.from.clone(), sender);
            return DecodeFailureAction::QueryInfo;
        };
        let is_another = known.instances.current() != envelope.instance;
        if !known.instances.admit(envelope.instance, now) {
            // An earlier instance sent the message, so it is no evidence about the current instance.
            return DecodeFailureAction::Count;
        }
        let age = |at: Instant| now.saturating_duration_since(at);
        match known.compat {
            _ if is_another => {
                known.compat = checking;
                DecodeFailureAction::QueryInfo
            },
            SenderCompat::Muted => DecodeFailureAction::Count,
            // A reply that has not arrived after twice the timeout is lost.
            SenderCompat::Checking { at, .. } if age(at) < Self::QUERY_TIMEOUT * 2 => {
                DecodeFailureAction::Count
            },
            SenderCompat::Compatible { since } if age(since) < Self::RECHECK_INTERVAL => {
                DecodeFailureAction::Report
            },
            SenderCompat::Checking { .. } | SenderCompat::Compatible { .. } => {
                known.compat = checking;
                DecodeFailureAction::QueryInfo
            },
        }
    }

    /// Handles the info of a sender, or `None` if the query had no reply; `own` is the schema of this node.
    ///
    /// Returns `None` if no query to this sender was in flight.
    pub(crate) fn on_info(
        &mut self,
        envelope: &Envelope,
        info: Option<&NodeInfo>,
        own: &CustomMessageInfo,
        now: Instant,
    ) -> Option<CompatResult> {
        let sender = self.senders.get_mut(&envelope.from)?;
        if sender.instances.current() != envelope.instance {
            return None;
        }
        let SenderCompat::Checking { problem, .. } = &sender.compat else { return None };
        let problem = problem.clone();
        let announced = info
            .filter(|info| info.instance == envelope.instance)
            .and_then(|info| info.message_on(&own.topic));
        let differing = announced
            .map(|theirs| (theirs.version, own.shape().differences(&theirs.shape())))
            .filter(|(_, differences)| !differences.is_empty());
        let Some((version, mut differences)) = differing else {
            sender.compat = SenderCompat::Compatible { since: now };
            return Some(CompatResult::Unreadable { problem });
        };
        // Differences in the field that the decoder failed on come first.
        let problem = problem.to_string();
        let last = |field: &str| field.rsplit('.').next().unwrap_or_default().to_owned();
        differences.sort_by_key(|difference| !problem.contains(&last(&difference.field)));
        sender.compat = SenderCompat::Muted;
        Some(CompatResult::Incompatible { version, differences })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use hana_protocol::id::role::Role;
    use hana_protocol::message::Direction;
    use hana_protocol::wire::Lane;
    use hana_protocol::wire::codec::PayloadError;
    use serde_json::json;

    use super::*;

    fn envelope(instance: u64) -> Envelope {
        Envelope { from: NodeId::new("thrower").unwrap(), instance, sequence: 0, at: 0 }
    }

    fn unread() -> DecodeError {
        let detail = "invalid type".into();
        DecodeError {
            key: "hana/thrower/topic/spark".into(),
            sender: NodeId::new("thrower").ok(),
            message: "Spark",
            problem: PayloadError::Field { field: "energy".into(), detail },
        }
    }

    fn spark(energy: &str) -> CustomMessageInfo {
        CustomMessageInfo {
            name: "Spark".into(),
            topic: "spark".into(),
            lane: Lane::UnreliableUnordered,
            version: 1,
            direction: Direction::Both,
            schema: json!({
                "type": "object",
                "properties": {"energy": {"type": energy}, "angle": {"type": "number"}},
                "required": ["energy"]
            }),
        }
    }

    fn info(instance: u64, energy: &str) -> NodeInfo {
        let node = NodeId::new("thrower").unwrap();
        NodeInfo {
            host: node.clone(),
            node,
            kind: None,
            role: Role::Visualization,
            pid: 1,
            instance,
            started_ms: 0,
            version: String::new(),
            program: String::new(),
            parameters: vec![],
            messages: vec![spark(energy)],
            play: vec![],
            listen: vec![],
        }
    }

    #[test]
    fn incompatible_sender_is_muted_until_it_restarts() {
        let mut cache = SchemaCompatCache::default();
        let now = Instant::now();
        let own = spark("number");
        assert!(cache.accepts(&envelope(1)));
        assert_eq!(
            cache.on_decode_failure(&envelope(1), &unread(), now),
            DecodeFailureAction::QueryInfo
        );
        assert_eq!(
            cache.on_decode_failure(&envelope(1), &unread(), now),
            DecodeFailureAction::Count
        );
        assert!(cache.accepts(&envelope(1)), "not judged before it has answered");
        let finding = cache.on_info(&envelope(1), Some(&info(1, "string")), &own, now).unwrap();
        let CompatResult::Incompatible { version: 1, differences } = finding else {
            panic!("{finding:?}")
        };
        assert_eq!(differences[0].reader, "reads energy as a number");
        assert_eq!(differences[0].writer, "sends energy as a text");
        assert!(!cache.accepts(&envelope(1)));
        assert_eq!(cache.on_info(&envelope(1), None, &own, now), None, "said once");
        // A new instance counts as a new sender.
        assert!(cache.accepts(&envelope(2)));
        assert_eq!(
            cache.on_decode_failure(&envelope(2), &unread(), now),
            DecodeFailureAction::QueryInfo
        );
        // A late message of the previous instance changes nothing.
        assert_eq!(
            cache.on_decode_failure(&envelope(1), &unread(), now),
            DecodeFailureAction::Count
        );
        let finding = cache.on_info(&envelope(2), Some(&info(2, "number")), &own, now);
        assert_eq!(finding, Some(CompatResult::Unreadable { problem: unread() }));
        assert!(cache.accepts(&envelope(2)));
    }

    #[test]
    fn restarted_sender_is_checked_again() {
        let mut cache = SchemaCompatCache::default();
        let now = Instant::now();
        cache.on_decode_failure(&envelope(9), &unread(), now);
        cache.on_info(&envelope(9), Some(&info(9, "string")), &spark("number"), now);
        let later = now + Succession::GRACE;
        assert!(cache.accepts(&envelope(3)));
        assert_eq!(
            cache.on_decode_failure(&envelope(3), &unread(), later),
            DecodeFailureAction::QueryInfo
        );
        assert_eq!(
            cache.on_decode_failure(&envelope(9), &unread(), later),
            DecodeFailureAction::Count
        );
    }

    #[test]
    fn compatible_sender_stays_readable() {
        let mut cache = SchemaCompatCache::default();
        let now = Instant::now();
        let own = spark("number");
        for answer in [None, Some(info(7, "string"))] {
            // The check finds no info, or the info of another instance than that of the message.
            let mut cache = SchemaCompatCache::default();
            assert_eq!(
                cache.on_decode_failure(&envelope(1), &unread(), now),
                DecodeFailureAction::QueryInfo
            );
            let finding = cache.on_info(&envelope(1), answer.as_ref(), &own, now);
            assert_eq!(finding, Some(CompatResult::Unreadable { problem: unread() }));
            assert!(cache.accepts(&envelope(1)));
        }
        assert_eq!(
            cache.on_decode_failure(&envelope(1), &unread(), now),
            DecodeFailureAction::QueryInfo
        );
        cache.on_info(&envelope(1), None, &own, now);
        // Neither a flood of messages nor missing replies cause a flood of queries.
        assert_eq!(
            cache.on_decode_failure(&envelope(1), &unread(), now),
            DecodeFailureAction::Report
        );
        let later = now + SchemaCompatCache::RECHECK_INTERVAL;
        assert_eq!(
            cache.on_decode_failure(&envelope(1), &unread(), later),
            DecodeFailureAction::QueryInfo
        );
        assert_eq!(
            cache.on_decode_failure(&envelope(1), &unread(), later),
            DecodeFailureAction::Count
        );
        let later = later + SchemaCompatCache::QUERY_TIMEOUT * 2;
        assert_eq!(
            cache.on_decode_failure(&envelope(1), &unread(), later),
            DecodeFailureAction::QueryInfo
        );
    }

    #[test]
    fn forged_senders_do_not_grow_the_cache() {
        let mut cache = SchemaCompatCache::default();
        let now = Instant::now();
        let mut checking = 0;
        for number in 0..5000 {
            let from = NodeId::new("x").unwrap().numbered(number);
            let envelope = Envelope { from, ..envelope(1) };
            checking += usize::from(
                cache.on_decode_failure(&envelope, &unread(), now)
                    == DecodeFailureAction::QueryInfo,
            );
        }
        assert_eq!(
            (cache.senders.len(), checking),
            (SchemaCompatCache::MAX_SENDERS, SchemaCompatCache::MAX_SENDERS)
        );
    }
}
