//! Launching a process, and carrying out the other actions of its supervisor.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::time::{Duration, Instant};

use hana_engine::roster::HealthMonitor;
use hana_network::{INSTANCE_AFTER, LastLook, SavedState, ZenohRuntimeEnv};
use hana_process::{
    Action, Catalogue, CatalogueEntry, Instance, LaunchError, LaunchSpec, LogFollower, LogLimits,
    Process, ProcessEvent, ProcessOutput, Supervisor, UnknownVisualization,
};
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{EventKind, Shutdown};
use hana_protocol::wire::error_chain;

use crate::daemon::dispatcher::ProcessDriver;
use crate::daemon::event::DaemonEvent;
use crate::daemon::managed_process::RunningInstance;
use crate::daemon::process_table::ProcessTable;
use crate::output::process_output::{LogFeed, Output};
use crate::service::own_program::program_dir;

/// The environment variable that names the catalogue entry of a process.
pub(super) const ENTRY_VAR: &str = "HANA_ENTRY";
/// The time limit for a reply to the shutdown command. The deadlines of the stop run at the same time.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);
/// The time in which killed processes usually end. Slower ones are reaped later.
const REAP_TIME: Duration = Duration::from_secs(1);

impl ProcessDriver for ProcessTable {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn supervisor(&mut self, node: &NodeId) -> Option<&mut Supervisor> {
        self.processes.get_mut(node).map(|process| &mut process.supervisor)
    }

    fn record(&mut self, node: &NodeId) {
        if let Some(process) = self.processes.get_mut(node) {
            process.update_record();
        }
    }

    fn reschedule(&mut self, node: &NodeId) {
        let process = self.processes.get(node);
        if let Some(at) = process.and_then(|process| process.next_deadline(Instant::now())) {
            self.check_at = self.check_at.min(at);
        }
    }

    fn launch(&mut self, node: &NodeId, instance: Instance) -> ProcessEvent {
        match self.try_launch(node, instance) {
            Ok(pid) => ProcessEvent::Spawned { instance, pid },
            Err(reason) => ProcessEvent::SpawnFailed { instance, reason },
        }
    }

    fn apply(&mut self, node: &NodeId, action: Action) {
        let Some(process) = self.processes.get_mut(node) else { return };
        let running = process.running.as_ref();
        let result = match action {
            Action::RequestShutdown(instance) => {
                let reply = self.node.command::<role::Visualization, _>(
                    node,
                    Shutdown {},
                    SHUTDOWN_TIMEOUT,
                );
                return self.shutdowns.push((node.clone(), instance, reply));
            },
            Action::Report { kind, text } => return self.report(node, kind, text),
            Action::Publish => return process.status_changed = true,
            Action::KillRemaining(_) => {
                process.health = None;
                let Some(running) = process.running.take() else { return };
                let killed = running.process.kill_remaining();
                process.note_gone();
                if let Some(look) = &mut process.look {
                    look.keep(Instant::now());
                }
                running.output.finish();
                self.reap_until = Some(Instant::now() + REAP_TIME);
                killed
            },
            Action::Terminate(_) => running.map_or(Ok(()), |running| running.process.terminate()),
            Action::Kill(_) => running.map_or(Ok(()), |running| running.process.kill()),
            // The dispatcher handles these actions.
            Action::Spawn(_) | Action::Withdraw(_) => return,
        };
        if let Err(problem) = result {
            tracing::warn!("cannot end '{node}': {problem}");
        }
    }

    fn settle(&mut self, node: &NodeId) {
        if let Some(process) = self.processes.get_mut(node) {
            process.settle();
        }
        self.reschedule(node);
    }
}

impl ProcessTable {
    /// Launches an instance and returns its process id, or the reason why it was not launched.
    fn try_launch(&mut self, node: &NodeId, instance: Instance) -> Result<u32, String> {
        self.state.run_records().forget_close_note(node);
        let spec = self.launch_spec(node)?;
        let Some(process) = self.processes.get_mut(node) else {
            return Err(format!("'{node}' is no longer listed"));
        };
        process.record_launch(&spec.launch_id);
        let (events, id) = (self.events.clone(), node.clone());
        let launched = Process::launch(&spec, move |exit| {
            let event = ProcessEvent::Exited { instance, exit };
            events.send(DaemonEvent::Process(id, event)).ok();
        });
        let mut launched = launched.map_err(|error| error_chain(&error))?;
        let pid = launched.pid();
        let limits = process.supervisor.policy().health.limits;
        process.feed.clear();
        process.note_launched(launched.record(), launched.output().file().map(Into::into));
        process.health = Some(HealthMonitor::new(limits, Instant::now()));
        let fallback = output_fallback(launched.output());
        let output = follow_output(&process.feed, &mut launched);
        process.running = Some(RunningInstance { process: launched, output });
        if let Some(text) = fallback {
            tracing::warn!("'{node}' runs, but {text}");
            self.report(node, EventKind::OutputLost, text);
        }
        Ok(pid)
    }

