use std::time::Duration;

use hana_engine::roster::HealthVerdict;
use proptest::prelude::*;

use super::*;
use crate::supervisor::event::{AdoptionOutcome, MissedExit};
use crate::supervisor::policy::{Monitoring, Preset, RestartOn};
use crate::supervisor::snapshot::{PhaseSnapshot, SupervisorSnapshot};

const PID: u32 = 4711;
const CRASH: Exit = Exit::Code(1);
const SIGKILL: Exit = Exit::Signal(9);
const FROZEN: HealthVerdict = HealthVerdict::Frozen { for_: Duration::from_millis(700) };

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A fixture with a supervisor and a clock that the test controls.
struct Fixture {
    supervisor: Supervisor,
    now: Instant,
}

impl Fixture {
    fn new(policy: Policy) -> Self {
        let now = Instant::now();
        let id = NodeId::new("ripples").unwrap();
        Self { supervisor: Supervisor::new(id, "ripples", policy, now), now }
    }

    fn preset(preset: Preset) -> Self {
        Self::new(Policy::preset(preset))
    }

    /// Creates a fixture whose process is running and on the mesh.
    fn running(preset: Preset) -> Self {
        let mut fixture = Self::preset(preset);
        fixture.handle(ProcessEvent::StartRequested);
        fixture.come_up();
        fixture
    }

    fn handle(&mut self, event: ProcessEvent) -> Vec<Action> {
        let actions = self.supervisor.handle(event, self.now);
        if self.state() != ProcessState::Running {
            assert!(!self.supervisor.reason().is_empty(), "{:?}", self.state());
        }
        actions.into_iter().filter(|action| !matches!(action, Action::Publish)).collect()
    }

    /// Advances time with ticks exactly when they are due, and returns all actions.
    fn wait(&mut self, time: Duration) -> Vec<Action> {
        let until = self.now + time;
        let mut actions = vec![];
        while let Some(at) = self.supervisor.next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            actions.extend(self.handle(ProcessEvent::Tick));
        }
        self.now = until;
        actions
    }

    fn spawned(&mut self) -> Vec<Action> {
        self.handle(ProcessEvent::Spawned { instance: self.run(), pid: PID })
    }

    fn joined(&mut self) -> Vec<Action> {
        self.handle(ProcessEvent::Joined { session: format!("session {}", self.run()) })
    }

    fn left(&mut self) -> Vec<Action> {
        self.handle(ProcessEvent::Left { session: format!("session {}", self.run()) })
    }

    fn verdict(&mut self, verdict: HealthVerdict) -> Vec<Action> {
        self.handle(ProcessEvent::Verdict { instance: self.run(), verdict })
    }

    fn exited(&mut self, exit: Exit) -> Vec<Action> {
        self.handle(ProcessEvent::Exited { instance: self.run(), exit })
    }

    fn come_up(&mut self) {
        self.spawned();
        self.joined();
        self.verdict(HealthVerdict::Running);
        assert_eq!(self.state(), ProcessState::Running);
    }

    fn run(&self) -> Instance {
        self.supervisor.instance()
    }

    fn state(&self) -> ProcessState {
        self.supervisor.state()
    }

    fn reason(&self) -> &str {
        self.supervisor.reason()
    }
}

fn orders(actions: &[Action]) -> Vec<Action> {
    actions.iter().filter(|action| !matches!(action, Action::Report { .. })).cloned().collect()
}

fn reports(actions: &[Action]) -> Vec<EventKind> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Report { kind, .. } => Some(*kind),
            _ => None,
        })
        .collect()
}

#[test]
fn start_goes_from_launch_over_the_mesh_to_running() {
    let mut fixture = Fixture::preset(Preset::Show);
    assert_eq!((fixture.state(), fixture.reason()), (ProcessState::Stopped, "not started yet"));
    let actions = fixture.handle(ProcessEvent::StartRequested);
    assert_eq!(actions, [Action::Spawn(fixture.run())]);
    assert_eq!(fixture.run().number(), 1);
    assert_eq!(reports(&fixture.spawned()), [EventKind::Started]);
    assert_eq!(fixture.state(), ProcessState::Starting);
    assert_eq!(fixture.reason(), "launched; not on the mesh yet");
    assert_eq!(fixture.supervisor.pid(), Some(PID));
    fixture.joined();
    assert_eq!(fixture.state(), ProcessState::Starting);
    fixture.verdict(HealthVerdict::Starting);
    assert_eq!(fixture.state(), ProcessState::Starting);
    fixture.verdict(HealthVerdict::Running);
    assert_eq!((fixture.state(), fixture.reason()), (ProcessState::Running, ""));
    assert_eq!(fixture.supervisor.next_deadline(), None);
}

#[test]
fn health_before_the_token_counts_once_the_token_appears() {
    let mut fixture = Fixture::preset(Preset::Show);
    fixture.handle(ProcessEvent::StartRequested);
    fixture.spawned();
    fixture.verdict(HealthVerdict::Running);
    assert_eq!(fixture.state(), ProcessState::Starting);
    fixture.joined();
    assert_eq!(fixture.state(), ProcessState::Running);
}

#[test]
fn stop_escalates_from_command_to_sigterm_to_sigkill() {
    let mut fixture = Fixture::running(Preset::Show);
    let run = fixture.run();
    assert_eq!(fixture.handle(ProcessEvent::StopRequested), [Action::RequestShutdown(run)]);
    assert_eq!(fixture.state(), ProcessState::Stopping);
    assert!(fixture.wait(millis(1499)).is_empty());
    assert_eq!(fixture.wait(millis(1)), [Action::Terminate(run)]);
    assert_eq!(fixture.reason(), "stop requested; SIGTERM sent");
    assert!(fixture.wait(millis(1499)).is_empty());
    assert_eq!(fixture.wait(millis(1)), [Action::Kill(run)]);
    assert_eq!(fixture.wait(Duration::from_secs(3)).len(), 3);
    assert!(fixture.reason().contains("still running after SIGKILL"));
    let actions = fixture.exited(SIGKILL);
    assert_eq!(orders(&actions), [Action::KillRemaining(run)]);
    assert_eq!(reports(&actions), [EventKind::Stopped]);
    assert_eq!(fixture.state(), ProcessState::Stopped);
    assert_eq!(fixture.reason(), "stopped by force (signal 9 (SIGKILL))");
    assert_eq!(fixture.supervisor.stopped_by(), Some(StoppedBy::Kill));
    assert_eq!(fixture.supervisor.pid(), None);
}

#[test]
fn stop_reports_its_last_step() {
    for (steps, exit, by) in [
        (0, Exit::Code(0), StoppedBy::Shutdown),
        (0, CRASH, StoppedBy::Shutdown),
        (1, Exit::Signal(15), StoppedBy::Terminate),
        (1, Exit::Code(0), StoppedBy::Terminate),
        (2, SIGKILL, StoppedBy::Kill),
    ] {
        for preset in [Preset::Show, Preset::Installation, Preset::Manual] {
            let mut fixture = Fixture::running(preset);
            fixture.handle(ProcessEvent::StopRequested);
            fixture.wait(millis(1500) * steps);
            fixture.exited(exit);
            assert_eq!(fixture.state(), ProcessState::Stopped);
            assert_eq!(fixture.supervisor.stopped_by(), Some(by));
            assert!(fixture.wait(Duration::from_hours(1)).is_empty());
        }
    }
}

