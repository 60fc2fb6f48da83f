use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use hana_network::Answering;
use hana_network::Change;
use hana_network::HealthFeed;
use hana_network::Node;
use hana_network::PresenceWatch;
use hana_network::Publisher;
use hana_network::Request;
use hana_network::StatePublisher;
use hana_network::unix_ms;
use hana_process::Incarnation;
use hana_process::Line;
use hana_process::LogFollower;
use hana_process::Mesh;
use hana_process::Policy;
use hana_process::Process;
use hana_process::ProcessRecord;
use hana_process::Supervisor;
use hana_protocol::Control;
use hana_protocol::HealthWatch;
use hana_protocol::LogLine;
use hana_protocol::NodeId;
use hana_protocol::ProcessState;
use hana_protocol::ProcessStatus;
use hana_protocol::Started;
use hana_protocol::StopReport;
use hana_protocol::Stream;
use hana_protocol::Topic;
use hana_protocol::role;

use crate::complaint::Complaint;
use crate::look_keeper::LookKeeper;
use crate::run_record::RunRecord;
use crate::run_record::RunRecords;

/// What the daemon has of one visualization: what decides about it, the process, its health and output,
/// and who waits for an answer.
pub(crate) struct Keeper {
    pub(crate) supervisor: Supervisor,
    pub(crate) run: Option<Run>,
    pub(crate) health: Option<HealthWatch>,
    status: StatePublisher<ProcessStatus>,
    log: Publisher<LogLine>,
    last_lines: Arc<Mutex<VecDeque<LogLine>>>,
    output_complaint: Complaint,
    clock: Clock,
    waiting: Vec<Waiting>,
    records: RunRecords,
    /// What is written down of the run, for a daemon that comes after this one.
    record: Option<RunRecord>,
    /// Of one that joins the mesh.
    pub(crate) look: Option<LookKeeper>,
    _answering: Answering,
    _health_feed: Option<HealthFeed>,
}

/// One run of the process.
pub(crate) struct Run {
    pub(crate) process: Process,
    pub(crate) follower: LogFollower,
}

/// Somebody who asked for something that takes a while.
struct Waiting {
    request: Request,
    /// The run that was there when it was asked: an answer to a start or restart is a newer one.
    before: Incarnation,
}

/// One pair of moments, to tell the wall-clock time of others, always the same for the same moment.
struct Clock {
    at: Instant,
    unix_ms: u64,
}

impl Clock {
    fn new() -> Self {
        Self { at: Instant::now(), unix_ms: unix_ms() }
    }

    fn unix_ms(&self, moment: Instant) -> u64 {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let before = ms(self.at.saturating_duration_since(moment));
        let after = ms(moment.saturating_duration_since(self.at));
        self.unix_ms.saturating_sub(before).saturating_add(after)
    }
}

fn in_words(status: &ProcessStatus) -> String {
    let ProcessStatus { node, state, reason, .. } = status;
    if reason.is_empty() {
        format!("'{node}' is {state}")
    } else {
        format!("'{node}' is {state}: {reason}")
    }
}

fn log_line(line: Line) -> LogLine {
    LogLine { number: line.number, stream: Stream::Output, text: line.text }
}

/// How many of its last lines are kept for who comes late.
const LAST_LINES: usize = 200;

