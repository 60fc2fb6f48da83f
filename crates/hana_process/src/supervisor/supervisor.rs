pub(crate) mod snapshot;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use hana_engine::roster::HealthVerdict;
use hana_protocol::id::NodeId;
use hana_protocol::message::{EventKind, Exit, ProcessState, ProcessStatus, StoppedBy};
use serde::{Deserialize, Serialize};

use crate::launch::launch_queue::LaunchPriority;
use crate::supervisor::backoff::Jitter;
use crate::supervisor::policy::{Monitoring, Policy, RestartOn, WhenUnresponsive};

use snapshot::SupervisorSnapshot;

use crate::supervisor::supervisor::snapshot::Stage;

/// Decides what happens to one launched process: a pure machine, `(event, now) -> actions`.
///
/// It has no timers. [`Supervisor::next_deadline`] returns when it needs a [`ProcessEvent::Tick`]; a tick that is
/// late, early or repeated does no harm. Every event and action of a process names its [`Instance`], and events
/// of an older instance change nothing.
///
/// It guarantees that
/// - there are never two instances: [`Action::Spawn`] comes only when the one before has ended or could not be
///   launched;
/// - a stop ends in [`ProcessState::Stopped`], whatever the process does, unless a person requests a start or
///   restart in between;
/// - a process that a person closed is not restarted automatically;
/// - there are never more automatic restarts within the policy's window than its budget;
/// - every state but [`ProcessState::Running`] has a reason in plain words;
/// - all of this also holds if its daemon dies in any state, provided that the result of [`Supervisor::memory`]
///   is recorded after each event, before the actions are carried out.
#[derive(Debug, Clone)]
pub struct Supervisor {
    id: NodeId,
    name: String,
    policy: Policy,
    jitter: Jitter,
    phase: Phase,
    state: ProcessState,
    reason: String,
    since: Instant,
    incarnation: Instance,
    pid: Option<u32>,
    exit: Option<Exit>,
    stopped_by: Option<StoppedBy>,
    restarts: u32,
    /// The number of consecutive restarts that did not settle.
    failures: u32,
    /// The times of the automatic restarts within the last window.
    recent: VecDeque<Instant>,
    /// The Zenoh session of the previous instance.
    stale_session: Option<String>,
    /// Whether a person acknowledged the present state.
    ignored: bool,
    /// The last output of the instance, once it has ended.
    last_words: Option<String>,
}

/// The number of an instance of a process, counted from 1.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Instance(u32);

/// An event of a process, or a person's request.
#[derive(Debug, Clone, PartialEq)]
pub enum ProcessEvent {
    /// A person requested a start.
    ///
    /// It changes nothing while the process runs, and replaces the delay before a restart.
    StartAsked,
    /// A person requested a restart, or a start if it is down.
    RestartAsked,
    /// A person requested an orderly stop.
    StopAsked,
    /// A person requested an immediate end.
    KillAsked,
    /// A person acknowledged the present fault, which suspends the policy and silences alarms until the state
    /// changes.
    ///
    /// An unresponsive process is not killed, and a slow start may take its time. Changes nothing if there is no
    /// fault; see [`Supervisor::is_ignored`].
    Ignore,
    /// An earlier daemon supervised the process. Only valid as the first event of a supervisor.
    Recalled {
        /// The state that the earlier daemon recorded.
        memory: Box<SupervisorSnapshot<Instant>>,
        /// What this daemon found.
        found: AdoptionOutcome,
    },
    /// [`Action::Spawn`] is waiting for other launches.
    Queued {
        /// The instance.
        incarnation: Instance,
    },
    /// [`Action::Spawn`] was carried out.
    Spawned {
        /// The instance.
        incarnation: Instance,
        /// The process id.
        pid: u32,
    },
    /// [`Action::Spawn`] failed.
    SpawnFailed {
        /// The instance.
        incarnation: Instance,
        /// The cause and the remedy.
        reason: String,
    },
    /// The process has ended.
    Exited {
        /// The instance.
        incarnation: Instance,
        /// The exit status.
        exit: Exit,
    },
    /// The shutdown command could not be delivered or was refused, so the next step follows at once.
    ShutdownFailed {
        /// The instance.
        incarnation: Instance,
    },
    /// The program's token appeared on the mesh.
    Joined {
        /// The Zenoh id of its session, which distinguishes it from the token of an older instance.
        session: String,
    },
    /// A token of the program disappeared from the mesh.
    Left {
        /// The Zenoh id of its session.
        session: String,
    },
    /// The last output of an instance that has just ended, which explains a crash.
    ///
    /// It comes right before [`ProcessEvent::Exited`], or before [`ProcessEvent::Recalled`] if the instance ended
    /// unwatched.
    LastWords(String),
    /// A remark of a healthy program about itself that a person should know, such as that it has no window.
    ///
    /// Empty if there is none any more.
    Remark {
        /// The instance.
        incarnation: Instance,
        /// The remark, in plain words.
        remark: String,
    },
    /// The verdict on the program's health.
    Verdict {
        /// The instance.
        incarnation: Instance,
        /// The verdict.
        verdict: HealthVerdict,
    },
    /// The program announced that a person closed it.
    ///
    /// It applies to an instance that has joined the mesh or was adopted, or to one that has just ended. Before a new
    /// instance has joined, it can only come from the previous one and is ignored.
    ClosedByPerson,
    /// Time has passed.
    Tick,
}

/// What a daemon found of a process that an earlier one supervised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdoptionOutcome {
    /// The process is running.
    Running {
        /// The process id.
        pid: u32,
    },
    /// The process ended unwatched.
    Ended(MissedExit),
    /// There was no process, or the processes of an unfinished launch are gone now.
    Nothing,
}

/// The cause of an unwatched end, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissedExit {
    /// The cause is unknown, which counts as a crash.
    Unknown,
    /// The program left a note that a person closed it.
    ClosedByPerson,
}

