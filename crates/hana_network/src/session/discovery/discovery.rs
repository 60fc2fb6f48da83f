use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Decides when a node sends discovery queries, and to which of the responding nodes it connects.
///
/// Pure. An `Id` is the id of a session.
///
/// | event | queries | reason |
/// |---|---|---|
/// | an interface or an address is added | at once, then after 0.25, 0.5, 1, 2, 4 s, and every 8 s | the new network may contain nodes that started earlier |
/// | a connection is lost | four times a second for 10 s, then twice a second for ten minutes | the other node searches too |
///
/// If two nodes find each other, the node with the greater id connects; the other node connects only if that fails. If
/// both connected at the same time, Zenoh would be left with two half-open connections.
#[derive(Debug)]
pub(crate) struct Discovery<Id> {
    networks: BTreeSet<(Ipv4Addr, Option<u32>)>,
    ask_at: Instant,
    pause: Duration,
    lost: HashMap<Id, Instant>,
    found: HashMap<Id, Found>,
}

/// A node that responded but is not connected.
#[derive(Debug)]
struct Found {
    since: Instant,
    failures: u32,
    not_before: Instant,
}

/// The initial and the maximum interval between two queries.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// The duration of the search for a lost node: at the high rate, and in total.
const EAGERLY: Duration = Duration::from_secs(10);
const PATIENTLY: Duration = Duration::from_mins(10);
const PATIENT_PAUSE: Duration = Duration::from_millis(500);
/// The head start of the node with the greater id over the other one.
const YIELD: Duration = Duration::from_millis(300);
/// The time after which a connection attempt is repeated.
const ATTEMPT: Duration = Duration::from_secs(6);
/// The pause after the first failed attempt. It doubles with each further failure, up to [`LONGEST_PAUSE`].
const AGAIN: Duration = Duration::from_millis(500);
/// The maximum number of nodes tracked; when it is reached, replies of further nodes are ignored.
const MOST: usize = 1024;

