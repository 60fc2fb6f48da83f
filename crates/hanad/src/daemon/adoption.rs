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

use super::{Daemon, DaemonEvent};
use crate::clock::Boot;
use crate::keeper::{ManagedProcess, RunningInstance};
use crate::output::{LogFeed, Output};
use crate::run_record::RunRecord;

impl Daemon {
    /// Continues where an earlier daemon of this host stopped.
    ///
    /// Adopts processes that are still running and treats those that have ended according to their policy. Call it
    /// once this daemon has the host's place on the mesh, so that only one of two daemons does it.
    pub(super) fn adopt(&mut self) {
        let records = self.state.run_records().read();
        let known: BTreeSet<NodeId> = records.iter().map(|record| record.node.clone()).collect();
        for record in records {
            self.adopt_one(record);
        }
        for record in self.unrecorded() {
            if known.contains(&record.node) {
                continue;
            }
            tracing::warn!(
                "no record is left of '{}', which an earlier daemon launched; its environment says which process it is",
                record.node
            );
            self.adopt_one(record);
        }
    }

    /// Returns records of running processes that an earlier daemon of this host and state directory launched.
    ///
    /// The information comes from the environments of the processes. The caller must skip those that have a record.
    fn unrecorded(&self) -> Vec<RunRecord> {
        RunningLaunch::all().into_iter().filter_map(|launch| self.record_of(launch)).collect()
    }

