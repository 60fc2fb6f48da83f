use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use hana_protocol::id::NodeId;

use crate::supervisor::supervisor::Instance;

/// Decides when each launch may be made, so that many that fell together do not rise together.
///
/// They would take the machine away from those that still draw. Pure: it is told who wants to be launched, who has
/// come up and what time it is.
///
/// - What comes alone is launched at once: it waits for nobody.
/// - Between two launches lies [`LaunchLimits::spacing`], and of those that the policy wants started again at most
///   [`LaunchLimits::at_once`] are coming up at any time. One that does not come up within [`LaunchLimits::patience`]
///   does not hold up the others any longer.
/// - First come, first served; but what a person wants started comes before what the policy wants started
///   again, and waits for no one to come up.
/// - Nobody waits for ever: who is asked for again and again goes to the end of the line.
#[derive(Debug, Clone)]
pub struct LaunchQueue {
    pace: LaunchLimits,
    persons: VecDeque<QueuedLaunch>,
    policies: VecDeque<QueuedLaunch>,
    /// Who is coming up, and since when.
    rising: BTreeMap<NodeId, Instant>,
    last: Option<Instant>,
}

/// How fast what is to be launched is launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaunchLimits {
    /// How many that the policy starts again may be coming up at the same time, 1 or more.
    pub at_once: usize,
    /// From one launch to the next.
    pub spacing: Duration,
    /// How long one that comes up counts as such.
    pub patience: Duration,
}

/// Who wants a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaunchPriority {
    /// A person.
    Person,
    /// The policy.
    Policy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct QueuedLaunch {
    node: NodeId,
    incarnation: Instance,
}

impl Default for LaunchLimits {
    /// Four at once, 75 ms apart, each for 3 s at most: fifty are launched within four seconds where they come up as
    /// fast as plain programs do, and within half a minute where each has much to load.
    fn default() -> Self {
        Self { at_once: 4, spacing: Duration::from_millis(75), patience: Duration::from_secs(3) }
    }
}

impl LaunchQueue {
    /// Nobody is waiting, nobody is coming up.
    #[must_use]
    pub const fn new(pace: LaunchLimits) -> Self {
        Self {
            pace,
            persons: VecDeque::new(),
            policies: VecDeque::new(),
            rising: BTreeMap::new(),
            last: None,
        }
    }

    /// Goes by another pace from now on.
    pub const fn set_pace(&mut self, pace: LaunchLimits) {
        self.pace = pace;
    }

    /// A launch is wanted. It comes out of [`LaunchQueue::next`] when it is its turn, which may be at once. An
    /// earlier wish for the same node is forgotten.
    pub fn ask(&mut self, node: NodeId, incarnation: Instance, wish: LaunchPriority) {
        self.withdraw(&node);
        let line = match wish {
            LaunchPriority::Person => &mut self.persons,
            LaunchPriority::Policy => &mut self.policies,
        };
        line.push_back(QueuedLaunch { node, incarnation });
    }

    /// It is not wanted any more.
    pub fn withdraw(&mut self, node: &NodeId) {
        self.persons.retain(|waiting| waiting.node != *node);
        self.policies.retain(|waiting| waiting.node != *node);
    }

    /// Whether it waits for its turn.
    #[must_use]
    pub fn is_waiting(&self, node: &NodeId) -> bool {
        self.persons.iter().chain(&self.policies).any(|waiting| waiting.node == *node)
    }

    /// How many come before it; none where it does not wait.
    #[must_use]
    pub fn before(&self, node: &NodeId) -> Option<usize> {
        self.persons.iter().chain(&self.policies).position(|waiting| waiting.node == *node)
    }

    /// It has come up, or ended: it makes room for the next.
    pub fn risen(&mut self, node: &NodeId) {
        self.rising.remove(node);
    }