#[test]
fn unreachable_process_gets_no_shutdown_command() {
    let mut unresponsive = Fixture::running(Preset::Show);
    unresponsive.verdict(FROZEN);
    let mut gone = Fixture::running(Preset::Show);
    gone.left();
    let mut starting = Fixture::preset(Preset::Show);
    starting.handle(ProcessEvent::StartRequested);
    starting.spawned();
    let mut script = Fixture::new(Policy { mesh: Monitoring::Never, ..Policy::default() });
    script.handle(ProcessEvent::StartRequested);
    script.spawned();
    for mut fixture in [unresponsive, gone, starting, script] {
        let run = fixture.run();
        assert_eq!(fixture.handle(ProcessEvent::StopRequested), [Action::Terminate(run)]);
    }
    let mut refusing = Fixture::running(Preset::Show);
    let run = refusing.run();
    refusing.handle(ProcessEvent::StopRequested);
    let failed = ProcessEvent::ShutdownFailed { instance: run };
    assert_eq!(refusing.handle(failed.clone()), [Action::Terminate(run)]);
    assert!(refusing.handle(failed).is_empty());
}

#[test]
fn kill_during_a_stop_takes_effect_at_once() {
    let mut fixture = Fixture::running(Preset::Show);
    let run = fixture.run();
    assert_eq!(fixture.handle(ProcessEvent::KillRequested), [Action::Kill(run)]);
    assert!(fixture.handle(ProcessEvent::KillRequested).is_empty());

    let mut fixture = Fixture::running(Preset::Show);
    fixture.handle(ProcessEvent::StopRequested);
    assert_eq!(fixture.handle(ProcessEvent::KillRequested), [Action::Kill(run)]);
    fixture.exited(SIGKILL);
    assert_eq!(fixture.supervisor.stopped_by(), Some(StoppedBy::Kill));
}

#[test]
fn stop_during_a_launch_holds() {
    let mut fixture = Fixture::preset(Preset::Show);
    fixture.handle(ProcessEvent::StartRequested);
    assert!(fixture.handle(ProcessEvent::StopRequested).is_empty());
    assert_eq!(fixture.state(), ProcessState::Stopping);
    assert_eq!(orders(&fixture.spawned()), [Action::Terminate(fixture.run())]);
    fixture.exited(Exit::Signal(15));
    assert_eq!(fixture.state(), ProcessState::Stopped);

    let mut fixture = Fixture::preset(Preset::Show);
    fixture.handle(ProcessEvent::StartRequested);
    fixture.handle(ProcessEvent::StopRequested);
    fixture
        .handle(ProcessEvent::SpawnFailed { instance: fixture.run(), reason: "no memory".into() });
    assert_eq!(fixture.state(), ProcessState::Stopped);

    let mut fixture = Fixture::preset(Preset::Show);
    fixture.handle(ProcessEvent::StartRequested);
    fixture.handle(ProcessEvent::StopRequested);
    fixture.exited(CRASH);
    assert_eq!(fixture.state(), ProcessState::Stopped);
    assert_eq!(fixture.supervisor.stopped_by(), Some(StoppedBy::Already));
}

#[test]
fn stop_of_an_ended_process_cancels_its_restart() {
    let mut waiting = Fixture::running(Preset::Installation);
    waiting.exited(CRASH);
    assert_eq!(waiting.state(), ProcessState::Restarting);
    let mut crashed = Fixture::running(Preset::Manual);
    crashed.exited(CRASH);
    let mut closed = Fixture::running(Preset::Show);
    closed.exited(Exit::Code(0));
    for mut fixture in [waiting, crashed, closed, Fixture::preset(Preset::Show)] {
        assert!(orders(&fixture.handle(ProcessEvent::StopRequested)).is_empty());
        assert_eq!(fixture.state(), ProcessState::Stopped);
        assert_eq!(fixture.supervisor.stopped_by(), Some(StoppedBy::Already));
        assert!(fixture.wait(Duration::from_hours(1)).is_empty());
    }
}

#[test]
fn each_unexpected_end_has_its_reason_and_response() {
    use ProcessState::{Closed, Crashed, Restarting};
    for (exit, manual, show, reason) in [
        (Exit::Code(0), Closed, Closed, "closed: ended by itself with exit code 0"),
        (Exit::Signal(2), Closed, Closed, "closed with Ctrl-C"),
        (Exit::Code(130), Closed, Closed, "closed with Ctrl-C"),
        (CRASH, Crashed, Restarting, "exit code 1"),
        (Exit::Code(101), Crashed, Restarting, "exit code 101"),
        (Exit::Signal(6), Crashed, Restarting, "ended by signal 6 (SIGABRT)"),
        (SIGKILL, Crashed, Restarting, "ended by signal 9 (SIGKILL)"),
        (Exit::Signal(11), Crashed, Restarting, "ended by signal 11 (SIGSEGV)"),
        (Exit::Signal(15), Crashed, Restarting, "ended by signal 15 (SIGTERM)"),
    ] {
        for (preset, expected) in
            [(Preset::Manual, manual), (Preset::Show, show), (Preset::Installation, show)]
        {
            let mut fixture = Fixture::running(preset);
            let run = fixture.run();
            let actions = fixture.exited(exit);
            assert_eq!(orders(&actions), [Action::KillRemaining(run)], "{exit}");
            let kind = if manual == Closed { EventKind::Closed } else { EventKind::Crashed };
            assert_eq!(reports(&actions), [kind]);
            assert_eq!(fixture.state(), expected, "{exit} {preset:?}");
            assert!(fixture.reason().starts_with(reason), "{}", fixture.reason());
            assert_eq!(fixture.supervisor.exit(), Some(exit));
            let spawns = orders(&fixture.wait(millis(1)));
            assert_eq!(spawns.len(), usize::from(expected == Restarting), "{exit} {preset:?}");
        }
    }
}

#[test]
fn restarts_are_delayed_more_until_the_budget_is_spent() {
    let mut fixture = Fixture::running(Preset::Show);
    let began = fixture.now;
    let mut pauses = vec![];
    while fixture.exited(CRASH).len() == 2 && fixture.state() == ProcessState::Restarting {
        let crashed = fixture.now;
        assert_eq!(orders(&fixture.wait(Duration::ZERO)).len(), usize::from(pauses.is_empty()));
        while fixture.state() == ProcessState::Restarting {
            fixture.wait(millis(10));
        }
        pauses.push(fixture.now.duration_since(crashed));
        assert_eq!(reports(&fixture.spawned()), [EventKind::Restarted]);
        assert_eq!(fixture.reason(), "launched again after: exit code 1; not on the mesh yet");
    }
    assert_eq!(fixture.state(), ProcessState::CrashLoop);
    assert_eq!((pauses.len(), fixture.supervisor.restarts()), (5, 5));
    assert!(pauses.windows(2).all(|pair| pair[0] < pair[1]), "{pauses:?}");
    assert!(fixture.now.duration_since(began) < Duration::from_secs(10));
    assert!(
        fixture
            .reason()
            .starts_with("exit code 1; not restarted any more after 5 restarts within 60 s")
    );
    assert!(fixture.wait(Duration::from_hours(1)).is_empty());

    fixture.handle(ProcessEvent::StartRequested);
    assert_eq!((fixture.state(), fixture.supervisor.restarts()), (ProcessState::Starting, 0));
    fixture.come_up();
    fixture.exited(CRASH);
    assert_eq!(fixture.state(), ProcessState::Restarting);
}

#[test]
fn installation_restarts_forever_with_bounded_delays() {
    let mut fixture = Fixture::running(Preset::Installation);
    for crashes in 1..=200 {
        fixture.exited(SIGKILL);
        assert_eq!(fixture.state(), ProcessState::Restarting);
        assert_eq!(orders(&fixture.wait(Duration::from_secs(30))).len(), 1);
        assert_eq!(fixture.supervisor.restarts(), crashes);
        fixture.spawned();
    }
}

