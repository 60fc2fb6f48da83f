//! Requests by people.

use std::time::Instant;

use hana_protocol::message::{EventKind, ProcessState, StoppedBy};

use crate::supervisor::event::Action;
use crate::supervisor::phase::{LaunchReason, OnExit, Phase, StopKind, StopStage};
use crate::supervisor::supervisor::Supervisor;

impl Supervisor {
    pub(super) fn start_requested(
        &mut self,
        origin: LaunchReason,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        match &mut self.phase {
            Phase::Down | Phase::Waiting { .. } => self.launch(origin, now, actions),
            Phase::Launching { queued: true, .. } => {
                // A person's request takes the place of the policy's queued one, since it has a higher priority.
                actions.push(Action::Withdraw(self.instance));
                self.launch(origin, now, actions);
            },
            Phase::Launching { halt, .. } => {
                *halt = None;
                self.enter(ProcessState::Starting, "being launched", now);
            },
            Phase::Up(_) => {},
            Phase::Ending(ending) => {
                ending.after = OnExit::Restart;
                self.enter(ProcessState::Stopping, "stopping for a restart", now);
            },
        }
    }

    pub(super) fn restart_requested(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match &self.phase {
            Phase::Up(_) => {
                let reason = "stopping for a restart";
                self.end(OnExit::Restart, reason.into(), self.first_stage(), now, actions);
            },
            _ => self.start_requested(LaunchReason::Restart, now, actions),
        }
    }

    pub(super) fn stop_requested(
        &mut self,
        kind: StopKind,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let request = match kind {
            StopKind::Stop => "stop requested",
            StopKind::Kill => "kill requested",
        };
        match &mut self.phase {
            Phase::Down if self.state == ProcessState::Stopped => {
                self.stopped_by = Some(StoppedBy::Already);
            },
            Phase::Down | Phase::Waiting { .. } => {
                let reason = format!("{request}; it had already ended: {}", self.reason);
                self.down(ProcessState::Stopped, reason, now);
                self.stopped_by = Some(StoppedBy::Already);
                self.report(EventKind::Stopped, actions);
            },
            Phase::Launching { queued: true, .. } => self.withdraw(now, actions),
            Phase::Launching { halt, .. } => {
                *halt = Some(if *halt == Some(StopKind::Kill) { StopKind::Kill } else { kind });
                self.enter(ProcessState::Stopping, request, now);
            },
            Phase::Up(_) => {
                let step =
                    if kind == StopKind::Kill { StopStage::Kill } else { self.first_stage() };
                self.end(OnExit::Stop, request.into(), step, now, actions);
            },
            Phase::Ending(ending) => {
                ending.after = OnExit::Stop;
                if kind == StopKind::Kill && ending.step != StopStage::Kill {
                    self.begin_stage(StopStage::Kill, now, actions);
                }
                self.enter(ProcessState::Stopping, request, now);
            },
        }
    }

    pub(super) fn acknowledge(&mut self) {
        let is_trouble = match self.state {
            ProcessState::Starting => matches!(self.phase, Phase::Up(_)),
            ProcessState::Slow
            | ProcessState::Unresponsive
            | ProcessState::Crashed
            | ProcessState::CrashLoop => true,
            _ => false,
        };
        if is_trouble && !self.acknowledged {
            self.acknowledged = true;
            self.reason.push_str("; acknowledged by an operator");
        }
    }
}
