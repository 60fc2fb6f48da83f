use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::sync::lock::Mutex;
use hana_engine::delivery::{Admission, Arrival, SenderLimits, StaleFilter, TokenBucket};
use hana_protocol::contract::{Key, KeyKind};
use hana_protocol::id::NodeId;
use hana_protocol::message::{Control, NodeInfo};
use hana_protocol::wire::{Envelope, Lane, Message};

use crate::transport::diagnostic::Diagnostic;

/// Decides whether to admit a message of one subscription, before its payload is decoded.
///
/// Checks whether the sender owns the key, whether the sender exceeds its rate, and whether the message is newer than
/// the previous messages.
///
/// Runs on Zenoh's threads, so it is cheap. Its memory is bounded, whatever messages arrive: beyond
/// [`MAX_KEYS`](Self::MAX_KEYS) keys, and beyond [`NEW_KEYS_PER_SECOND`](Self::NEW_KEYS_PER_SECOND) new keys per
/// second, all further keys share one limit. A program that invents keys therefore takes no capacity from the keys in
/// use.
pub(crate) struct AdmissionFilter {
    policy: SequencePolicy,
    /// Whether every key must have an owner, the only node that may publish on it. If so, a message on a key without
    /// an owner, such as a key pattern, is rejected.
    owned: bool,
    /// The rate for keys whose kind does not define one.
    per_second: u32,
    /// The lane of keys whose kind does not define one.
    lane: Lane,
    keys: Mutex<KeyTable>,
}

/// The maximum number of custom messages per second on one key, if the message type sets no other limit.
const VALUES_PER_SECOND: u32 = 20_000;

/// The way in which the sequence number of a message is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SequencePolicy {
    /// A message that is older than a delivered message is dropped.
    DropStale,
    /// A message that is older than a delivered message is still delivered, and counted as late.
    CountStale,
    /// Only the sender is checked here; the receiver handles gaps and duplicates.
    Deferred,
    /// The sequence number is not checked: queries and replies have no sequence.
    Ignore,
}

/// The lane of a key, and the verdict on a message that arrived on it.
pub(crate) struct Judged {
    pub(crate) lane: Lane,
    pub(crate) policy: SequencePolicy,
    pub(crate) verdict: AdmissionVerdict,
}

/// The verdict on a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AdmissionVerdict {
    /// The message is admitted. `missed` messages before it did not arrive.
    Admit { missed: u64, violation: Option<Violation> },
    /// The message is older than a message that was already delivered.
    Stale,
    /// The message exceeds the sender's rate.
    RateLimited(Option<Violation>),
    /// The message was not sent by the owner of the key.
    Impersonated(Option<Violation>),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    RateLimited { per_second: u32, suppressed: u64 },
    NotOwner { owner: NodeId, suppressed: u64 },
    WildcardKey,
    DuplicateId,
}

struct KeyTable {
    tracked: HashMap<String, KeyState>,
    new_key_limiter: TokenBucket,
    /// The shared state of all keys that are not tracked.
    overflow_bucket: KeyState,
    swept: Instant,
}

/// The state of one key.
struct KeyState {
    /// The only node that may publish on the key, if the key has an owner.
    owner: Option<NodeId>,
    lane: Lane,
    limits: SenderLimits,
    sequence: StaleFilter,
    last_message: Instant,
    throttle: LogThrottle,
}

/// Limits the rate of warnings about a key, and counts the suppressed warnings.
#[derive(Default)]
struct LogThrottle {
    last_warning: Option<Instant>,
    suppressed: u64,
}

impl AdmissionFilter {
    /// The maximum number of keys tracked individually: enough for the parameters of a hundred visualizations.
    pub(crate) const MAX_KEYS: usize = 4096;
    /// The maximum number of new keys per second, and in one burst.
    ///
    /// A large show that starts at once has a few hundred keys.
    const NEW_KEYS_PER_SECOND: u32 = 1000;
    /// The time without messages after which a key may be removed from a full table.
    const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
    /// The minimum interval between two warnings about a key.
    const WARNING_INTERVAL: Duration = Duration::from_secs(3);