/// An action for the daemon. Actions must be carried out in the given order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Launch the process, then reply with [`ProcessEvent::Spawned`] or [`ProcessEvent::SpawnFailed`].
    Spawn(Instance),
    /// Cancel an [`Action::Spawn`] that was reported as [`ProcessEvent::Queued`].
    Withdraw(Instance),
    /// Send the shutdown command over the mesh.
    AskShutdown(Instance),
    /// Send SIGTERM to the group.
    Terminate(Instance),
    /// Send SIGKILL to the group. Repeated while the process does not end.
    Kill(Instance),
    /// Kill the rest of an ended process's group and reap it.
    Sweep(Instance),
    /// Report an event to people.
    Report {
        /// The kind of event.
        kind: EventKind,
        /// The event in plain words, with its cause.
        text: String,
    },
    /// Publish the changed status.
    Announce,
}

#[derive(Debug, Clone)]
enum Phase {
    /// There is no process, and none will be launched automatically.
    Down,
    /// There is no process; one is to be launched at this time.
    Waiting {
        until: Instant,
        after: String,
    },
    /// A launch was requested and is not complete.
    Launching {
        origin: LaunchReason,
        halt: Option<StopKind>,
        /// Whether the launch is known to be queued and can be cancelled.
        queued: bool,
    },
    Up(Up),
    Ending(Ending),
}

/// The origin of a launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LaunchReason {
    /// A person requested a start.
    Start,
    /// A person requested a restart of a running process.
    Restart,
    /// The policy, for this reason.
    Policy { after: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StopKind {
    Stop,
    Kill,
}

#[derive(Debug, Clone)]
struct Up {
    origin: UpOrigin,
    /// When the process was launched or adopted.
    spawned_at: Instant,
    /// The Zenoh session with which it was last present.
    session: Option<String>,
    /// When it left the mesh, if it had joined before.
    left_at: Option<Instant>,
    verdict: Option<HealthVerdict>,
    /// When it was first seen running.
    ran_at: Option<Instant>,
    /// The status that an earlier daemon saw, until this one has made its own observation.
    before: Option<PriorStatus>,
    /// The program's remark about itself.
    remark: String,
    /// How specific the current reason for slowness is.
    slowness: u8,
}

/// The status of an adopted process before its adoption.
#[derive(Debug, Clone, Copy)]
struct PriorStatus {
    state: ProcessState,
    since: Instant,
    ignored: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UpOrigin {
    Launched,
    Adopted,
}

/// The parts of the status that determine deadlines.
#[derive(Debug, Clone, Copy)]
struct StatusView {
    state: ProcessState,
    /// The start of the state, no earlier than this daemon has seen the process.
    since: Instant,
    ignored: bool,
}

#[derive(Debug, Clone)]
struct Ending {
    after: OnExit,
    step: StopStage,
    deadline: Instant,
    ran_at: Option<Instant>,
}

/// The last step taken to end the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StopStage {
    /// None: the process is closing by itself.
    Wait,
    /// The shutdown command was sent.
    Polite,
    Terminate,
    Kill,
}

/// What happens once the process has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OnExit {
    Stop,
    Close,
    /// A restart, requested by a person.
    Restart,
    /// The same as after a crash, for this reason.
    Recover(String),
}

/// The view of a living process.
enum View {
    AsBefore,
    Running(String),
    Slow { reason: String, slowness: u8 },
    Unresponsive(String),
}

/// The published values, compared to decide on an [`Action::Announce`].
type PublishedStatus = (ProcessState, String, Option<u32>, Option<Exit>, u32);

const QUEUED: &str = "; waits for its turn, since others are being launched";
/// The time between two SIGKILLs to a process that does not end.
const KILL_AGAIN: Duration = Duration::from_secs(1);
const STUCK: &str = "; does not end although SIGKILL was sent: a call into the operating system or a driver does not return";
const OFF_MESH: &str = "not on the mesh; judged by its process alone";
const ADOPTED: &str = "adopted after a restart of the daemon; not heard on the mesh yet";
/// The causes that an unknown end may have had: a policy that restarts after either one restarts it.
///
/// A code of 0 is possible too. But a person who closes a program is present to see it restart, while nothing
/// would restart a dark, unattended show.
const UNKNOWN_ENDS: [RestartOn; 2] = [RestartOn::ExitCode, RestartOn::Signal];
const CLOSED_BY_PERSON: &str = "closed by a person";
const CLOSED_WITH_CTRL_C: &str = "closed with Ctrl-C";
/// The exit code of a shell whose program was ended by Ctrl-C.
const CODE_AFTER_SIGINT: i32 = 130;
/// `STATUS_CONTROL_C_EXIT` of Windows, 0xC000013A.
const CODE_CONTROL_C: i32 = -1_073_741_510;
const SIGINT: i32 = 2;

impl Supervisor {
    /// Creates a supervisor for the process with the id `id`, launched from the catalogue entry `name`.
    ///
    /// Nothing happens until [`ProcessEvent::StartAsked`].
    #[must_use]
    pub fn new(id: NodeId, name: impl Into<String>, policy: Policy, now: Instant) -> Self {
        let jitter = Jitter::of_name(id.as_str());
        Self {
            id,
            name: name.into(),
            policy,
            jitter,
            phase: Phase::Down,
            state: ProcessState::Stopped,
            reason: "not started yet".into(),
            since: now,
            incarnation: Instance::default(),
            pid: None,
            exit: None,
            stopped_by: Some(StoppedBy::Already),
            restarts: 0,
            failures: 0,
            recent: VecDeque::new(),
            stale_session: None,
            ignored: false,
            last_words: None,
        }
    }

    /// Replaces the source of jitter, which is otherwise seeded with the id.
    #[must_use]
    pub const fn with_jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// Returns the id of the process on the mesh.
    #[must_use]
    pub const fn id(&self) -> &NodeId {
        &self.id
    }

