use std::collections::VecDeque;
use std::time::Instant;

use hana_protocol::id::NodeId;
use hana_protocol::message::{EventKind, Exit, ProcessState, ProcessStatus, StoppedBy};

use crate::launch::launch_queue::LaunchPriority;
use crate::supervisor::backoff::Jitter;
use crate::supervisor::event::{Action, ProcessEvent};
use crate::supervisor::instance::Instance;
use crate::supervisor::phase::{
    Ending, LaunchReason, OnExit, Phase, StatusView, StopKind, StopStage,
};
use crate::supervisor::policy::Policy;
use crate::supervisor::wording::seconds;

/// A pure machine that decides on the actions for one launched process: `(event, now) -> actions`.
///
/// It has no timers. [`Supervisor::next_deadline`] returns when it needs a [`ProcessEvent::Tick`]; a tick that is
/// late, early or repeated does no harm. Every event and action of a process names its [`Instance`], and events
/// of an older instance change nothing.
///
/// It guarantees that
/// - there are never two instances: [`Action::Spawn`] is returned only when the previous instance has ended or could
///   not be launched;
/// - a stop ends in [`ProcessState::Stopped`], whatever the process does, unless a person requests a start or restart
///   in between;
/// - a process that a person closed is not restarted automatically;
/// - the number of automatic restarts within the policy's window never exceeds its budget;
/// - every state but [`ProcessState::Running`] has a reason in plain words;
/// - all of this also holds if the daemon dies in any state, provided that the result of [`Supervisor::snapshot`] is
///   recorded after each event, before the actions are carried out.
#[derive(Debug, Clone)]
pub struct Supervisor {
    pub(super) id: NodeId,
    pub(super) name: String,
    pub(super) policy: Policy,
    pub(super) jitter: Jitter,
    pub(super) phase: Phase,
    pub(super) state: ProcessState,
    pub(super) reason: String,
    pub(super) since: Instant,
    pub(super) instance: Instance,
    pub(super) pid: Option<u32>,
    pub(super) exit: Option<Exit>,
    pub(super) stopped_by: Option<StoppedBy>,
    pub(super) restarts: u32,
    /// The number of consecutive restarts after which the process did not become stable.
    pub(super) failures: u32,
    /// The times of the automatic restarts within the last window.
    pub(super) recent: VecDeque<Instant>,
    /// The Zenoh session of the previous instance.
    pub(super) stale_session: Option<String>,
    /// Whether a person acknowledged the current state.
    pub(super) acknowledged: bool,
    /// The last output of the instance, once it has ended.
    pub(super) last_words: Option<String>,
}

/// The published values, which are compared to decide on an [`Action::Publish`].
type PublishedStatus = (ProcessState, String, Option<u32>, Option<Exit>, u32);

impl Supervisor {
    /// Creates a supervisor for the process with the id `id`, launched from the catalogue entry `name`.
    ///
    /// The supervisor does nothing until [`ProcessEvent::StartRequested`].
    #[must_use]
    pub fn new(id: NodeId, name: impl Into<String>, policy: Policy, now: Instant) -> Self {
        let jitter = Jitter::seeded_by(id.as_str());
        Self {
            id,
            name: name.into(),
            policy,
            jitter,
            phase: Phase::Down,
            state: ProcessState::Stopped,
            reason: "not started yet".into(),
            since: now,
            instance: Instance::default(),
            pid: None,
            exit: None,
            stopped_by: Some(StoppedBy::Already),
            restarts: 0,
            failures: 0,
            recent: VecDeque::new(),
            stale_session: None,
            acknowledged: false,
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

    /// Changes the policy. Whether the process joins the mesh does not change.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = Policy { mesh: self.policy.mesh, ..policy };
    }

    /// Returns the state.
    #[must_use]
    pub const fn state(&self) -> ProcessState {
        self.state
    }

    /// Returns the reason for the state, in plain words. It is empty only for a running process without a remark.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Returns the time at which the state began.
    #[must_use]
    pub const fn since(&self) -> Instant {
        self.since
    }

    /// Returns the process id, or `None` if there is no process.
    #[must_use]
    pub const fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Returns the last exit status.
    #[must_use]
    pub const fn exit(&self) -> Option<Exit> {
        self.exit
    }

    /// Returns the step that ended the process, or `None` if the state is not [`ProcessState::Stopped`].
    #[must_use]
    pub const fn stopped_by(&self) -> Option<StoppedBy> {
        self.stopped_by
    }

    /// Returns the number of automatic restarts since the last start by a person.
    #[must_use]
    pub const fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Returns the remark that a healthy program has published about itself.
    #[must_use]
    pub const fn remark(&self) -> &str {
        match &self.phase {
            Phase::Up(up) => up.remark.as_str(),
            _ => "",
        }
    }

    /// Returns whether a person acknowledged the current state. A change of state resets this.
    #[must_use]
    pub const fn is_acknowledged(&self) -> bool {
        self.acknowledged
    }

    /// Returns the origin of the last requested launch.
    #[must_use]
    pub const fn launch_priority(&self) -> LaunchPriority {
        match &self.phase {
            Phase::Launching { origin: LaunchReason::Policy { .. }, .. } => LaunchPriority::Policy,
            _ => LaunchPriority::User,
        }
    }

    /// Returns the current instance, or the last one.
    #[must_use]
    pub const fn instance(&self) -> Instance {
        self.instance
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
            acknowledged: self.acknowledged,
        }
    }