    /// Returns a filter for messages of type `M`, or of any type whose keys define their own rate.
    pub(crate) fn for_message<M: Message>() -> Self {
        let policy = if M::LANE.drops_older() {
            SequencePolicy::DropStale
        } else {
            SequencePolicy::CountStale
        };
        let is_owned = |kind: KeyKind| kind.message() == Some(M::NAME) && kind.is_owner_only();
        Self {
            owned: KeyKind::ALL.into_iter().any(is_owned),
            ..Self::new(policy, M::MAX_PER_SECOND, M::LANE)
        }
    }

    /// Returns a filter for messages of type `M` whose receiver detects gaps itself.
    pub(crate) fn for_reliable<M: Message>() -> Self {
        Self { policy: SequencePolicy::Deferred, ..Self::for_message::<M>() }
    }

    /// Returns a filter for the messages that nodes publish about themselves, of several message types.
    pub(crate) fn for_node_state() -> Self {
        Self {
            owned: true,
            ..Self::new(SequencePolicy::DropStale, NodeInfo::MAX_PER_SECOND, NodeInfo::LANE)
        }
    }

    /// Returns a filter for replies to a query for messages of type `M`.
    pub(crate) fn for_replies<M: Message>() -> Self {
        Self { policy: SequencePolicy::Ignore, ..Self::for_message::<M>() }
    }

    /// Returns a filter for custom messages of any type, decoded as JSON values. Their lanes are unknown.
    pub(crate) fn for_json() -> Self {
        Self::new(SequencePolicy::CountStale, VALUES_PER_SECOND, Lane::UnreliableUnordered)
    }

    /// Returns a filter for commands.
    ///
    /// Their order is not checked: each command takes effect, and a repeated command is intended.
    pub(crate) fn for_commands() -> Self {
        Self::new(SequencePolicy::Ignore, Control::MAX_PER_SECOND, Control::LANE)
    }

    fn new(policy: SequencePolicy, per_second: u32, lane: Lane) -> Self {
        let now = Instant::now();
        let keys = KeyTable {
            tracked: HashMap::new(),
            new_key_limiter: TokenBucket::new(Self::NEW_KEYS_PER_SECOND, now),
            overflow_bucket: KeyState::new(None, per_second, lane, now),
            swept: now,
        };
        Self { policy, owned: false, per_second, lane, keys: Mutex::new(keys) }
    }

    /// Returns the verdict on a message, based on its key and envelope.
    pub(crate) fn judge(&self, key: &str, envelope: Option<&Envelope>, now: Instant) -> Judged {
        let mut keys = self.keys.lock();
        let state = keys.state_of(key, envelope, self, now);
        let (lane, verdict) = (state.lane, state.judge(self, envelope, now));
        drop(keys);
        Judged { lane, policy: self.policy, verdict }
    }
}

impl KeyTable {
    fn state_of(
        &mut self,
        key: &str,
        envelope: Option<&Envelope>,
        filter: &AdmissionFilter,
        now: Instant,
    ) -> &mut KeyState {
        if !self.tracked.contains_key(key) {
            let parsed = Key::parse(key);
            let owner =
                parsed.as_ref().filter(|key| key.is_owner_only()).map(|key| key.owner().clone());
            // A message from an impersonator does not create a table entry.
            let from = envelope.map(|envelope| &envelope.from);
            let may_speak = owner.as_ref().is_none_or(|owner| from == Some(owner));
            if !may_speak || !self.has_room(key, now) {
                self.overflow_bucket.owner = owner;
                return &mut self.overflow_bucket;
            }
            let kind = parsed.map(|key| key.kind());
            let per_second = kind.and_then(KeyKind::max_per_second).unwrap_or(filter.per_second);
            let lane = kind.and_then(KeyKind::lane).unwrap_or(filter.lane);
            self.tracked.insert(key.into(), KeyState::new(owner, per_second, lane, now));
        }
        self.tracked.get_mut(key).unwrap_or(&mut self.overflow_bucket)
    }