    /// Returns the name in the catalogue.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the policy.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Changes the policy, except for whether the process joins the mesh.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = Policy { mesh: self.policy.mesh, ..policy };
    }

    /// Returns the state.
    #[must_use]
    pub const fn state(&self) -> ProcessState {
        self.state
    }

    /// Returns the reason for the state, in plain words. Empty only when running, without a remark.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Returns the start of the state.
    #[must_use]
    pub const fn since(&self) -> Instant {
        self.since
    }

    /// Returns the process id, if there is a process.
    #[must_use]
    pub const fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Returns the last exit status.
    #[must_use]
    pub const fn exit(&self) -> Option<Exit> {
        self.exit
    }

    /// Returns the step that stopped the process; `None` unless the state is [`ProcessState::Stopped`].
    #[must_use]
    pub const fn stopped_by(&self) -> Option<StoppedBy> {
        self.stopped_by
    }

    /// Returns the number of automatic restarts since the last start by a person.
    #[must_use]
    pub const fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Returns the remark of a healthy program about itself.
    #[must_use]
    pub const fn remark(&self) -> &str {
        match &self.phase {
            Phase::Up(up) => up.remark.as_str(),
            _ => "",
        }
    }

    /// Returns whether a person acknowledged the present state. A change of state ends that.
    #[must_use]
    pub const fn is_ignored(&self) -> bool {
        self.ignored
    }

    /// Returns the origin of the last requested launch.
    #[must_use]
    pub const fn wish(&self) -> LaunchPriority {
        match &self.phase {
            Phase::Launching { origin: LaunchReason::Policy { .. }, .. } => LaunchPriority::Policy,
            _ => LaunchPriority::Person,
        }
    }

    /// Returns the present or last instance.
    #[must_use]
    pub const fn incarnation(&self) -> Instance {
        self.incarnation
    }

    /// Returns the status to publish; `unix_ms` converts an instant to Unix milliseconds.
    #[must_use]
    pub fn status(&self, unix_ms: impl FnOnce(Instant) -> u64) -> ProcessStatus {
        ProcessStatus {
            node: self.id.clone(),
            name: self.name.clone(),
            state: self.state,
            reason: self.reason.clone(),
            since_ms: unix_ms(self.since),
            pid: self.pid,
            exit: self.exit,
            restarts: self.restarts,
            acknowledged: self.ignored,
        }
    }

    /// Returns when a [`ProcessEvent::Tick`] is needed if nothing else happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Down | Phase::Launching { .. } => None,
            Phase::Waiting { until, .. } => Some(*until),
            Phase::Ending(ending) => Some(ending.deadline),
            Phase::Up(up) => up.next_deadline(&self.policy, self.standing()),
        }
    }

    /// Handles an event at `now` and returns the actions to carry out.
    pub fn handle(&mut self, event: ProcessEvent, now: Instant) -> Vec<Action> {
        let told = self.told();
        let mut actions = vec![];
        match event {
            ProcessEvent::StartAsked => self.start_asked(LaunchReason::Start, now, &mut actions),
            ProcessEvent::RestartAsked => self.restart_asked(now, &mut actions),
            ProcessEvent::StopAsked => self.stop_asked(StopKind::Stop, now, &mut actions),
            ProcessEvent::KillAsked => self.stop_asked(StopKind::Kill, now, &mut actions),
            ProcessEvent::Ignore => self.ignore(),
            ProcessEvent::Recalled { memory, found } if self.is_untouched() => {
                self.recalled(memory.not_after(now), found, now, &mut actions);
            },
            ProcessEvent::Queued { incarnation } if incarnation == self.incarnation => {
                self.queued(now, &mut actions);
            },
            ProcessEvent::Spawned { incarnation, pid } if incarnation == self.incarnation => {
                self.spawned(pid, now, &mut actions);
            },
            ProcessEvent::SpawnFailed { incarnation, reason }
                if incarnation == self.incarnation =>
            {
                self.spawn_failed(&reason, now, &mut actions);
            },
            ProcessEvent::Exited { incarnation, exit } if incarnation == self.incarnation => {
                self.exited(exit, now, &mut actions);
            },
            ProcessEvent::ShutdownFailed { incarnation } if incarnation == self.incarnation => {
                if let Phase::Ending(Ending { step: StopStage::Polite, .. }) = self.phase {
                    self.next_step(now, &mut actions);
                }
            },
            ProcessEvent::Joined { session } => self.joined(session, now, &mut actions),
            ProcessEvent::Left { session } => self.left(&session, now, &mut actions),
            ProcessEvent::LastWords(words) => {
                self.last_words = Some(words).filter(|words| !words.is_empty());
            },
            ProcessEvent::Remark { incarnation, remark } if incarnation == self.incarnation => {
                if let Phase::Up(up) = &mut self.phase {
                    up.remark = remark;
                    self.judge(now, &mut actions);
                }
            },
            ProcessEvent::Verdict { incarnation, verdict } if incarnation == self.incarnation => {
                if let Phase::Up(up) = &mut self.phase {
                    up.verdict = Some(verdict);
                    self.judge(now, &mut actions);
                }
            },
            ProcessEvent::ClosedByPerson => self.closed_by_person(now, &mut actions),
            ProcessEvent::Tick => self.tick(now, &mut actions),
            ProcessEvent::Recalled { .. }
            | ProcessEvent::Queued { .. }
            | ProcessEvent::Spawned { .. }
            | ProcessEvent::SpawnFailed { .. }
            | ProcessEvent::Exited { .. }
            | ProcessEvent::ShutdownFailed { .. }
            | ProcessEvent::Remark { .. }
            | ProcessEvent::Verdict { .. } => {},
        }
        if self.told() != told {
            actions.push(Action::Announce);
        }
        actions
    }

    // Requests by people.

    fn start_asked(&mut self, origin: LaunchReason, now: Instant, actions: &mut Vec<Action>) {
        match &mut self.phase {
            Phase::Down | Phase::Waiting { .. } => self.launch(origin, now, actions),
            Phase::Launching { queued: true, .. } => {
                // A person's request replaces the queued one, since it comes before those of the policy.
                actions.push(Action::Withdraw(self.incarnation));
                self.launch(origin, now, actions);
            },
            Phase::Launching { halt, .. } => {
                *halt = None;
                self.enter(ProcessState::Starting, "being launched", now);
            },
            Phase::Up(_) => {},
            Phase::Ending(ending) => {
                ending.after = OnExit::Restart;
                self.enter(ProcessState::Stopping, "stopped to be started again", now);
            },
        }
    }

    fn restart_asked(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match &self.phase {
            Phase::Up(_) => {
                let reason = "stopped to be started again";
                self.end(OnExit::Restart, reason.into(), self.gentlest(), now, actions);
            },
            _ => self.start_asked(LaunchReason::Restart, now, actions),
        }
    }

    fn stop_asked(&mut self, how: StopKind, now: Instant, actions: &mut Vec<Action>) {
        let asked = match how {
            StopKind::Stop => "asked to stop",
            StopKind::Kill => "asked to be killed",
        };
        match &mut self.phase {
            Phase::Down if self.state == ProcessState::Stopped => {
                self.stopped_by = Some(StoppedBy::Already);
            },
            Phase::Down | Phase::Waiting { .. } => {
                let reason = format!("{asked}; had ended already: {}", self.reason);
                self.down(ProcessState::Stopped, reason, now);
                self.stopped_by = Some(StoppedBy::Already);
                self.report(EventKind::Stopped, actions);
            },
            Phase::Launching { queued: true, .. } => self.withdraw(now, actions),
            Phase::Launching { halt, .. } => {
                *halt = Some(if *halt == Some(StopKind::Kill) { StopKind::Kill } else { how });
                self.enter(ProcessState::Stopping, asked, now);
            },
            Phase::Up(_) => {
                let step = if how == StopKind::Kill { StopStage::Kill } else { self.gentlest() };
                self.end(OnExit::Stop, asked.into(), step, now, actions);
            },
            Phase::Ending(ending) => {
                ending.after = OnExit::Stop;
                if how == StopKind::Kill && ending.step != StopStage::Kill {
                    self.take(StopStage::Kill, now, actions);
                }
                self.enter(ProcessState::Stopping, asked, now);
            },
        }
    }

    fn ignore(&mut self) {
        let is_trouble = match self.state {
            ProcessState::Starting => matches!(self.phase, Phase::Up(_)),
            ProcessState::Slow
            | ProcessState::Unresponsive
            | ProcessState::Crashed
            | ProcessState::CrashLoop => true,
            _ => false,
        };
        if is_trouble && !self.ignored {
            self.ignored = true;
            self.reason.push_str("; ignored by a person");
        }
    }

    // Events of the process.

    /// Launches for a person, which resets all counters.
    fn launch(&mut self, origin: LaunchReason, now: Instant, actions: &mut Vec<Action>) {
        self.restarts = 0;
        self.failures = 0;
        self.recent.clear();
        self.spawn(origin, now, actions);
    }

    fn spawn(&mut self, origin: LaunchReason, now: Instant, actions: &mut Vec<Action>) {
        self.incarnation = self.incarnation.next();
        let reason = match &origin {
            LaunchReason::Start => "being launched".into(),
            LaunchReason::Restart => "being launched again, as a person asked".into(),
            LaunchReason::Policy { after } => format!("being launched again after: {after}"),
        };
        self.stopped_by = None;
        self.last_words = None;
        self.enter(ProcessState::Starting, reason, now);
        self.phase = Phase::Launching { origin, halt: None, queued: false };
        actions.push(Action::Spawn(self.incarnation));
    }

    fn queued(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Phase::Launching { origin, halt, queued } = &mut self.phase else { return };
        if *queued {
            return;
        }
        *queued = true;
        if halt.is_some() {
            self.withdraw(now, actions);
            return;
        }
        let state = match origin {
            LaunchReason::Start => ProcessState::Starting,
            LaunchReason::Restart | LaunchReason::Policy { .. } => ProcessState::Restarting,
        };
        let reason = format!("{}{QUEUED}", self.reason);
        self.enter(state, reason, now);
    }

    /// Cancels a queued launch at a person's request.
    fn withdraw(&mut self, now: Instant, actions: &mut Vec<Action>) {
        actions.push(Action::Withdraw(self.incarnation));
        self.down(ProcessState::Stopped, "asked to stop before it was launched".into(), now);
        self.stopped_by = Some(StoppedBy::Already);
        self.report(EventKind::Stopped, actions);
    }

    fn spawned(&mut self, pid: u32, now: Instant, actions: &mut Vec<Action>) {
        let Phase::Launching { origin, halt, .. } = &self.phase else { return };
        let (kind, text, reason) = match origin {
            LaunchReason::Start => {
                (EventKind::Started, format!("started, process {pid}"), "launched".to_owned())
            },
            LaunchReason::Restart => (
                EventKind::Restarted,
                format!("started again as a person asked, process {pid}"),
                "launched again, as a person asked".to_owned(),
            ),
            LaunchReason::Policy { after } => (
                EventKind::Restarted,
                format!("started again after: {after}, process {pid}"),
                format!("launched again after: {after}"),
            ),
        };
        let halt = *halt;
        self.pid = Some(pid);
        self.exit = None;
        self.phase = Phase::Up(Up::new(UpOrigin::Launched, now));
        actions.push(Action::Report { kind, text });
        match halt {
            None => {
                self.enter(ProcessState::Starting, format!("{reason}; not on the mesh yet"), now);
                self.judge(now, actions);
            },
            Some(halt) => {
                let step =
                    if halt == StopKind::Kill { StopStage::Kill } else { StopStage::Terminate };
                self.end(OnExit::Stop, self.reason.clone(), step, now, actions);
            },
        }
    }

    /// Returns whether nothing has been launched, adopted or requested yet.
    fn is_untouched(&self) -> bool {
        matches!(self.phase, Phase::Down) && self.incarnation == Instance::default()
    }

    fn recalled(
        &mut self,
        memory: SupervisorSnapshot<Instant>,
        found: AdoptionOutcome,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        self.incarnation = memory.incarnation;
        self.restarts = memory.restarts;
        self.failures = memory.failures;
        self.recent = memory.recent.into();
        self.exit = memory.exit;
        self.stopped_by = None;
        let before =
            PriorStatus { state: memory.state, since: memory.since, ignored: memory.ignored };
        let reason = Some(memory.reason).filter(|reason| !reason.is_empty());
        let reason = reason.unwrap_or_else(|| "why was not written down".into());
        match (memory.stage, found) {
            (stage, AdoptionOutcome::Running { pid }) => {
                self.pid = Some(pid);
                self.exit = None;
                self.adopted(stage, before, reason, now, actions);
            },
            (
                Stage::Up { .. }
                | Stage::Waiting { .. }
                | Stage::Ending { after: OnExit::Recover(_), .. },
                AdoptionOutcome::Ended(MissedExit::ClosedByPerson),
            ) => {
                self.exit = Some(Exit::Unknown);
                let reason = "closed by a person while the daemon was away";
                self.down(ProcessState::Closed, reason.into(), now);
                self.report(EventKind::Closed, actions);
            },
            (Stage::Up { ran_at }, _) => {
                self.exit = Some(Exit::Unknown);
                let reason = self.with_last_words("ended while the daemon was away".into());
                self.crashed(&UNKNOWN_ENDS, reason, ran_at, now, actions);
            },
            (Stage::Ending { after, ran_at, .. }, _) => {
                self.exit = Some(Exit::Unknown);
                match after {
                    OnExit::Stop => self.stopped_meanwhile(now, actions),
                    OnExit::Close => {
                        self.down(ProcessState::Closed, CLOSED_BY_PERSON.into(), now);
                        self.report(EventKind::Closed, actions);
                    },
                    OnExit::Restart => self.launch(LaunchReason::Restart, now, actions),
                    OnExit::Recover(reason) => self.crashed(&[], reason, ran_at, now, actions),
                }
            },
            (Stage::Launching { halt: Some(_), .. }, _) => self.stopped_meanwhile(now, actions),
            (Stage::Launching { origin, halt: None }, _) => self.spawn(origin, now, actions),
            (Stage::Waiting { until, after }, _) => {
                self.stand_as(PriorStatus { state: ProcessState::Restarting, ..before }, reason);
                // A limit in case a clock was changed.
                let until = until.min(now + self.policy.restart.backoff.max);
                self.phase = Phase::Waiting { until, after };
            },
            (Stage::Down, _) => {
                let state = match before.state {
                    state @ (ProcessState::Stopped
                    | ProcessState::Closed
                    | ProcessState::CrashLoop) => state,
                    _ => ProcessState::Crashed,
                };
                self.stand_as(PriorStatus { state, ..before }, reason);
                let by = memory.stopped_by.unwrap_or(StoppedBy::Already);
                self.stopped_by = (state == ProcessState::Stopped).then_some(by);
            },
        }
    }

    fn adopted(
        &mut self,
        stage: Stage<Instant>,
        before: PriorStatus,
        reason: String,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let mut up = Up::new(UpOrigin::Adopted, now);
        if let Stage::Up { ran_at } | Stage::Ending { ran_at, .. } = &stage {
            up.ran_at = *ran_at;
        }
        match (stage, before.state) {
            (Stage::Ending { after, step, .. }, _) => {
                self.phase = Phase::Up(up);
                self.stand_as(
                    PriorStatus { state: ProcessState::Stopping, ..before },
                    reason.clone(),
                );
                // The process is not on this daemon's mesh yet, so it would not receive a shutdown command.
                let step = match (&after, step) {
                    (_, StopStage::Kill) => StopStage::Kill,
                    (OnExit::Close, StopStage::Wait) => StopStage::Wait,
                    _ => StopStage::Terminate,
                };
                self.end(after, reason, step, now, actions);
            },
            // Until it is seen to move.
            (_, ProcessState::Unresponsive) => {
                self.phase = Phase::Up(up);
                self.stand_as(before, reason);
            },
            (_, was) => {
                up.before = Some(before);
                self.phase = Phase::Up(up);
                let since = if was == ProcessState::Starting { before.since } else { now };
                let ignored = before.ignored && was == ProcessState::Starting;
                let starting = PriorStatus { state: ProcessState::Starting, since, ignored };
                self.stand_as(starting, ADOPTED.into());
                self.judge(now, actions);
            },
        }
    }

    fn stopped_meanwhile(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let reason = "stopped as asked, while the daemon was away";
        self.down(ProcessState::Stopped, reason.into(), now);
        self.stopped_by = Some(StoppedBy::Already);
        self.report(EventKind::Stopped, actions);
    }

    fn spawn_failed(&mut self, reason: &str, now: Instant, actions: &mut Vec<Action>) {
        let Phase::Launching { origin, halt, .. } = &self.phase else { return };
        let automatic = matches!(origin, LaunchReason::Policy { .. });
        let reason = format!("could not be launched: {reason}");
        self.exit = None;
        if halt.is_some() {
            self.down(ProcessState::Stopped, format!("stopped; it {reason}"), now);
            self.stopped_by = Some(StoppedBy::Already);
            self.report(EventKind::Stopped, actions);
        } else if automatic {
            self.crashed(&[RestartOn::Launch], reason, None, now, actions);
        } else {
            self.down(ProcessState::Crashed, reason, now);
            self.report(EventKind::Crashed, actions);
        }
    }

    fn exited(&mut self, exit: Exit, now: Instant, actions: &mut Vec<Action>) {
        let phase = match &self.phase {
            Phase::Down | Phase::Waiting { .. } => return,
            // The end was reported before the launch. The end counts.
            Phase::Launching { halt, .. } => halt.map_or_else(
                || Phase::Up(Up::new(UpOrigin::Launched, now)),
                |_| {
                    Phase::Ending(Ending {
                        after: OnExit::Stop,
                        step: StopStage::Wait,
                        deadline: now,
                        ran_at: None,
                    })
                },
            ),
            phase => phase.clone(),
        };
        actions.push(Action::Sweep(self.incarnation));
        self.pid = None;
        self.exit = Some(exit);
        match phase {
            Phase::Down | Phase::Waiting { .. } | Phase::Launching { .. } => {},
            Phase::Up(up) => {
                self.stale_session = up.session.or_else(|| self.stale_session.take());
                match unasked(exit) {
                    UnexpectedExit::Closed(reason) => {
                        self.down(ProcessState::Closed, reason, now);
                        self.report(EventKind::Closed, actions);
                    },
                    UnexpectedExit::Crashed(causes, reason) => {
                        let reason = self.with_last_words(reason);
                        self.crashed(causes, reason, up.ran_at, now, actions);
                    },
                }
            },
            Phase::Ending(ending) => self.ended(ending, exit, now, actions),
        }
    }

    /// Returns the reason for an unexpected end, with the program's own last output.
    fn with_last_words(&mut self, reason: String) -> String {
        match self.last_words.take() {
            Some(words) => format!("{reason}; it last wrote: {words}"),
            None => reason,
        }
    }

    fn ended(&mut self, ending: Ending, exit: Exit, now: Instant, actions: &mut Vec<Action>) {
        match ending.after {
            OnExit::Stop => {
                let (by, reason) = match ending.step {
                    StopStage::Wait => (StoppedBy::Already, "asked to stop; it was ending already"),
                    StopStage::Polite => (StoppedBy::Shutdown, "stopped as asked"),
                    StopStage::Terminate => (StoppedBy::Terminate, "stopped by force"),
                    StopStage::Kill => (StoppedBy::Kill, "stopped by force"),
                };
                self.down(ProcessState::Stopped, with_exit(reason, exit), now);
                self.stopped_by = Some(by);
                self.report(EventKind::Stopped, actions);
            },
            OnExit::Close => {
                let reason = match ending.step {
                    StopStage::Wait | StopStage::Polite if is_ctrl_c(exit) => {
                        CLOSED_WITH_CTRL_C.into()
                    },
                    StopStage::Wait | StopStage::Polite => with_exit(CLOSED_BY_PERSON, exit),
                    StopStage::Terminate => {
                        with_exit("closed by a person; SIGTERM had to end it", exit)
                    },
                    StopStage::Kill => with_exit("closed by a person; SIGKILL had to end it", exit),
                };
                self.down(ProcessState::Closed, reason, now);
                self.report(EventKind::Closed, actions);
            },
            OnExit::Restart => self.launch(LaunchReason::Restart, now, actions),
            OnExit::Recover(reason) => self.crashed(&[], reason, ending.ran_at, now, actions),
        }
    }

    /// Handles an unexpected end.
    ///
    /// The process is restarted if the policy does so after one of the `causes`. If `causes` is empty, it is
    /// restarted regardless of them.
    fn crashed(
        &mut self,
        causes: &[RestartOn],
        reason: String,
        ran_at: Option<Instant>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let policy = &self.policy.restart;
        if !causes.is_empty() && causes.iter().all(|cause| !policy.on.contains(cause)) {
            self.down(ProcessState::Crashed, reason, now);
            self.report(EventKind::Crashed, actions);
            return;
        }
        if ran_at.is_some_and(|ran_at| now.saturating_duration_since(ran_at) >= policy.settled) {
            self.failures = 0;
        }
        let window = policy.window;
        self.recent.retain(|at| now.saturating_duration_since(*at) < window);
        let made = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        if policy.budget.is_some_and(|budget| made >= budget) {
            let reason = format!(
                "{reason}; stays down after {made} restarts within {}: mend the cause, then start it again",
                seconds(window)
            );
            self.down(ProcessState::CrashLoop, reason, now);
            self.report(EventKind::Crashed, actions);
            return;
        }
        let delay = policy.backoff.delay(self.failures, &mut self.jitter);
        let when =
            if delay.is_zero() { "at once".into() } else { format!("in {}", seconds(delay)) };
        let count = policy.budget.map_or_else(String::new, |budget| {
            format!(", restart {} of {budget} within {}", made + 1, seconds(window))
        });
        self.failures = self.failures.saturating_add(1);
        self.enter(ProcessState::Restarting, format!("{reason}; starts again {when}{count}"), now);
        self.phase = Phase::Waiting { until: now + delay, after: reason };
        actions.push(Action::Report { kind: EventKind::Crashed, text: self.reason.clone() });
    }

    fn closed_by_person(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match &mut self.phase {
            Phase::Up(Up { session: Some(_), .. } | Up { origin: UpOrigin::Adopted, .. }) => {
                self.end(OnExit::Close, "a person closed it".into(), StopStage::Wait, now, actions);
            },
            Phase::Ending(ending) if matches!(ending.after, OnExit::Recover(_)) => {
                ending.after = OnExit::Close;
                self.enter(ProcessState::Stopping, "a person closed it", now);
            },
            Phase::Waiting { .. } => self.close_late(now, actions),
            Phase::Launching { queued: true, origin: LaunchReason::Policy { .. }, .. } => {
                actions.push(Action::Withdraw(self.incarnation));
                self.close_late(now, actions);
            },
            Phase::Down
                if matches!(self.state, ProcessState::Crashed | ProcessState::CrashLoop) =>
            {
                self.close_late(now, actions);
            },
            // The end was seen before its cause became known, so the state is already published.
            Phase::Down
                if self.state == ProcessState::Closed && self.exit == Some(Exit::Code(0)) =>
            {
                self.reason = CLOSED_BY_PERSON.into();
            },
            Phase::Down | Phase::Launching { .. } | Phase::Up(_) | Phase::Ending(_) => {},
        }
    }

    /// Handles the announcement that a person closed the program, received after its end.
    fn close_late(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let reason = self
            .exit
            .map_or_else(|| CLOSED_BY_PERSON.into(), |exit| with_exit(CLOSED_BY_PERSON, exit));
        self.down(ProcessState::Closed, reason, now);
        self.report(EventKind::Closed, actions);
    }

    // Events of a living process.

    fn joined(&mut self, session: String, now: Instant, actions: &mut Vec<Action>) {
        if self.policy.mesh == Monitoring::Never || self.stale_session.as_ref() == Some(&session) {
            return;
        }
        if let Phase::Up(up) = &mut self.phase {
            up.session = Some(session);
            up.left_at = None;
            if self.state == ProcessState::Starting {
                self.reason = "on the mesh; its loop has not begun to move yet".into();
            }
            self.judge(now, actions);
        }
    }

    fn left(&mut self, session: &str, now: Instant, actions: &mut Vec<Action>) {
        if let Phase::Up(up) = &mut self.phase
            && up.session.as_deref() == Some(session)
        {
            up.left_at = Some(now);
            self.judge(now, actions);
        }
    }

    fn judge(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let standing = self.standing();
        let Phase::Up(up) = &mut self.phase else { return };
        let was = self.state;
        match up.view(&self.policy, standing, now) {
            View::AsBefore => {},
            View::Running(reason) => {
                up.ran_at.get_or_insert(now);
                up.slowness = 0;
                self.enter(ProcessState::Running, reason, now);
            },
            View::Slow { reason, slowness } => {
                up.ran_at.get_or_insert(now);
                // Figures change all the time; they alone do not change the reason.
                let explains_more = slowness > up.slowness;
                up.slowness = up.slowness.max(slowness);
                if was != ProcessState::Slow || (explains_more && !self.ignored) {
                    self.enter(ProcessState::Slow, reason, now);
                }
            },
            View::Unresponsive(reason) => {
                if was != ProcessState::Unresponsive {
                    self.enter(ProcessState::Unresponsive, reason, now);
                    self.report(EventKind::Unresponsive, actions);
                }
            },
        }
        self.take_up_again();
        if was == ProcessState::Unresponsive && self.state != was {
            let text = "its loop moves again".into();
            actions.push(Action::Report { kind: EventKind::Responsive, text });
        }
    }

    /// Restores the start of the state of an adopted process that is in the same state as before.
    fn take_up_again(&mut self) {
        let Phase::Up(up) = &mut self.phase else { return };
        if self.state == ProcessState::Starting {
            return;
        }
        let Some(before) = up.before.take().filter(|before| before.state == self.state) else {
            return;
        };
        self.since = before.since;
        if before.ignored {
            self.ignore();
        }
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match &self.phase {
            Phase::Down | Phase::Launching { .. } => {},
            Phase::Waiting { until, after } => {
                if now >= *until {
                    let after = after.clone();
                    self.restarts = self.restarts.saturating_add(1);
                    self.recent.push_back(now);
                    let budget = self.policy.restart.budget.unwrap_or(0);
                    let kept = usize::try_from(budget).unwrap_or(usize::MAX);
                    while self.recent.len() > kept {
                        self.recent.pop_front();
                    }
                    self.spawn(LaunchReason::Policy { after }, now, actions);
                }
            },
            Phase::Up(_) => {
                self.judge(now, actions);
                if matches!(self.phase, Phase::Up(_))
                    && self.standing().kill_at(&self.policy).is_some_and(|at| now >= at)
                {
                    let cause = self.reason.clone();
                    let lasted = seconds(now.saturating_duration_since(self.since));
                    let reason = format!("killed after {lasted} unresponsive: {cause}");
                    self.end(
                        OnExit::Recover(reason.clone()),
                        reason,
                        StopStage::Kill,
                        now,
                        actions,
                    );
                }
            },
            Phase::Ending(ending) => {
                if now >= ending.deadline {
                    self.next_step(now, actions);
                }
            },
        }
    }

    // The steps of an end.

    /// Returns the first step of a stop. A shutdown command is useless if the process is off the mesh or
    /// unresponsive.
    fn gentlest(&self) -> StopStage {
        match &self.phase {
            Phase::Up(up)
                if up.session.is_some()
                    && up.left_at.is_none()
                    && self.state != ProcessState::Unresponsive =>
            {
                StopStage::Polite
            },
            _ => StopStage::Terminate,
        }
    }

    fn end(
        &mut self,
        after: OnExit,
        reason: String,
        step: StopStage,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Phase::Up(up) = &mut self.phase else { return };
        self.stale_session = up.session.take().or_else(|| self.stale_session.take());
        let ran_at = up.ran_at;
        self.phase = Phase::Ending(Ending { after, step, deadline: now, ran_at });
        self.enter(ProcessState::Stopping, reason, now);
        self.take(step, now, actions);
    }

    fn next_step(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Phase::Ending(ending) = &self.phase else { return };
        let (step, add) = match ending.step {
            StopStage::Wait | StopStage::Polite => (StopStage::Terminate, "; SIGTERM sent"),
            StopStage::Terminate => (StopStage::Kill, "; SIGKILL sent"),
            StopStage::Kill => (StopStage::Kill, STUCK),
        };
        if !self.reason.ends_with(add) {
            self.reason.push_str(add);
        }
        self.take(step, now, actions);
    }

    fn take(&mut self, step: StopStage, now: Instant, actions: &mut Vec<Action>) {
        let Phase::Ending(ending) = &mut self.phase else { return };
        let run = self.incarnation;
        let (action, patience) = match step {
            StopStage::Wait => (None, self.policy.stop.polite),
            StopStage::Polite => (Some(Action::AskShutdown(run)), self.policy.stop.polite),
            StopStage::Terminate => (Some(Action::Terminate(run)), self.policy.stop.terminate),
            StopStage::Kill => (Some(Action::Kill(run)), KILL_AGAIN),
        };
        ending.step = step;
        ending.deadline = now + patience;
        actions.extend(action);
    }

    // Status and reports.

    fn enter(&mut self, state: ProcessState, reason: impl Into<String>, now: Instant) {
        if self.state != state {
            self.state = state;
            self.since = now;
            self.ignored = false;
        }
        self.reason = reason.into();
    }

    fn down(&mut self, state: ProcessState, reason: String, now: Instant) {
        self.phase = Phase::Down;
        self.enter(state, reason, now);
    }

    /// Reports the present reason.
    fn report(&self, kind: EventKind, actions: &mut Vec<Action>) {
        actions.push(Action::Report { kind, text: self.reason.clone() });
    }

    fn standing(&self) -> StatusView {
        let since = match &self.phase {
            Phase::Up(up) => self.since.max(up.spawned_at),
            _ => self.since,
        };
        StatusView { state: self.state, since, ignored: self.ignored }
    }

    /// Restores the status that an earlier daemon saw.
    fn stand_as(&mut self, before: PriorStatus, reason: String) {
        self.state = before.state;
        self.since = before.since;
        self.ignored = before.ignored;
        self.reason = reason;
    }

    fn told(&self) -> PublishedStatus {
        (self.state, self.reason.clone(), self.pid, self.exit, self.restarts)
    }
}