impl Keeper {
    pub(crate) fn new(
        id: NodeId,
        name: &str,
        policy: Policy,
        records: RunRecords,
        look: PathBuf,
        node: &Node<role::Daemon>,
        presence: &PresenceWatch,
    ) -> Self {
        let host = node.host().clone();
        let joins = policy.mesh == Mesh::Joins;
        let log_topic = Topic::<LogLine>::log(host.clone(), id.clone());
        let last_lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&last_lines);
        Self {
            supervisor: Supervisor::new(id.clone(), name, policy, Instant::now()),
            run: None,
            health: None,
            status: node.state_publisher(&Topic::<ProcessStatus>::process(host, id.clone())),
            log: node.publisher(&log_topic),
            _answering: node.answer(&log_topic, move || {
                kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
            }),
            last_lines,
            output_complaint: Complaint::default(),
            clock: Clock::new(),
            waiting: vec![],
            records,
            record: None,
            look: joins.then(|| LookKeeper::new(node, &id, look)),
            _health_feed: joins.then(|| presence.hear_health_of(&id)),
        }
    }

    /// Whether a process of this id exists or is about to: the id is taken.
    pub(crate) fn is_taken(&self) -> bool {
        let state = self.supervisor.state();
        state.is_alive() || state == ProcessState::Restarting
    }

    /// Makes the status known.
    pub(crate) fn announce(&self) {
        let status = self.supervisor.status(|at| self.clock.unix_ms(at));
        match self.status.set(&status) {
            Ok(Change::Same) => {},
            Ok(Change::Another) => tracing::info!("{}", in_words(&status)),
            Err(problem) => tracing::warn!("the state of '{}' is not said: {problem}", status.node),
        }
    }

    /// Somebody waits for what was asked.
    pub(crate) fn wait(&mut self, request: Request) {
        self.waiting.push(Waiting { request, before: self.supervisor.incarnation() });
    }

    /// Answers those whose wish has been fulfilled, or will not be.
    pub(crate) fn answer(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            if let Some(still) = self.answer_one(waiting) {
                self.waiting.push(still);
            }
        }
    }

    fn answer_one(&self, waiting: Waiting) -> Option<Waiting> {
        let supervisor = &self.supervisor;
        match waiting.request.control() {
            Control::Stop(_) | Control::Kill(_) => {
                let Some(by) = supervisor.stopped_by() else { return Some(waiting) };
                waiting.request.accept(StopReport { by });
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

    /// Reads what the process has written since the last time, and tells it.
    pub(crate) fn tell_output(&mut self) {
        let Some(run) = &mut self.run else { return };
        match run.follower.poll() {
            Ok(lines) => self.tell(lines),
            // A tenth of a second later it will be the same.
            Err(problem) if self.output_complaint.is_news(&problem) => {
                tracing::warn!("the output of '{}': {problem}", self.supervisor.id());
            },
            Err(_) => {},
        }
    }

    /// Reads what is left of the output of a run that has ended.
    pub(crate) fn tell_last_output(&self, run: &mut Run) {
        match run.follower.finish() {
            Ok(lines) => self.tell(lines),
            Err(problem) => tracing::warn!("the output of '{}': {problem}", self.supervisor.id()),
        }
    }

    fn tell(&self, lines: Vec<Line>) {
        for line in lines {
            let line = log_line(line);
            // A full queue costs watchers a line; the file has it.
            if let Err(problem) = self.log.publish(&line) {
                tracing::debug!("{problem}");
            }
            self.keep(line);
        }
    }

    /// Keeps what was written before this daemon was there, for who asks. Nobody is told it as new.
    pub(crate) fn remember(&self, lines: Vec<Line>) {
        lines.into_iter().map(log_line).for_each(|line| self.keep(line));
    }

    fn keep(&self, line: LogLine) {
        let mut last = self.last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= LAST_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }

    /// Writes down the run that has just begun.
    pub(crate) fn write_down(&mut self, process: Option<ProcessRecord>) {
        let node = self.supervisor.id().clone();
        let Some(process) = process else {
            // It has ended already; its end comes next.
            self.forget_record();
            return;
        };
        self.record = Some(RunRecord {
            node,
            process,
            name: self.supervisor.name().into(),
            joins: self.supervisor.policy().mesh == Mesh::Joins,
            incarnation: self.supervisor.incarnation().number(),
            launched_ms: unix_ms(),
            restarts: self.supervisor.restarts(),
            first_line: 0,
            to_end: false,
        });
        self.write_record();
    }

    /// Goes on with what an earlier daemon wrote down.
    pub(crate) fn keep_record(&mut self, record: RunRecord) {
        self.record = Some(record);
    }

    /// Brings what is written down up to date; it goes when the run has ended for good.
    pub(crate) fn update_record(&mut self) {
        let Some(record) = &mut self.record else { return };
        let state = self.supervisor.state();
        if !state.is_alive() && state != ProcessState::Restarting {
            self.forget_record();
            return;
        }
        let before = (record.first_line, record.to_end);
        record.to_end = self.supervisor.is_to_end();
        if let Some(run) = &self.run {
            record.first_line = run.follower.first_line();
        }
        if (record.first_line, record.to_end) != before {
            self.write_record();
        }
    }

    fn write_record(&self) {
        let Some(record) = &self.record else { return };
        if let Err(problem) = self.records.write(record) {
            tracing::warn!(
                "'{}' cannot be written down ({problem}): it runs, but a daemon that is started again would not take it over; mend the state directory, or set HANA_STATE to another",
                record.node
            );
        }
    }

    fn forget_record(&mut self) {
        self.record = None;
        let id = self.supervisor.id();
        if let Err(problem) = self.records.remove(id) {
            tracing::warn!("what was written down of '{id}' stays: {problem}");
        }
    }

    /// A new run begins: its lines are counted anew.
    pub(crate) fn forget_output(&self) {
        self.last_lines.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The last thing it wrote, for the report of its end.
    pub(crate) fn last_words(&self) -> Option<String> {
        let last = self.last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter()
            .rev()
            .map(|line| line.text.trim())
            .find(|text| !text.is_empty())
            .map(String::from)
    }
}
