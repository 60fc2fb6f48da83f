use std::collections::HashMap;
use std::time::{Duration, Instant};

use hana_protocol::id::NodeId;
use hana_protocol::wire::Envelope;

/// The receive side of `UnreliableSequenced`: drops every message older than the newest delivered one. Pure.
///
/// A publisher is one instance of a node. Messages without an envelope are unsequenced and always pass. One filter
/// serves one key.
///
/// A message of an unknown instance means that the node restarted, so the new instance replaces the current one at
/// once. Instance numbers do not order instances: each is the wall-clock time at joining, and clocks may be set back.
/// The number decides only between two instances that both arrive within [`GRACE`](Self::GRACE).
///
/// If a replaced instance keeps sending, two programs use one id, by mistake or on purpose. The earlier program keeps
/// the id, as it does on joining: after [`GRACE`](Self::GRACE) the filter delivers its messages again, and rejects the
/// other program's until the earlier one has been silent for [`SILENCE`](Self::SILENCE). So an envelope with a forged
/// instance never blocks the real publisher for longer than [`GRACE`](Self::GRACE).
#[derive(Debug, Default)]
pub struct StaleFilter {
    publishers: HashMap<NodeId, TrackedPublisher>,
}

/// The verdict of a [`StaleFilter`] on one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Deliver the message; `missed` earlier messages of the same publisher have not arrived.
    New {
        /// Number of skipped sequence numbers.
        missed: u64,
    },
    /// Deliver the message: its publisher is reinstated, after another instance or a forged number displaced it.
    Reinstated,
    /// Drop and count the message: it was already delivered, or is older than the newest message.
    Stale,
    /// Drop the message: its sender uses the id of another, live publisher.
    Impostor,
}

#[derive(Debug)]
struct TrackedPublisher {
    current: TrackedInstance,
    /// Replaced instances, each with its last number; the most recently replaced one is last.
    passed: Vec<Passed>,
    /// Time at which a rival was last rejected or replaced. For a while after it, no new instance takes over at once.
    last_conflict: Option<Instant>,
    /// Ascending numbers of the current instance that are below its newest number.
    behind: Option<Behind>,
}

#[derive(Debug, Clone, Copy)]
struct TrackedInstance {
    instance: u64,
    sequence: u64,
    first: Instant,
    last: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Passed {
    run: TrackedInstance,
    /// Time at which another instance replaced this one.
    since: Instant,
    /// Whether this instance was the original owner of the id, which is reinstated if it still sends.
    is_first: bool,
}

#[derive(Debug, Clone, Copy)]
struct Behind {
    sequence: u64,
    since: Instant,
    last: Instant,
}

impl StaleFilter {
    /// Maximum number of publishers; beyond it, a new publisher evicts the one that has been silent for longest.
    ///
    /// This bounds the memory against forged sender names.
    pub const MAX_PUBLISHERS: usize = 32;
    /// Time within which messages in flight from a replaced instance arrive; a later message proves that the instance
    /// still sends.
    ///
    /// Observed transit times stay below a tenth of this.
    pub const GRACE: Duration = Duration::from_millis(500);
    /// Silence of the current instance after which any other instance may replace it.
    pub const SILENCE: Duration = Duration::from_secs(1);
    /// Time after a conflict in which a new instance does not take over at once.
    ///
    /// A restart within it takes effect once the older instance has been silent for [`SILENCE`](Self::SILENCE).
    pub const CONFLICT_COOLDOWN: Duration = Duration::from_secs(5);
    /// Time after which ascending numbers below the newest number are believed: the newest number was forged.
    ///
    /// Messages that are only late arrive sooner, and in one burst.
    pub const RESYNC_AFTER: Duration = Duration::from_secs(3);

    /// Judges a message by its envelope.
    pub fn arrive(&mut self, envelope: Option<&Envelope>, now: Instant) -> Arrival {
        let Some(envelope) = envelope else { return Arrival::New { missed: 0 } };
        if let Some(publisher) = self.publishers.get_mut(&envelope.from) {
            return publisher.arrive(envelope, now);
        }
        if self.publishers.len() >= Self::MAX_PUBLISHERS
            && let Some(silent) = self
                .publishers
                .iter()
                .min_by_key(|(_, of)| of.current.last)
                .map(|(id, _)| id.clone())
        {
            self.publishers.remove(&silent);
        }
        let publisher = TrackedPublisher {
            current: TrackedInstance::begin(envelope, now),
            passed: vec![],
            last_conflict: None,
            behind: None,
        };
        self.publishers.insert(envelope.from.clone(), publisher);
        Arrival::New { missed: 0 }
    }
}

impl TrackedInstance {
    const fn begin(envelope: &Envelope, now: Instant) -> Self {
        let Envelope { instance, sequence, .. } = *envelope;
        Self { instance, sequence, first: now, last: now }
    }

