//! Adoption of the processes that an earlier daemon launched.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;
use std::{fs, io};

use hana_engine::roster::HealthMonitor;
use hana_network::{LastLook, unix_ms};
use hana_process::{
    AdoptError, AdoptionOutcome, LogFollower, LogLimits, MissedExit, Monitoring, Policy, Preset,
    Process, ProcessEvent, RunningLaunch, SupervisorSnapshot,
};
use hana_protocol::id::NodeId;
use hana_protocol::message::{Exit, ProcessState};

use crate::daemon::event::DaemonEvent;
use crate::daemon::launcher::ENTRY_VAR;
use crate::daemon::managed_process::{ManagedProcess, RunningInstance};
use crate::daemon::process_table::ProcessTable;
use crate::output::process_output::Output;
use crate::state::clock_anchor::Boot;
use crate::state::run_record::RunRecord;

impl ProcessTable {
    /// Returns the records of all processes that an earlier daemon of this host launched.
    ///
    /// Call it once this daemon occupies the host's port on the mesh, so that only one of two daemons adopts a
    /// process.
    pub(super) fn records_to_adopt(&self) -> Vec<RunRecord> {
        let mut records = self.state.run_records().read();
        let known: BTreeSet<NodeId> = records.iter().map(|record| record.node.clone()).collect();
        for record in self.unrecorded() {
            if known.contains(&record.node) {
                continue;
            }
            tracing::warn!(
                "the record of '{}', which an earlier daemon launched, is missing; its process is identified by its environment",
                record.node
            );
            records.push(record);
        }
        records
    }

    /// Returns new records of running processes that an earlier daemon of this host and state directory launched.
    ///
    /// Their information comes from the environments of the processes. The caller must skip processes that have a
    /// record.
    fn unrecorded(&self) -> Vec<RunRecord> {
        RunningLaunch::all().into_iter().filter_map(|launch| self.record_of(launch)).collect()
    }

    fn record_of(&self, launch: RunningLaunch) -> Option<RunRecord> {
        let RunningLaunch { mut process, variables } = launch;
        let variable = |name: &str| variables.get(name).map(String::as_str);
        let node = NodeId::new(variable("HANA_NODE")?).ok()?;
        let close_note = self.state.run_records().close_note_of(&node).display().to_string();
        let is_ours = variable("HANA_HOST") == Some(self.node.host().as_str())
            && variable("HANA_GOODBYE") == Some(&close_note);
        if !is_ours {
            return None;
        }
        let pid = process.fingerprint.pid;
        let places = [Some(self.state.output_of(&node)), self.state.fallback_output_of(&node)];
        process.output = places.into_iter().flatten().find(|place| is_output_of(pid, place));
        let name = variable(ENTRY_VAR).map_or_else(|| self.entry_of(&node), String::from);
        Some(RunRecord {
            output: process.output.clone(),
            process: Some(process),
            launching: None,
            name,
            joins: variable(LastLook::VARIABLE).is_some(),
            launched_ms: unix_ms(),
            instance: 0,
            boot: Boot::now(),
            first_line: 0,
            snapshot: SupervisorSnapshot::default(),
            node,
        })
    }

    /// Returns the most likely catalogue entry of a node whose environment does not name one.
    fn entry_of(&self, node: &NodeId) -> String {
        let name = node.as_str();
        let numbered = name.rsplit_once('-').map(|(name, _)| name);
        let of_number = numbered.filter(|numbered| {
            self.catalogue.get(name).is_err() && self.catalogue.get(numbered).is_ok()
        });
        of_number.unwrap_or(name).into()
    }

    /// Continues with one record of an earlier daemon, and returns the events for its supervisor.
    ///
    /// Adopts the process if it still runs. If it has ended, the policy decides how to continue.
    pub(super) fn adopt(&mut self, mut record: RunRecord) -> Vec<(NodeId, ProcessEvent)> {
        let id = record.node.clone();
        if record.name.is_empty() {
            record.name = id.to_string();
        }
        let policy = self.policy_of(&record);
        let mut managed = self.manage(id.clone(), &record.name, policy);
        let close_note = self.state.run_records().close_note_of(&id);
        managed.keep_record(record);
        let snapshot = managed.snapshot();
        let found = match self.find(&mut managed, &snapshot, &close_note) {
            Ok(found) => found,
            Err(problem) => {
                // The process may be alive, so it is neither launched again nor forgotten.
                tracing::warn!(
                    "cannot adopt '{id}', which an earlier daemon launched, so it is left alone: {problem}"
                );
                return vec![];
            },
        };
        let words = match found {
            AdoptionOutcome::Ended(MissedExit::Unknown) => managed.error_words(),
            _ => None,
        };
        self.processes.insert(id.clone(), managed);
        let words = words.map(ProcessEvent::LastWords);
        let restored = ProcessEvent::Restored { snapshot: Box::new(snapshot), found };
        words.into_iter().chain([restored]).map(|event| (id.clone(), event)).collect()
    }

