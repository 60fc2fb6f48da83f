use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use hana_process::{Action, Instance, LaunchLimits, LaunchQueue, ProcessEvent, Supervisor};
use hana_protocol::id::NodeId;
use hana_protocol::message::ProcessState;

/// The supervisors, and the outside world that carries out their actions.
///
/// The daemon's implementation is [`ProcessTable`](crate::daemon::process_table::ProcessTable). The implementation in
/// tests launches nothing.
pub(crate) trait ProcessDriver {
    fn now(&self) -> Instant;

    /// Returns the supervisor of a node, if the daemon manages it.
    fn supervisor(&mut self, node: &NodeId) -> Option<&mut Supervisor>;

    /// Records the supervisor's decision before it is carried out.
    ///
    /// If this daemon is killed in between, the next one can continue from the record.
    fn record(&mut self, node: &NodeId);

    /// Notes that the deadlines of a node may have changed.
    fn reschedule(&mut self, node: &NodeId);

    /// Launches an instance and returns the event that reports the outcome.
    fn launch(&mut self, node: &NodeId, instance: Instance) -> ProcessEvent;

    /// Carries out an action, other than a launch or its cancellation.
    fn apply(&mut self, node: &NodeId, action: Action);

    /// Records and publishes the changes from all events together, and answers the requests that are complete.
    fn settle(&mut self, node: &NodeId);
}

/// Passes events to the supervisors and their actions to the driver, and decides when launches are made. Pure.
///
/// Events wait in a queue. The outcome of a launch comes before all other events, so that no request can come between
/// a launch and its outcome.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    events: VecDeque<(NodeId, ProcessEvent)>,
    launches: LaunchQueue,
}

impl Dispatcher {
    pub(crate) const fn new(limits: LaunchLimits) -> Self {
        Self { events: VecDeque::new(), launches: LaunchQueue::new(limits) }
    }

    /// Changes the limits for all later launches.
    pub(crate) const fn set_limits(&mut self, limits: LaunchLimits) {
        self.launches.set_limits(limits);
    }

