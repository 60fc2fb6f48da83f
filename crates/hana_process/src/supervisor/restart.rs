//! Automatic restarts.

use std::time::Instant;

use hana_protocol::message::{EventKind, ProcessState};

use crate::supervisor::event::Action;
use crate::supervisor::phase::Phase;
use crate::supervisor::policy::RestartOn;
use crate::supervisor::supervisor::Supervisor;
use crate::supervisor::wording::seconds;

impl Supervisor {
    /// Handles an unexpected end.
    ///
    /// The process is restarted if the policy restarts after one of the `causes`, or unconditionally if `causes` is
    /// empty.
    pub(super) fn crashed(
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
        if ran_at.is_some_and(|ran_at| now.saturating_duration_since(ran_at) >= policy.stable_after)
        {
            self.failures = 0;
        }
        let window = policy.window;
        self.recent.retain(|at| now.saturating_duration_since(*at) < window);
        let made = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        if policy.budget.is_some_and(|budget| made >= budget) {
            let reason = format!(
                "{reason}; not restarted any more after {made} restarts within {}: fix the cause, then start it",
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
        self.enter(ProcessState::Restarting, format!("{reason}; restarts {when}{count}"), now);
        self.phase = Phase::Waiting { until: now + delay, after: reason };
        actions.push(Action::Report { kind: EventKind::Crashed, text: self.reason.clone() });
    }
}
