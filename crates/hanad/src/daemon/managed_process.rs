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

use crate::output::process_output::{LineBudget, LogFeed, Output};
use crate::state::clock_anchor::ClockAnchor;
use crate::state::look_store::LookStore;
use crate::state::run_record::{RunRecord, RunRecords};
use crate::state::state_dir::StateDir;

/// Everything that the daemon has for one visualization: supervisor, process, health, output, pending requests.
pub(crate) struct ManagedProcess {
    pub(crate) supervisor: Supervisor,
    pub(crate) running: Option<RunningInstance>,
    pub(crate) health: Option<HealthMonitor>,
    status: StatePublisher<ProcessStatus>,
    pub(crate) feed: LogFeed,
    clock: ClockAnchor,
    requests: Vec<PendingRequest>,
    /// Whether the status must be published.
    pub(crate) status_changed: bool,
    records: RunRecords,
    /// The persistent record, for the next daemon.
    record: RunRecord,
    /// The record as last passed to the writer, or `None` if it must be written.
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
    /// The instance at the time of the request. A start or restart succeeds only with a later one.
    before: Instance,
}

fn describe(status: &ProcessStatus) -> String {
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
            running: None,
            health: None,
            status: node.state_publisher(&Topic::<ProcessStatus>::process(host, id.clone())),
            _answering: node.reply_to(&log_topic, move || {
                kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
            }),
            feed,
            clock: ClockAnchor::new(),
            requests: vec![],
            status_changed: false,
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
                snapshot: SupervisorSnapshot::default(),
            },
            written: None,
            look: joins
                .then(|| LookStore::new(node, &id, state.look_of(&id), state.files().clone())),
            _health_feed: joins.then(|| presence.subscribe_health(&id)),
        }
    }

    /// Changes the policy, which also applies to the running instance.
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
        for pending in std::mem::take(&mut self.requests) {
            pending.request.refuse("this daemon is being replaced by another; retry in a moment");
        }
    }

    /// Returns whether the id is in use: its process exists or is about to be launched.
    pub(crate) fn is_taken(&self) -> bool {
        let state = self.supervisor.state();
        state.is_alive() || state == ProcessState::Restarting
    }

    /// Returns the next deadline of the process if no event comes before.
    ///
    /// A health deadline that has already passed does not count, since an unchanged verdict is not repeated.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let health = self.health.as_ref().and_then(|health| health.next_deadline(now));
        self.supervisor.next_deadline().into_iter().chain(health.filter(|at| *at > now)).min()
    }

    /// Publishes the status.
    fn publish(&mut self) {
        self.clock.follow();
        let status = self.supervisor.status(|at| self.clock.unix_ms(at));
        match self.status.set(&status) {
            Ok(SetOutcome::Unchanged) => {},
            Ok(SetOutcome::Published) => tracing::info!("{}", describe(&status)),
            Err(problem) => {
                tracing::warn!("cannot publish the state of '{}': {problem}", status.node);
            },
        }
    }

    /// Publishes and records the changes, and replies to the requests that have succeeded or failed.
    pub(crate) fn settle(&mut self) {
        if std::mem::take(&mut self.status_changed) {
            self.publish();
        }
        self.update_record();
        self.reply();
    }

    /// Records a rotation of the output file and polls the look, ten times a second.
    pub(crate) fn poll(&mut self, now: Instant) {
        if self.first_line().is_some_and(|first_line| first_line != self.record.first_line) {
            // The output file was rotated, so the number of its first line has changed.
            self.update_record();
        }
        if let Some(look) = &mut self.look {
            look.poll(now);
        }
    }

    /// Adds a request, which is answered once it has succeeded or failed.
    pub(crate) fn add_request(&mut self, request: Request) {
        self.requests.push(PendingRequest { request, before: self.supervisor.instance() });
    }

    /// Replies to the requests that have succeeded or failed.
    fn reply(&mut self) {
        for pending in std::mem::take(&mut self.requests) {
            if let Some(pending) = self.reply_to(pending) {
                self.requests.push(pending);
            }
        }
    }

    fn reply_to(&self, pending: PendingRequest) -> Option<PendingRequest> {
        let supervisor = &self.supervisor;
        match pending.request.control() {
            Control::Stop(_) | Control::Kill(_) => {
                let Some(by) = supervisor.stopped_by() else { return Some(pending) };
                pending.request.accept(StopReply { by });
            },
            _ => match supervisor.pid() {
                Some(pid) if supervisor.instance() != pending.before => {
                    pending.request.accept(Started { node: supervisor.id().clone(), pid });
                },
                None if matches!(
                    supervisor.state(),
                    ProcessState::Crashed | ProcessState::Stopped | ProcessState::CrashLoop
                ) =>
                {
                    pending.request.refuse(supervisor.reason());
                },
                _ => return Some(pending),
            },
        }
        None
    }

    fn first_line(&self) -> Option<u64> {
        self.running.as_ref().and_then(|running| running.output.first_line())
    }

    /// Records a launch with this id before it is made, so that a later daemon can find the launched processes.
    pub(crate) fn record_launch(&mut self, launch_id: &str) {
        self.record.process = None;
        self.record.launching = Some(launch_id.into());
        self.record.launched_ms = unix_ms();
        self.record.first_line = 0;
        self.update_record();
    }

    /// Records the launched process, unless it has already ended, and its output file.
    pub(crate) fn note_launched(
        &mut self,
        process: Option<ProcessRecord>,
        output: Option<PathBuf>,
    ) {
        self.record.process = process;
        self.record.output = output;
    }

    /// Records that the process has ended and its remaining processes are gone.
    pub(crate) fn note_gone(&mut self) {
        self.record.process = None;
    }

    /// Continues with the record of an earlier daemon.
    pub(crate) fn keep_record(&mut self, record: RunRecord) {
        // An unchanged record is written too, so that the file is restored if it is deleted.
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
            self.publish();
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
    pub(crate) fn snapshot(&self) -> SupervisorSnapshot<Instant> {
        let clock = &self.clock;
        let boot = self.record.boot.as_ref();
        self.record.snapshot.clone().map_time(|ms| clock.moment(ms, boot))
    }

    /// Returns the time since the process was launched.
    pub(crate) fn launched_ago(&self) -> Duration {
        let launched = self.clock.moment(self.record.launched_ms, self.record.boot.as_ref());
        Instant::now().saturating_duration_since(launched)
    }

    /// Updates the record and writes it to disk if it changed.
    pub(crate) fn update_record(&mut self) {
        let supervisor = &self.supervisor;
        if supervisor.instance() == Instance::default() {
            return;
        }
        let clock = &self.clock;
        self.record.snapshot = supervisor.snapshot().map_time(|at| clock.unix_ms(at));
        self.record.boot = clock.boot().cloned();
        if !self.record.snapshot.is_launching() {
            // The outcome of the launch is known.
            self.record.launching = None;
        }
        if let Some(first_line) = self.first_line() {
            self.record.first_line = first_line;
        }
        if self.written.as_ref() == Some(&self.record) {
            return;
        }
        // If the file cannot be written now or is deleted later, the writer retries automatically.
        match self.records.write(&self.record) {
            Ok(()) => self.written = Some(self.record.clone()),
            Err(problem) => {
                tracing::warn!("cannot record '{}': {problem}", self.record.node);
            },
        }
    }

    /// Removes the record, since the visualization is no longer listed or the daemon ends normally.
    pub(crate) fn forget_record(&mut self) {
        self.written = None;
        self.records.remove(self.supervisor.id());
    }

    /// Returns the error at the end of the output of an instance that ended while no daemon ran, if there is one.
    pub(crate) fn error_words(&self) -> Option<String> {
        self.feed.error_words()
    }

    /// Reads the rest of an ended instance's output and returns the lines that give the cause.
    pub(crate) fn last_words(&self) -> Option<String> {
        if let Some(running) = &self.running {
            running.output.finish();
        }
        self.feed.last_words()
    }
}