#[test]
fn rare_crash_is_always_restarted_at_once() {
    let mut fixture = Fixture::running(Preset::Show);
    for _ in 0..50 {
        fixture.now += Duration::from_secs(15);
        fixture.exited(CRASH);
        assert_eq!(orders(&fixture.wait(Duration::ZERO)).len(), 1);
        fixture.come_up();
    }
}

#[test]
fn failed_start_is_reported_and_failed_restart_is_retried() {
    let failed = |instance| ProcessEvent::SpawnFailed { instance, reason: "no such file".into() };
    let mut fixture = Fixture::preset(Preset::Installation);
    fixture.handle(ProcessEvent::StartRequested);
    let actions = fixture.handle(failed(fixture.run()));
    assert_eq!(reports(&actions), [EventKind::Crashed]);
    assert_eq!(fixture.state(), ProcessState::Crashed);
    assert_eq!(fixture.reason(), "cannot be launched: no such file");
    assert!(fixture.wait(Duration::from_hours(1)).is_empty());

    let mut fixture = Fixture::running(Preset::Installation);
    fixture.exited(CRASH);
    fixture.wait(Duration::ZERO);
    fixture.handle(failed(fixture.run()));
    assert_eq!(fixture.state(), ProcessState::Restarting);
    assert_eq!(orders(&fixture.wait(Duration::from_secs(1))).len(), 1);
}

#[test]
fn freeze_is_reported_by_show_and_killed_by_installation() {
    for preset in [Preset::Show, Preset::Manual] {
        let mut fixture = Fixture::running(preset);
        assert_eq!(reports(&fixture.verdict(FROZEN)), [EventKind::Unresponsive]);
        assert_eq!(fixture.state(), ProcessState::Unresponsive);
        assert_eq!(fixture.reason(), "its main loop has made no progress for 0.7 s");
        assert!(fixture.wait(Duration::from_hours(1)).is_empty());
        assert_eq!(reports(&fixture.verdict(HealthVerdict::Running)), [EventKind::Responsive]);
        assert_eq!(fixture.state(), ProcessState::Running);
    }
    let mut fixture = Fixture::running(Preset::Installation);
    let run = fixture.run();
    fixture.verdict(FROZEN);
    assert!(fixture.wait(millis(4999)).is_empty());
    fixture.verdict(HealthVerdict::Silent { for_: millis(800) });
    assert_eq!(fixture.wait(millis(1)), [Action::Kill(run)]);
    assert_eq!(fixture.state(), ProcessState::Stopping);
    fixture.exited(SIGKILL);
    assert_eq!(fixture.state(), ProcessState::Restarting);
    assert!(
        fixture.reason().starts_with("killed after being unresponsive for 5.0 s: its main loop")
    );
    assert_eq!(orders(&fixture.wait(Duration::ZERO)).len(), 1);
}

#[test]
fn acknowledged_process_is_not_killed_until_it_recovers() {
    let mut fixture = Fixture::running(Preset::Installation);
    fixture.verdict(FROZEN);
    fixture.handle(ProcessEvent::Acknowledged);
    assert!(fixture.reason().ends_with("; acknowledged by an operator"));
    assert!(fixture.wait(Duration::from_hours(1)).is_empty());
    fixture.verdict(HealthVerdict::Running);
    fixture.verdict(FROZEN);
    assert_eq!(fixture.wait(Duration::from_secs(5)).len(), 1);
}

#[test]
fn endless_start_is_unresponsive_after_its_deadline() {
    for on_mesh in [false, true] {
        let mut fixture = Fixture::preset(Preset::Installation);
        fixture.handle(ProcessEvent::StartRequested);
        fixture.spawned();
        if on_mesh {
            fixture.joined();
        }
        assert!(fixture.wait(millis(29_999)).is_empty());
        assert_eq!(reports(&fixture.wait(millis(1))), [EventKind::Unresponsive]);
        assert!(fixture.reason().contains("30 s after its launch"), "{}", fixture.reason());
        assert_eq!(fixture.wait(Duration::from_secs(5)), [Action::Kill(fixture.run())]);
        fixture.exited(SIGKILL);
        assert_eq!(fixture.state(), ProcessState::Restarting);
    }
    let mut acknowledged = Fixture::preset(Preset::Installation);
    acknowledged.handle(ProcessEvent::StartRequested);
    acknowledged.spawned();
    acknowledged.handle(ProcessEvent::Acknowledged);
    assert!(acknowledged.wait(Duration::from_hours(1)).is_empty());
    acknowledged.joined();
    acknowledged.verdict(HealthVerdict::Running);
    assert_eq!(acknowledged.state(), ProcessState::Running);
}

#[test]
fn last_output_is_in_the_reason_through_all_restarts() {
    let mut fixture = Fixture::running(Preset::Show);
    for _ in 0..6 {
        fixture.handle(ProcessEvent::LastWords("the display ':77' cannot be reached".into()));
        fixture.exited(Exit::Code(1));
        assert!(
            fixture.reason().contains("exit code 1; last output: the display"),
            "{}",
            fixture.reason()
        );
        if fixture.state() == ProcessState::CrashLoop {
            break;
        }
        fixture.wait(Duration::from_secs(3));
        fixture.spawned();
    }
    assert_eq!(fixture.state(), ProcessState::CrashLoop);
    // The last words of one instance are not used for the next one.
    fixture.handle(ProcessEvent::StartRequested);
    fixture.come_up();
    fixture.exited(Exit::Code(2));
    assert!(!fixture.reason().contains("display"), "{}", fixture.reason());
}

#[test]
fn remark_is_shown_with_the_running_state() {
    let mut fixture = Fixture::running(Preset::Show);
    let remark = |fixture: &Fixture, remark: &str| ProcessEvent::Remark {
        instance: fixture.run(),
        remark: remark.into(),
    };
    fixture.handle(remark(&fixture, "headless, no window: DISPLAY is not set"));
    assert_eq!(fixture.state(), ProcessState::Running);
    assert_eq!(fixture.reason(), "headless, no window: DISPLAY is not set");
    fixture.verdict(HealthVerdict::Slow { fps: 2.0 });
    assert!(fixture.reason().contains("2 frames") && fixture.reason().contains("headless"));
    fixture.verdict(HealthVerdict::Running);
    fixture.handle(remark(&fixture, ""));
    assert_eq!(fixture.reason(), "");
}

#[test]
fn reason_for_slowness_changes_only_when_more_specific() {
    let mut fixture = Fixture::running(Preset::Installation);
    fixture.verdict(HealthVerdict::Slow { fps: 2.0 });
    let since = fixture.supervisor.since();
    let throttled = HealthVerdict::Throttled { every: Duration::from_secs(1) };
    let mut reasons = vec![fixture.reason().to_owned()];
    for verdict in
        [throttled, HealthVerdict::Slow { fps: 1.0 }, throttled, HealthVerdict::Stalling, throttled]
    {
        fixture.wait(Duration::from_secs(1));
        fixture.verdict(verdict);
        reasons.push(fixture.reason().to_owned());
    }
    reasons.dedup();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[1].contains("covered"), "{reasons:?}");
    assert_eq!((fixture.state(), fixture.supervisor.since()), (ProcessState::Slow, since));
    assert!(fixture.wait(Duration::from_hours(1)).is_empty(), "it is not killed");
}

#[test]
fn slow_state_reports_the_rate_and_is_no_failure() {
    let mut fixture = Fixture::running(Preset::Installation);
    assert!(fixture.verdict(HealthVerdict::Slow { fps: 2.0 }).is_empty());
    assert_eq!(fixture.state(), ProcessState::Slow);
    assert_eq!(fixture.reason(), "draws only 2 frames a second");
    assert!(fixture.wait(Duration::from_hours(1)).is_empty());
    fixture.verdict(HealthVerdict::Running);
    assert_eq!(fixture.state(), ProcessState::Running);
}