    /// Whose turn it is at `now`, if it is anybody's: it is to be launched. To be asked until there is none.
    pub fn next(&mut self, now: Instant) -> Option<(NodeId, Instance)> {
        if self.next_deadline(now)? > now {
            return None;
        }
        self.forget_late(now);
        let QueuedLaunch { node, incarnation } =
            self.persons.pop_front().or_else(|| self.policies.pop_front())?;
        self.last = Some(now);
        self.rising.insert(node.clone(), now);
        Some((node, incarnation))
    }

    /// When it is somebody's turn, if nobody comes up before; none while nobody waits. In the past or `now`: at once.
    #[must_use]
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let spaced = self.last.map_or(now, |last| last + self.pace.spacing);
        if !self.persons.is_empty() {
            return Some(spaced);
        }
        if self.policies.is_empty() {
            return None;
        }
        // When so many of them have come up, or are not waited for any longer, that there is room for one more.
        let mut until: Vec<Instant> =
            self.rising.values().map(|since| *since + self.pace.patience).collect();
        until.sort();
        let surplus = (until.len() + 1).checked_sub(self.pace.at_once.max(1));
        let room = surplus.and_then(|surplus| surplus.checked_sub(1)).map(|at| until[at]);
        Some(room.map_or(spaced, |room| room.max(spaced)))
    }

    fn forget_late(&mut self, now: Instant) {
        let patience = self.pace.patience;
        self.rising.retain(|_, since| now.saturating_duration_since(*since) < patience);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PACE: LaunchLimits = LaunchLimits {
        at_once: 3,
        spacing: Duration::from_millis(20),
        patience: Duration::from_secs(2),
    };

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn id(number: usize) -> NodeId {
        NodeId::new(&format!("v-{number}")).unwrap()
    }

    fn ask(pacer: &mut LaunchQueue, number: usize, wish: LaunchPriority) {
        pacer.ask(id(number), Instance::of_number(1), wish);
    }

    /// Lets time pass: whoever's turn it is, when, in milliseconds. Each comes up `takes` after its launch, if at all.
    fn pass(
        pacer: &mut LaunchQueue,
        start: Instant,
        until: Duration,
        takes: Option<Duration>,
    ) -> Vec<(String, u128)> {
        let mut now = start;
        let mut rising: VecDeque<(Instant, NodeId)> = VecDeque::new();
        let mut launched = vec![];
        loop {
            while let Some((node, _)) = pacer.next(now) {
                launched.push((node.to_string(), now.duration_since(start).as_millis()));
                if let Some(takes) = takes {
                    rising.push_back((now + takes, node));
                }
            }
            // One that needs no time to come up makes room at the very time of its launch.
            if rising.front().is_some_and(|(at, _)| *at <= now) {
                let (_, node) = rising.pop_front().unwrap();
                pacer.risen(&node);
                continue;
            }
            let risen = rising.front().map(|(at, _)| *at);
            let next = [pacer.next_deadline(now), risen].into_iter().flatten().min();
            match next.filter(|at| *at <= start + until) {
                Some(at) => {
                    assert!(at > now, "it would turn for ever");
                    now = at;
                },
                None => return launched,
            }
        }
    }

    #[test]
    fn one_that_comes_alone_is_not_delayed_at_all() {
        let mut pacer = LaunchQueue::new(PACE);
        let mut now = Instant::now();
        for round in 0..10 {
            ask(&mut pacer, round, LaunchPriority::Policy);
            assert!(pacer.next_deadline(now).unwrap() <= now);
            assert_eq!(pacer.next(now).unwrap().0, id(round));
            pacer.risen(&id(round));
            now += PACE.spacing;
        }
        assert_eq!(pacer.next_deadline(now), None);
    }

    #[test]
    fn fifty_are_launched_one_after_the_other_as_they_come_up() {
        let start = Instant::now();
        let mut pacer = LaunchQueue::new(PACE);
        for number in 0..50 {
            ask(&mut pacer, number, LaunchPriority::Policy);
        }
        assert_eq!(pacer.before(&id(7)), Some(7));
        let launched = pass(&mut pacer, start, Duration::from_mins(1), Some(millis(300)));
        let names: Vec<String> = (0..50).map(|number| id(number).to_string()).collect();
        assert_eq!(launched.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), names);
        for (number, (_, at)) in launched.iter().enumerate().skip(3) {
            assert!(at - launched[number - 3].1 >= 300, "more than three at once");
        }
        assert!(launched.windows(2).all(|pair| pair[1].1 - pair[0].1 >= 20));
        assert!(launched[49].1 < 50 / 3 * 300 + 600, "{launched:?}");
    }

    #[test]
    fn those_that_never_come_up_hold_up_the_others_only_so_long() {
        let start = Instant::now();
        let mut pacer = LaunchQueue::new(PACE);
        for number in 0..7 {
            ask(&mut pacer, number, LaunchPriority::Policy);
        }
        let launched = pass(&mut pacer, start, Duration::from_mins(1), None);
        let at: Vec<u128> = launched.into_iter().map(|(_, at)| at).collect();
        assert_eq!(at, [0, 20, 40, 2000, 2020, 2040, 4000]);
    }

    #[test]
    fn one_that_comes_up_at_once_makes_room_at_once() {
        let start = Instant::now();
        let mut pacer = LaunchQueue::new(LaunchLimits { at_once: 1, ..PACE });
        for number in 0..3 {
            ask(&mut pacer, number, LaunchPriority::Policy);
        }
        let launched = pass(&mut pacer, start, Duration::from_mins(1), Some(Duration::ZERO));
        let at: Vec<u128> = launched.into_iter().map(|(_, at)| at).collect();
        assert_eq!(at, [0, 20, 40]);
    }

    #[test]
    fn a_person_comes_first_and_waits_for_none_to_come_up() {
        let start = Instant::now();
        let mut pacer = LaunchQueue::new(PACE);
        for number in 0..20 {
            ask(&mut pacer, number, LaunchPriority::Policy);
        }
        assert_eq!(pass(&mut pacer, start, millis(100), None).len(), 3);
        ask(&mut pacer, 100, LaunchPriority::Person);
        ask(&mut pacer, 101, LaunchPriority::Person);
        assert_eq!(pacer.before(&id(3)), Some(2));
        let later = start + millis(100);
        let launched = pass(&mut pacer, later, millis(100), None);
        assert_eq!(launched, [("v-100".into(), 0), ("v-101".into(), 20)]);
    }

    #[test]
    fn what_is_withdrawn_is_not_launched_and_what_is_asked_for_twice_is_launched_once() {
        let start = Instant::now();
        let mut pacer = LaunchQueue::new(PACE);
        for number in 0..6 {
            ask(&mut pacer, number, LaunchPriority::Policy);
        }
        pacer.withdraw(&id(2));
        pacer.withdraw(&id(2));
        pacer.ask(id(0), Instance::of_number(2), LaunchPriority::Policy);
        assert!(!pacer.is_waiting(&id(2)) && pacer.is_waiting(&id(0)));
        let launched = pass(&mut pacer, start, Duration::from_mins(1), Some(millis(1)));
        let names: Vec<&str> = launched.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["v-1", "v-3", "v-4", "v-5", "v-0"]);
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn everybody_is_launched_once_and_in_time(
            at_once in 0_usize..5,
            asks in prop::collection::vec((0_usize..30, any::<bool>(), 0_u64..100), 1..60),
            takes in prop::option::of(0_u64..5000),
        ) {
            let pace = LaunchLimits { at_once, ..PACE };
            let mut pacer = LaunchQueue::new(pace);
            let start = Instant::now();
            let wanted: std::collections::BTreeSet<usize> = asks.iter().map(|(number, ..)| *number).collect();
            for (number, person, _) in &asks {
                ask(&mut pacer, *number, if *person { LaunchPriority::Person } else { LaunchPriority::Policy });
            }
            let launched = pass(&mut pacer, start, Duration::from_hours(1), takes.map(millis));
            prop_assert_eq!(launched.len(), wanted.len());
            prop_assert!(launched.windows(2).all(|pair| pair[1].1 - pair[0].1 >= 20));
            prop_assert_eq!(pacer.next_deadline(start + Duration::from_hours(2)), None);
        }
    }
}