impl Up {
    const fn new(origin: UpOrigin, spawned_at: Instant) -> Self {
        Self {
            origin,
            spawned_at,
            session: None,
            left_at: None,
            verdict: None,
            ran_at: None,
            before: None,
            remark: String::new(),
            slowness: 0,
        }
    }

    fn view(&self, policy: &Policy, standing: StatusView, now: Instant) -> View {
        if policy.mesh == Monitoring::Never {
            return View::Running(OFF_MESH.into());
        }
        if let Some(left_at) = self.left_at {
            return if now.saturating_duration_since(left_at)
                >= policy.health.limits.unresponsive_after
            {
                View::Unresponsive("gone from the mesh, but its process lives".into())
            } else {
                View::AsBefore
            };
        }
        match (&self.session, self.verdict) {
            (Some(_), Some(HealthVerdict::Running)) => View::Running(self.remark.clone()),
            (Some(_), Some(verdict)) if verdict.slowness() > 0 => View::Slow {
                reason: match self.remark.as_str() {
                    "" => verdict.reason(),
                    remark => format!("{}; {remark}", verdict.reason()),
                },
                slowness: verdict.slowness(),
            },
            (Some(_), Some(verdict)) if verdict.is_unresponsive() => {
                View::Unresponsive(verdict.reason())
            },
            _ if self.overdue_at(policy, standing).is_some_and(|at| now >= at) => {
                let startup = seconds(policy.health.startup);
                View::Unresponsive(match self.session {
                    Some(_) => {
                        format!("on the mesh, but no health from it {startup} after its launch")
                    },
                    None => format!("not on the mesh {startup} after its launch"),
                })
            },
            _ => View::AsBefore,
        }
    }