#[test]
fn short_absence_from_the_mesh_is_not_reported() {
    let mut fixture = Fixture::running(Preset::Show);
    fixture.left();
    assert!(fixture.wait(millis(600)).is_empty());
    fixture.joined();
    assert!(fixture.wait(millis(600)).is_empty());
    assert_eq!(fixture.state(), ProcessState::Running);
    fixture.left();
    assert_eq!(reports(&fixture.wait(millis(700))), [EventKind::Unresponsive]);
    assert_eq!(fixture.reason(), "left the mesh, but its process runs");
    fixture.joined();
    assert_eq!(fixture.state(), ProcessState::Running);
}

#[test]
fn closed_window_is_never_restarted() {
    for preset in [Preset::Show, Preset::Installation, Preset::Manual] {
        for exit in [Exit::Code(0), CRASH, Exit::Signal(11)] {
            let mut fixture = Fixture::running(preset);
            assert!(fixture.handle(ProcessEvent::ClosedByPerson).is_empty());
            assert_eq!(fixture.state(), ProcessState::Stopping);
            fixture.exited(exit);
            assert_eq!(fixture.state(), ProcessState::Closed);
            assert!(fixture.wait(Duration::from_hours(1)).is_empty());

            // The announcement arrives after the exit.
            let mut fixture = Fixture::running(preset);
            fixture.exited(exit);
            fixture.handle(ProcessEvent::ClosedByPerson);
            assert_eq!(fixture.state(), ProcessState::Closed);
            assert!(fixture.wait(Duration::from_hours(1)).is_empty());
        }
    }
}

#[test]
fn reason_for_closing_is_reported_even_after_the_end() {
    let mut fixture = Fixture::running(Preset::Show);
    assert_eq!(reports(&fixture.exited(Exit::Code(0))), [EventKind::Closed]);
    assert_eq!(fixture.reason(), "closed: ended by itself with exit code 0");
    assert!(
        fixture.handle(ProcessEvent::ClosedByPerson).is_empty(),
        "it is down, and that was told"
    );
    assert_eq!((fixture.state(), fixture.reason()), (ProcessState::Closed, "closed by a person"));
}

#[test]
fn process_that_hangs_while_closing_is_ended_and_stays_closed() {
    let mut fixture = Fixture::running(Preset::Installation);
    let run = fixture.run();
    fixture.handle(ProcessEvent::ClosedByPerson);
    assert_eq!(fixture.wait(millis(1500)), [Action::Terminate(run)]);
    assert_eq!(fixture.wait(millis(1500)), [Action::Kill(run)]);
    fixture.exited(SIGKILL);
    assert_eq!(fixture.state(), ProcessState::Closed);
}

#[test]
fn announcement_of_an_older_instance_does_not_close_the_new() {
    let mut fixture = Fixture::running(Preset::Show);
    fixture.exited(CRASH);
    fixture.wait(Duration::ZERO);
    fixture.spawned();
    fixture.handle(ProcessEvent::ClosedByPerson);
    assert_eq!(fixture.state(), ProcessState::Starting);
}

#[test]
fn queued_launch_is_reported_and_can_be_cancelled() {
    let waiting = || {
        let mut fixture = Fixture::running(Preset::Show);
        fixture.exited(CRASH);
        assert_eq!(orders(&fixture.wait(Duration::ZERO)).len(), 1);
        assert_eq!(fixture.supervisor.launch_priority(), LaunchPriority::Policy);
        let queued = ProcessEvent::Queued { instance: fixture.run() };
        assert!(fixture.handle(queued.clone()).is_empty());
        assert!(fixture.handle(queued).is_empty());
        assert_eq!(fixture.state(), ProcessState::Restarting);
        assert_eq!(
            fixture.reason(),
            "being launched again after: exit code 1; queued behind other launches"
        );
        fixture
    };
    let mut fixture = waiting();
    fixture.spawned();
    assert_eq!(fixture.reason(), "launched again after: exit code 1; not on the mesh yet");

    let mut stopped = waiting();
    let run = stopped.run();
    assert_eq!(orders(&stopped.handle(ProcessEvent::StopRequested)), [Action::Withdraw(run)]);
    assert_eq!(stopped.state(), ProcessState::Stopped);
    assert!(stopped.wait(Duration::from_hours(1)).is_empty());

    let mut closed = waiting();
    assert_eq!(orders(&closed.handle(ProcessEvent::ClosedByPerson)), [Action::Withdraw(run)]);
    assert_eq!(closed.state(), ProcessState::Closed);

    let mut hurried = waiting();
    let actions = hurried.handle(ProcessEvent::StartRequested);
    assert_eq!(actions, [Action::Withdraw(run), Action::Spawn(hurried.run())]);
    assert_eq!(
        (hurried.supervisor.launch_priority(), hurried.supervisor.restarts()),
        (LaunchPriority::User, 0)
    );
    hurried.handle(ProcessEvent::Queued { instance: hurried.run() });
    assert_eq!(hurried.state(), ProcessState::Starting);
    assert_eq!(hurried.reason(), "being launched; queued behind other launches");
}

#[test]
fn restart_stops_first_and_then_starts() {
    let mut fixture = Fixture::running(Preset::Manual);
    let first = fixture.run();
    assert_eq!(fixture.handle(ProcessEvent::RestartRequested), [Action::RequestShutdown(first)]);
    assert!(fixture.handle(ProcessEvent::RestartRequested).is_empty());
    assert!(fixture.handle(ProcessEvent::StartRequested).is_empty());
    // The shutdown command makes the program announce that it was closed, which must not prevent the restart.
    fixture.handle(ProcessEvent::ClosedByPerson);
    let actions = fixture.exited(Exit::Code(0));
    assert_eq!(actions, [Action::KillRemaining(first), Action::Spawn(fixture.run())]);
    assert_eq!(fixture.run().number(), 2);
    assert_eq!(reports(&fixture.spawned()), [EventKind::Restarted]);

    let mut down = Fixture::preset(Preset::Manual);
    assert_eq!(down.handle(ProcessEvent::RestartRequested), [Action::Spawn(down.run())]);
}

#[test]
fn last_request_of_a_person_holds() {
    let mut fixture = Fixture::running(Preset::Show);
    fixture.handle(ProcessEvent::RestartRequested);
    fixture.handle(ProcessEvent::StopRequested);
    fixture.exited(Exit::Code(0));
    assert_eq!(fixture.state(), ProcessState::Stopped);

    let mut fixture = Fixture::running(Preset::Show);
    fixture.handle(ProcessEvent::StopRequested);
    fixture.handle(ProcessEvent::StartRequested);
    fixture.exited(Exit::Code(0));
    assert_eq!(fixture.state(), ProcessState::Starting);

    let mut waiting = Fixture::running(Preset::Show);
    waiting.exited(CRASH);
    assert_eq!(orders(&waiting.handle(ProcessEvent::StartRequested)).len(), 1);
    waiting.come_up();
    assert!(waiting.handle(ProcessEvent::StartRequested).is_empty());
}

#[test]
fn script_is_monitored_by_its_process_alone() {
    let mut fixture = Fixture::new(Policy { mesh: Monitoring::Never, ..Policy::default() });
    fixture.handle(ProcessEvent::StartRequested);
    fixture.spawned();
    assert_eq!(fixture.state(), ProcessState::Running);
    assert_eq!(fixture.reason(), "never joins the mesh; monitored by its process alone");
    assert!(fixture.wait(Duration::from_hours(1)).is_empty());
    fixture.exited(CRASH);
    assert_eq!(fixture.state(), ProcessState::Restarting);
}