    fn has_room(&mut self, key: &str, now: Instant) -> bool {
        if key.len() > Key::MAX_LEN || self.new_key_limiter.admit(now) == Admission::Over {
            return false;
        }
        let is_full = self.tracked.len() >= AdmissionFilter::MAX_KEYS;
        if is_full && now.saturating_duration_since(self.swept) >= Duration::from_secs(1) {
            self.swept = now;
            self.tracked.retain(|_, state| {
                now.saturating_duration_since(state.last_message) < AdmissionFilter::IDLE_TIMEOUT
            });
        }
        self.tracked.len() < AdmissionFilter::MAX_KEYS
    }
}

impl KeyState {
    fn new(owner: Option<NodeId>, per_second: u32, lane: Lane, now: Instant) -> Self {
        Self {
            owner,
            lane,
            limits: SenderLimits::new(per_second, now),
            sequence: StaleFilter::default(),
            last_message: now,
            throttle: LogThrottle::default(),
        }
    }

    fn judge(
        &mut self,
        filter: &AdmissionFilter,
        envelope: Option<&Envelope>,
        now: Instant,
    ) -> AdmissionVerdict {
        self.last_message = now;
        if filter.owned && self.owner.is_none() {
            let violation = self.throttle.poll(now).map(|_| Violation::WildcardKey);
            return AdmissionVerdict::Impersonated(violation);
        }
        let from = envelope.map(|envelope| &envelope.from);
        if self.owner.as_ref().is_some_and(|owner| from != Some(owner)) {
            let violation = self.throttle.poll(now).zip(self.owner.clone());
            return AdmissionVerdict::Impersonated(
                violation.map(|(suppressed, owner)| Violation::NotOwner { owner, suppressed }),
            );
        }
        if self.limits.admit(envelope, now) == Admission::Over {
            let per_second = self.limits.per_second();
            let suppressed = self.throttle.poll(now);
            return AdmissionVerdict::RateLimited(
                suppressed.map(|suppressed| Violation::RateLimited { per_second, suppressed }),
            );
        }
        if filter.policy == SequencePolicy::Ignore {
            return AdmissionVerdict::Admit { missed: 0, violation: None };
        }
        match self.sequence.arrive(envelope, now) {
            Arrival::New { missed } => AdmissionVerdict::Admit { missed, violation: None },
            Arrival::Reinstated => {
                let violation = self.throttle.poll(now).map(|_| Violation::DuplicateId);
                AdmissionVerdict::Admit { missed: 0, violation }
            },
            Arrival::Stale => AdmissionVerdict::Stale,
            Arrival::Impostor => AdmissionVerdict::Impersonated(
                self.throttle.poll(now).map(|_| Violation::DuplicateId),
            ),
        }
    }
}

impl LogThrottle {
    /// Returns the number of warnings suppressed since the last one if a warning is due at `now`, else `None`.
    fn poll(&mut self, now: Instant) -> Option<u64> {
        if self.last_warning.is_some_and(|last_warning| {
            now.saturating_duration_since(last_warning) < AdmissionFilter::WARNING_INTERVAL
        }) {
            self.suppressed += 1;
            return None;
        }
        self.last_warning = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

impl Violation {
    pub(crate) fn into_diagnostic(self, key: &str, envelope: Option<&Envelope>) -> Diagnostic {
        let (key, sender) = (key.to_owned(), envelope.map(|envelope| envelope.from.clone()));
        match self {
            Self::RateLimited { per_second, suppressed } => {
                Diagnostic::RateLimited { key, sender, per_second, count: suppressed + 1 }
            },
            Self::NotOwner { owner, suppressed } => {
                Diagnostic::NotOwner { key, sender, owner, count: suppressed + 1 }
            },
            Self::WildcardKey => Diagnostic::WildcardKey { key, sender, wanted: "node" },
            Self::DuplicateId => Diagnostic::DuplicateSender { key, sender },
        }
    }
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used)]
mod tests {
    use super::*;

