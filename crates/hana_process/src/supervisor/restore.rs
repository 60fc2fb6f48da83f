//! Saving the supervisor's state for a later daemon, and restoring it there.

use std::time::Instant;

use hana_protocol::message::{EventKind, Exit, ProcessState, StoppedBy};

use crate::supervisor::event::{Action, AdoptionOutcome, MissedExit};
use crate::supervisor::instance::Instance;
use crate::supervisor::phase::{
    Ending, LaunchReason, OnExit, Phase, PriorStatus, StopStage, Up, UpOrigin,
};
use crate::supervisor::snapshot::{PhaseSnapshot, SupervisorSnapshot};
use crate::supervisor::supervisor::Supervisor;
use crate::supervisor::wording::{ADOPTED, CLOSED_BY_PERSON, UNKNOWN_ENDS};

impl Supervisor {
    /// Returns the state to record for a later daemon.
    ///
    /// The snapshot changes whenever relevant state changes. Read it after each event, and record it before carrying
    /// out the actions.
    #[must_use]
    pub fn snapshot(&self) -> SupervisorSnapshot<Instant> {
        // The previous daemon's status stays valid until this daemon has made its own observation.
        let before = match &self.phase {
            Phase::Up(up) => up.before,
            _ => None,
        };
        let (state, since, acknowledged) = before
            .map_or((self.state, self.since, self.acknowledged), |before| {
                (before.state, before.since, before.acknowledged)
            });
        SupervisorSnapshot {
            instance: self.instance,
            state,
            reason: self.reason.clone(),
            since,
            stage: match &self.phase {
                Phase::Down => PhaseSnapshot::Down,
                Phase::Waiting { until, after } => {
                    PhaseSnapshot::Waiting { until: *until, after: after.clone() }
                },
                Phase::Launching { origin, halt, .. } => {
                    PhaseSnapshot::Launching { origin: origin.clone(), halt: *halt }
                },
                Phase::Up(up) => PhaseSnapshot::Up { ran_at: up.ran_at },
                Phase::Ending(Ending { after, step, ran_at, .. }) => {
                    PhaseSnapshot::Ending { after: after.clone(), step: *step, ran_at: *ran_at }
                },
            },
            exit: self.exit,
            stopped_by: self.stopped_by,
            restarts: self.restarts,
            failures: self.failures,
            recent: self.recent.iter().copied().collect(),
            acknowledged,
        }
    }

    /// Returns whether nothing has been launched, adopted or requested yet.
    pub(super) fn is_untouched(&self) -> bool {
        matches!(self.phase, Phase::Down) && self.instance == Instance::default()
    }

    pub(super) fn restore(
        &mut self,
        snapshot: SupervisorSnapshot<Instant>,
        found: AdoptionOutcome,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        self.instance = snapshot.instance;
        self.restarts = snapshot.restarts;
        self.failures = snapshot.failures;
        self.recent = snapshot.recent.into();
        self.exit = snapshot.exit;
        self.stopped_by = None;
        let before = PriorStatus {
            state: snapshot.state,
            since: snapshot.since,
            acknowledged: snapshot.acknowledged,
        };
        let reason = Some(snapshot.reason).filter(|reason| !reason.is_empty());
        let reason = reason.unwrap_or_else(|| "the reason was not recorded".into());
        match (snapshot.stage, found) {
            (stage, AdoptionOutcome::Running { pid }) => {
                self.pid = Some(pid);
                self.exit = None;
                self.adopted(stage, before, reason, now, actions);
            },
            (
                PhaseSnapshot::Up { .. }
                | PhaseSnapshot::Waiting { .. }
                | PhaseSnapshot::Ending { after: OnExit::Recover(_), .. },
                AdoptionOutcome::Ended(MissedExit::ClosedByPerson),
            ) => {
                self.exit = Some(Exit::Unknown);
                let reason = "closed by a person while no daemon ran";
                self.down(ProcessState::Closed, reason.into(), now);
                self.report(EventKind::Closed, actions);
            },
            (PhaseSnapshot::Up { ran_at }, _) => {
                self.exit = Some(Exit::Unknown);
                let reason = self.with_last_words("ended while no daemon ran".into());
                self.crashed(&UNKNOWN_ENDS, reason, ran_at, now, actions);
            },
            (PhaseSnapshot::Ending { after, ran_at, .. }, _) => {
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
            (PhaseSnapshot::Launching { halt: Some(_), .. }, _) => {
                self.stopped_meanwhile(now, actions);
            },
            (PhaseSnapshot::Launching { origin, halt: None }, _) => {
                self.spawn(origin, now, actions);
            },
            (PhaseSnapshot::Waiting { until, after }, _) => {
                self.restore_status(
                    PriorStatus { state: ProcessState::Restarting, ..before },
                    reason,
                );
                // The delay is limited in case a clock was changed.
                let until = until.min(now + self.policy.restart.backoff.max);
                self.phase = Phase::Waiting { until, after };
            },
            (PhaseSnapshot::Down, _) => {
                let state = match before.state {
                    state @ (ProcessState::Stopped
                    | ProcessState::Closed
                    | ProcessState::CrashLoop) => state,
                    _ => ProcessState::Crashed,
                };
                self.restore_status(PriorStatus { state, ..before }, reason);
                let by = snapshot.stopped_by.unwrap_or(StoppedBy::Already);
                self.stopped_by = (state == ProcessState::Stopped).then_some(by);
            },
        }
    }

    pub(super) fn adopted(
        &mut self,
        stage: PhaseSnapshot<Instant>,
        before: PriorStatus,
        reason: String,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let mut up = Up::new(UpOrigin::Adopted, now);
        if let PhaseSnapshot::Up { ran_at } | PhaseSnapshot::Ending { ran_at, .. } = &stage {
            up.ran_at = *ran_at;
        }
        match (stage, before.state) {
            (PhaseSnapshot::Ending { after, step, .. }, _) => {
                self.phase = Phase::Up(up);
                self.restore_status(
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
            // The process stays unresponsive until a health message proves otherwise.
            (_, ProcessState::Unresponsive) => {
                self.phase = Phase::Up(up);
                self.restore_status(before, reason);
            },
            (_, was) => {
                up.before = Some(before);
                self.phase = Phase::Up(up);
                let since = if was == ProcessState::Starting { before.since } else { now };
                let acknowledged = before.acknowledged && was == ProcessState::Starting;
                let starting = PriorStatus { state: ProcessState::Starting, since, acknowledged };
                self.restore_status(starting, ADOPTED.into());
                self.judge(now, actions);
            },
        }
    }

    pub(super) fn stopped_meanwhile(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let reason = "stopped as requested, while no daemon ran";
        self.down(ProcessState::Stopped, reason.into(), now);
        self.stopped_by = Some(StoppedBy::Already);
        self.report(EventKind::Stopped, actions);
    }

    /// Restores the status that an earlier daemon saw.
    pub(super) fn restore_status(&mut self, before: PriorStatus, reason: String) {
        self.state = before.state;
        self.since = before.since;
        self.acknowledged = before.acknowledged;
        self.reason = reason;
    }
}
