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

/// Decides what becomes of one launched process: a pure machine, `(event, now) -> actions`.
///
/// It has no timers. It says with [`Supervisor::next_deadline`] when it wants a [`ProcessEvent::Tick`], and
/// a tick that comes late, early or twice does no harm. Every event and action of a process names its
/// [`Instance`]; what belongs to an older one changes nothing.
///
/// It holds that
/// - there are never two instances: [`Action::Spawn`] comes only when the one before has ended or could not
///   be launched;
/// - a stop ends in [`ProcessState::Stopped`], whatever the process does, unless a person asks for a start
///   or restart in between;
/// - what a person closed is not started again by itself;
/// - within the policy's window there are never more automatic restarts than its budget;
/// - every state but [`ProcessState::Running`] has a reason in plain words;
/// - all of that also across the death of the daemon that has it, in whatever state, as long as what
///   [`Supervisor::memory`] says after each event is written down before the actions are carried out.
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
    /// Restarts in a row that did not settle.
    failures: u32,
    /// When the automatic restarts of the last window were made.
    recent: VecDeque<Instant>,
    /// The session that the incarnation before this one was present with.
    stale_session: Option<String>,
    /// A person wants nothing done about the state that it is in.
    ignored: bool,
    /// The last thing it wrote, once it has ended.
    last_words: Option<String>,
}

/// Which run of a process: 1 for the first, one more for each further one.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Instance(u32);

/// Something that happened to a process, or that a person asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum ProcessEvent {
    /// A person asked for a start. Changes nothing while it runs; ends the waiting for a restart.
    StartAsked,
    /// A person asked for it to be stopped and started again, or started if it is down.
    RestartAsked,
    /// A person asked for it to end, in good order.
    StopAsked,
    /// A person asked for it to end at once.
    KillAsked,
    /// A person wants nothing done about the present trouble, and not to be told of it any more: what is unresponsive
    /// is not killed, what is long in starting is left to it. Until it is in another state. Changes nothing where
    /// there is no trouble; see [`Supervisor::is_ignored`].
    Ignore,
    /// An earlier daemon kept it. Only for a supervisor that nothing has happened to.
    Recalled {
        /// What that daemon wrote down.
        memory: Box<SupervisorSnapshot<Instant>>,
        /// What this one has found.
        found: AdoptionOutcome,
    },
    /// [`Action::Spawn`] is not carried out yet: others are being launched.
    Queued {
        /// Which run.
        incarnation: Instance,
    },
    /// [`Action::Spawn`] was carried out.
    Spawned {
        /// Which run.
        incarnation: Instance,
        /// Its process id.
        pid: u32,
    },
    /// [`Action::Spawn`] could not be carried out.
    SpawnFailed {
        /// Which run.
        incarnation: Instance,
        /// Why, with what to do.
        reason: String,
    },
    /// The process has ended.
    Exited {
        /// Which run.
        incarnation: Instance,
        /// How.
        exit: Exit,
    },
    /// The polite command could not be delivered or was refused: the next step is taken at once.
    ShutdownFailed {
        /// Which run.
        incarnation: Instance,
    },
    /// Its token is on the mesh.
    Joined {
        /// The session it belongs to (the Zenoh id), so that the token of an older run is not taken for it.
        session: String,
    },
    /// A token is gone from the mesh.
    Left {
        /// The session it belonged to.
        session: String,
    },
    /// The last thing that a run wrote which has just ended. Comes right before [`ProcessEvent::Exited`], or before
    /// [`ProcessEvent::Recalled`] of one that ended unwatched: the reason of a crash says it.
    LastWords(String),
    /// What the program reports of itself that a person should know although all is well, such as that it has no
    /// window; empty when there is nothing any more.
    Remark {
        /// Which run.
        incarnation: Instance,
        /// In plain words.
        remark: String,
    },
    /// What is thought of its health.
    Verdict {
        /// Which run.
        incarnation: Instance,
        /// The verdict.
        verdict: HealthVerdict,
    },
    /// The program announced that a person closed it. It counts for a run that has joined the mesh or was
    /// adopted, or for the one that has just ended; before a new run has joined it can only be the old one's
    /// and is ignored.
    ClosedByPerson,
    /// Time has passed.
    Tick,
}

/// What a daemon finds of what an earlier one kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdoptionOutcome {
    /// Its process runs.
    Running {
        /// Its process id.
        pid: u32,
    },
    /// Its process has ended, and nobody was told how.
    Ended(MissedExit),
    /// There was no process, or what there may have been is gone now.
    Nothing,
}

/// What is known of an end that nobody watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissedExit {
    /// Nothing: it is taken for a crash.
    Unknown,
    /// The program left word that a person closed it.
    ClosedByPerson,
}