    /// Returns the time at which the next launch is due.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        self.launches.next_deadline(now)
    }

    /// Adds an event, which [`Self::run`] handles.
    pub(crate) fn push(&mut self, node: NodeId, event: ProcessEvent) {
        self.events.push_back((node, event));
    }

    /// Adds several events.
    pub(crate) fn extend(&mut self, events: impl IntoIterator<Item = (NodeId, ProcessEvent)>) {
        self.events.extend(events);
    }

    /// Handles all events and the events that result from them, and makes every launch that is due.
    pub(crate) fn run(&mut self, driver: &mut impl ProcessDriver) {
        let mut changed = BTreeSet::new();
        loop {
            if let Some((node, event)) = self.events.pop_front() {
                if self.handle(&node, event, driver) {
                    changed.insert(node);
                }
            } else if !self.launch_next(driver) {
                break;
            }
        }
        for node in changed {
            driver.settle(&node);
        }
    }

    /// Handles one event and returns whether it may have changed anything.
    fn handle(
        &mut self,
        node: &NodeId,
        event: ProcessEvent,
        driver: &mut impl ProcessDriver,
    ) -> bool {
        let now = driver.now();
        let Some(supervisor) = driver.supervisor(node) else { return false };
        let is_of_time = matches!(event, ProcessEvent::Tick | ProcessEvent::Verdict { .. });
        let actions = supervisor.handle(event, now);
        let priority = supervisor.launch_priority();
        if supervisor.state() != ProcessState::Starting {
            self.launches.started(node);
        }
        driver.reschedule(node);
        if is_of_time && actions.is_empty() {
            return false;
        }
        // A launch is recorded later, when it is made and has an id.
        if !actions.iter().any(|action| matches!(action, Action::Spawn(_))) {
            driver.record(node);
        }
        for action in actions {
            match action {
                Action::Spawn(instance) => {
                    self.launches.enqueue(node.clone(), instance, priority);
                    self.launch_next(driver);
                    if self.launches.is_waiting(node) {
                        self.push(node.clone(), ProcessEvent::Queued { instance });
                    }
                },
                Action::Withdraw(_) => self.launches.cancel(node),
                action => driver.apply(node, action),
            }
        }
        true
    }

    /// Makes the next launch if one is due.
    fn launch_next(&mut self, driver: &mut impl ProcessDriver) -> bool {
        let Some((node, instance)) = self.launches.next(driver.now()) else { return false };
        let outcome = driver.launch(&node, instance);
        self.events.push_front((node, outcome));
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use hana_process::{Monitoring, Policy, Preset, RestartOn};
    use hana_protocol::message::Exit;

    use super::*;

    const LIMITS: LaunchLimits = LaunchLimits {
        at_once: 2,
        spacing: Duration::from_millis(100),
        start_timeout: Duration::from_secs(3),
    };

    /// A driver with supervisors in virtual time, whose launches only assign a process id.
    struct FakeDriver {
        now: Instant,
        supervisors: BTreeMap<NodeId, Supervisor>,
        last_pid: u32,
        /// The nodes whose program is missing.
        missing: BTreeSet<NodeId>,
        log: Vec<String>,
    }

    impl FakeDriver {
        fn new(names: &[&str], policy: &Policy) -> Self {
            let now = Instant::now();
            let supervisor = |name: &str| Supervisor::new(id(name), name, policy.clone(), now);
            let supervisors = names.iter().map(|name| (id(name), supervisor(name))).collect();
            Self { now, supervisors, last_pid: 0, missing: BTreeSet::new(), log: vec![] }
        }

        fn take_log(&mut self) -> Vec<String> {
            std::mem::take(&mut self.log)
        }

        fn state(&self, name: &str) -> ProcessState {
            self.supervisors[&id(name)].state()
        }

        fn exited(&self, name: &str, exit: Exit) -> ProcessEvent {
            ProcessEvent::Exited { instance: self.supervisors[&id(name)].instance(), exit }
        }

        /// Advances time from deadline to deadline, for the duration `until`, as the daemon's loop does.
        fn run_for(&mut self, dispatcher: &mut Dispatcher, until: Duration) {
            let end = self.now + until;
            loop {
                let now = self.now;
                let due = |supervisor: &Supervisor| supervisor.next_deadline();
                let deadlines = self.supervisors.values().filter_map(due);
                let next = deadlines.chain(dispatcher.next_deadline(now)).min();
                let Some(at) = next.filter(|at| *at <= end) else { break };
                self.now = now.max(at);
                let is_due = |(_, supervisor): &(&NodeId, &Supervisor)| {
                    supervisor.next_deadline().is_some_and(|at| at <= self.now)
                };
                let due = self.supervisors.iter().filter(is_due);
                let ticks: Vec<_> =
                    due.map(|(node, _)| (node.clone(), ProcessEvent::Tick)).collect();
                dispatcher.extend(ticks);
                dispatcher.run(self);
            }
            self.now = end;
        }
    }

    impl ProcessDriver for FakeDriver {
        fn now(&self) -> Instant {
            self.now
        }

        fn supervisor(&mut self, node: &NodeId) -> Option<&mut Supervisor> {
            self.supervisors.get_mut(node)
        }

        fn record(&mut self, node: &NodeId) {
            self.log.push(format!("record {node}"));
        }

        fn reschedule(&mut self, _node: &NodeId) {}

        fn launch(&mut self, node: &NodeId, instance: Instance) -> ProcessEvent {
            self.log.push(format!("launch {node}"));
            if self.missing.contains(node) {
                return ProcessEvent::SpawnFailed { instance, reason: "not found".into() };
            }
            self.last_pid += 1;
            ProcessEvent::Spawned { instance, pid: self.last_pid }
        }

        fn apply(&mut self, node: &NodeId, action: Action) {
            let name = match action {
                Action::Publish => return,
                Action::Report { kind, .. } => format!("report {kind:?}"),
                Action::KillRemaining(_) => "kill remaining".into(),
                Action::Terminate(_) => "terminate".into(),
                action => format!("{action:?}"),
            };
            self.log.push(format!("{name} {node}"));
        }

        fn settle(&mut self, node: &NodeId) {
            self.log.push(format!("settle {node}"));
        }
    }

    fn id(name: &str) -> NodeId {
        NodeId::new(name).unwrap()
    }

    /// Returns the policy of programs that never join the mesh, so they run as soon as they are launched.
    fn policy() -> Policy {
        Policy { mesh: Monitoring::Never, ..Policy::preset(Preset::Show) }
    }

    fn started(names: &[&str]) -> (Dispatcher, FakeDriver) {
        let (mut dispatcher, mut driver) =
            (Dispatcher::new(LIMITS), FakeDriver::new(names, &policy()));
        dispatcher.extend(names.iter().map(|name| (id(name), ProcessEvent::StartRequested)));
        dispatcher.run(&mut driver);
        driver.run_for(&mut dispatcher, Duration::from_secs(5));
        driver.take_log();
        assert!(names.iter().all(|name| driver.state(name) == ProcessState::Running));
        (dispatcher, driver)
    }

    #[test]
    fn start_launches_and_settles_once() {
        let (mut dispatcher, mut driver) =
            (Dispatcher::new(LIMITS), FakeDriver::new(&["a"], &policy()));
        dispatcher.push(id("a"), ProcessEvent::StartRequested);
        dispatcher.run(&mut driver);
        assert_eq!(driver.take_log(), ["launch a", "record a", "report Started a", "settle a"]);
        assert_eq!(driver.state("a"), ProcessState::Running);
    }

    #[test]
    fn decision_is_recorded_before_it_is_carried_out() {
        let (mut dispatcher, mut driver) = started(&["a"]);
        dispatcher.push(id("a"), ProcessEvent::StopRequested);
        dispatcher.run(&mut driver);
        assert_eq!(driver.take_log(), ["record a", "terminate a", "settle a"]);
    }

    #[test]
    fn simultaneous_starts_are_launched_one_after_the_other() {
        let names = ["a", "b", "c"];
        let (mut dispatcher, mut driver) =
            (Dispatcher::new(LIMITS), FakeDriver::new(&names, &policy()));
        dispatcher.extend(names.map(|name| (id(name), ProcessEvent::StartRequested)));
        dispatcher.run(&mut driver);
        let launches = |driver: &mut FakeDriver| -> Vec<String> {
            driver.take_log().into_iter().filter(|line| line.starts_with("launch")).collect()
        };
        assert_eq!(launches(&mut driver), ["launch a"]);
        assert_eq!(driver.state("c"), ProcessState::Starting);
        driver.run_for(&mut dispatcher, LIMITS.spacing);
        assert_eq!(launches(&mut driver), ["launch b"]);
        driver.run_for(&mut dispatcher, LIMITS.spacing);
        assert_eq!(launches(&mut driver), ["launch c"]);
        assert_eq!(driver.state("c"), ProcessState::Running);
    }

    #[test]
    fn queued_start_that_is_stopped_is_never_launched() {
        let (mut dispatcher, mut driver) =
            (Dispatcher::new(LIMITS), FakeDriver::new(&["a", "b"], &policy()));
        dispatcher.extend(["a", "b"].map(|name| (id(name), ProcessEvent::StartRequested)));
        dispatcher.push(id("b"), ProcessEvent::StopRequested);
        dispatcher.run(&mut driver);
        driver.run_for(&mut dispatcher, Duration::from_mins(1));
        assert_eq!(driver.state("b"), ProcessState::Stopped);
        assert!(!driver.take_log().contains(&"launch b".into()));
        assert_eq!(dispatcher.next_deadline(driver.now), None);
    }

    /// Checks that the outcome of a launch overtakes all other events, so the stop is handled for a running process.
    #[test]
    fn stop_behind_a_start_ends_the_launched_process() {
        let (mut dispatcher, mut driver) =
            (Dispatcher::new(LIMITS), FakeDriver::new(&["a"], &policy()));
        dispatcher.push(id("a"), ProcessEvent::StartRequested);
        dispatcher.push(id("a"), ProcessEvent::StopRequested);
        dispatcher.run(&mut driver);
        assert!(driver.take_log().contains(&"terminate a".into()));
        assert_eq!(driver.state("a"), ProcessState::Stopping);
        dispatcher.push(id("a"), driver.exited("a", Exit::Signal(15)));
        dispatcher.run(&mut driver);
        assert_eq!(driver.state("a"), ProcessState::Stopped);
    }

    #[test]
    fn crash_ends_the_rest_before_the_restart() {
        let (mut dispatcher, mut driver) = started(&["a"]);
        dispatcher.push(id("a"), driver.exited("a", Exit::Code(1)));
        dispatcher.run(&mut driver);
        driver.run_for(&mut dispatcher, Duration::from_secs(1));
        let log = driver.take_log();
        let at = |wanted: &str| log.iter().position(|line| line == wanted).unwrap();
        assert!(at("kill remaining a") < at("report Crashed a"), "{log:?}");
        assert!(at("report Crashed a") < at("launch a"), "{log:?}");
        assert_eq!(driver.state("a"), ProcessState::Running);
    }

    #[test]
    fn failed_restart_is_retried_until_the_budget_is_spent() {
        let (mut dispatcher, mut driver) = started(&["a"]);
        driver.missing.insert(id("a"));
        dispatcher.push(id("a"), driver.exited("a", Exit::Code(1)));
        dispatcher.run(&mut driver);
        driver.run_for(&mut dispatcher, Duration::from_mins(1));
        let launches = driver.take_log().iter().filter(|line| *line == "launch a").count();
        let policy = policy().restart;
        assert!(policy.on.contains(&RestartOn::Launch));
        assert_eq!(launches, usize::try_from(policy.budget.unwrap()).unwrap());
        assert_eq!(driver.state("a"), ProcessState::CrashLoop);
    }

    #[test]
    fn idle_tick_changes_nothing() {
        let (mut dispatcher, mut driver) = started(&["a"]);
        dispatcher.push(id("a"), ProcessEvent::Tick);
        dispatcher.push(id("unknown"), ProcessEvent::StopRequested);
        dispatcher.run(&mut driver);
        assert!(driver.take_log().is_empty());
    }
}