impl<Id: Copy + Eq + Hash + Ord> Discovery<Id> {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            networks: BTreeSet::new(),
            ask_at: now,
            pause: FIRST_PAUSE,
            lost: HashMap::new(),
            found: HashMap::new(),
        }
    }

    /// Handles the current addresses of the machine.
    pub(crate) fn on_networks(&mut self, current: BTreeSet<(Ipv4Addr, Option<u32>)>, now: Instant) {
        if !current.is_subset(&self.networks) {
            self.ask_at = now;
            self.pause = FIRST_PAUSE;
        }
        self.networks = current;
    }

    /// Handles a lost connection.
    pub(crate) fn on_lost(&mut self, id: Id, now: Instant) {
        self.found.remove(&id);
        if self.lost.len() < MOST {
            self.lost.insert(id, now);
            self.ask_at = now;
        }
    }

    /// Handles a new connection.
    pub(crate) fn on_connected(&mut self, id: Id) {
        self.lost.remove(&id);
        self.found.remove(&id);
    }

    /// Returns whether a query is due now, and schedules the next one.
    pub(crate) fn take_question(&mut self, now: Instant) -> bool {
        if now < self.ask_at {
            return false;
        }
        self.ask_at = now + self.next_pause(now);
        true
    }

    /// Returns the time at which [`take_question`](Self::take_question) next returns true.
    pub(crate) const fn next_question(&self) -> Instant {
        self.ask_at
    }

    fn next_pause(&mut self, now: Instant) -> Duration {
        let ago = |since: &Instant| now.saturating_duration_since(*since);
        self.lost.retain(|_, since| ago(since) < PATIENTLY);
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        match self.lost.values().map(ago).min() {
            None => pause,
            Some(latest) if latest < EAGERLY => pause.min(FIRST_PAUSE),
            Some(_) => pause.min(PATIENT_PAUSE),
        }
    }

    /// Handles a reply from a node that is not connected; returns whether to connect to it now.
    pub(crate) fn on_answer(&mut self, id: Id, own: Id, now: Instant) -> bool {
        if id == own || (self.found.len() >= MOST && !self.found.contains_key(&id)) {
            return false;
        }
        let fresh = Found { since: now, failures: 0, not_before: now };
        let found = self.found.entry(id).or_insert(fresh);
        let is_our_turn = own > id || now.saturating_duration_since(found.since) >= YIELD;
        if now >= found.not_before && is_our_turn {
            found.not_before = now + ATTEMPT;
            return true;
        }
        if !is_our_turn {
            // If the other node does not connect, this node needs another reply to connect itself.
            self.ask_at = self.ask_at.min(now + YIELD);
        }
        false
    }

    /// Handles a failed connection attempt.
    pub(crate) fn on_failure(&mut self, id: Id, now: Instant) {
        if let Some(found) = self.found.get_mut(&id) {
            let again = AGAIN.saturating_mul(1_u32.checked_shl(found.failures).unwrap_or(u32::MAX));
            found.failures += 1;
            found.not_before = now + again.min(LONGEST_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u8 = 5;
    const GREATER: u8 = 9;
    const LESSER: u8 = 1;

    fn networks(last: &[u8]) -> BTreeSet<(Ipv4Addr, Option<u32>)> {
        last.iter().map(|last| (Ipv4Addr::new(10, 0, 0, *last), Some(2))).collect()
    }

    /// Returns the times of queries from `from` until `end`, in milliseconds after `start`.
    fn questions(discovery: &mut Discovery<u8>, start: Instant, from: u64, end: u64) -> Vec<u64> {
        (from..end)
            .step_by(10)
            .filter(|ms| discovery.take_question(start + Duration::from_millis(*ms)))
            .collect()
    }

    #[test]
    fn queries_slow_down_until_an_interface_is_added() {
        let start = Instant::now();
        let mut discovery = Discovery::new(start);
        discovery.on_networks(networks(&[1]), start);
        let asked = questions(&mut discovery, start, 0, 32_000);
        assert_eq!(asked, [0, 250, 750, 1750, 3750, 7750, 15_750, 23_750, 31_750]);
        let late = start + Duration::from_secs(32);
        discovery.on_networks(networks(&[1, 2]), late);
        assert_eq!(questions(&mut discovery, late, 0, 800), [0, 250, 750]);
        discovery.on_networks(networks(&[2]), late + Duration::from_millis(800));
        let asked = questions(&mut discovery, late, 800, 1740);
        assert_eq!(asked, [0; 0], "an address that goes is no reason to ask");
        // The interface is created again with the same address.
        discovery.on_networks(
            [(Ipv4Addr::new(10, 0, 0, 2), Some(3))].into(),
            late + Duration::from_millis(1740),
        );
        assert_eq!(questions(&mut discovery, late, 1740, 1750), [1740]);
    }

    #[test]
    fn lost_node_is_searched_for_ten_minutes() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut discovery = Discovery::new(start);
        questions(&mut discovery, start, 0, 100_000);
        discovery.on_lost(LESSER, at(100_000));
        assert_eq!(questions(&mut discovery, start, 100_000, 101_000).len(), 4);
        assert_eq!(questions(&mut discovery, start, 120_000, 130_000).len(), 20);
        discovery.on_connected(LESSER);
        assert!(questions(&mut discovery, start, 130_600, 160_000).len() < 6);
        discovery.on_lost(LESSER, at(160_000));
        questions(&mut discovery, start, 160_000, 761_000);
        assert!(questions(&mut discovery, start, 761_000, 800_000).len() < 7);
    }

    #[test]
    fn greater_id_connects_at_once() {
        let start = Instant::now();
        let mut discovery = Discovery::new(start);
        assert!(!discovery.on_answer(OWN, OWN, start));
        assert!(discovery.on_answer(LESSER, OWN, start));
        assert!(!discovery.on_answer(LESSER, OWN, start), "it is being connected to");
    }

    #[test]
    fn lesser_id_connects_when_the_greater_does_not() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut discovery = Discovery::new(start);
        questions(&mut discovery, start, 0, 100_000);
        assert!(!discovery.on_answer(GREATER, OWN, at(100_000)));
        assert_eq!(questions(&mut discovery, start, 100_000, 100_400), [100_300]);
        assert!(discovery.on_answer(GREATER, OWN, at(100_310)));
        discovery.on_connected(GREATER);
        assert!(!discovery.on_answer(GREATER, OWN, at(200_000)), "the next time is another one");
    }

    #[test]
    fn failed_connects_back_off() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut discovery = Discovery::new(start);
        let mut attempts = vec![];
        for ms in (0..40_000).step_by(100) {
            if discovery.on_answer(LESSER, OWN, at(ms)) {
                attempts.push(ms);
                discovery.on_failure(LESSER, at(ms));
            }
        }
        assert_eq!(attempts, [0, 500, 1500, 3500, 7500, 15_500, 23_500, 31_500, 39_500]);
        // A lost connection clears the failed attempts.
        discovery.on_lost(LESSER, at(40_000));
        assert!(discovery.on_answer(LESSER, OWN, at(40_010)));
        for _ in 0..100 {
            discovery.on_failure(LESSER, at(40_020));
        }
    }

    #[test]
    fn forged_replies_take_bounded_memory() {
        let start = Instant::now();
        let mut discovery = Discovery::new(start);
        for id in 1..10_000_u32 {
            discovery.on_answer(id, 0, start);
            discovery.on_lost(id + 10_000, start);
        }
        assert_eq!((discovery.found.len(), discovery.lost.len()), (MOST, MOST));
    }
}
