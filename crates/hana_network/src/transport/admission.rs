use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hana_engine::delivery::{Admission, Arrival, SenderLimits, StaleFilter, TokenBucket};
use hana_protocol::contract::{Key, KeyKind};
use hana_protocol::id::NodeId;
use hana_protocol::message::{Control, NodeInfo};
use hana_protocol::wire::{Envelope, Lane, Message};

use crate::transport::inbound::InboundStats;
use crate::transport::problem::Diagnostic;

/// Decides, before a payload is decoded, whether a message of one subscription is admitted.
///
/// Checks whether the sender owns the key, whether it exceeds its rate, and whether the message is newer than the
/// previous ones.
///
/// Runs on Zenoh's threads, so it is cheap, and its memory is bounded whatever is sent: beyond
/// [`MAX_KEYS`](Self::MAX_KEYS) keys, and beyond [`NEW_KEYS_PER_SECOND`](Self::NEW_KEYS_PER_SECOND) new keys, all
/// further keys share one limit. A program that invents keys therefore takes no capacity from the keys in use.
pub(crate) struct AdmissionFilter {
    order: SequencePolicy,
    /// Whether every key must have an owner, the only node that may publish on it. A message that was put to a key
    /// pattern has no owner and is rejected.
    owned: bool,
    /// The rate for keys whose kind does not define one.
    per_second: u32,
    /// The lane of keys whose kind does not define one.
    lane: Lane,
    keys: Mutex<KeyTable>,
}

/// The rate of a custom message type that does not set its own.
const VALUES_PER_SECOND: u32 = 20_000;

/// The use of a message's sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SequencePolicy {
    /// Does not deliver a message after a newer one.
    NewestWins,
    /// Delivers an older message, and only counts it as late.
    AsItComes,
    /// Checks only the sender; the receiver handles gaps and duplicates.
    SeenToLater,
    /// No sequence check: queries and replies have no sequence.
    None,
}

/// The verdict on a message.
#[derive(Debug, PartialEq, Eq)]
enum AdmissionVerdict {
    /// Decode the message; `missed` messages before it did not arrive.
    Take { missed: u64, complaint: Option<Violation> },
    /// Older than a message that was already delivered.
    Late,
    /// Over the sender's rate.
    Limited(Option<Violation>),
    /// Not sent by the owner of the key.
    Impersonated(Option<Violation>),
}

#[derive(Debug, PartialEq, Eq)]
enum Violation {
    Limited { per_second: u32, unsaid: u64 },
    NotOwner { owner: NodeId, unsaid: u64 },
    Pattern,
    Rival,
}

struct KeyTable {
    followed: HashMap<String, KeyState>,
    newcomers: TokenBucket,
    /// The shared state of all keys that are not tracked.
    others: KeyState,
    swept: Instant,
}

/// The state of one key.
struct KeyState {
    /// The only node that may publish on the key, if the key has an owner.
    owner: Option<NodeId>,
    lane: Lane,
    limits: SenderLimits,
    sequence: StaleFilter,
    heard: Instant,
    quiet: LogThrottle,
}

/// Limits the warnings about a key; suppressed ones are counted.
#[derive(Default)]
struct LogThrottle {
    said: Option<Instant>,
    unsaid: u64,
}

impl AdmissionFilter {
    /// The maximum number of keys tracked individually: for example the parameters of a hundred visualizations.
    pub(crate) const MAX_KEYS: usize = 4096;
    /// New keys per second, and the largest burst of them. A large show that starts at once has a few hundred.
    const NEW_KEYS_PER_SECOND: u32 = 1000;
    /// When the table is full, a key without messages for this long is replaced by a new one.
    const IDLE: Duration = Duration::from_secs(10);
    /// The minimum interval between two warnings about a key.
    const PAUSE: Duration = Duration::from_secs(3);