    fn overdue_at(&self, policy: &Policy, standing: StatusView) -> Option<Instant> {
        let due = standing.state == ProcessState::Starting && !standing.ignored;
        due.then(|| self.spawned_at + policy.health.startup)
    }

    fn next_deadline(&self, policy: &Policy, standing: StatusView) -> Option<Instant> {
        let missed = self
            .left_at
            .filter(|_| standing.state != ProcessState::Unresponsive)
            .map(|left_at| left_at + policy.health.limits.unresponsive_after);
        let overdue = self.overdue_at(policy, standing).filter(|_| self.left_at.is_none());
        [missed, overdue, standing.kill_at(policy)].into_iter().flatten().min()
    }
}

impl StatusView {
    /// Returns when an unresponsive process is to be killed.
    fn kill_at(self, policy: &Policy) -> Option<Instant> {
        match policy.health.when_unresponsive {
            WhenUnresponsive::Restart(after)
                if self.state == ProcessState::Unresponsive && !self.ignored =>
            {
                Some(self.since + after)
            },
            WhenUnresponsive::Restart(_) | WhenUnresponsive::Tell => None,
        }
    }
}

impl Instance {
    /// Creates the instance with this number, to continue the count of an earlier daemon.
    #[must_use]
    pub const fn of_number(number: u32) -> Self {
        Self(number)
    }