    /// Advances to `sequence` and returns how many numbers this skips, or `None` if `sequence` is not newer.
    const fn go_on(&mut self, sequence: u64) -> Option<u64> {
        if sequence <= self.sequence {
            return None;
        }
        let missed = sequence - self.sequence - 1;
        self.sequence = sequence;
        Some(missed)
    }
}

impl TrackedPublisher {
    /// Maximum number of replaced instances to remember; a node does not restart more often within one transit time.
    const MAX_PASSED: usize = 8;

    fn arrive(&mut self, envelope: &Envelope, now: Instant) -> Arrival {
        if envelope.instance == self.current.instance {
            return self.go_on(envelope.sequence, now);
        }
        let is_silent = since(self.current.last, now) >= StaleFilter::SILENCE;
        if let Some(place) =
            self.passed.iter().position(|passed| passed.run.instance == envelope.instance)
        {
            return self.of_passed(place, envelope, is_silent, now);
        }
        if is_silent {
            self.take_over(envelope, now);
            self.last_conflict = None;
            return Arrival::New { missed: 0 };
        }
        if self.last_conflict.is_some_and(|at| since(at, now) < StaleFilter::CONFLICT_COOLDOWN) {
            self.last_conflict = Some(now);
            return Arrival::Impostor;
        }
        // The instance number is a wall-clock time, and the clock may have been set, so the number does not order
        // instances. Only if both appear almost at the same time is the smaller number likely to be the older instance.
        let is_young = since(self.current.first, now) < StaleFilter::GRACE;
        if is_young && envelope.instance < self.current.instance {
            return Arrival::Stale;
        }
        self.take_over(envelope, now);
        Arrival::New { missed: 0 }
    }

    /// Judges a message of a replaced instance: it was in flight, or its sender is still running.
    fn of_passed(
        &mut self,
        place: usize,
        envelope: &Envelope,
        is_silent: bool,
        now: Instant,
    ) -> Arrival {
        let Passed { run, since: passed, is_first } = self.passed[place];
        let is_newer = envelope.sequence > run.sequence;
        if !is_newer || since(passed, now) < StaleFilter::GRACE {
            return Arrival::Stale;
        }
        if !is_silent && !is_first {
            self.last_conflict = Some(now);
            return Arrival::Impostor;
        }
        self.passed.remove(place);
        let of_current = Passed { run: self.current, since: now, is_first: false };
        self.remember(of_current);
        self.current = TrackedInstance { sequence: envelope.sequence, last: now, ..run };
        self.behind = None;
        self.last_conflict = (!is_silent).then_some(now);
        Arrival::Reinstated
    }

    fn go_on(&mut self, sequence: u64, now: Instant) -> Arrival {
        self.current.last = now;
        if let Some(missed) = self.current.go_on(sequence) {
            self.behind = None;
            return Arrival::New { missed };
        }
        match &mut self.behind {
            // The numbers ascend, without a long pause.
            Some(behind)
                if sequence > behind.sequence
                    && now.saturating_duration_since(behind.last) < StaleFilter::SILENCE =>
            {
                behind.sequence = sequence;
                behind.last = now;
                if now.saturating_duration_since(behind.since) >= StaleFilter::RESYNC_AFTER {
                    self.current.sequence = sequence;
                    self.behind = None;
                    return Arrival::Reinstated;
                }
            },
            Some(behind) if sequence <= behind.sequence => {},
            _ => self.behind = Some(Behind { sequence, since: now, last: now }),
        }
        Arrival::Stale
    }

    fn take_over(&mut self, envelope: &Envelope, now: Instant) {
        // If several instances arrive in quick succession, the instance before all of them is the original.
        let is_new = since(self.current.first, now) < StaleFilter::GRACE;
        let is_first = !is_new || !self.passed.iter().any(|passed| passed.is_first);
        if is_first {
            for passed in &mut self.passed {
                passed.is_first = false;
            }
        }
        self.remember(Passed { run: self.current, since: now, is_first });
        self.current = TrackedInstance::begin(envelope, now);
        self.behind = None;
    }