    /// Returns a filter for messages of type `M`, or of any type whose keys define their own rate.
    pub(crate) fn of<M: Message>() -> Self {
        let order = if M::LANE.drops_older() {
            SequencePolicy::NewestWins
        } else {
            SequencePolicy::AsItComes
        };
        let is_owned = |kind: KeyKind| kind.message() == Some(M::NAME) && kind.is_owner_only();
        Self {
            owned: KeyKind::ALL.into_iter().any(is_owned),
            ..Self::new(order, M::MAX_PER_SECOND, M::LANE)
        }
    }

    /// Returns a filter for messages of type `M` whose receiver detects gaps itself.
    pub(crate) fn before_recovery<M: Message>() -> Self {
        Self { order: SequencePolicy::SeenToLater, ..Self::of::<M>() }
    }

    /// Returns a filter for what nodes publish about themselves, in several message types.
    pub(crate) fn of_owned() -> Self {
        Self {
            owned: true,
            ..Self::new(SequencePolicy::NewestWins, NodeInfo::MAX_PER_SECOND, NodeInfo::LANE)
        }
    }

    /// Returns a filter for replies to a query for messages of type `M`.
    pub(crate) fn of_answers<M: Message>() -> Self {
        Self { order: SequencePolicy::None, ..Self::of::<M>() }
    }

    /// Returns a filter for custom messages of any type, as values. Their lanes are not known here.
    pub(crate) fn of_values() -> Self {
        Self::new(SequencePolicy::AsItComes, VALUES_PER_SECOND, Lane::UnreliableUnordered)
    }

    /// Returns a filter for commands. They are not checked for order: each one counts, and a repeated command is
    /// intended.
    pub(crate) fn of_commands() -> Self {
        Self::new(SequencePolicy::None, Control::MAX_PER_SECOND, Control::LANE)
    }

    fn new(order: SequencePolicy, per_second: u32, lane: Lane) -> Self {
        let now = Instant::now();
        let keys = KeyTable {
            followed: HashMap::new(),
            newcomers: TokenBucket::new(Self::NEW_KEYS_PER_SECOND, now),
            others: KeyState::new(None, per_second, lane, now),
            swept: now,
        };
        Self { order, owned: false, per_second, lane, keys: Mutex::new(keys) }
    }

    /// Returns whether to decode a message, judged by its key and envelope.
    ///
    /// Rejected messages are counted and, at a limited rate, logged.
    pub(crate) fn admit(
        &self,
        key: &str,
        envelope: Option<&Envelope>,
        reception: &InboundStats,
    ) -> bool {
        let (lane, verdict) = self.judge_on_lane(key, envelope, Instant::now());
        let counters = &reception.counters;
        let peer = envelope.map(|envelope| &envelope.from);
        let is_counted = self.order != SequencePolicy::SeenToLater;
        let (taken, complaint) = match verdict {
            AdmissionVerdict::Take { missed, complaint } => {
                if is_counted {
                    let is_trouble = self.order != SequencePolicy::NewestWins;
                    reception.missed(lane, key, peer, missed, is_trouble);
                }
                (true, complaint)
            },
            AdmissionVerdict::Late => {
                if is_counted {
                    counters.late(lane, peer, 1);
                }
                (self.order != SequencePolicy::NewestWins, None)
            },
            AdmissionVerdict::Limited(complaint) => {
                counters.limited(lane, peer);
                (false, complaint)
            },
            AdmissionVerdict::Impersonated(complaint) => {
                counters.impersonated(lane, peer);
                (false, complaint)
            },
        };
        if let Some(complaint) = complaint {
            reception.warn(complaint.into_problem(key, envelope));
        }
        taken
    }

    /// Returns the lane of the key and the verdict on the message.
    fn judge_on_lane(
        &self,
        key: &str,
        envelope: Option<&Envelope>,
        now: Instant,
    ) -> (Lane, AdmissionVerdict) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let of_key = keys.of(key, envelope, self, now);
        let judged = (of_key.lane, of_key.judge(self, envelope, now));
        drop(keys);
        judged
    }
}