#[test]
fn events_of_an_older_instance_change_nothing() {
    let mut fixture = Fixture::running(Preset::Show);
    let old = fixture.run();
    fixture.exited(CRASH);
    fixture.wait(Duration::ZERO);
    fixture.come_up();
    let before = format!("{:?}", fixture.supervisor);
    for event in [
        ProcessEvent::Spawned { instance: old, pid: 1 },
        ProcessEvent::SpawnFailed { instance: old, reason: "late".into() },
        ProcessEvent::Exited { instance: old, exit: CRASH },
        ProcessEvent::ShutdownFailed { instance: old },
        ProcessEvent::Verdict { instance: old, verdict: FROZEN },
        ProcessEvent::Joined { session: format!("session {old}") },
        ProcessEvent::Left { session: format!("session {old}") },
        ProcessEvent::Tick,
    ] {
        assert!(fixture.supervisor.handle(event, fixture.now).is_empty());
    }
    assert_eq!(format!("{:?}", fixture.supervisor), before);
}

#[test]
fn status_is_published_only_when_it_changes() {
    let mut fixture = Fixture::running(Preset::Show);
    let now = fixture.now;
    let announced = |fixture: &mut Fixture, event| {
        fixture.supervisor.handle(event, now).contains(&Action::Publish)
    };
    assert!(!announced(&mut fixture, ProcessEvent::Tick));
    let verdict = |verdict| ProcessEvent::Verdict { instance: Instance::numbered(1), verdict };
    assert!(!announced(&mut fixture, verdict(HealthVerdict::Running)));
    assert!(announced(&mut fixture, verdict(FROZEN)));
    assert!(!announced(&mut fixture, verdict(HealthVerdict::Frozen { for_: millis(900) })));
    assert!(announced(&mut fixture, ProcessEvent::StopRequested));
    let status = fixture.supervisor.status(|_| 42);
    assert_eq!((status.state, status.since_ms), (ProcessState::Stopping, 42));
    assert_eq!(status.pid, Some(PID));
}

/// Returns the snapshot of an instance that was restarted.
fn snapshot() -> SupervisorSnapshot<Instant> {
    let now = Instant::now();
    let written = SupervisorSnapshot::<u64> {
        instance: Instance::numbered(4),
        restarts: 2,
        ..SupervisorSnapshot::default()
    };
    written.map_time(|_| now)
}

fn restored(found: AdoptionOutcome) -> ProcessEvent {
    ProcessEvent::Restored { snapshot: Box::new(snapshot()), found }
}

/// Kills the daemon at once. After the time `later`, another daemon starts with the adoption outcome `found`.
fn another_daemon(
    fixture: &Fixture,
    later: Duration,
    found: AdoptionOutcome,
) -> (Fixture, Vec<Action>) {
    // The snapshot is serialized and parsed again.
    let day_before = fixture.now.checked_sub(DAY).unwrap();
    let written = fixture.supervisor.snapshot().map_time(|at| at.duration_since(day_before));
    let text = serde_json::to_string(&written).unwrap();
    let read: SupervisorSnapshot<Duration> = serde_json::from_str(&text).unwrap();
    let snapshot = Box::new(read.map_time(|after| day_before + after));
    let mut after = Fixture::new(fixture.supervisor.policy().clone());
    after.now = fixture.now + later;
    let actions = after.handle(ProcessEvent::Restored { snapshot, found });
    (after, actions)
}

const DAY: Duration = Duration::from_hours(24);
const RUNNING: AdoptionOutcome = AdoptionOutcome::Running { pid: PID };

#[test]
fn running_process_keeps_its_since_under_the_next_daemon() {
    let mut fixture = Fixture::running(Preset::Show);
    let since = fixture.supervisor.since();
    fixture.now += Duration::from_secs(5);
    let (mut after, actions) = another_daemon(&fixture, Duration::from_secs(3), RUNNING);
    assert!(actions.is_empty());
    assert_eq!(after.state(), ProcessState::Starting);
    // A third daemon starts before the second one has received any event.
    (after, _) = another_daemon(&after, Duration::from_secs(1), RUNNING);
    after.joined();
    after.verdict(HealthVerdict::Running);
    assert_eq!((after.state(), after.supervisor.since()), (ProcessState::Running, since));

    let mut other = another_daemon(&fixture, Duration::ZERO, RUNNING).0;
    other.joined();
    other.verdict(HealthVerdict::Slow { fps: 2.0 });
    assert_ne!(other.supervisor.since(), since, "slow is another state");
    other.verdict(HealthVerdict::Running);
    assert_ne!(other.supervisor.since(), since, "it has been slow meanwhile");
}

#[test]
fn adopted_unresponsive_process_gets_its_full_time_again() {
    let mut fixture = Fixture::running(Preset::Installation);
    fixture.verdict(FROZEN);
    let since = fixture.supervisor.since();
    fixture.now += Duration::from_secs(4);
    let (mut after, actions) = another_daemon(&fixture, Duration::from_secs(20), RUNNING);
    assert!(actions.is_empty());
    assert_eq!((after.state(), after.supervisor.since()), (ProcessState::Unresponsive, since));
    assert!(after.wait(millis(4999)).is_empty());
    assert_eq!(after.wait(millis(1)), [Action::Kill(after.run())]);
    assert_eq!(after.run(), fixture.run());

    let mut moves = another_daemon(&fixture, Duration::from_secs(20), RUNNING).0;
    moves.joined();
    assert_eq!(reports(&moves.verdict(HealthVerdict::Running)), [EventKind::Responsive]);

    fixture.handle(ProcessEvent::Acknowledged);
    let mut acknowledged = another_daemon(&fixture, Duration::ZERO, RUNNING).0;
    assert!(acknowledged.supervisor.is_acknowledged());
    assert!(acknowledged.wait(Duration::from_hours(1)).is_empty());
}

#[test]
fn pending_restart_keeps_its_time_under_the_next_daemon() {
    let mut fixture = Fixture::running(Preset::Show);
    for _ in 0..3 {
        fixture.exited(CRASH);
        fixture.wait(Duration::from_secs(2));
        fixture.spawned();
    }
    fixture.exited(CRASH);
    let until = fixture.supervisor.next_deadline().unwrap();
    let wait = until - fixture.now;
    assert!(wait > millis(500));
    let (mut after, actions) = another_daemon(&fixture, millis(200), AdoptionOutcome::Nothing);
    assert!(actions.is_empty());
    assert_eq!((after.state(), after.reason()), (fixture.state(), fixture.reason()));
    assert_eq!(after.supervisor.next_deadline(), Some(until));
    assert_eq!(orders(&after.wait(wait)), [Action::Spawn(after.run())]);
    assert_eq!(after.supervisor.restarts(), 4);
    // The used part of the budget remains used.
    after.spawned();
    after.exited(CRASH);
    after.wait(Duration::from_secs(8));
    after.spawned();
    after.exited(CRASH);
    assert_eq!(after.state(), ProcessState::CrashLoop);
    let (mut looping, actions) = another_daemon(&after, DAY, AdoptionOutcome::Nothing);
    assert!(actions.is_empty());
    assert_eq!((looping.state(), looping.reason()), (after.state(), after.reason()));
    assert_eq!(looping.supervisor.since(), after.supervisor.since());
    assert!(looping.wait(DAY).is_empty());

    let mut overdue = another_daemon(&fixture, Duration::from_mins(2), AdoptionOutcome::Nothing).0;
    assert_eq!(orders(&overdue.wait(Duration::ZERO)).len(), 1);
}

