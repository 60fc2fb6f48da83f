use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hana_engine::roster::HealthMonitor;
use hana_network::{
    HealthFeed, Node, PresenceObserver, QueryableGuard, Request, SetOutcome, StatePublisher,
    unix_ms,
};
use hana_process::{
    Instance, Monitoring, Policy, Process, ProcessRecord, Supervisor, SupervisorSnapshot,
};
use hana_protocol::contract::Topic;
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{Control, LogLine, ProcessState, ProcessStatus, Started, StopReply};

use crate::clock::ClockAnchor;
use crate::look_keeper::LookStore;
use crate::output::{LineBudget, LogFeed, Output};
use crate::run_record::{RunRecord, RunRecords};
use crate::state_dir::StateDir;

/// Everything that the daemon has for one visualization: supervisor, process, health, output, pending requests.
pub(crate) struct ManagedProcess {
    pub(crate) supervisor: Supervisor,
    pub(crate) run: Option<RunningInstance>,
    pub(crate) health: Option<HealthMonitor>,
    status: StatePublisher<ProcessStatus>,
    pub(crate) feed: LogFeed,
    clock: ClockAnchor,
    waiting: Vec<PendingRequest>,
    records: RunRecords,
    /// The persistent record, for the next daemon.
    record: RunRecord,
    /// The record as last written to disk, if it was written.
    written: Option<RunRecord>,
    /// The stored look, if the program joins the mesh.
    pub(crate) look: Option<LookStore>,
    _answering: QueryableGuard,
    _health_feed: Option<HealthFeed>,
}

/// A running instance of the program.
pub(crate) struct RunningInstance {
    pub(crate) process: Process,
    pub(crate) output: Output,
}

/// A request that takes a while to answer.
struct PendingRequest {
    request: Request,
    /// The instance at the time of the request. The answer to a start or restart needs a later one.
    before: Instance,
}

fn in_words(status: &ProcessStatus) -> String {
    let ProcessStatus { node, state, reason, .. } = status;
    if reason.is_empty() {
        format!("'{node}' is {state}")
    } else {
        format!("'{node}' is {state}: {reason}")
    }
}