/// What is to be done, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Launch it; answer with [`ProcessEvent::Spawned`] or [`ProcessEvent::SpawnFailed`].
    Spawn(Instance),
    /// [`Action::Spawn`], of which was said that it is [`ProcessEvent::Queued`], is not wanted any more.
    Withdraw(Instance),
    /// Ask it over the mesh to shut down.
    AskShutdown(Instance),
    /// SIGTERM to its group.
    Terminate(Instance),
    /// SIGKILL to its group. May come again while the process does not end.
    Kill(Instance),
    /// It has ended: kill what remains of its group, reap it, forget it.
    Sweep(Instance),
    /// Tell people what happened.
    Report {
        /// What kind of thing.
        kind: EventKind,
        /// The same in plain words, with the cause.
        text: String,
    },
    /// Its status is another: publish it.
    Announce,
}

#[derive(Debug, Clone)]
enum Phase {
    /// No process, and none to come by itself.
    Down,
    /// No process; one is to be launched at this time.
    Waiting {
        until: Instant,
        after: String,
    },
    /// Asked for, not there yet.
    Launching {
        origin: LaunchReason,
        halt: Option<StopKind>,
        /// Whether it is known to wait for its turn, and can be taken back.
        queued: bool,
    },
    Up(Up),
    Ending(Ending),
}

/// Who wanted a launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LaunchReason {
    /// A person asked for a start.
    Start,
    /// A person asked for a restart of one that ran.
    Restart,
    /// The policy, after this.
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
    /// When it was launched, or adopted.
    spawned_at: Instant,
    /// The one it was last present with.
    session: Option<String>,
    /// Since when it has been gone from the mesh, having been there.
    left_at: Option<Instant>,
    verdict: Option<HealthVerdict>,
    /// When it was first seen to run.
    ran_at: Option<Instant>,
    /// How an earlier daemon saw it, until this one has seen for itself.
    before: Option<PriorStatus>,
    /// What the program reports of itself.
    remark: String,
    /// How much the reason explains that is given for its being slow.
    slowness: u8,
}

/// How one that was adopted stood before.
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

/// Where it stands, as far as deadlines depend on it.
#[derive(Debug, Clone, Copy)]
struct StatusView {
    state: ProcessState,
    /// No earlier than this daemon has seen it.
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

/// The last thing done to end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StopStage {
    /// Nothing: it is closing by itself.
    Wait,
    /// It was told to shut down.
    Polite,
    Terminate,
    Kill,
}

/// What follows once it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OnExit {
    Stop,
    Close,
    /// A person asked for a restart.
    Restart,
    /// The policy treats it like a crash, for this reason.
    Recover(String),
}

/// How one that lives is seen.
enum View {
    AsBefore,
    Running(String),
    Slow { reason: String, slowness: u8 },
    Unresponsive(String),
}

/// What an [`Action::Announce`] is about.
type PublishedStatus = (ProcessState, String, Option<u32>, Option<Exit>, u32);

const QUEUED: &str = "; waits for its turn, since others are being launched";
/// Between two SIGKILLs to one that does not end.
const KILL_AGAIN: Duration = Duration::from_secs(1);
const STUCK: &str = "; does not end although SIGKILL was sent: a call into the operating system or a driver does not return";
const OFF_MESH: &str = "not on the mesh; judged by its process alone";
const ADOPTED: &str = "adopted after a restart of the daemon; not heard on the mesh yet";
/// What an end that is not known may have been: a policy that restarts after either restarts it. A code of 0
/// it may have been too, but a person who closes one is in the room, and a show that stays dark has nobody.
const UNKNOWN_ENDS: [RestartOn; 2] = [RestartOn::ExitCode, RestartOn::Signal];
const CLOSED_BY_PERSON: &str = "closed by a person";
const CLOSED_WITH_CTRL_C: &str = "closed with Ctrl-C";
/// What a shell returns when Ctrl-C ended its program.
const CODE_AFTER_SIGINT: i32 = 130;
/// `STATUS_CONTROL_C_EXIT` of Windows, 0xC000013A.
const CODE_CONTROL_C: i32 = -1_073_741_510;
const SIGINT: i32 = 2;

impl Supervisor {
    /// A supervisor of the process that is to have the id `id`, of the catalogue's entry `name`. Nothing
    /// happens until [`ProcessEvent::StartAsked`].
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

    /// The same with another source of jitter; without, the id is its seed.
    #[must_use]
    pub const fn with_jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// The id of the process on the mesh.
    #[must_use]
    pub const fn id(&self) -> &NodeId {
        &self.id
    }