#[test]
fn pending_end_has_the_same_result_under_the_next_daemon() {
    let under_way = |event: ProcessEvent| {
        let mut fixture = Fixture::running(Preset::Installation);
        fixture.handle(event);
        fixture
    };
    let ended = AdoptionOutcome::Ended(MissedExit::Unknown);
    for (event, order, state) in [
        (ProcessEvent::StopRequested, true, ProcessState::Stopped),
        (ProcessEvent::KillRequested, true, ProcessState::Stopped),
        (ProcessEvent::ClosedByPerson, false, ProcessState::Closed),
        (ProcessEvent::RestartRequested, true, ProcessState::Starting),
    ] {
        let fixture = under_way(event.clone());
        let (mut after, actions) = another_daemon(&fixture, Duration::from_secs(1), RUNNING);
        assert_eq!(orders(&actions).len(), usize::from(order), "{event:?}");
        assert_eq!((after.state(), after.reason()), (ProcessState::Stopping, fixture.reason()));
        after.exited(Exit::Unknown);
        assert_eq!(after.state(), state, "{event:?}");
        let meanwhile = another_daemon(&fixture, Duration::from_secs(1), ended).0;
        assert_eq!(meanwhile.state(), state, "{event:?}");
    }
    let mut frozen = Fixture::running(Preset::Installation);
    frozen.verdict(FROZEN);
    frozen.wait(Duration::from_secs(5));
    let (mut after, actions) = another_daemon(&frozen, Duration::from_secs(1), RUNNING);
    assert_eq!(actions, [Action::Kill(after.run())]);
    after.exited(Exit::Unknown);
    assert_eq!(after.state(), ProcessState::Restarting);
}

#[test]
fn launch_with_unknown_outcome_is_repeated_and_counted_once() {
    let mut fixture = Fixture::running(Preset::Show);
    fixture.exited(CRASH);
    fixture.wait(Duration::ZERO);
    let (after, actions) =
        another_daemon(&fixture, Duration::from_secs(1), AdoptionOutcome::Nothing);
    assert_eq!(actions, [Action::Spawn(after.run())]);
    assert_eq!(after.supervisor.restarts(), 1);
    assert_eq!(after.run().number(), fixture.run().number() + 1);
    fixture.handle(ProcessEvent::StopRequested);
    let (stopped, actions) =
        another_daemon(&fixture, Duration::from_secs(1), AdoptionOutcome::Nothing);
    assert!(orders(&actions).is_empty());
    assert_eq!(stopped.state(), ProcessState::Stopped);
}

#[test]
fn ended_process_keeps_its_times_after_a_clock_change() {
    for exit in [Exit::Code(0), CRASH, SIGKILL] {
        let mut fixture = Fixture::running(Preset::Manual);
        fixture.exited(exit);
        let (after, actions) =
            another_daemon(&fixture, Duration::from_secs(9), AdoptionOutcome::Nothing);
        assert!(actions.is_empty());
        assert_eq!(after.supervisor.snapshot(), fixture.supervisor.snapshot());
    }
    // The clock was set back, so the recorded times are in the future.
    let mut fixture = Fixture::running(Preset::Show);
    fixture.exited(CRASH);
    fixture.wait(Duration::ZERO);
    fixture.spawned();
    fixture.exited(CRASH);
    let written = fixture.supervisor.snapshot().map_time(|at| at + DAY);
    let mut after = Fixture::preset(Preset::Show);
    after.handle(ProcessEvent::Restored {
        snapshot: Box::new(written),
        found: AdoptionOutcome::Nothing,
    });
    assert_eq!(after.supervisor.since(), after.now);
    assert_eq!(orders(&after.wait(Duration::from_secs(8))).len(), 1);
}

fn adopted(preset: Preset) -> Fixture {
    let mut fixture = Fixture::preset(preset);
    let actions = fixture.handle(restored(AdoptionOutcome::Running { pid: PID }));
    assert!(actions.is_empty(), "{actions:?}");
    fixture
}

#[test]
fn adopted_process_is_starting_until_its_first_health() {
    let mut fixture = adopted(Preset::Show);
    assert_eq!(fixture.state(), ProcessState::Starting);
    assert_eq!(fixture.reason(), "adopted after a restart of the daemon; not on the mesh yet");
    assert_eq!((fixture.supervisor.pid(), fixture.supervisor.restarts()), (Some(PID), 2));
    assert_eq!(fixture.run().number(), 4);
    fixture.joined();
    fixture.verdict(HealthVerdict::Running);
    assert_eq!((fixture.state(), fixture.reason()), (ProcessState::Running, ""));
    let run = fixture.run();
    assert_eq!(fixture.handle(ProcessEvent::StopRequested), [Action::RequestShutdown(run)]);
    assert_eq!(orders(&fixture.exited(Exit::Unknown)), [Action::KillRemaining(run)]);
    assert_eq!(
        (fixture.state(), fixture.reason()),
        (ProcessState::Stopped, "stopped as requested")
    );
    assert_eq!(fixture.supervisor.stopped_by(), Some(StoppedBy::Shutdown));

    let mut silent = adopted(Preset::Show);
    assert_eq!(reports(&silent.wait(Duration::from_secs(30))), [EventKind::Unresponsive]);
}

#[test]
fn unknown_end_is_a_crash_unless_a_person_closed_it() {
    use ProcessState::{Closed, Crashed, Restarting};
    for (preset, expected) in
        [(Preset::Manual, Crashed), (Preset::Show, Restarting), (Preset::Installation, Restarting)]
    {
        let mut fixture = adopted(preset);
        assert_eq!(reports(&fixture.exited(Exit::Unknown)), [EventKind::Crashed]);
        assert_eq!(fixture.state(), expected, "{preset:?}");
        assert!(
            fixture.reason().starts_with("ended; its exit status is unknown"),
            "{}",
            fixture.reason()
        );
        assert_eq!(fixture.supervisor.exit(), Some(Exit::Unknown));

        let mut missed = Fixture::preset(preset);
        let event = |end| restored(AdoptionOutcome::Ended(end));
        let actions = missed.handle(event(MissedExit::Unknown));
        assert_eq!((orders(&actions), reports(&actions)), (vec![], vec![EventKind::Crashed]));
        assert_eq!(missed.state(), expected, "{preset:?}");
        assert!(missed.reason().starts_with("ended while no daemon ran"));
        let spawned = orders(&missed.wait(Duration::ZERO));
        if expected == Restarting {
            assert_eq!(spawned, [Action::Spawn(Instance::numbered(5))]);
            assert_eq!(missed.supervisor.restarts(), 3);
        } else {
            assert!(spawned.is_empty());
        }

        let mut closed = adopted(preset);
        closed.handle(ProcessEvent::ClosedByPerson);
        assert_eq!(reports(&closed.exited(Exit::Unknown)), [EventKind::Closed]);
        assert_eq!((closed.state(), closed.reason()), (Closed, "closed by a person"));
        let mut closed = Fixture::preset(preset);
        closed.handle(event(MissedExit::ClosedByPerson));
        assert_eq!(closed.state(), Closed);
        assert!(closed.wait(Duration::from_hours(1)).is_empty());
    }
    let mut only_signals = Policy::default();
    only_signals.restart.on = [RestartOn::Signal].into();
    let mut fixture = Fixture::new(only_signals);
    fixture.handle(ProcessEvent::StartRequested);
    fixture.spawned();
    fixture.exited(Exit::Unknown);
    assert_eq!(fixture.state(), Restarting);
}

// Properties over random sequences of events.