    fn launch_spec(&self, node: &NodeId) -> Result<LaunchSpec, String> {
        let Some(process) = self.processes.get(node) else {
            return Err(format!("'{node}' is no longer listed"));
        };
        let entry = entry_of(&self.catalogue, &self.retired, process.supervisor.name())
            .map_err(|unknown| unknown.to_string())?;
        let output = self.state.output_of(node);
        let mut spec = entry
            .launch_spec(&program_dir(), output)
            .map_err(|error: LaunchError| error_chain(&error))?;
        spec.fallback_output = self.state.fallback_output_of(node);
        let env = &mut spec.env;
        let close_note = self.state.run_records().close_note_of(node);
        env.insert("HANA_GOODBYE".into(), close_note.display().to_string());
        if let Some(look) = &process.look {
            let look = look.ready_file(self.state.fallback_look_of(node));
            env.insert(LastLook::VARIABLE.into(), look.display().to_string());
            let saved = self.state.saved_of(node).display().to_string();
            env.insert(SavedState::VARIABLE.into(), saved);
        }
        env.insert("HANA_NODE".into(), node.to_string());
        env.insert(ENTRY_VAR.into(), entry.name.to_string());
        env.insert(INSTANCE_AFTER.into(), process.record().instance.to_string());
        env.insert("HANA_HOST".into(), self.node.host().to_string());
        if let Some(path) = self.config_source.to_variable() {
            let path = path.to_string_lossy().into_owned();
            env.entry("HANA_CONFIG".into()).or_insert(path);
        }
        // A variable that is set for the daemon applies to all its programs, so it is not overwritten.
        if env::var_os(ZenohRuntimeEnv::VARIABLE).is_none() {
            let threads = env.entry(ZenohRuntimeEnv::VARIABLE.into());
            threads.or_insert_with(|| ZenohRuntimeEnv::VALUE.into());
        }
        // The output goes to a file and over the mesh, where colour codes are noise.
        env.entry("NO_COLOR".into()).or_insert_with(|| "1".into());
        let notices = if entry.notices { "on" } else { "off" };
        env.entry("HANA_NOTICES".into()).or_insert_with(|| notices.into());
        Ok(spec)
    }

    /// Logs the catalogue entries that cannot be started on this host, before a start fails in the middle of a show.
    pub(super) fn log_faulty_programs(&self) {
        for entry in self.catalogue.entries() {
            match entry.check(&program_dir()) {
                Ok(()) => {},
                // A machine need not have every program of the catalogue.
                Err(missing @ LaunchError::ProgramNotFound { .. }) => {
                    tracing::info!("'{}' cannot be started: {missing}", entry.name);
                },
                Err(fault) => tracing::warn!("'{}' cannot be started: {fault}", entry.name),
            }
        }
    }
}

/// Returns the catalogue entry for a launch. If it was removed while the program runs, returns the last one.
fn entry_of<'a>(
    catalogue: &'a Catalogue,
    retired: &'a BTreeMap<NodeId, CatalogueEntry>,
    name: &str,
) -> Result<&'a CatalogueEntry, UnknownVisualization> {
    catalogue.get(name).or_else(|unknown| {
        retired.values().find(|entry| entry.name.as_str() == name).ok_or(unknown)
    })
}

/// Returns the warning for a process whose output does not go to its usual file.
fn output_fallback(output: &ProcessOutput) -> Option<String> {
    let (problem, fallback) = match output {
        ProcessOutput::Primary(_) => return None,
        ProcessOutput::Fallback { file, problem } => {
            (problem, format!("it goes to {}", file.display()))
        },
        ProcessOutput::Discarded { problem } => (problem, "it is not kept".into()),
    };
    let problem = error_chain(problem);
    Some(format!("{problem}; {fallback}; make room there, or set HANA_STATE to another directory"))
}

/// Follows the output of a process that was just launched.
fn follow_output(feed: &LogFeed, process: &mut Process) -> Output {
    let path = process.output().file().map(Path::to_owned);
    match path.zip(process.take_output_file()) {
        Some((path, file)) => Output::follow(feed.clone(), move || {
            Ok(LogFollower::of_file(path, file, LogLimits::default()))
        }),
        None => Output::none(feed.budget.clone()),
    }
}