    /// Its name in the catalogue.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The policy it is kept by.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Keeps it by this policy from now on. Whether it joins the mesh does not change under a running one.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = Policy { mesh: self.policy.mesh, ..policy };
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> ProcessState {
        self.state
    }

    /// Why it stands there, in plain words. Empty only when running, without a remark.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Since when it has stood there.
    #[must_use]
    pub const fn since(&self) -> Instant {
        self.since
    }

    /// Its process id while it has a process.
    #[must_use]
    pub const fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// How it last ended.
    #[must_use]
    pub const fn exit(&self) -> Option<Exit> {
        self.exit
    }

    /// What it took to stop it; `None` unless the state is [`ProcessState::Stopped`].
    #[must_use]
    pub const fn stopped_by(&self) -> Option<StoppedBy> {
        self.stopped_by
    }

    /// How often the policy restarted it since a person last started it.
    #[must_use]
    pub const fn restarts(&self) -> u32 {
        self.restarts
    }

    /// What the program reports of itself that a person should know although all is well.
    #[must_use]
    pub const fn remark(&self) -> &str {
        match &self.phase {
            Phase::Up(up) => up.remark.as_str(),
            _ => "",
        }
    }

    /// Whether a person wants nothing done about the state it is in, and not to be told of it any more. Until it is in
    /// another one.
    #[must_use]
    pub const fn is_ignored(&self) -> bool {
        self.ignored
    }

    /// Who wants the launch that was asked for last.
    #[must_use]
    pub const fn wish(&self) -> LaunchPriority {
        match &self.phase {
            Phase::Launching { origin: LaunchReason::Policy { .. }, .. } => LaunchPriority::Policy,
            _ => LaunchPriority::Person,
        }
    }

    /// The run that is, or was last.
    #[must_use]
    pub const fn incarnation(&self) -> Instance {
        self.incarnation
    }

    /// What is published of it; `unix_ms` turns an instant into Unix milliseconds.
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
            ignored: self.ignored,
        }
    }

    /// When it wants a [`ProcessEvent::Tick`], if nothing else happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Down | Phase::Launching { .. } => None,
            Phase::Waiting { until, .. } => Some(*until),
            Phase::Ending(ending) => Some(ending.deadline),
            Phase::Up(up) => up.next_deadline(&self.policy, self.standing()),
        }
    }

    /// Takes note of what happened at `now` and says what to do.
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

    // What people ask for.

    fn start_asked(&mut self, origin: LaunchReason, now: Instant, actions: &mut Vec<Action>) {
        match &mut self.phase {
            Phase::Down | Phase::Waiting { .. } => self.launch(origin, now, actions),
            Phase::Launching { queued: true, .. } => {
                // A person's wish is another one, that comes before those of the policy.
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

    // What becomes of a process.

    /// Launches for a person: what was counted before is forgotten.
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

    /// A person does not want it any more, before its turn has come.
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

    /// Nothing has been launched or adopted, and nobody has asked for anything.
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
                // Whatever became of the clock meanwhile.
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
                // It is not on the mesh of this daemon yet, so politeness would be lost on it.
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
            // The end was noticed before the beginning was told: the end counts.
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

    /// The reason of an end that was not asked for, with what the program itself wrote about it.
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

    /// It has ended without being asked to. It is restarted where the policy does that after one of the
    /// `causes`; without any, whatever the policy says of them.
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
            // Its end was seen before it was heard why: that it is down is told already.
            Phase::Down
                if self.state == ProcessState::Closed && self.exit == Some(Exit::Code(0)) =>
            {
                self.reason = CLOSED_BY_PERSON.into();
            },
            Phase::Down | Phase::Launching { .. } | Phase::Up(_) | Phase::Ending(_) => {},
        }
    }

    /// That a person closed it is heard only after it has ended.
    fn close_late(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let reason = self
            .exit
            .map_or_else(|| CLOSED_BY_PERSON.into(), |exit| with_exit(CLOSED_BY_PERSON, exit));
        self.down(ProcessState::Closed, reason, now);
        self.report(EventKind::Closed, actions);
    }

    // How it is while it lives.

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
                // Figures that change all the time are no reason for another reason.
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

    /// One that was adopted, and is as it was before, has been so since then.
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

    /// The first step of a stop: politeness is lost on what is not on the mesh or does not respond.
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

    // What is said of it.

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

    /// Reports the state's reason as it stands.
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

    /// As an earlier daemon saw it.
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
    /// When one that is unresponsive is to be killed.
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
    /// The run of this number, to go on counting where an earlier daemon stopped.
    #[must_use]
    pub const fn of_number(number: u32) -> Self {
        Self(number)
    }

    /// Its number, from 1; 0 before the first.
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

/// What an end means that nobody asked for.
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

/// `reason`, with the exit where it says more than that all went well.
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
