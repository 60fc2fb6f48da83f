//! The supervisor's state for a later daemon, and its continuation there.

use std::time::Instant;

use hana_protocol::message::{EventKind, Exit, ProcessState, StoppedBy};

use crate::supervisor::event::{Action, AdoptionOutcome, MissedExit};
use crate::supervisor::instance::Instance;
use crate::supervisor::phase::{
    Ending, LaunchReason, OnExit, Phase, PriorStatus, StopStage, Up, UpOrigin,
};
use crate::supervisor::snapshot::{Stage, SupervisorSnapshot};
use crate::supervisor::supervisor::Supervisor;
use crate::supervisor::wording::{ADOPTED, CLOSED_BY_PERSON, UNKNOWN_ENDS};

impl Supervisor {
    /// Returns the state to record for a later daemon.
    ///
    /// It changes whenever something relevant changes. Read it after each event, and record it before carrying out
    /// the actions.
    #[must_use]
    pub fn memory(&self) -> SupervisorSnapshot<Instant> {
        // Whatever this daemon has not observed yet is as the previous daemon saw it.
        let before = match &self.phase {
            Phase::Up(up) => up.before,
            _ => None,
        };
        let (state, since, ignored) = before
            .map_or((self.state, self.since, self.ignored), |before| {
                (before.state, before.since, before.ignored)
            });
        SupervisorSnapshot {
            incarnation: self.incarnation,
            state,
            reason: self.reason.clone(),
            since,
            stage: match &self.phase {
                Phase::Down => Stage::Down,
                Phase::Waiting { until, after } => {
                    Stage::Waiting { until: *until, after: after.clone() }
                },
                Phase::Launching { origin, halt, .. } => {
                    Stage::Launching { origin: origin.clone(), halt: *halt }
                },
                Phase::Up(up) => Stage::Up { ran_at: up.ran_at },
                Phase::Ending(Ending { after, step, ran_at, .. }) => {
                    Stage::Ending { after: after.clone(), step: *step, ran_at: *ran_at }
                },
            },
            exit: self.exit,
            stopped_by: self.stopped_by,
            restarts: self.restarts,
            failures: self.failures,
            recent: self.recent.iter().copied().collect(),
            ignored,
        }
    }

    /// Returns whether nothing has been launched, adopted or requested yet.
    pub(super) fn is_untouched(&self) -> bool {
        matches!(self.phase, Phase::Down) && self.incarnation == Instance::default()
    }

    pub(super) fn recalled(
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

    pub(super) fn adopted(
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

    pub(super) fn stopped_meanwhile(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let reason = "stopped as asked, while the daemon was away";
        self.down(ProcessState::Stopped, reason.into(), now);
        self.stopped_by = Some(StoppedBy::Already);
        self.report(EventKind::Stopped, actions);
    }

    /// Restores the status that an earlier daemon saw.
    pub(super) fn stand_as(&mut self, before: PriorStatus, reason: String) {
        self.state = before.state;
        self.since = before.since;
        self.ignored = before.ignored;
        self.reason = reason;
    }
}
