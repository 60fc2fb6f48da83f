//! The state of a living process, from its presence on the mesh and its health.

use std::time::Instant;

use hana_engine::roster::HealthVerdict;
use hana_protocol::message::{EventKind, ProcessState};

use crate::supervisor::event::Action;
use crate::supervisor::phase::{Phase, StatusView, Up};
use crate::supervisor::policy::{Monitoring, Policy, WhenUnresponsive};
use crate::supervisor::supervisor::Supervisor;
use crate::supervisor::wording::{OFF_MESH, seconds};

/// The state of a living process according to its token and its health.
enum View {
    AsBefore,
    Running(String),
    Slow { reason: String, slowness: u8 },
    Unresponsive(String),
}

impl Supervisor {
    pub(super) fn joined(&mut self, session: String, now: Instant, actions: &mut Vec<Action>) {
        if self.policy.mesh == Monitoring::Never || self.stale_session.as_ref() == Some(&session) {
            return;
        }
        if let Phase::Up(up) = &mut self.phase {
            up.session = Some(session);
            up.left_at = None;
            if self.state == ProcessState::Starting {
                self.reason = "on the mesh; its main loop has not started yet".into();
            }
            self.judge(now, actions);
        }
    }

    pub(super) fn left(&mut self, session: &str, now: Instant, actions: &mut Vec<Action>) {
        if let Phase::Up(up) = &mut self.phase
            && up.session.as_deref() == Some(session)
        {
            up.left_at = Some(now);
            self.judge(now, actions);
        }
    }

    pub(super) fn judge(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let status = self.status_view();
        let Phase::Up(up) = &mut self.phase else { return };
        let was = self.state;
        match up.view(&self.policy, status, now) {
            View::AsBefore => {},
            View::Running(reason) => {
                up.ran_at.get_or_insert(now);
                up.slowness = 0;
                self.enter(ProcessState::Running, reason, now);
            },
            View::Slow { reason, slowness } => {
                up.ran_at.get_or_insert(now);
                // The numbers in the reason change all the time. The published reason changes only if a new one is
                // more specific.
                let explains_more = slowness > up.slowness;
                up.slowness = up.slowness.max(slowness);
                if was != ProcessState::Slow || (explains_more && !self.acknowledged) {
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
        self.resume_prior_status();
        if was == ProcessState::Unresponsive && self.state != was {
            let text = "its main loop runs again".into();
            actions.push(Action::Report { kind: EventKind::Responsive, text });
        }
    }

    /// Restores the start time of the state if an adopted process is in the same state as before its adoption.
    pub(super) fn resume_prior_status(&mut self) {
        let Phase::Up(up) = &mut self.phase else { return };
        if self.state == ProcessState::Starting {
            return;
        }
        let Some(before) = up.before.take().filter(|before| before.state == self.state) else {
            return;
        };
        self.since = before.since;
        if before.acknowledged {
            self.acknowledge();
        }
    }
}

impl Up {
    fn view(&self, policy: &Policy, status: StatusView, now: Instant) -> View {
        if policy.mesh == Monitoring::Never {
            return View::Running(OFF_MESH.into());
        }
        if let Some(left_at) = self.left_at {
            return if now.saturating_duration_since(left_at)
                >= policy.health.limits.unresponsive_after
            {
                View::Unresponsive("left the mesh, but its process runs".into())
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
            _ if self.overdue_at(policy, status).is_some_and(|at| now >= at) => {
                let startup = seconds(policy.health.startup);
                View::Unresponsive(match self.session {
                    Some(_) => {
                        format!(
                            "on the mesh, but has published no health {startup} after its launch"
                        )
                    },
                    None => format!("not on the mesh {startup} after its launch"),
                })
            },
            _ => View::AsBefore,
        }
    }

    fn overdue_at(&self, policy: &Policy, status: StatusView) -> Option<Instant> {
        let due = status.state == ProcessState::Starting && !status.acknowledged;
        due.then(|| self.spawned_at + policy.health.startup)
    }

    pub(super) fn next_deadline(&self, policy: &Policy, status: StatusView) -> Option<Instant> {
        let missed = self
            .left_at
            .filter(|_| status.state != ProcessState::Unresponsive)
            .map(|left_at| left_at + policy.health.limits.unresponsive_after);
        let overdue = self.overdue_at(policy, status).filter(|_| self.left_at.is_none());
        [missed, overdue, status.kill_at(policy)].into_iter().flatten().min()
    }
}

impl StatusView {
    /// Returns the time at which an unresponsive process is killed, or `None` if the policy does not kill it.
    pub(super) fn kill_at(self, policy: &Policy) -> Option<Instant> {
        match policy.health.when_unresponsive {
            WhenUnresponsive::Restart(after)
                if self.state == ProcessState::Unresponsive && !self.acknowledged =>
            {
                Some(self.since + after)
            },
            WhenUnresponsive::Restart(_) | WhenUnresponsive::Report => None,
        }
    }
}