    impl AdmissionFilter {
        fn verdict(
            &self,
            key: &str,
            envelope: Option<&Envelope>,
            now: Instant,
        ) -> AdmissionVerdict {
            self.judge(key, envelope, now).verdict
        }
    }

    fn envelope(from: &str, instance: u64, sequence: u64) -> Envelope {
        Envelope { from: NodeId::new(from).unwrap(), instance, sequence, at: 0 }
    }

    fn filter() -> AdmissionFilter {
        AdmissionFilter::new(SequencePolicy::DropStale, 20_000, Lane::UnreliableSequenced)
    }

    const TAKEN: AdmissionVerdict = AdmissionVerdict::Admit { missed: 0, violation: None };

    #[test]
    fn only_the_owner_publishes_and_any_sender_plays() {
        let filter = filter();
        let now = Instant::now();
        let desk = envelope("desk", 1, 0);
        for key in
            ["hana/ripples/health", "hana/ripples/info", "hana/ripples/event", "hana/ripples/look"]
        {
            for stranger in [Some(&desk), None] {
                let verdict = filter.verdict(key, stranger, now);
                assert!(matches!(verdict, AdmissionVerdict::Impersonated(_)), "{key}: {verdict:?}");
            }
            assert_eq!(filter.verdict(key, Some(&envelope("ripples", 1, 0)), now), TAKEN);
            assert!(matches!(
                filter.verdict(key, Some(&desk), now),
                AdmissionVerdict::Impersonated(_)
            ));
            assert_eq!(
                filter.verdict(key, Some(&desk), now),
                AdmissionVerdict::Impersonated(None),
                "reported once"
            );
        }
        for key in ["hana/stage/process/ripples", "hana/stage/log/ripples"] {
            let of_viz = filter.verdict(key, Some(&envelope("ripples", 1, 0)), now);
            assert!(matches!(of_viz, AdmissionVerdict::Impersonated(_)), "{key}: {of_viz:?}");
            assert_eq!(filter.verdict(key, Some(&envelope("stage", 1, 0)), now), TAKEN);
        }
        for key in ["hana/ripples/modulation/zoom", "hana/ripples/control", "hana/ripples/topic/a"]
        {
            assert_eq!(filter.verdict(key, Some(&desk), now), TAKEN);
            assert_eq!(filter.verdict(key, None, now), TAKEN);
        }
    }

    #[test]
    fn wildcard_key_is_rejected_on_owned_keys() {
        let now = Instant::now();
        for filter in [
            AdmissionFilter::for_message::<hana_protocol::message::Event>(),
            AdmissionFilter::for_node_state(),
        ] {
            for key in ["hana/*/event", "hana/**", "hana/*/health"] {
                let verdict = filter.verdict(key, Some(&envelope("desk", 1, 0)), now);
                assert!(matches!(verdict, AdmissionVerdict::Impersonated(_)), "{key}: {verdict:?}");
            }
        }
    }

    #[test]
    fn violation_names_key_sender_and_remedy_now_and_then() {
        let filter = filter();
        let start = Instant::now();
        let desk = envelope("desk", 1, 0);
        let violation = |now, from| match filter.verdict("hana/ripples/health", from, now) {
            AdmissionVerdict::Impersonated(violation) => {
                violation.map(|of| of.into_diagnostic("hana/ripples/health", from).to_string())
            },
            other => panic!("{other:?}"),
        };
        let last_warning = violation(start, Some(&desk)).unwrap();
        assert!(
            last_warning
                .starts_with("hana/ripples/health: 'desk' publishes on a key that only 'ripples'")
                && last_warning.ends_with("publish under its own id"),
            "{last_warning}"
        );
        for n in 1..1000 {
            assert_eq!(violation(start + Duration::from_millis(n), None), None);
        }
        let last_warning = violation(start + AdmissionFilter::WARNING_INTERVAL, None).unwrap();
        assert!(
            last_warning.contains("an unnamed sender") && last_warning.contains("1000 dropped"),
            "{last_warning}"
        );
    }