    fn record_of(&self, launch: RunningLaunch) -> Option<RunRecord> {
        let RunningLaunch { mut process, variables } = launch;
        let variable = |name: &str| variables.get(name).map(String::as_str);
        let node = NodeId::new(variable("HANA_NODE")?).ok()?;
        let goodbye = self.state.run_records().goodbye_of(&node).display().to_string();
        let is_ours = variable("HANA_HOST") == Some(self.node.host().as_str())
            && variable("HANA_GOODBYE") == Some(&goodbye);
        if !is_ours {
            return None;
        }
        let pid = process.fingerprint.pid;
        let places = [Some(self.state.output_of(&node)), self.state.spare_output_of(&node)];
        process.output = places.into_iter().flatten().find(|place| is_output_of(pid, place));
        let name = variable(ENTRY_VARIABLE).map_or_else(|| self.entry_of(&node), String::from);
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
            memory: SupervisorSnapshot::default(),
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

    fn adopt_one(&mut self, mut record: RunRecord) {
        let id = record.node.clone();
        if record.name.is_empty() {
            record.name = id.to_string();
        }
        let policy = self.policy_of(&record);
        let mut keeper = self.keeper(id.clone(), &record.name, policy);
        let goodbye = self.state.run_records().goodbye_of(&id);
        keeper.keep_record(record);
        let memory = keeper.recalled();
        let found = match self.find(&mut keeper, &memory, &goodbye) {
            Ok(found) => found,
            Err(problem) => {
                // A process that may be alive is neither launched again nor forgotten.
                tracing::warn!(
                    "'{id}', which an earlier daemon launched, is left alone: {problem}"
                );
                return;
            },
        };
        let words = match found {
            AdoptionOutcome::Ended(MissedExit::Unknown) => keeper.words_of_missed_end(),
            _ => None,
        };
        self.keepers.insert(id.clone(), keeper);
        if let Some(words) = words {
            self.handle(&id, ProcessEvent::LastWords(words));
        }
        self.handle(&id, ProcessEvent::Recalled { memory: Box::new(memory), found });
    }

    /// Finds the process, its end, or nothing.
    fn find(
        &self,
        keeper: &mut ManagedProcess,
        memory: &SupervisorSnapshot<Instant>,
        goodbye: &Path,
    ) -> Result<AdoptionOutcome, AdoptError> {
        let id = keeper.supervisor.id().clone();
        let record = keeper.record();
        let swept = |swept: io::Result<()>| {
            if let Err(problem) = swept {
                tracing::warn!("what '{id}' left behind cannot be ended: {problem}");
            }
        };
        if let Some(launch_id) = &record.launching {
            // The outcome of the launch is unknown. If it succeeded, the process has hardly begun.
            swept(hana_process::kill_remaining(launch_id));
        }
        let process = record.process.clone();
        let Some(process) = process else { return Ok(Self::ended(keeper, goodbye)) };
        if !memory.has_process() {
            swept(process.kill_remaining());
            return Ok(Self::ended(keeper, goodbye));
        }
        let (events, told, note) = (self.events.clone(), id.clone(), goodbye.to_owned());
        let incarnation = memory.incarnation();
        let adopted = Process::adopt(&process, move |exit| {
            let tell = |event| events.send(DaemonEvent::Process(told.clone(), event)).ok();
            if exit == Exit::Unknown && note.exists() {
                tell(ProcessEvent::ClosedByPerson);
            }
            tell(ProcessEvent::Exited { incarnation, exit });
        });
        match adopted {
            Ok(adopted) => {
                let pid = adopted.pid();
                tracing::info!(
                    "'{id}' still runs as process {pid}, launched {} s ago by an earlier daemon",
                    keeper.launched_ago().as_secs()
                );
                let limits = keeper.supervisor.policy().health.limits;
                let was_slow = memory.state() == ProcessState::Slow;
                keeper.health = Some(HealthMonitor::of_known(limits, was_slow, Instant::now()));
                let output = self.output_so_far(keeper, pid);
                keeper.run = Some(RunningInstance { process: adopted, output });
                Ok(AdoptionOutcome::Running { pid })
            },
            Err(AdoptError::Gone { .. }) => {
                swept(process.kill_remaining());
                Ok(Self::ended(keeper, goodbye))
            },
            Err(problem) => Err(problem),
        }
    }

    /// Handles a process that is gone, keeping its last output.
    fn ended(keeper: &mut ManagedProcess, goodbye: &Path) -> AdoptionOutcome {
        let record = keeper.record();
        let had_process = record.memory.has_process();
        if let Some(output) = record.output.clone() {
            let first_line = record.first_line;
            Output::read_history(&keeper.feed, move || {
                LogFollower::resume(output, None, LogLimits::default(), first_line)
            });
        }
        keeper.note_swept();
        match (goodbye.exists(), had_process) {
            (true, _) => AdoptionOutcome::Ended(MissedExit::ClosedByPerson),
            (false, true) => AdoptionOutcome::Ended(MissedExit::Unknown),
            (false, false) => AdoptionOutcome::Nothing,
        }
    }

    /// Returns the policy from the present catalogue.
    fn policy_of(&self, record: &RunRecord) -> Policy {
        match self.catalogue.get(&record.name) {
            Ok(entry) => entry.policy.clone(),
            Err(unknown) => {
                tracing::warn!(
                    "'{}', which an earlier daemon launched, is kept by the policy 'manual', and cannot be started again: {unknown}",
                    record.node
                );
                let mesh = if record.joins { Monitoring::Joins } else { Monitoring::Never };
                Policy { mesh, ..Policy::preset(Preset::Manual) }
            },
        }
    }

    /// Continues to follow the output of an instance. Its last lines are available to later readers.
    fn output_so_far(&self, keeper: &ManagedProcess, pid: u32) -> Output {
        let record = keeper.record();
        let Some(output) = record.output.clone() else { return Output::none(self.budget.clone()) };
        let first_line = record.first_line;
        Output::follow(keeper.feed.clone(), move || {
            // If the file was deleted, the process continues to write into an unnamed file.
            let nameless = hana_process::deleted_output_of(pid, &output);
            let limits = LogLimits::default();
            LogFollower::resume(output, nameless.as_deref(), limits, first_line)
        })
    }
}

/// Follows the output of a process that was just launched.
pub(super) fn follow_output(feed: &LogFeed, process: &mut Process) -> Output {
    let path = process.output().file().map(Path::to_owned);
    match path.zip(process.take_output_file()) {
        Some((path, file)) => Output::follow(feed.clone(), move || {
            Ok(LogFollower::of_file(path, file, LogLimits::default()))
        }),
        None => Output::none(feed.budget.clone()),
    }
}

/// The environment variable that names the catalogue entry of a process.
pub(super) const ENTRY_VARIABLE: &str = "HANA_ENTRY";

/// Returns whether a process writes its output to this file, deleted or not.
fn is_output_of(pid: u32, file: &Path) -> bool {
    hana_process::deleted_output_of(pid, file).is_some()
        || fs::read_link(format!("/proc/{pid}/fd/1")).is_ok_and(|link| link == file)
}