    /// Returns the number, from 1, or 0 before the first instance.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {}", self.0)
    }
}

/// The meaning of an unexpected end.
enum UnexpectedExit {
    Closed(String),
    Crashed(&'static [RestartOn], String),
}

fn unasked(exit: Exit) -> UnexpectedExit {
    match exit {
        Exit::Code(0) => UnexpectedExit::Closed("closed: ended by itself with exit code 0".into()),
        exit if is_ctrl_c(exit) => UnexpectedExit::Closed(CLOSED_WITH_CTRL_C.into()),
        Exit::Code(_) => UnexpectedExit::Crashed(&[RestartOn::ExitCode], ended_by(exit)),
        Exit::Signal(_) => UnexpectedExit::Crashed(&[RestartOn::Signal], ended_by(exit)),
        Exit::Unknown => UnexpectedExit::Crashed(&UNKNOWN_ENDS, ended_by(exit)),
    }
}

const fn is_ctrl_c(exit: Exit) -> bool {
    matches!(exit, Exit::Signal(SIGINT) | Exit::Code(CODE_AFTER_SIGINT | CODE_CONTROL_C))
}

fn ended_by(exit: Exit) -> String {
    match exit {
        Exit::Code(_) => exit.to_string(),
        Exit::Signal(_) => format!("ended by {exit}"),
        Exit::Unknown => "ended; how is not known, since another daemon launched it".into(),
    }
}

/// Returns `reason`, with the exit status unless that is an ordinary success.
fn with_exit(reason: &str, exit: Exit) -> String {
    match exit {
        Exit::Code(0) | Exit::Unknown => reason.into(),
        Exit::Code(_) | Exit::Signal(_) => format!("{reason} ({exit})"),
    }
}

fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds >= 10.0 { format!("{seconds:.0} s") } else { format!("{seconds:.1} s") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