    /// Returns whether the process runs, has ended, or was never there.
    fn find(
        &self,
        managed: &mut ManagedProcess,
        snapshot: &SupervisorSnapshot<Instant>,
        close_note: &Path,
    ) -> Result<AdoptionOutcome, AdoptError> {
        let id = managed.supervisor.id().clone();
        let record = managed.record();
        let log_failure = |killed: io::Result<()>| {
            if let Err(problem) = killed {
                tracing::warn!("cannot kill the remaining processes of '{id}': {problem}");
            }
        };
        if let Some(launch_id) = &record.launching {
            // The outcome of the launch is unknown. If it succeeded, the process has only just begun.
            log_failure(hana_process::kill_remaining(launch_id));
        }
        let process = record.process.clone();
        let Some(process) = process else { return Ok(Self::ended(managed, close_note)) };
        if !snapshot.has_process() {
            log_failure(process.kill_remaining());
            return Ok(Self::ended(managed, close_note));
        }
        let (events, node) = (self.events.clone(), id.clone());
        let closed_file = close_note.to_owned();
        let instance = snapshot.instance();
        let adopted = Process::adopt(&process, move |exit| {
            let send = |event| events.send(DaemonEvent::Process(node.clone(), event)).ok();
            if exit == Exit::Unknown && closed_file.exists() {
                send(ProcessEvent::ClosedByPerson);
            }
            send(ProcessEvent::Exited { instance, exit });
        });
        match adopted {
            Ok(adopted) => {
                let pid = adopted.pid();
                tracing::info!(
                    "adopted '{id}', process {pid}, launched {} s ago by an earlier daemon",
                    managed.launched_ago().as_secs()
                );
                let limits = managed.supervisor.policy().health.limits;
                let was_slow = snapshot.state() == ProcessState::Slow;
                managed.health = Some(HealthMonitor::of_known(limits, was_slow, Instant::now()));
                let output = self.output_so_far(managed, pid);
                managed.running = Some(RunningInstance { process: adopted, output });
                Ok(AdoptionOutcome::Running { pid })
            },
            Err(AdoptError::Gone { .. }) => {
                log_failure(process.kill_remaining());
                Ok(Self::ended(managed, close_note))
            },
            Err(problem) => Err(problem),
        }
    }

    /// Handles a process that has ended, and keeps its last output.
    fn ended(managed: &mut ManagedProcess, close_note: &Path) -> AdoptionOutcome {
        let record = managed.record();
        let had_process = record.snapshot.has_process();
        if let Some(output) = record.output.clone() {
            let first_line = record.first_line;
            Output::read_history(&managed.feed, move || {
                LogFollower::resume(output, None, LogLimits::default(), first_line)
            });
        }
        managed.note_gone();
        match (close_note.exists(), had_process) {
            (true, _) => AdoptionOutcome::Ended(MissedExit::ClosedByPerson),
            (false, true) => AdoptionOutcome::Ended(MissedExit::Unknown),
            (false, false) => AdoptionOutcome::Nothing,
        }
    }

    /// Returns the policy from the current catalogue.
    fn policy_of(&self, record: &RunRecord) -> Policy {
        match self.catalogue.get(&record.name) {
            Ok(entry) => entry.policy.clone(),
            Err(unknown) => {
                tracing::warn!(
                    "'{}', which an earlier daemon launched, gets the policy 'manual' and cannot be restarted: {unknown}",
                    record.node
                );
                let mesh = if record.joins { Monitoring::Joins } else { Monitoring::Never };
                Policy { mesh, ..Policy::preset(Preset::Manual) }
            },
        }
    }

    /// Continues to follow the output of an instance. Its last lines are available to later readers.
    fn output_so_far(&self, managed: &ManagedProcess, pid: u32) -> Output {
        let record = managed.record();
        let Some(output) = record.output.clone() else { return Output::none(self.budget.clone()) };
        let first_line = record.first_line;
        Output::follow(managed.feed.clone(), move || {
            // If the file was deleted, the process continues to write to the deleted file.
            let nameless = hana_process::deleted_output_of(pid, &output);
            let limits = LogLimits::default();
            LogFollower::resume(output, nameless.as_deref(), limits, first_line)
        })
    }
}

/// Returns whether a process writes its output to this file, even if the file was deleted.
fn is_output_of(pid: u32, file: &Path) -> bool {
    hana_process::deleted_output_of(pid, file).is_some()
        || fs::read_link(format!("/proc/{pid}/fd/1")).is_ok_and(|link| link == file)
}
