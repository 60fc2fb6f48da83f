//! A daemon that comes after another takes over what that one launched.

use std::io;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use hana_network::unix_ms;
use hana_process::AdoptError;
use hana_process::Found;
use hana_process::LogFollower;
use hana_process::LogLimits;
use hana_process::Memory;
use hana_process::Mesh;
use hana_process::MissedEnd;
use hana_process::Policy;
use hana_process::Preset;
use hana_process::Process;
use hana_process::ProcessEvent;
use hana_protocol::Exit;
use hana_protocol::HealthWatch;
use hana_protocol::ProcessState;

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
        let mut keeper = self.keeper(id.clone(), &record.name, policy);
        let goodbye = self.state.run_records().goodbye_of(&id);
        keeper.keep_record(record);
        let memory = keeper.recalled();
        let found = match self.find(&mut keeper, &memory, &goodbye) {
            Ok(found) => found,
            Err(problem) => {
                // What may live is neither launched a second time nor forgotten.
                tracing::warn!(
                    "'{id}', which an earlier daemon launched, is left alone: {problem}"
                );
                return;
            },
        };
        let words = match found {
            Found::Ended(MissedEnd::Unknown) => keeper.words_of_missed_end(),
            _ => None,
        };
        self.keepers.insert(id.clone(), keeper);
        if let Some(words) = words {
            self.handle(&id, ProcessEvent::LastWords(words));
        }
        self.handle(&id, ProcessEvent::Recalled { memory: Box::new(memory), found });
    }

    /// What there is of it: its process, the end of that, or nothing.
    fn find(
        &self,
        keeper: &mut Keeper,
        memory: &Memory<Instant>,
        goodbye: &Path,
    ) -> Result<Found, AdoptError> {
        let id = keeper.supervisor.id().clone();
        let record = keeper.record();
        let swept = |swept: io::Result<()>| {
            if let Err(problem) = swept {
                tracing::warn!("what '{id}' left behind cannot be ended: {problem}");
            }
        };
        if let Some(mark) = &record.launching {
            // Whether it was launched nobody knows; if it was, it has hardly begun.
            swept(hana_process::sweep_marked(mark));
        }
        let process = record.process.clone();
        let follower = Self::output_so_far(keeper);
        let Some(process) = process else { return Ok(Self::ended(keeper, follower, goodbye)) };
        if !memory.has_process() {
            swept(process.sweep());
            return Ok(Self::ended(keeper, follower, goodbye));
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
                let launched_ms = keeper.record().launched_ms;
                let ago = Duration::from_millis(unix_ms().saturating_sub(launched_ms));
                tracing::info!(
                    "'{id}' still runs as process {pid}, launched {} s ago by an earlier daemon",
                    ago.as_secs()
                );
                let limits = keeper.supervisor.policy().health.limits;
                let was_slow = memory.state() == ProcessState::Slow;
                keeper.health = Some(HealthWatch::of_known(limits, was_slow, Instant::now()));
                keeper.run = Some(Run { process: adopted, follower });
                Ok(Found::Running { pid })
            },
            Err(AdoptError::Gone { .. }) => {
                swept(process.sweep());
                Ok(Self::ended(keeper, follower, goodbye))
            },
            Err(problem) => Err(problem),
        }
    }

    /// Its process is gone: its last words are kept.
    fn ended(keeper: &mut Keeper, mut follower: LogFollower, goodbye: &Path) -> Found {
        let had_process = keeper.record().memory.has_process();
        keeper.remember(follower.finish().unwrap_or_default());
        keeper.note_swept();
        match (goodbye.exists(), had_process) {
            (true, _) => Found::Ended(MissedEnd::ClosedByPerson),
            (false, true) => Found::Ended(MissedEnd::Unknown),
            (false, false) => Found::Nothing,
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
    fn output_so_far(keeper: &Keeper) -> LogFollower {
        let record = keeper.record();
        let Some(output) = &record.output else { return LogFollower::of_nothing() };
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
