//! The steps of ending a process.

use std::time::{Duration, Instant};

use hana_protocol::message::{EventKind, Exit, ProcessState};

use crate::supervisor::event::Action;
use crate::supervisor::phase::{Ending, LaunchReason, OnExit, Phase, StopStage, Up, UpOrigin};
use crate::supervisor::supervisor::Supervisor;
use crate::supervisor::wording::{CLOSED_BY_PERSON, STUCK, with_exit};

/// The time between two SIGKILLs to a process that does not end.
const KILL_AGAIN: Duration = Duration::from_secs(1);

impl Supervisor {
    pub(super) fn closed_by_person(&mut self, now: Instant, actions: &mut Vec<Action>) {
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
                actions.push(Action::Withdraw(self.instance));
                self.close_late(now, actions);
            },
            Phase::Down
                if matches!(self.state, ProcessState::Crashed | ProcessState::CrashLoop) =>
            {
                self.close_late(now, actions);
            },
            // The exit was handled before its cause was known, so the state is already published.
            Phase::Down
                if self.state == ProcessState::Closed && self.exit == Some(Exit::Code(0)) =>
            {
                self.reason = CLOSED_BY_PERSON.into();
            },
            Phase::Down | Phase::Launching { .. } | Phase::Up(_) | Phase::Ending(_) => {},
        }
    }

    /// Handles the announcement that a person closed the program, if it arrives after the program has ended.
    pub(super) fn close_late(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let reason = self
            .exit
            .map_or_else(|| CLOSED_BY_PERSON.into(), |exit| with_exit(CLOSED_BY_PERSON, exit));
        self.down(ProcessState::Closed, reason, now);
        self.report(EventKind::Closed, actions);
    }

    /// Returns the first step of a stop, which is SIGTERM if the process is off the mesh or unresponsive.
    ///
    /// Such a process would not respond to a shutdown command.
    pub(super) fn first_stage(&self) -> StopStage {
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

    pub(super) fn end(
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
        self.begin_stage(step, now, actions);
    }

    pub(super) fn next_stage(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Phase::Ending(ending) = &self.phase else { return };
        let (step, add) = match ending.step {
            StopStage::Wait | StopStage::Polite => (StopStage::Terminate, "; SIGTERM sent"),
            StopStage::Terminate => (StopStage::Kill, "; SIGKILL sent"),
            StopStage::Kill => (StopStage::Kill, STUCK),
        };
        if !self.reason.ends_with(add) {
            self.reason.push_str(add);
        }
        self.begin_stage(step, now, actions);
    }

    pub(super) fn begin_stage(
        &mut self,
        stage: StopStage,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Phase::Ending(ending) = &mut self.phase else { return };
        let instance = self.instance;
        let (action, timeout) = match stage {
            StopStage::Wait => (None, self.policy.stop.polite),
            StopStage::Polite => (Some(Action::RequestShutdown(instance)), self.policy.stop.polite),
            StopStage::Terminate => (Some(Action::Terminate(instance)), self.policy.stop.terminate),
            StopStage::Kill => (Some(Action::Kill(instance)), KILL_AGAIN),
        };
        ending.step = stage;
        ending.deadline = now + timeout;
        actions.extend(action);
    }
}