    #[test]
    fn rate_limit_is_per_key_kind_and_sender() {
        let filter = filter();
        let now = Instant::now();
        for (key, owner, rate) in [
            ("hana/ripples/health", "ripples", 50),
            ("hana/ripples/event", "ripples", 500),
            ("hana/ripples/modulation/zoom", "desk", 4000),
            ("hana/stage/log/ripples", "stage", 5000),
            ("hana/ripples/topic/spark", "ripples", 20_000),
        ] {
            let taken = (0..30_000)
                .filter(|n| filter.verdict(key, Some(&envelope(owner, 1, *n)), now) == TAKEN)
                .count();
            assert_eq!(taken, rate, "{key}");
        }
        let other = envelope("other", 1, 0);
        assert_eq!(filter.verdict("hana/ripples/modulation/zoom", Some(&other), now), TAKEN);
        let verdict = filter.verdict(
            "hana/ripples/modulation/zoom",
            Some(&envelope("desk", 1, 50_000)),
            now + AdmissionFilter::WARNING_INTERVAL / 100,
        );
        assert!(matches!(verdict, AdmissionVerdict::Admit { .. }), "{verdict:?}");
    }

    #[test]
    fn forged_keys_take_bounded_memory_and_spare_known_ones() {
        let filter = filter();
        let start = Instant::now();
        let mut sequence = 0;
        for n in 0..100_000_u32 {
            let now = start + Duration::from_micros(100) * n;
            let id = format!("n{n}");
            let _ = filter.verdict(&format!("hana/{id}/health"), Some(&envelope(&id, 1, 0)), now);
            let _ = filter.verdict(&format!("hana/viz/modulation/{id}"), None, now);
            let _ = filter.verdict(&format!("hana/{}/info", id.repeat(1000)), None, now);
            if n % 1000 == 0 {
                let health = envelope("ripples", 1, sequence);
                assert_eq!(filter.verdict("hana/ripples/health", Some(&health), now), TAKEN);
                sequence += 1;
            }
        }
        assert!(filter.keys.lock().tracked.len() <= AdmissionFilter::MAX_KEYS);
        // After the flood, the table has room again.
        let later = start + Duration::from_secs(30);
        assert_eq!(filter.verdict("hana/new/health", Some(&envelope("new", 1, 0)), later), TAKEN);
        assert!(filter.keys.lock().tracked.contains_key("hana/new/health"));
    }

    #[test]
    fn duplicate_id_is_reported_and_the_first_accepted() {
        let filter = filter();
        let start = Instant::now();
        let (mut taken, mut violations) = (0, 0);
        for n in 0..100 {
            let now = start + Duration::from_millis(100) * u32::try_from(n).unwrap();
            for (instance, from_first) in [(5, true), (u64::MAX, false)] {
                match filter.verdict(
                    "hana/ripples/health",
                    Some(&envelope("ripples", instance, n)),
                    now,
                ) {
                    AdmissionVerdict::Admit { violation, .. } => {
                        taken += usize::from(from_first);
                        violations += usize::from(violation.is_some());
                    },
                    AdmissionVerdict::Impersonated(violation) => {
                        violations += usize::from(violation.is_some());
                    },
                    AdmissionVerdict::Stale | AdmissionVerdict::RateLimited(_) => {},
                }
            }
        }
        assert!(taken > 90, "{taken}");
        assert!((2..=4).contains(&violations), "{violations}");
    }
}