impl ManagedProcess {
    pub(crate) fn new(
        id: NodeId,
        name: &str,
        policy: Policy,
        state: &StateDir,
        budget: &LineBudget,
        node: &Node<role::Daemon>,
        presence: &PresenceObserver,
    ) -> Self {
        let host = node.host().clone();
        let joins = policy.mesh == Monitoring::Joins;
        let log_topic = Topic::<LogLine>::log(host.clone(), id.clone());
        let last_lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&last_lines);
        let feed = LogFeed {
            node: id.clone(),
            publisher: node.publisher(&log_topic),
            last_lines,
            budget: budget.clone(),
        };
        Self {
            supervisor: Supervisor::new(id.clone(), name, policy, Instant::now()),
            run: None,
            health: None,
            status: node.state_publisher(&Topic::<ProcessStatus>::process(host, id.clone())),
            _answering: node.answer(&log_topic, move || {
                kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
            }),
            feed,
            clock: ClockAnchor::new(),
            waiting: vec![],
            records: state.run_records(),
            record: RunRecord {
                node: id.clone(),
                process: None,
                launching: None,
                output: None,
                name: name.into(),
                joins,
                launched_ms: 0,
                instance: 0,
                boot: None,
                first_line: 0,
                memory: SupervisorSnapshot::default(),
            },
            written: None,
            look: joins
                .then(|| LookStore::new(node, &id, state.look_of(&id), state.files().clone())),
            _health_feed: joins.then(|| presence.hear_health_of(&id)),
        }
    }

    /// Changes the policy, also for the running instance.
    pub(crate) fn set_policy(&mut self, policy: Policy) {
        if let Some(health) = &mut self.health {
            health.set_limits(policy.health.limits);
        }
        self.supervisor.set_policy(policy);
    }

    /// Saves everything known about the visualization for the daemon that takes over.
    pub(crate) fn hand_over(&mut self, now: Instant) {
        self.update_record();
        if let Some(look) = &mut self.look {
            look.keep(now);
        }
        for waiting in std::mem::take(&mut self.waiting) {
            waiting.request.refuse("this daemon makes room for another; ask again in a moment");
        }
    }

    /// Returns whether the id is taken: a process with it exists or is about to.
    pub(crate) fn is_taken(&self) -> bool {
        let state = self.supervisor.state();
        state.is_alive() || state == ProcessState::Restarting
    }

    /// Returns when something is next due if nothing happens before.
    ///
    /// An unchanged health verdict is not repeated.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let of_health = self.health.as_ref().and_then(|watch| watch.next_deadline(now));
        let of_health = of_health.filter(|at| *at > now);
        self.supervisor.next_deadline().into_iter().chain(of_health).min()
    }

    /// Publishes the status.
    pub(crate) fn announce(&mut self) {
        self.clock.follow();
        let status = self.supervisor.status(|at| self.clock.unix_ms(at));
        match self.status.set(&status) {
            Ok(SetOutcome::Same) => {},
            Ok(SetOutcome::Another) => tracing::info!("{}", in_words(&status)),
            Err(problem) => tracing::warn!("the state of '{}' is not said: {problem}", status.node),
        }
    }

    /// Adds a request to be answered later.
    pub(crate) fn wait(&mut self, request: Request) {
        self.waiting.push(PendingRequest { request, before: self.supervisor.incarnation() });
    }

    /// Answers the requests that have succeeded or failed.
    pub(crate) fn answer(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            if let Some(still) = self.answer_one(waiting) {
                self.waiting.push(still);
            }
        }
    }

    fn answer_one(&self, waiting: PendingRequest) -> Option<PendingRequest> {
        let supervisor = &self.supervisor;
        match waiting.request.control() {
            Control::Stop(_) | Control::Kill(_) => {
                let Some(by) = supervisor.stopped_by() else { return Some(waiting) };
                waiting.request.accept(StopReply { by });
            },
            _ => match supervisor.pid() {
                Some(pid) if supervisor.incarnation() != waiting.before => {
                    waiting.request.accept(Started { node: supervisor.id().clone(), pid });
                },
                None if matches!(
                    supervisor.state(),
                    ProcessState::Crashed | ProcessState::Stopped | ProcessState::CrashLoop
                ) =>
                {
                    waiting.request.refuse(supervisor.reason());
                },
                _ => return Some(waiting),
            },
        }
        None
    }

    /// Returns whether the output file begins with another line than the record has.
    pub(crate) fn has_other_file(&self) -> bool {
        self.first_line().is_some_and(|first_line| first_line != self.record.first_line)
    }

    fn first_line(&self) -> Option<u64> {
        self.run.as_ref().and_then(|run| run.output.first_line())
    }

    /// Records a launch with this id before it is made, so that a later daemon can find the launched processes.
    pub(crate) fn write_down_launch(&mut self, launch_id: &str) {
        self.record.process = None;
        self.record.launching = Some(launch_id.into());
        self.record.launched_ms = unix_ms();
        self.record.first_line = 0;
        self.update_record();
    }

    /// Records the launched process, if it has not ended already, and its output file.
    pub(crate) fn note_launched(
        &mut self,
        process: Option<ProcessRecord>,
        output: Option<PathBuf>,
    ) {
        self.record.process = process;
        self.record.output = output;
    }

    /// Records that the process has ended and been swept.
    pub(crate) fn note_swept(&mut self) {
        self.record.process = None;
    }

    /// Continues with the record of an earlier daemon.
    pub(crate) fn keep_record(&mut self, record: RunRecord) {
        // Written again even if it is unchanged, so that it is kept like every other record.
        self.written = None;
        self.record = record;
    }

    /// Returns the persistent record.
    pub(crate) const fn record(&self) -> &RunRecord {
        &self.record
    }

    /// Adjusts published and recorded times after the wall clock was set.
    pub(crate) fn follow_clock(&mut self) {
        if self.clock.follow() {
            self.announce();
            self.update_record();
        }
    }

    /// Records the number of the running instance.
    pub(crate) fn note_instance(&mut self, instance: u64) {
        if self.supervisor.pid().is_some() && self.record.instance != instance {
            self.record.instance = instance;
            self.update_record();
        }
    }

    /// Returns the supervisor's state from the record.
    pub(crate) fn recalled(&self) -> SupervisorSnapshot<Instant> {
        let clock = &self.clock;
        let boot = self.record.boot.as_ref();
        self.record.memory.clone().map_time(|ms| clock.moment(ms, boot))
    }

    /// Returns the time since the process was launched.
    pub(crate) fn launched_ago(&self) -> Duration {
        let launched = self.clock.moment(self.record.launched_ms, self.record.boot.as_ref());
        Instant::now().saturating_duration_since(launched)
    }

    /// Updates the record and writes it to disk if it changed.
    pub(crate) fn update_record(&mut self) {
        let supervisor = &self.supervisor;
        if supervisor.incarnation() == Instance::default() {
            return;
        }
        let clock = &self.clock;
        self.record.memory = supervisor.memory().map_time(|at| clock.unix_ms(at));
        self.record.boot = clock.boot().cloned();
        if !self.record.memory.is_launching() {
            // The outcome of the launch is known.
            self.record.launching = None;
        }
        if let Some(first_line) = self.first_line() {
            self.record.first_line = first_line;
        }
        if self.written.as_ref() == Some(&self.record) {
            return;
        }
        // The writer retries by itself if the file cannot be written now, or is deleted later.
        match self.records.write(&self.record) {
            Ok(()) => self.written = Some(self.record.clone()),
            Err(problem) => {
                tracing::warn!("'{}' cannot be written down: {problem}", self.record.node);
            },
        }
    }

    /// Removes the record: the visualization is no longer listed, or the daemon ends normally.
    pub(crate) fn forget_record(&mut self) {
        self.written = None;
        self.records.remove(self.supervisor.id());
    }

    /// Returns the error that an instance wrote before it ended while no daemon ran, if it wrote one.
    pub(crate) fn words_of_missed_end(&self) -> Option<String> {
        self.feed.error_words()
    }

    /// Reads the rest of an ended instance's output and returns the words that give the cause.
    pub(crate) fn words_of_ended(&self) -> Option<String> {
        if let Some(run) = &self.run {
            run.output.finish();
        }
        self.feed.last_words()
    }
}