impl KeyTable {
    fn of(
        &mut self,
        key: &str,
        envelope: Option<&Envelope>,
        gate: &AdmissionFilter,
        now: Instant,
    ) -> &mut KeyState {
        if !self.followed.contains_key(key) {
            let parsed = Key::parse(key);
            let owner =
                parsed.as_ref().filter(|key| key.is_owner_only()).map(|key| key.owner().clone());
            // An impersonator does not get a table entry.
            let from = envelope.map(|envelope| &envelope.from);
            let may_speak = owner.as_ref().is_none_or(|owner| from == Some(owner));
            if !may_speak || !self.has_room(key, now) {
                self.others.owner = owner;
                return &mut self.others;
            }
            let kind = parsed.map(|key| key.kind());
            let per_second = kind.and_then(KeyKind::max_per_second).unwrap_or(gate.per_second);
            let lane = kind.and_then(KeyKind::lane).unwrap_or(gate.lane);
            self.followed.insert(key.into(), KeyState::new(owner, per_second, lane, now));
        }
        self.followed.get_mut(key).unwrap_or(&mut self.others)
    }

    fn has_room(&mut self, key: &str, now: Instant) -> bool {
        if key.len() > Key::MAX_LEN || self.newcomers.admit(now) == Admission::Over {
            return false;
        }
        let is_full = self.followed.len() >= AdmissionFilter::MAX_KEYS;
        if is_full && now.saturating_duration_since(self.swept) >= Duration::from_secs(1) {
            self.swept = now;
            self.followed
                .retain(|_, of| now.saturating_duration_since(of.heard) < AdmissionFilter::IDLE);
        }
        self.followed.len() < AdmissionFilter::MAX_KEYS
    }
}

impl KeyState {
    fn new(owner: Option<NodeId>, per_second: u32, lane: Lane, now: Instant) -> Self {
        Self {
            owner,
            lane,
            limits: SenderLimits::new(per_second, now),
            sequence: StaleFilter::default(),
            heard: now,
            quiet: LogThrottle::default(),
        }
    }

    fn judge(
        &mut self,
        gate: &AdmissionFilter,
        envelope: Option<&Envelope>,
        now: Instant,
    ) -> AdmissionVerdict {
        self.heard = now;
        if gate.owned && self.owner.is_none() {
            let complaint = self.quiet.due(now).map(|_| Violation::Pattern);
            return AdmissionVerdict::Impersonated(complaint);
        }
        let from = envelope.map(|envelope| &envelope.from);
        if self.owner.as_ref().is_some_and(|owner| from != Some(owner)) {
            let complaint = self.quiet.due(now).zip(self.owner.clone());
            return AdmissionVerdict::Impersonated(
                complaint.map(|(unsaid, owner)| Violation::NotOwner { owner, unsaid }),
            );
        }
        if self.limits.admit(envelope, now) == Admission::Over {
            let per_second = self.limits.per_second();
            let unsaid = self.quiet.due(now);
            return AdmissionVerdict::Limited(
                unsaid.map(|unsaid| Violation::Limited { per_second, unsaid }),
            );
        }
        if gate.order == SequencePolicy::None {
            return AdmissionVerdict::Take { missed: 0, complaint: None };
        }
        match self.sequence.arrive(envelope, now) {
            Arrival::New { missed } => AdmissionVerdict::Take { missed, complaint: None },
            Arrival::Reinstated => {
                let complaint = self.quiet.due(now).map(|_| Violation::Rival);
                AdmissionVerdict::Take { missed: 0, complaint }
            },
            Arrival::Stale => AdmissionVerdict::Late,
            Arrival::Impostor => {
                AdmissionVerdict::Impersonated(self.quiet.due(now).map(|_| Violation::Rival))
            },
        }
    }
}

