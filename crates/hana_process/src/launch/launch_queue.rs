use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use hana_protocol::id::NodeId;

use crate::supervisor::instance::Instance;

/// Decides when each launch may start, so that programs that crash together are not relaunched all at once.
///
/// Simultaneous launches would take processor time from the programs that are still drawing. Pure: the caller
/// passes in the requests, the programs that have come up, and the time.
///
/// - A single request is launched at once.
/// - Launches are at least [`LaunchLimits::spacing`] apart. At most [`LaunchLimits::at_once`] automatic restarts
///   come up at the same time. A program that does not come up within [`LaunchLimits::start_timeout`] no longer delays
///   the others.
/// - Requests are served in order, but requests by a person come before automatic restarts and do not wait for
///   programs that are coming up.
/// - No request starves: a repeated request for the same node goes to the end of the queue.
#[derive(Debug, Clone)]
pub struct LaunchQueue {
    limits: LaunchLimits,
    user_requests: VecDeque<QueuedLaunch>,
    policy_requests: VecDeque<QueuedLaunch>,
    /// The programs that are coming up, with their launch times.
    starting: BTreeMap<NodeId, Instant>,
    last: Option<Instant>,
}

/// Limits on how fast programs are launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaunchLimits {
    /// The most automatic restarts that may be coming up at the same time, 1 or more.
    pub at_once: usize,
    /// The least time between two launches.
    pub spacing: Duration,
    /// The longest time for which a program counts as coming up.
    pub start_timeout: Duration,
}

/// The priority of a launch request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaunchPriority {
    /// The request comes from a person.
    User,
    /// The request comes from the restart policy.
    Policy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct QueuedLaunch {
    node: NodeId,
    instance: Instance,
}

impl Default for LaunchLimits {
    /// Returns the defaults: four at once, 75 ms apart, each coming up for 3 s at most.
    ///
    /// With these limits, fifty programs that start quickly are launched within four seconds, and fifty that take
    /// long to load within half a minute.
    fn default() -> Self {
        Self {
            at_once: 4,
            spacing: Duration::from_millis(75),
            start_timeout: Duration::from_secs(3),
        }
    }
}

impl LaunchQueue {
    /// Creates an empty queue.
    #[must_use]
    pub const fn new(limits: LaunchLimits) -> Self {
        Self {
            limits,
            user_requests: VecDeque::new(),
            policy_requests: VecDeque::new(),
            starting: BTreeMap::new(),
            last: None,
        }
    }

    /// Changes the limits for all later launches.
    pub const fn set_limits(&mut self, limits: LaunchLimits) {
        self.limits = limits;
    }

    /// Requests a launch, replacing any earlier request for the same node.
    ///
    /// [`LaunchQueue::next`] returns the request when it is due, which may be at once.
    pub fn enqueue(&mut self, node: NodeId, instance: Instance, priority: LaunchPriority) {
        self.cancel(&node);
        let requests = match priority {
            LaunchPriority::User => &mut self.user_requests,
            LaunchPriority::Policy => &mut self.policy_requests,
        };
        requests.push_back(QueuedLaunch { node, instance });
    }

    /// Cancels the request for a node.
    pub fn cancel(&mut self, node: &NodeId) {
        self.user_requests.retain(|waiting| waiting.node != *node);
        self.policy_requests.retain(|waiting| waiting.node != *node);
    }

    /// Returns whether a request for the node is queued.
    #[must_use]
    pub fn is_waiting(&self, node: &NodeId) -> bool {
        self.user_requests.iter().chain(&self.policy_requests).any(|waiting| waiting.node == *node)
    }

    /// Returns how many requests are ahead of the node's request, or `None` if the node has none.
    #[must_use]
    pub fn before(&self, node: &NodeId) -> Option<usize> {
        self.user_requests
            .iter()
            .chain(&self.policy_requests)
            .position(|waiting| waiting.node == *node)
    }

    /// Reports that the node has come up or ended, which makes room for the next launch.
    pub fn started(&mut self, node: &NodeId) {
        self.starting.remove(node);
    }