/// A random step of the world.
#[derive(Debug, Clone)]
enum Turn {
    Person(ProcessEvent),
    /// Carries out the oldest order, with success or failure.
    Carry {
        well: bool,
    },
    /// Reports the oldest order, a launch, as queued.
    Queue,
    Exit(Exit),
    Join,
    Leave,
    Verdict(HealthVerdict),
    ClosedByPerson,
    /// An event of an earlier instance; the second number is how many instances ago it ran.
    Stale(u32, u8),
    Pass(Duration),
    /// A jump in time without the ticks in between, as when a machine sleeps.
    Jump(Duration),
    /// A tick that is not due.
    Tick,
    /// The daemon is killed, its orders are lost, and another one starts.
    Daemon,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let exit = prop_oneof![
        Just(Exit::Code(0)),
        Just(CRASH),
        Just(Exit::Signal(2)),
        Just(SIGKILL),
        Just(Exit::Signal(11)),
        Just(Exit::Unknown),
    ];
    let verdict = prop_oneof![
        Just(HealthVerdict::Starting),
        Just(HealthVerdict::Running),
        Just(HealthVerdict::Slow { fps: 3.0 }),
        Just(FROZEN),
        Just(HealthVerdict::Silent { for_: millis(700) }),
    ];
    let person = prop_oneof![
        4 => Just(ProcessEvent::StartRequested),
        1 => Just(ProcessEvent::RestartRequested),
        1 => Just(ProcessEvent::StopRequested),
        1 => Just(ProcessEvent::KillRequested),
        1 => Just(ProcessEvent::Acknowledged),
    ];
    let turn = prop_oneof![
        2 => person.prop_map(Turn::Person),
        8 => prop::bool::weighted(0.9).prop_map(|well| Turn::Carry { well }),
        2 => Just(Turn::Queue),
        5 => exit.prop_map(Turn::Exit),
        3 => Just(Turn::Join),
        1 => Just(Turn::Leave),
        3 => verdict.prop_map(Turn::Verdict),
        1 => Just(Turn::ClosedByPerson),
        2 => (1_u32..4, 0_u8..10).prop_map(|(ago, what)| Turn::Stale(ago, what)),
        6 => (0_u64..4000).prop_map(|time| Turn::Pass(millis(time))),
        1 => prop_oneof![
            0_u64..100,
            0_u64..90_000,
            Just(100_000_000),
        ].prop_map(|time| Turn::Jump(millis(time))),
        2 => Just(Turn::Tick),
        1 => Just(Turn::Daemon),
    ];
    prop::collection::vec(turn, 1..200)
}

fn policies() -> impl Strategy<Value = Policy> {
    let preset = prop_oneof![Just(Preset::Show), Just(Preset::Installation), Just(Preset::Manual)];
    (preset, any::<bool>(), prop::option::of(0_u32..4)).prop_map(|(preset, joins, budget)| {
        let mut policy = Policy::preset(preset);
        policy.mesh = if joins { Monitoring::Joins } else { Monitoring::Never };
        if budget.is_some() {
            policy.restart.budget = budget;
        }
        policy
    })
}

/// A world that carries out orders at arbitrary times and checks the supervisor's guarantees.
// The flags are independent of each other.
#[allow(clippy::struct_excessive_bools)]
struct World {
    supervisor: Supervisor,
    now: Instant,
    /// The orders that have not been carried out yet.
    orders: VecDeque<Action>,
    /// The living process, and whether it was sent SIGKILL.
    alive: Option<(Instance, bool)>,
    /// The adopted instance, whose exit status is unknown.
    adopted: Option<Instance>,
    launched: u32,
    /// Whether a person closed the process and no start was requested since.
    closed: bool,
    /// Whether a person stopped the process and no start was requested since.
    stopped: bool,
    /// The times of automatic restarts since the last start by a person.
    automatic: Vec<Instant>,
    asked: bool,
    /// Whether the next launch only repeats one that an earlier daemon had begun.
    relaunches: bool,
}

impl World {
    fn new(policy: Policy) -> Self {
        let now = Instant::now();
        let id = NodeId::new("ripples").unwrap();
        Self {
            supervisor: Supervisor::new(id, "ripples", policy, now),
            now,
            orders: VecDeque::new(),
            alive: None,
            adopted: None,
            launched: 0,
            closed: false,
            stopped: false,
            automatic: vec![],
            asked: false,
            relaunches: false,
        }
    }

    /// Kills the daemon. Only the supervisor's snapshot and the state of the system remain.
    fn daemon(&mut self) -> Result<(), TestCaseError> {
        let snapshot = self.supervisor.snapshot();
        let before = self.supervisor.clone();
        self.orders.clear();
        let found = match self.alive {
            Some((instance, killed)) => {
                self.adopted = Some(instance);
                self.alive = (!killed).then_some((instance, false));
                match self.alive {
                    Some(_) => AdoptionOutcome::Running { pid: PID },
                    None => AdoptionOutcome::Ended(MissedExit::Unknown),
                }
            },
            None if snapshot.has_process() => AdoptionOutcome::Ended(MissedExit::Unknown),
            None => AdoptionOutcome::Nothing,
        };
        let policy = before.policy.clone();
        self.supervisor = Supervisor::new(before.id, "ripples", policy, self.now);
        self.relaunches = matches!(snapshot.stage, PhaseSnapshot::Launching { .. });
        self.handle(ProcessEvent::Restored { snapshot: Box::new(snapshot.clone()), found })?;
        self.relaunches = false;
        let state = self.supervisor.state();
        if !snapshot.has_process() && !matches!(snapshot.stage, PhaseSnapshot::Launching { .. }) {
            prop_assert_eq!(self.supervisor.snapshot(), snapshot);
        }
        prop_assert_eq!(self.supervisor.pid().is_some(), self.alive.is_some());
        prop_assert!(state == ProcessState::Running || !self.supervisor.reason().is_empty());
        Ok(())
    }

    fn handle(&mut self, event: ProcessEvent) -> Result<(), TestCaseError> {
        match event {
            ProcessEvent::StartRequested | ProcessEvent::RestartRequested => {
                self.closed = false;
                self.stopped = false;
                self.asked = true;
            },
            ProcessEvent::StopRequested | ProcessEvent::KillRequested => self.stopped = true,
            _ => {},
        }
        let restarts = self.supervisor.restarts();
        for action in self.supervisor.handle(event, self.now) {
            match action {
                Action::Spawn(instance) => {
                    prop_assert!(self.alive.is_none(), "a second instance is launched");
                    let pending = self.orders.iter().any(|o| matches!(o, Action::Spawn(_)));
                    prop_assert!(!pending, "launched twice");
                    prop_assert_eq!(instance.number(), self.launched + 1);
                    prop_assert!(!self.closed, "what a person closed is started by itself");
                    prop_assert!(!self.stopped, "what a person stopped is started by itself");
                    self.launched += 1;
                    if self.relaunches {
                        // The restart was counted when the earlier daemon began it.
                    } else if self.supervisor.restarts() > restarts {
                        self.automatic.push(self.now);
                        self.within_budget()?;
                    } else {
                        prop_assert!(self.asked, "nobody asked for it");
                        self.automatic.clear();
                    }
                    self.asked = false;
                    self.orders.push_back(action);
                },
                Action::Withdraw(instance) => {
                    let of_it = |order: &Action| *order == Action::Spawn(instance);
                    prop_assert!(self.orders.iter().any(of_it), "nothing to withdraw");
                    self.orders.retain(|order| !of_it(order));
                },
                Action::Publish | Action::Report { .. } => {},
                action => self.orders.push_back(action),
            }
        }
        let state = self.supervisor.state();
        prop_assert!(state == ProcessState::Running || !self.supervisor.reason().is_empty());
        prop_assert_eq!(
            self.supervisor.stopped_by().is_some(),
            state == ProcessState::Stopped,
            "{}",
            state
        );
        if self.supervisor.pid().is_some() {
            prop_assert!(state.is_alive(), "{} with a process", state);
        }
        if self.stopped {
            prop_assert!(
                matches!(state, ProcessState::Stopping | ProcessState::Stopped),
                "{}",
                state
            );
        }
        Ok(())
    }