impl LogThrottle {
    /// Returns the number of warnings suppressed since the last one if a warning is due at `now`, else `None`.
    fn due(&mut self, now: Instant) -> Option<u64> {
        if self
            .said
            .is_some_and(|said| now.saturating_duration_since(said) < AdmissionFilter::PAUSE)
        {
            self.unsaid += 1;
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

impl Violation {
    fn into_problem(self, key: &str, envelope: Option<&Envelope>) -> Diagnostic {
        let (key, sender) = (key.to_owned(), envelope.map(|envelope| envelope.from.clone()));
        match self {
            Self::Limited { per_second, unsaid } => {
                Diagnostic::TooMany { key, sender, per_second, count: unsaid + 1 }
            },
            Self::NotOwner { owner, unsaid } => {
                Diagnostic::NotOwner { key, sender, owner, count: unsaid + 1 }
            },
            Self::Pattern => Diagnostic::NoSingleKey { key, sender, wanted: "node" },
            Self::Rival => Diagnostic::TwoSenders { key, sender },
        }
    }
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used)]
mod tests {
    use super::*;

    impl AdmissionFilter {
        fn judge(&self, key: &str, envelope: Option<&Envelope>, now: Instant) -> AdmissionVerdict {
            self.judge_on_lane(key, envelope, now).1
        }
    }

    fn envelope(from: &str, instance: u64, sequence: u64) -> Envelope {
        Envelope { from: NodeId::new(from).unwrap(), instance, sequence, at: 0 }
    }

    fn gate() -> AdmissionFilter {
        AdmissionFilter::new(SequencePolicy::NewestWins, 20_000, Lane::UnreliableSequenced)
    }

    const TAKEN: AdmissionVerdict = AdmissionVerdict::Take { missed: 0, complaint: None };

    #[test]
    fn a_node_speaks_for_itself_alone_and_anybody_may_play() {
        let gate = gate();
        let now = Instant::now();
        let desk = envelope("desk", 1, 0);
        for key in
            ["hana/ripples/health", "hana/ripples/info", "hana/ripples/event", "hana/ripples/look"]
        {
            for stranger in [Some(&desk), None] {
                let verdict = gate.judge(key, stranger, now);
                assert!(matches!(verdict, AdmissionVerdict::Impersonated(_)), "{key}: {verdict:?}");
            }
            assert_eq!(gate.judge(key, Some(&envelope("ripples", 1, 0)), now), TAKEN);
            assert!(matches!(gate.judge(key, Some(&desk), now), AdmissionVerdict::Impersonated(_)));
            assert_eq!(
                gate.judge(key, Some(&desk), now),
                AdmissionVerdict::Impersonated(None),
                "said once"
            );
        }
        for key in ["hana/stage/process/ripples", "hana/stage/log/ripples"] {
            let of_viz = gate.judge(key, Some(&envelope("ripples", 1, 0)), now);
            assert!(matches!(of_viz, AdmissionVerdict::Impersonated(_)), "{key}: {of_viz:?}");
            assert_eq!(gate.judge(key, Some(&envelope("stage", 1, 0)), now), TAKEN);
        }
        for key in ["hana/ripples/modulation/zoom", "hana/ripples/control", "hana/ripples/topic/a"]
        {
            assert_eq!(gate.judge(key, Some(&desk), now), TAKEN);
            assert_eq!(gate.judge(key, None, now), TAKEN);
        }
    }

    #[test]
    fn nobody_speaks_for_many_by_a_pattern() {
        let now = Instant::now();
        for gate in
            [AdmissionFilter::of::<hana_protocol::message::Event>(), AdmissionFilter::of_owned()]
        {
            for key in ["hana/*/event", "hana/**", "hana/*/health"] {
                let verdict = gate.judge(key, Some(&envelope("desk", 1, 0)), now);
                assert!(matches!(verdict, AdmissionVerdict::Impersonated(_)), "{key}: {verdict:?}");
            }
        }
    }

    #[test]
    fn a_complaint_names_key_sender_and_remedy_and_comes_once_in_a_while() {
        let gate = gate();
        let start = Instant::now();
        let desk = envelope("desk", 1, 0);
        let complaint = |now, from| match gate.judge("hana/ripples/health", from, now) {
            AdmissionVerdict::Impersonated(complaint) => {
                complaint.map(|of| of.into_problem("hana/ripples/health", from).to_string())
            },
            other => panic!("{other:?}"),
        };
        let said = complaint(start, Some(&desk)).unwrap();
        assert!(
            said.starts_with("hana/ripples/health: 'desk' speaks for 'ripples'")
                && said.ends_with("let that program publish under its own id"),
            "{said}"
        );
        for n in 1..1000 {
            assert_eq!(complaint(start + Duration::from_millis(n), None), None);
        }
        let said = complaint(start + AdmissionFilter::PAUSE, None).unwrap();
        assert!(said.contains("an unnamed sender") && said.contains("1000 not taken"), "{said}");
    }

    #[test]
    fn each_kind_of_key_has_its_rate_and_each_sender_its_own() {
        let gate = gate();
        let now = Instant::now();
        for (key, owner, rate) in [
            ("hana/ripples/health", "ripples", 50),
            ("hana/ripples/event", "ripples", 500),
            ("hana/ripples/modulation/zoom", "desk", 4000),
            ("hana/stage/log/ripples", "stage", 5000),
            ("hana/ripples/topic/spark", "ripples", 20_000),
        ] {
            let taken = (0..30_000)
                .filter(|n| gate.judge(key, Some(&envelope(owner, 1, *n)), now) == TAKEN)
                .count();
            assert_eq!(taken, rate, "{key}");
        }
        let other = envelope("other", 1, 0);
        assert_eq!(gate.judge("hana/ripples/modulation/zoom", Some(&other), now), TAKEN);
        let verdict = gate.judge(
            "hana/ripples/modulation/zoom",
            Some(&envelope("desk", 1, 50_000)),
            now + AdmissionFilter::PAUSE / 100,
        );
        assert!(matches!(verdict, AdmissionVerdict::Take { .. }), "{verdict:?}");
    }

    #[test]
    fn made_up_keys_do_not_grow_it_and_leave_those_in_use_alone() {
        let gate = gate();
        let start = Instant::now();
        let mut sequence = 0;
        for n in 0..100_000_u32 {
            let now = start + Duration::from_micros(100) * n;
            let id = format!("n{n}");
            let _ = gate.judge(&format!("hana/{id}/health"), Some(&envelope(&id, 1, 0)), now);
            let _ = gate.judge(&format!("hana/viz/modulation/{id}"), None, now);
            let _ = gate.judge(&format!("hana/{}/info", id.repeat(1000)), None, now);
            if n % 1000 == 0 {
                let health = envelope("ripples", 1, sequence);
                assert_eq!(gate.judge("hana/ripples/health", Some(&health), now), TAKEN);
                sequence += 1;
            }
        }
        assert!(gate.keys.lock().unwrap().followed.len() <= AdmissionFilter::MAX_KEYS);
        // Once the flood is over, there is room again.
        let later = start + Duration::from_secs(30);
        assert_eq!(gate.judge("hana/new/health", Some(&envelope("new", 1, 0)), later), TAKEN);
        assert!(gate.keys.lock().unwrap().followed.contains_key("hana/new/health"));
    }

    #[test]
    fn two_of_one_name_are_told_and_the_first_is_believed() {
        let gate = gate();
        let start = Instant::now();
        let (mut taken, mut complaints) = (0, 0);
        for n in 0..100 {
            let now = start + Duration::from_millis(100) * u32::try_from(n).unwrap();
            for (instance, from_first) in [(5, true), (u64::MAX, false)] {
                match gate.judge(
                    "hana/ripples/health",
                    Some(&envelope("ripples", instance, n)),
                    now,
                ) {
                    AdmissionVerdict::Take { complaint, .. } => {
                        taken += usize::from(from_first);
                        complaints += usize::from(complaint.is_some());
                    },
                    AdmissionVerdict::Impersonated(complaint) => {
                        complaints += usize::from(complaint.is_some());
                    },
                    AdmissionVerdict::Late | AdmissionVerdict::Limited(_) => {},
                }
            }
        }
        assert!(taken > 90, "{taken}");
        assert!((2..=4).contains(&complaints), "{complaints}");
    }
}
