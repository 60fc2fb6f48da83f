//! The launch and the end of an instance.

use std::time::Instant;

use hana_protocol::message::{EventKind, Exit, ProcessState, StoppedBy};

use crate::supervisor::event::Action;
use crate::supervisor::phase::{
    Ending, LaunchReason, OnExit, Phase, StopKind, StopStage, Up, UpOrigin,
};
use crate::supervisor::policy::RestartOn;
use crate::supervisor::supervisor::Supervisor;
use crate::supervisor::wording::{
    CLOSED_BY_PERSON, CLOSED_WITH_CTRL_C, QUEUED, UnexpectedExit, is_ctrl_c, unexpected_exit,
    with_exit,
};

impl Supervisor {
    /// Launches the process at a person's request, which resets all counters.
    pub(super) fn launch(&mut self, origin: LaunchReason, now: Instant, actions: &mut Vec<Action>) {
        self.restarts = 0;
        self.failures = 0;
        self.recent.clear();
        self.spawn(origin, now, actions);
    }

    pub(super) fn spawn(&mut self, origin: LaunchReason, now: Instant, actions: &mut Vec<Action>) {
        self.instance = self.instance.next();
        let reason = match &origin {
            LaunchReason::Start => "being launched".into(),
            LaunchReason::Restart => "being launched again, as requested".into(),
            LaunchReason::Policy { after } => format!("being launched again after: {after}"),
        };
        self.stopped_by = None;
        self.last_words = None;
        self.enter(ProcessState::Starting, reason, now);
        self.phase = Phase::Launching { origin, halt: None, queued: false };
        actions.push(Action::Spawn(self.instance));
    }

    pub(super) fn queued(&mut self, now: Instant, actions: &mut Vec<Action>) {
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
    pub(super) fn withdraw(&mut self, now: Instant, actions: &mut Vec<Action>) {
        actions.push(Action::Withdraw(self.instance));
        self.down(ProcessState::Stopped, "stopped before it was launched".into(), now);
        self.stopped_by = Some(StoppedBy::Already);
        self.report(EventKind::Stopped, actions);
    }

    pub(super) fn spawned(&mut self, pid: u32, now: Instant, actions: &mut Vec<Action>) {
        let Phase::Launching { origin, halt, .. } = &self.phase else { return };
        let (kind, text, reason) = match origin {
            LaunchReason::Start => {
                (EventKind::Started, format!("started, process {pid}"), "launched".to_owned())
            },
            LaunchReason::Restart => (
                EventKind::Restarted,
                format!("restarted as requested, process {pid}"),
                "launched again, as requested".to_owned(),
            ),
            LaunchReason::Policy { after } => (
                EventKind::Restarted,
                format!("restarted after: {after}, process {pid}"),
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

    pub(super) fn spawn_failed(&mut self, reason: &str, now: Instant, actions: &mut Vec<Action>) {
        let Phase::Launching { origin, halt, .. } = &self.phase else { return };
        let automatic = matches!(origin, LaunchReason::Policy { .. });
        let reason = format!("cannot be launched: {reason}");
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

    pub(super) fn exited(&mut self, exit: Exit, now: Instant, actions: &mut Vec<Action>) {
        let phase = match &self.phase {
            Phase::Down | Phase::Waiting { .. } => return,
            // The exit was reported before the launch, so the launch succeeded. The exit is handled as for a running
            // process.
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
        actions.push(Action::KillRemaining(self.instance));
        self.pid = None;
        self.exit = Some(exit);
        match phase {
            Phase::Down | Phase::Waiting { .. } | Phase::Launching { .. } => {},
            Phase::Up(up) => {
                self.stale_session = up.session.or_else(|| self.stale_session.take());
                match unexpected_exit(exit) {
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
    pub(super) fn with_last_words(&mut self, reason: String) -> String {
        match self.last_words.take() {
            Some(words) => format!("{reason}; last output: {words}"),
            None => reason,
        }
    }

    pub(super) fn ended(
        &mut self,
        ending: Ending,
        exit: Exit,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        match ending.after {
            OnExit::Stop => {
                let (by, reason) = match ending.step {
                    StopStage::Wait => (StoppedBy::Already, "stopped; it was already ending"),
                    StopStage::Polite => (StoppedBy::Shutdown, "stopped as requested"),
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
}