    /// Returns the time at which a [`ProcessEvent::Tick`] is needed if no other event comes first.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Down | Phase::Launching { .. } => None,
            Phase::Waiting { until, .. } => Some(*until),
            Phase::Ending(ending) => Some(ending.deadline),
            Phase::Up(up) => up.next_deadline(&self.policy, self.status_view()),
        }
    }

    /// Handles an event at `now` and returns the actions to carry out.
    pub fn handle(&mut self, event: ProcessEvent, now: Instant) -> Vec<Action> {
        let before = self.published_status();
        let mut actions = vec![];
        match event {
            ProcessEvent::StartRequested => {
                self.start_requested(LaunchReason::Start, now, &mut actions);
            },
            ProcessEvent::RestartRequested => self.restart_requested(now, &mut actions),
            ProcessEvent::StopRequested => self.stop_requested(StopKind::Stop, now, &mut actions),
            ProcessEvent::KillRequested => self.stop_requested(StopKind::Kill, now, &mut actions),
            ProcessEvent::Acknowledged => self.acknowledge(),
            ProcessEvent::Restored { snapshot, found } if self.is_untouched() => {
                self.restore(snapshot.not_after(now), found, now, &mut actions);
            },
            ProcessEvent::Queued { instance } if instance == self.instance => {
                self.queued(now, &mut actions);
            },
            ProcessEvent::Spawned { instance, pid } if instance == self.instance => {
                self.spawned(pid, now, &mut actions);
            },
            ProcessEvent::SpawnFailed { instance, reason } if instance == self.instance => {
                self.spawn_failed(&reason, now, &mut actions);
            },
            ProcessEvent::Exited { instance, exit } if instance == self.instance => {
                self.exited(exit, now, &mut actions);
            },
            ProcessEvent::ShutdownFailed { instance } if instance == self.instance => {
                if let Phase::Ending(Ending { step: StopStage::Polite, .. }) = self.phase {
                    self.next_stage(now, &mut actions);
                }
            },
            ProcessEvent::Joined { session } => self.joined(session, now, &mut actions),
            ProcessEvent::Left { session } => self.left(&session, now, &mut actions),
            ProcessEvent::LastWords(words) => {
                self.last_words = Some(words).filter(|words| !words.is_empty());
            },
            ProcessEvent::Remark { instance, remark } if instance == self.instance => {
                if let Phase::Up(up) = &mut self.phase {
                    up.remark = remark;
                    self.judge(now, &mut actions);
                }
            },
            ProcessEvent::Verdict { instance, verdict } if instance == self.instance => {
                if let Phase::Up(up) = &mut self.phase {
                    up.verdict = Some(verdict);
                    self.judge(now, &mut actions);
                }
            },
            ProcessEvent::ClosedByPerson => self.closed_by_person(now, &mut actions),
            ProcessEvent::Tick => self.tick(now, &mut actions),
            ProcessEvent::Restored { .. }
            | ProcessEvent::Queued { .. }
            | ProcessEvent::Spawned { .. }
            | ProcessEvent::SpawnFailed { .. }
            | ProcessEvent::Exited { .. }
            | ProcessEvent::ShutdownFailed { .. }
            | ProcessEvent::Remark { .. }
            | ProcessEvent::Verdict { .. } => {},
        }
        if self.published_status() != before {
            actions.push(Action::Publish);
        }
        actions
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
                    && self.status_view().kill_at(&self.policy).is_some_and(|at| now >= at)
                {
                    let cause = self.reason.clone();
                    let lasted = seconds(now.saturating_duration_since(self.since));
                    let reason = format!("killed after being unresponsive for {lasted}: {cause}");
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
                    self.next_stage(now, actions);
                }
            },
        }
    }

    pub(super) fn enter(&mut self, state: ProcessState, reason: impl Into<String>, now: Instant) {
        if self.state != state {
            self.state = state;
            self.since = now;
            self.acknowledged = false;
        }
        self.reason = reason.into();
    }

    pub(super) fn down(&mut self, state: ProcessState, reason: String, now: Instant) {
        self.phase = Phase::Down;
        self.enter(state, reason, now);
    }

    /// Reports an event with the current reason.
    pub(super) fn report(&self, kind: EventKind, actions: &mut Vec<Action>) {
        actions.push(Action::Report { kind, text: self.reason.clone() });
    }

    pub(super) fn status_view(&self) -> StatusView {
        let since = match &self.phase {
            Phase::Up(up) => self.since.max(up.spawned_at),
            _ => self.since,
        };
        StatusView { state: self.state, since, acknowledged: self.acknowledged }
    }

    fn published_status(&self) -> PublishedStatus {
        (self.state, self.reason.clone(), self.pid, self.exit, self.restarts)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