    fn within_budget(&self) -> Result<(), TestCaseError> {
        let restart = &self.supervisor.policy().restart;
        if let Some(budget) = restart.budget {
            let within =
                self.automatic.iter().filter(|at| self.now.duration_since(**at) < restart.window);
            prop_assert!(within.count() <= usize::try_from(budget).unwrap());
        }
        Ok(())
    }

    fn carry(&mut self, well: bool) -> Result<(), TestCaseError> {
        let Some(order) = self.orders.pop_front() else { return Ok(()) };
        match order {
            Action::Spawn(instance) if well => {
                prop_assert!(self.alive.is_none());
                self.alive = Some((instance, false));
                self.handle(ProcessEvent::Spawned { instance, pid: PID })
            },
            Action::Spawn(instance) => {
                self.handle(ProcessEvent::SpawnFailed { instance, reason: "no".into() })
            },
            Action::RequestShutdown(instance) if !well => {
                self.handle(ProcessEvent::ShutdownFailed { instance })
            },
            Action::Kill(instance) => {
                if let Some((alive, killed)) = &mut self.alive
                    && *alive == instance
                {
                    *killed = true;
                }
                Ok(())
            },
            _ => Ok(()),
        }
    }

    fn exit(&mut self, exit: Exit) -> Result<(), TestCaseError> {
        let Some((instance, killed)) = self.alive.take() else { return Ok(()) };
        let exit = match killed {
            _ if self.adopted == Some(instance) => Exit::Unknown,
            true => SIGKILL,
            false => exit,
        };
        self.handle(ProcessEvent::Exited { instance, exit })?;
        // The supervisor counts this unexpected end as closed by a person.
        if self.supervisor.state() == ProcessState::Closed {
            self.closed = true;
        }
        Ok(())
    }

    fn session(&self) -> String {
        format!("session {}", self.supervisor.instance())
    }

    fn stale(&mut self, ago: u32, what: u8) -> Result<(), TestCaseError> {
        let Some(number) = self.supervisor.instance().number().checked_sub(ago) else {
            return Ok(());
        };
        let instance = Instance::numbered(number);
        let event = match what {
            0 => ProcessEvent::Spawned { instance, pid: 1 },
            1 => ProcessEvent::SpawnFailed { instance, reason: "stale".into() },
            2 => ProcessEvent::Exited { instance, exit: CRASH },
            3 => ProcessEvent::ShutdownFailed { instance },
            4 => ProcessEvent::Verdict { instance, verdict: FROZEN },
            5 => ProcessEvent::Left { session: format!("session {instance}") },
            6 => restored(AdoptionOutcome::Running { pid: 1 }),
            7 => restored(AdoptionOutcome::Ended(MissedExit::Unknown)),
            8 => ProcessEvent::Queued { instance },
            _ => ProcessEvent::Verdict { instance, verdict: HealthVerdict::Running },
        };
        let before = format!("{:?}", self.supervisor);
        self.handle(event)?;
        prop_assert_eq!(format!("{:?}", self.supervisor), before);
        Ok(())
    }

    /// Advances time, with ticks when they are due.
    fn pass(&mut self, time: Duration) -> Result<(), TestCaseError> {
        let until = self.now + time;
        let mut ticks = 0;
        while let Some(at) = self.supervisor.next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.handle(ProcessEvent::Tick)?;
            prop_assert_ne!(self.supervisor.next_deadline(), Some(at), "a tick changed nothing");
            ticks += 1;
            prop_assert!(ticks < 10_000, "ticks without end");
        }
        self.now = until;
        Ok(())
    }

    fn turn(&mut self, turn: Turn) -> Result<(), TestCaseError> {
        match turn {
            Turn::Person(event) => self.handle(event),
            Turn::Carry { well } => self.carry(well),
            Turn::Queue => match self.orders.front() {
                Some(Action::Spawn(instance)) => {
                    self.handle(ProcessEvent::Queued { instance: *instance })
                },
                _ => Ok(()),
            },
            Turn::Exit(exit) => self.exit(exit),
            Turn::Join => self.handle(ProcessEvent::Joined { session: self.session() }),
            Turn::Leave => self.handle(ProcessEvent::Left { session: self.session() }),
            Turn::Verdict(verdict) => {
                let instance = self.supervisor.instance();
                self.handle(ProcessEvent::Verdict { instance, verdict })
            },
            Turn::ClosedByPerson => {
                let before = &self.supervisor;
                let has_ended = match before.state() {
                    ProcessState::Crashed | ProcessState::CrashLoop => true,
                    // The process is down, and the restart was not requested by a person.
                    ProcessState::Restarting => before.next_deadline().is_some(),
                    _ => false,
                };
                self.handle(ProcessEvent::ClosedByPerson)?;
                let state = self.supervisor.state();
                prop_assert!(!has_ended || state == ProcessState::Closed, "{}", state);
                if self.supervisor.state() == ProcessState::Closed {
                    self.closed = true;
                }
                Ok(())
            },
            Turn::Stale(ago, what) => self.stale(ago, what),
            Turn::Pass(time) => self.pass(time),
            Turn::Jump(time) => {
                self.now += time;
                Ok(())
            },
            Turn::Tick => self.handle(ProcessEvent::Tick),
            Turn::Daemon => self.daemon(),
        }
    }

    /// Continues with a cooperative system: orders are carried out, and SIGKILL ends the process.
    fn settle(&mut self, time: Duration) -> Result<(), TestCaseError> {
        let until = self.now + time;
        while self.now < until {
            while !self.orders.is_empty() {
                self.carry(true)?;
            }
            if self.alive.is_some_and(|(_, killed)| killed) {
                self.exit(SIGKILL)?;
            }
            self.pass(millis(250))?;
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(hana_random::cases(256))]

    #[test]
    fn guarantees_hold_for_any_events(
        policy in policies(),
        turns in turns(),
    ) {
        let mut world = World::new(policy);
        for turn in turns {
            world.turn(turn)?;
        }
    }

    #[test]
    fn stop_always_ends_stopped(
        policy in policies(),
        turns in turns(),
        kill: bool,
    ) {
        let mut world = World::new(policy);
        for turn in turns {
            world.turn(turn)?;
        }
        world.handle(if kill { ProcessEvent::KillRequested } else { ProcessEvent::StopRequested })?;
        world.settle(Duration::from_secs(8))?;
        prop_assert_eq!(world.supervisor.state(), ProcessState::Stopped);
        prop_assert!(world.alive.is_none());
        prop_assert_eq!(world.supervisor.next_deadline(), None);
    }

    #[test]
    fn adopted_process_closed_by_a_person_always_ends_closed(
        policy in policies(),
        joins: bool,
        ends: bool,
    ) {
        let mut world = World::new(policy);
        world.handle(ProcessEvent::StartRequested)?;
        world.carry(true)?;
        world.daemon()?;
        if joins {
            world.turn(Turn::Join)?;
        }
        world.turn(Turn::ClosedByPerson)?;
        world.closed = true;
        if ends {
            world.exit(Exit::Unknown)?;
        }
        world.settle(Duration::from_mins(2))?;
        prop_assert_eq!(world.supervisor.state(), ProcessState::Closed);
    }

    #[test]
    fn close_announcement_while_running_always_ends_closed(policy in policies(), exit in 0..3) {
        let mut world = World::new(Policy { mesh: Monitoring::Joins, ..policy });
        world.handle(ProcessEvent::StartRequested)?;
        world.carry(true)?;
        world.turn(Turn::Join)?;
        world.turn(Turn::ClosedByPerson)?;
        world.closed = true;
        if exit > 0 {
            world.exit(Exit::Code(exit))?;
        }
        world.settle(Duration::from_mins(2))?;
        prop_assert_eq!(world.supervisor.state(), ProcessState::Closed);
    }
}
