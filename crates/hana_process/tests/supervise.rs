//! Tests of a supervisor together with real processes, driven as in a daemon: one channel, one loop.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use hana_process::{
    Action, Instance, LaunchSpec, Monitoring, Policy, Preset, Process, ProcessEvent, Supervisor,
};
use hana_protocol::id::NodeId;
use hana_protocol::message::{ProcessState, StoppedBy};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(20);

/// The daemon's data for one process.
struct SupervisedScript {
    supervisor: Supervisor,
    process: Option<(Instance, Process)>,
    spec: LaunchSpec,
    sender: Sender<ProcessEvent>,
    events: Receiver<ProcessEvent>,
    states: Vec<ProcessState>,
    _dir: TempDir,
}

impl SupervisedScript {
    fn of(script: &str, policy: Policy) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spec = LaunchSpec {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: BTreeMap::new(),
            dir: None,
            output: dir.path().join("output.log"),
            fallback_output: None,
            launch_id: hana_process::new_launch_id(),
        };
        let id = NodeId::new("script").unwrap();
        let policy = Policy { mesh: Monitoring::Never, ..policy };
        let (sender, events) = mpsc::channel();
        Self {
            supervisor: Supervisor::new(id, "script", policy, Instant::now()),
            process: None,
            spec,
            sender,
            events,
            states: vec![],
            _dir: dir,
        }
    }

    fn handle(&mut self, event: ProcessEvent) {
        for action in self.supervisor.handle(event, Instant::now()) {
            match action {
                Action::Spawn(instance) => self.spawn(instance),
                Action::Terminate(_) => self.process.as_ref().unwrap().1.terminate().unwrap(),
                Action::Kill(_) => self.process.as_ref().unwrap().1.kill().unwrap(),
                Action::KillRemaining(instance) => {
                    let (swept, process) = self.process.take().unwrap();
                    assert_eq!(swept, instance);
                    process.kill_remaining().unwrap();
                },
                Action::Publish => self.states.push(self.supervisor.state()),
                Action::RequestShutdown(_) | Action::Withdraw(_) | Action::Report { .. } => {},
            }
        }
    }

    fn spawn(&mut self, instance: Instance) {
        assert!(self.process.is_none());
        let sender = self.sender.clone();
        let launched = Process::launch(&self.spec, move |exit| {
            let _ = sender.send(ProcessEvent::Exited { instance, exit });
        });
        let event = match launched {
            Ok(process) => {
                let pid = process.pid();
                self.process = Some((instance, process));
                ProcessEvent::Spawned { instance, pid }
            },
            Err(error) => ProcessEvent::SpawnFailed { instance, reason: error.to_string() },
        };
        self.sender.send(event).unwrap();
    }

    /// Runs the loop until the process is in `state`.
    fn until(&mut self, state: ProcessState) {
        let began = Instant::now();
        while self.supervisor.state() != state {
            assert!(began.elapsed() < DEADLINE, "{:?}", self.states);
            let now = Instant::now();
            let wait = self.supervisor.next_deadline().map_or(DEADLINE, |at| at - now);
            let event = self.events.recv_timeout(wait).unwrap_or(ProcessEvent::Tick);
            self.handle(event);
        }
    }
}

#[test]
fn crash_at_every_start_ends_in_a_crash_loop() {
    let mut policy = Policy::default();
    policy.restart.backoff.initial = Duration::from_millis(1);
    let mut process = SupervisedScript::of("exit 1", policy);
    process.handle(ProcessEvent::StartRequested);
    process.until(ProcessState::CrashLoop);
    assert_eq!(process.supervisor.restarts(), 5);
    let restarting = process.states.iter().filter(|state| **state == ProcessState::Restarting);
    assert_eq!(restarting.count(), 5);
    assert!(process.process.is_none());
}

#[test]
fn process_that_ignores_every_request_is_stopped() {
    let mut policy = Policy::preset(Preset::Installation);
    policy.stop.terminate = Duration::from_millis(100);
    let mut process = SupervisedScript::of("trap '' TERM; while :; do sleep 61; done", policy);
    process.handle(ProcessEvent::StartRequested);
    process.until(ProcessState::Running);
    let output = process.spec.output.clone();
    assert!(output.exists());
    process.handle(ProcessEvent::StopRequested);
    process.until(ProcessState::Stopped);
    assert!(matches!(
        process.supervisor.stopped_by(),
        Some(StoppedBy::Terminate | StoppedBy::Kill)
    ));
    assert!(process.process.is_none());
}

#[test]
fn restart_gets_a_new_process_or_reports_missing_program() {
    let mut process = SupervisedScript::of("exec sleep 61", Policy::default());
    process.handle(ProcessEvent::StartRequested);
    process.until(ProcessState::Running);
    let first = process.supervisor.pid();
    process.handle(ProcessEvent::RestartRequested);
    process.until(ProcessState::Starting);
    process.until(ProcessState::Running);
    assert_ne!(process.supervisor.pid(), first);
    process.handle(ProcessEvent::KillRequested);
    process.until(ProcessState::Stopped);

    process.spec.program = "/nowhere/ripples".into();
    process.handle(ProcessEvent::StartRequested);
    process.until(ProcessState::Crashed);
    let reason = process.supervisor.reason();
    assert!(reason.contains("cannot find the program '/nowhere/ripples'"), "{reason}");
}
