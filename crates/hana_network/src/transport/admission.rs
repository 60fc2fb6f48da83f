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

/// Where what comes in by one subscription is judged before anything of it is read: whether its sender may speak
/// on that key, whether it sends too much, and whether it is newer than what came before.
///
/// Runs on Zenoh's threads, so it is cheap, and what it remembers is bounded whatever is sent: beyond
/// [`MAX_KEYS`](Self::MAX_KEYS) keys, and beyond [`NEW_KEYS_PER_SECOND`](Self::NEW_KEYS_PER_SECOND) that have not been
/// seen before, keys share one limit. So a program that makes up keys takes nothing from those that are in use.
pub(crate) struct AdmissionFilter {
    order: SequencePolicy,
    /// Whether only the owner of a key speaks on any that may come; a pattern of keys has none.
    owned: bool,
    /// For keys whose kind does not say it.
    per_second: u32,
    /// For keys whose kind does not say it.
    lane: Lane,
    keys: Mutex<KeyTable>,
}

/// The rate of a custom message type that does not set its own.
const VALUES_PER_SECOND: u32 = 20_000;

/// What is done with the place that a message has in its sender's sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SequencePolicy {
    /// An older one is not delivered after a newer.
    NewestWins,
    /// It is only counted that it is older.
    AsItComes,
    /// Only who speaks is judged: what is missing, and what came twice, is seen to by who receives.
    SeenToLater,
    /// Nothing: questions and answers have no place.
    None,
}

/// What to do with a message.
#[derive(Debug, PartialEq, Eq)]
enum AdmissionVerdict {
    /// To be read; `missed` did not come before it.
    Take { missed: u64, complaint: Option<Violation> },
    /// Older than one that was delivered.
    Late,
    /// Over the rate.
    Limited(Option<Violation>),
    /// Somebody else speaks.
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
    /// What is not followed.
    others: KeyState,
    swept: Instant,
}

/// What is remembered of a key.
struct KeyState {
    /// Who alone speaks on it, if it is such a key.
    owner: Option<NodeId>,
    lane: Lane,
    limits: SenderLimits,
    sequence: StaleFilter,
    heard: Instant,
    quiet: LogThrottle,
}

/// One complaint about a key now and then; the others are counted.
#[derive(Default)]
struct LogThrottle {
    said: Option<Instant>,
    unsaid: u64,
}

impl AdmissionFilter {
    /// Keys that are followed each by itself: parameters of a hundred visualizations, say.
    pub(crate) const MAX_KEYS: usize = 4096;
    /// Keys in a second that were not seen before; a burst of as many is taken. A large show that starts at once
    /// has a few hundred.
    const NEW_KEYS_PER_SECOND: u32 = 1000;
    /// A key on which nothing came for this long makes room for another, where there is none.
    const IDLE: Duration = Duration::from_secs(10);
    /// From one complaint about a key to the next.
    const PAUSE: Duration = Duration::from_secs(3);

    /// For messages of type `M`, or of any type whose keys say how many are taken.
    pub(crate) fn of<M: Message>() -> Self {
        let order = if M::LANE.drops_older() {
            SequencePolicy::NewestWins
        } else {
            SequencePolicy::AsItComes
        };
        let is_owned =
            |kind: KeyKind| kind.message() == Some(M::NAME) && kind.is_spoken_by_owner_alone();
        Self {
            owned: KeyKind::ALL.into_iter().any(is_owned),
            ..Self::new(order, M::MAX_PER_SECOND, M::LANE)
        }
    }

    /// For messages of type `M` that come to a receiver who knows what is missing.
    pub(crate) fn before_recovery<M: Message>() -> Self {
        Self { order: SequencePolicy::SeenToLater, ..Self::of::<M>() }
    }

    /// For what nodes say of themselves, of several types.
    pub(crate) fn of_owned() -> Self {
        Self {
            owned: true,
            ..Self::new(SequencePolicy::NewestWins, NodeInfo::MAX_PER_SECOND, NodeInfo::LANE)
        }
    }

    /// For answers to a question for messages of type `M`.
    pub(crate) fn of_answers<M: Message>() -> Self {
        Self { order: SequencePolicy::None, ..Self::of::<M>() }
    }

    /// For custom messages of whatever type, as values. Their lanes are not known here.
    pub(crate) fn of_values() -> Self {
        Self::new(SequencePolicy::AsItComes, VALUES_PER_SECOND, Lane::UnreliableUnordered)
    }

    /// For commands. They have no place in a sequence: each one counts, and a question asked again is meant.
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

    /// Judges a message by its key and its envelope; whether it is to be read. What is not is counted, and
    /// complained of now and then.
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

    /// The lane of the key, and what is thought of the message.
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
            let owner = parsed
                .as_ref()
                .filter(|key| key.is_spoken_by_owner_alone())
                .map(|key| key.owner().clone());
            // Whoever speaks for another does not get a place by it.
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
            Arrival::Restored => {
                let complaint = self.quiet.due(now).map(|_| Violation::Rival);
                AdmissionVerdict::Take { missed: 0, complaint }
            },
            Arrival::Stale => AdmissionVerdict::Late,
            Arrival::Rival => {
                AdmissionVerdict::Impersonated(self.quiet.due(now).map(|_| Violation::Rival))
            },
        }
    }
}

impl LogThrottle {
    /// Whether something is to be said at `now`, and how often it was not.
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
        // When it is over, there is room again.
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