    fn remember(&mut self, passed: Passed) {
        if self.passed.len() >= Self::MAX_PASSED
            && let Some(oldest) = self.passed.iter().position(|passed| !passed.is_first)
        {
            self.passed.remove(oldest);
        }
        self.passed.push(passed);
    }
}

fn since(at: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(at)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn envelope(instance: u64, sequence: u64) -> Envelope {
        Envelope { from: NodeId::new("app").unwrap(), instance, sequence, at: 0 }
    }

    const NEW: Arrival = Arrival::New { missed: 0 };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn older_message_is_never_delivered_after_a_newer() {
        let now = Instant::now();
        let mut filter = StaleFilter::default();
        assert_eq!(filter.arrive(Some(&envelope(1, 5)), now), NEW);
        assert_eq!(filter.arrive(Some(&envelope(1, 4)), now), Arrival::Stale);
        assert_eq!(filter.arrive(Some(&envelope(1, 5)), now), Arrival::Stale);
        assert_eq!(filter.arrive(Some(&envelope(1, 9)), now), Arrival::New { missed: 3 });
    }

    #[test]
    fn first_message_of_a_restarted_publisher_is_new() {
        let now = Instant::now();
        let mut filter = StaleFilter::default();
        filter.arrive(Some(&envelope(1, 900)), now);
        assert_eq!(filter.arrive(Some(&envelope(2, 0)), now + ms(1)), NEW);
        // This message was in flight.
        assert_eq!(filter.arrive(Some(&envelope(1, 901)), now + ms(2)), Arrival::Stale);
        assert_eq!(filter.arrive(Some(&envelope(2, 1)), now + ms(3)), NEW);
        assert_eq!(filter.arrive(Some(&envelope(1, 902)), now + ms(300)), Arrival::Stale);
    }

    #[test]
    fn unsequenced_message_passes() {
        assert_eq!(StaleFilter::default().arrive(None, Instant::now()), NEW);
    }

    #[test]
    fn made_up_senders_do_not_grow_the_filter() {
        let now = Instant::now();
        let mut filter = StaleFilter::default();
        for n in 0..1000 {
            let from = NodeId::new(&format!("n{n}")).unwrap();
            filter.arrive(Some(&Envelope { from, ..envelope(n, 0) }), now);
        }
        assert_eq!(filter.publishers.len(), StaleFilter::MAX_PUBLISHERS);
    }

    /// Returns the longest pause between two delivered messages of a genuine sender, which sends ten per second, and
    /// the number of messages rejected as an impostor's.
    ///
    /// The impostor sends every `every`, under the same id, with the instance that `forged` returns.
    fn longest_pause(every: Duration, forged: impl Fn(u64) -> u64) -> (Duration, usize) {
        let start = Instant::now();
        let mut filter = StaleFilter::default();
        let (mut heard, mut longest, mut rivals) = (start, Duration::ZERO, 0);
        let mut next_forged = start + ms(2050);
        for beat in 0..200 {
            let now = start + ms(100) * u32::try_from(beat).unwrap();
            while next_forged <= now {
                let n = beat * 7;
                let arrival = filter.arrive(Some(&envelope(forged(n), n)), next_forged);
                rivals += usize::from(arrival == Arrival::Impostor);
                next_forged += every;
            }
            if matches!(
                filter.arrive(Some(&envelope(1000, beat)), now),
                Arrival::New { .. } | Arrival::Reinstated
            ) {
                longest = longest.max(now - heard);
                heard = now;
            }
        }
        (longest.max(start + ms(19_900) - heard), rivals)
    }

    #[test]
    fn forged_envelopes_exclude_no_publisher() {
        for every in [ms(1), ms(90), ms(450), ms(3000), ms(60_000)] {
            for (which, forged) in [
                ("far newer", (|_| u64::MAX) as fn(u64) -> u64),
                ("a little newer", |_| 1001),
                ("ever newer", |n| 1001 + n),
                ("older", |_| 1),
            ] {
                let (pause, rivals) = longest_pause(every, forged);
                assert!(pause <= ms(700), "{which}, every {every:?}: {pause:?}");
                assert!(every > ms(500) || rivals > 0, "{which}, every {every:?} is not noticed");
            }
        }
    }

    #[test]
    fn made_up_number_shuts_out_for_seconds_only() {
        let start = Instant::now();
        let mut filter = StaleFilter::default();
        filter.arrive(Some(&envelope(1, 1)), start);
        filter.arrive(Some(&envelope(1, u64::MAX)), start);
        let restored = (2..100)
            .find(|n| {
                let now = start + ms(100 * n);
                filter.arrive(Some(&envelope(1, *n)), now) == Arrival::Reinstated
            })
            .unwrap();
        assert!(restored <= 33, "{restored}");
        assert_eq!(filter.arrive(Some(&envelope(1, restored + 1)), start + ms(9000)), NEW);
    }

    #[test]
    fn any_instance_is_accepted_after_a_silence() {
        let start = Instant::now();
        let mut filter = StaleFilter::default();
        filter.arrive(Some(&envelope(9, 5)), start);
        assert_eq!(filter.arrive(Some(&envelope(3, 0)), start + ms(400)), Arrival::Stale);
        assert_eq!(filter.arrive(Some(&envelope(3, 1)), start + ms(1000)), NEW);
        assert_eq!(filter.arrive(Some(&envelope(3, 2)), start + ms(1100)), NEW);
    }

    #[test]
    fn restart_with_a_clock_set_back_is_accepted_at_once() {
        let start = Instant::now();
        let mut filter = StaleFilter::default();
        for n in 0..10 {
            filter.arrive(Some(&envelope(9, n)), start + ms(n * 100));
        }
        assert_eq!(filter.arrive(Some(&envelope(3, 0)), start + ms(910)), NEW);
        assert_eq!(filter.arrive(Some(&envelope(9, 10)), start + ms(920)), Arrival::Stale);
        assert_eq!(filter.arrive(Some(&envelope(3, 1)), start + ms(1010)), NEW);
        // The node crashed again at once, and its clock was set back once more.
        assert_eq!(filter.arrive(Some(&envelope(2, 0)), start + ms(1100)), Arrival::Stale);
        assert_eq!(filter.arrive(Some(&envelope(2, 1)), start + ms(1410)), NEW);
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        /// Simulates restarts with arbitrary instance numbers, as changes of the clock cause them.
        ///
        /// Each instance is accepted within the grace, and so are all its later messages. Late messages of an earlier
        /// instance are never delivered.
        #[test]
        fn any_instance_number_is_accepted_within_the_grace(
            instances in prop::collection::hash_set(any::<u64>(), 2..8),
            lives in prop::collection::vec(100_u64..3000, 8),
        ) {
            let mut now = Instant::now();
            let mut filter = StaleFilter::default();
            let mut before: Option<(u64, u64)> = None;
            for (instance, life) in instances.iter().zip(&lives) {
                let begun = now;
                let mut taken = false;
                for n in 0..(life / 50).max(12) {
                    let arrival = filter.arrive(Some(&envelope(*instance, n)), now);
                    prop_assert!(!taken || arrival == NEW, "{arrival:?}");
                    taken = taken || arrival == NEW;
                    prop_assert!(taken || now - begun < StaleFilter::GRACE, "{arrival:?}");
                    if taken
                        && now - begun < ms(400)
                        && let Some((before, last)) = before
                    {
                        let late = filter.arrive(Some(&envelope(before, last)), now);
                        prop_assert_eq!(late, Arrival::Stale);
                    }
                    now += ms(50);
                }
                before = Some((*instance, *life));
            }
        }

        /// Simulates restarts: each instance ends before the next begins, and messages of both are in flight.
        ///
        /// The first message to arrive from each instance is new, and no message of an older instance is delivered
        /// after it.
        #[test]
        fn restarts_are_accepted_at_once_and_never_undone(
            runs in prop::collection::vec((1_usize..20, 0_u64..60, 0_u64..400), 1..12),
        ) {
            let mut now = Instant::now();
            let mut filter = StaleFilter::default();
            let mut arrivals = vec![];
            for (run, (messages, pause, under_way)) in (1_u64..).zip(&runs) {
                for sequence in 0..u64::try_from(*messages).unwrap() {
                    now += ms(*pause);
                    // The last messages arrive after the next instance has begun.
                    let late = if sequence + 3 > u64::try_from(*messages).unwrap() { *under_way } else { 0 };
                    arrivals.push((now + ms(late), run, sequence));
                }
            }
            arrivals.sort();
            let mut newest = (0, 0);
            for (at, run, sequence) in arrivals {
                let arrival = filter.arrive(Some(&envelope(run, sequence)), at);
                let delivered = matches!(arrival, Arrival::New { .. } | Arrival::Reinstated);
                if run > newest.0 {
                    prop_assert_eq!(arrival, NEW);
                }
                if delivered {
                    prop_assert!((run, sequence + 1) > newest, "{run} {sequence} after {newest:?}");
                    newest = (run, sequence + 1);
                }
            }
        }

        /// Within one instance, no message is delivered after a newer one, whatever the order of arrival.
        #[test]
        fn one_instance_never_delivers_older_after_newer(
            sequences in prop::collection::vec(0_u64..50, 1..100),
        ) {
            let start = Instant::now();
            let mut filter = StaleFilter::default();
            let mut newest = None;
            for (n, sequence) in (0_u64..).zip(sequences) {
                let arrival = filter.arrive(Some(&envelope(7, sequence)), start + ms(n * 20));
                let is_newer = newest.is_none_or(|newest| sequence > newest);
                prop_assert_eq!(matches!(arrival, Arrival::New { .. }), is_newer);
                newest = newest.max(Some(sequence));
            }
        }
    }
}
