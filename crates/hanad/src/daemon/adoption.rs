//! A daemon that comes after another takes over what that one launched.

use std::time::Duration;
use std::time::Instant;

use hana_network::unix_ms;
use hana_process::AdoptError;
use hana_process::Incarnation;
use hana_process::LogFollower;
use hana_process::LogLimits;
use hana_process::Mesh;
use hana_process::MissedEnd;
use hana_process::Policy;
use hana_process::Preset;
use hana_process::Process;
use hana_process::ProcessEvent;
use hana_protocol::Exit;
use hana_protocol::HealthWatch;

use super::Daemon;
use super::DaemonEvent;
use crate::keeper::Keeper;
use crate::keeper::Run;
use crate::run_record::RunRecord;

impl Daemon {
    /// Goes on where an earlier daemon of this host has stopped: what it launched and still runs is kept, what
    /// has ended since is treated by policy. To be called once this daemon has the host's place on the
    /// mesh, so that of two daemons only one does it.
    pub(super) fn adopt(&mut self) {
        for record in self.state.run_records().read() {
            self.adopt_one(record);
        }
    }

    fn adopt_one(&mut self, mut record: RunRecord) {
        let id = record.node.clone();
        if record.name.is_empty() {
            record.name = id.to_string();
        }
        let policy = self.policy_of(&record);
        let limits = policy.health.limits;
        let mut keeper = self.keeper(id.clone(), &record.name, policy);
        let incarnation = Incarnation::of_number(record.incarnation);
        let restarts = record.restarts;
        let goodbye = self.state.run_records().goodbye_of(&id);
        let (events, told, note) = (self.events.clone(), id.clone(), goodbye.clone());
        let adopted = Process::adopt(&record.process, move |exit| {
            let tell = |event| events.send(DaemonEvent::Process(told.clone(), event)).ok();
            if exit == Exit::Unknown && note.exists() {
                tell(ProcessEvent::ClosedByPerson);
            }
            tell(ProcessEvent::Exited { incarnation, exit });
        });
        let event = match adopted {
            Ok(process) => {
                let pid = process.pid();
                let ago = Duration::from_millis(unix_ms().saturating_sub(record.launched_ms));
                tracing::info!(
                    "'{id}' still runs as process {pid}, launched {} s ago by an earlier daemon",
                    ago.as_secs()
                );
                keeper.health = Some(HealthWatch::new(limits, Instant::now()));
                let follower = Self::output_so_far(&keeper, &record);
                keeper.run = Some(Run { process, follower });
                ProcessEvent::Adopted { incarnation, pid, restarts }
            },
            Err(AdoptError::Gone { .. }) => {
                if let Err(problem) = record.process.sweep() {
                    tracing::warn!("what '{id}' left behind cannot be ended: {problem}");
                }
                let mut follower = Self::output_so_far(&keeper, &record);
                keeper.remember(follower.finish().unwrap_or_default());
                let end = if record.to_end {
                    MissedEnd::Asked
                } else if goodbye.exists() {
                    MissedEnd::ClosedByPerson
                } else {
                    MissedEnd::Unknown
                };
                ProcessEvent::Missed { incarnation, restarts, end }
            },
            Err(problem) => {
                // What may live is neither launched a second time nor forgotten.
                tracing::warn!(
                    "'{id}', which an earlier daemon launched, is left alone: {problem}"
                );
                return;
            },
        };
        let is_to_end = record.to_end && matches!(event, ProcessEvent::Adopted { .. });
        keeper.keep_record(record);
        self.keepers.insert(id.clone(), keeper);
        self.handle(&id, event);
        if is_to_end {
            self.handle(&id, ProcessEvent::StopAsked);
        }
    }

    /// As the catalogue has it now.
    fn policy_of(&self, record: &RunRecord) -> Policy {
        match self.catalogue.get(&record.name) {
            Ok(entry) => entry.policy.clone(),
            Err(unknown) => {
                tracing::warn!(
                    "'{}', which an earlier daemon launched, is kept by the policy 'manual', and cannot be started again: {unknown}",
                    record.node
                );
                let mesh = if record.joins { Mesh::Joins } else { Mesh::Never };
                Policy { mesh, ..Policy::preset(Preset::Manual) }
            },
        }
    }

    /// Follows the output of a run on from where it is; its last lines are there for who asks.
    fn output_so_far(keeper: &Keeper, record: &RunRecord) -> LogFollower {
        let Some(output) = &record.process.output else { return LogFollower::of_nothing() };
        let limits = LogLimits::default();
        match LogFollower::resume(output, limits, record.first_line) {
            Ok(follower) => {
                keeper.remember(follower.tail(limits.tail));
                follower
            },
            Err(problem) => {
                tracing::warn!("what '{}' wrote so far: {problem}", record.node);
                LogFollower::new(output, limits)
            },
        }
    }
}