    /// Takes the next launch that is due at `now`. Call it until it returns `None`.
    pub fn next(&mut self, now: Instant) -> Option<(NodeId, Instance)> {
        if self.next_deadline(now)? > now {
            return None;
        }
        self.forget_overdue(now);
        let QueuedLaunch { node, instance } =
            self.user_requests.pop_front().or_else(|| self.policy_requests.pop_front())?;
        self.last = Some(now);
        self.starting.insert(node.clone(), now);
        Some((node, instance))
    }

    /// Returns the time of the next launch if no program comes up before, or `None` if the queue is empty.
    ///
    /// If a launch is already due, the time is at or before `now`.
    #[must_use]
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let spaced = self.last.map_or(now, |last| last + self.limits.spacing);
        if !self.user_requests.is_empty() {
            return Some(spaced);
        }
        if self.policy_requests.is_empty() {
            return None;
        }
        // The time by which enough programs have come up, or have exceeded the time limit, to make room for one more.
        let mut until: Vec<Instant> =
            self.starting.values().map(|since| *since + self.limits.start_timeout).collect();
        until.sort();
        let surplus = (until.len() + 1).checked_sub(self.limits.at_once.max(1));
        let room = surplus.and_then(|surplus| surplus.checked_sub(1)).map(|at| until[at]);
        Some(room.map_or(spaced, |room| room.max(spaced)))
    }

    fn forget_overdue(&mut self, now: Instant) {
        let start_timeout = self.limits.start_timeout;
        self.starting.retain(|_, since| now.saturating_duration_since(*since) < start_timeout);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: LaunchLimits = LaunchLimits {
        at_once: 3,
        spacing: Duration::from_millis(20),
        start_timeout: Duration::from_secs(2),
    };

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn id(number: usize) -> NodeId {
        NodeId::new(&format!("v-{number}")).unwrap()
    }

    fn ask(queue: &mut LaunchQueue, number: usize, priority: LaunchPriority) {
        queue.enqueue(id(number), Instance::numbered(1), priority);
    }

    /// Advances time and returns the launched nodes with their times in milliseconds.
    ///
    /// Each node comes up `takes` after its launch, or never if `takes` is `None`.
    fn pass(
        queue: &mut LaunchQueue,
        start: Instant,
        until: Duration,
        takes: Option<Duration>,
    ) -> Vec<(String, u128)> {
        let mut now = start;
        let mut starting: VecDeque<(Instant, NodeId)> = VecDeque::new();
        let mut launched = vec![];
        loop {
            while let Some((node, _)) = queue.next(now) {
                launched.push((node.to_string(), now.duration_since(start).as_millis()));
                if let Some(takes) = takes {
                    starting.push_back((now + takes, node));
                }
            }
            // A program that comes up instantly makes room at the time of its launch.
            if starting.front().is_some_and(|(at, _)| *at <= now) {
                let (_, node) = starting.pop_front().unwrap();
                queue.started(&node);
                continue;
            }
            let next_start = starting.front().map(|(at, _)| *at);
            let next = [queue.next_deadline(now), next_start].into_iter().flatten().min();
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
    fn single_launch_is_not_delayed() {
        let mut queue = LaunchQueue::new(LIMITS);
        let mut now = Instant::now();
        for round in 0..10 {
            ask(&mut queue, round, LaunchPriority::Policy);
            assert!(queue.next_deadline(now).unwrap() <= now);
            assert_eq!(queue.next(now).unwrap().0, id(round));
            queue.started(&id(round));
            now += LIMITS.spacing;
        }
        assert_eq!(queue.next_deadline(now), None);
    }

    #[test]
    fn fifty_launches_are_staggered_as_programs_start() {
        let start = Instant::now();
        let mut queue = LaunchQueue::new(LIMITS);
        for number in 0..50 {
            ask(&mut queue, number, LaunchPriority::Policy);
        }
        assert_eq!(queue.before(&id(7)), Some(7));
        let launched = pass(&mut queue, start, Duration::from_mins(1), Some(millis(300)));
        let names: Vec<String> = (0..50).map(|number| id(number).to_string()).collect();
        assert_eq!(launched.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), names);
        for (number, (_, at)) in launched.iter().enumerate().skip(3) {
            assert!(at - launched[number - 3].1 >= 300, "more than three at once");
        }
        assert!(launched.windows(2).all(|pair| pair[1].1 - pair[0].1 >= 20));
        assert!(launched[49].1 < 50 / 3 * 300 + 600, "{launched:?}");
    }

    #[test]
    fn programs_that_never_start_delay_others_only_so_long() {
        let start = Instant::now();
        let mut queue = LaunchQueue::new(LIMITS);
        for number in 0..7 {
            ask(&mut queue, number, LaunchPriority::Policy);
        }
        let launched = pass(&mut queue, start, Duration::from_mins(1), None);
        let at: Vec<u128> = launched.into_iter().map(|(_, at)| at).collect();
        assert_eq!(at, [0, 20, 40, 2000, 2020, 2040, 4000]);
    }

    #[test]
    fn instant_startup_makes_room_at_once() {
        let start = Instant::now();
        let mut queue = LaunchQueue::new(LaunchLimits { at_once: 1, ..LIMITS });
        for number in 0..3 {
            ask(&mut queue, number, LaunchPriority::Policy);
        }
        let launched = pass(&mut queue, start, Duration::from_mins(1), Some(Duration::ZERO));
        let at: Vec<u128> = launched.into_iter().map(|(_, at)| at).collect();
        assert_eq!(at, [0, 20, 40]);
    }

    #[test]
    fn user_start_goes_first_and_waits_for_no_startup() {
        let start = Instant::now();
        let mut queue = LaunchQueue::new(LIMITS);
        for number in 0..20 {
            ask(&mut queue, number, LaunchPriority::Policy);
        }
        assert_eq!(pass(&mut queue, start, millis(100), None).len(), 3);
        ask(&mut queue, 100, LaunchPriority::User);
        ask(&mut queue, 101, LaunchPriority::User);
        assert_eq!(queue.before(&id(3)), Some(2));
        let later = start + millis(100);
        let launched = pass(&mut queue, later, millis(100), None);
        assert_eq!(launched, [("v-100".into(), 0), ("v-101".into(), 20)]);
    }

    #[test]
    fn cancelled_request_is_dropped_and_repeated_one_made_once() {
        let start = Instant::now();
        let mut queue = LaunchQueue::new(LIMITS);
        for number in 0..6 {
            ask(&mut queue, number, LaunchPriority::Policy);
        }
        queue.cancel(&id(2));
        queue.cancel(&id(2));
        queue.enqueue(id(0), Instance::numbered(2), LaunchPriority::Policy);
        assert!(!queue.is_waiting(&id(2)) && queue.is_waiting(&id(0)));
        let launched = pass(&mut queue, start, Duration::from_mins(1), Some(millis(1)));
        let names: Vec<&str> = launched.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["v-1", "v-3", "v-4", "v-5", "v-0"]);
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn every_request_is_launched_once_and_in_time(
            at_once in 0_usize..5,
            asks in prop::collection::vec((0_usize..30, any::<bool>(), 0_u64..100), 1..60),
            takes in prop::option::of(0_u64..5000),
        ) {
            let limits = LaunchLimits { at_once, ..LIMITS };
            let mut queue = LaunchQueue::new(limits);
            let start = Instant::now();
            let wanted: std::collections::BTreeSet<usize> = asks.iter().map(|(number, ..)| *number).collect();
            for (number, person, _) in &asks {
                ask(&mut queue, *number, if *person { LaunchPriority::User } else { LaunchPriority::Policy });
            }
            let launched = pass(&mut queue, start, Duration::from_hours(1), takes.map(millis));
            prop_assert_eq!(launched.len(), wanted.len());
            prop_assert!(launched.windows(2).all(|pair| pair[1].1 - pair[0].1 >= 20));
            prop_assert_eq!(queue.next_deadline(start + Duration::from_hours(2)), None);
        }
    }
}
