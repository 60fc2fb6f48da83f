//! Requests by people.

use std::time::Instant;

use hana_protocol::message::{EventKind, ProcessState, StoppedBy};

use crate::supervisor::event::Action;
use crate::supervisor::phase::{LaunchReason, OnExit, Phase, StopKind, StopStage};
use crate::supervisor::supervisor::Supervisor;

impl Supervisor {
    pub(super) fn start_asked(
        &mut self,
        origin: LaunchReason,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
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

    pub(super) fn restart_asked(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match &self.phase {
            Phase::Up(_) => {
                let reason = "stopped to be started again";
                self.end(OnExit::Restart, reason.into(), self.gentlest(), now, actions);
            },
            _ => self.start_asked(LaunchReason::Restart, now, actions),
        }
    }

    pub(super) fn stop_asked(&mut self, how: StopKind, now: Instant, actions: &mut Vec<Action>) {
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

    pub(super) fn ignore(&mut self) {
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
}
