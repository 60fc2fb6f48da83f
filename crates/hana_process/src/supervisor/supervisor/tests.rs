use std::time::Duration;

use hana_engine::roster::HealthVerdict;
use proptest::prelude::*;

use super::*;
use crate::supervisor::event::{AdoptionOutcome, MissedExit};
use crate::supervisor::policy::{Monitoring, Preset, RestartOn};
use crate::supervisor::snapshot::{Stage, SupervisorSnapshot};

const PID: u32 = 4711;
const CRASH: Exit = Exit::Code(1);
const SIGKILL: Exit = Exit::Signal(9);
const FROZEN: HealthVerdict = HealthVerdict::Frozen { for_: Duration::from_millis(700) };

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A supervisor with a clock that the test controls.
struct Desk {
    supervisor: Supervisor,
    now: Instant,
}

impl Desk {
    fn new(policy: Policy) -> Self {
        let now = Instant::now();
        let id = NodeId::new("ripples").unwrap();
        Self { supervisor: Supervisor::new(id, "ripples", policy, now), now }
    }

    fn preset(preset: Preset) -> Self {
        Self::new(Policy::preset(preset))
    }

    /// Creates a supervisor of a process that is running and on the mesh.
    fn running(preset: Preset) -> Self {
        let mut desk = Self::preset(preset);
        desk.tell(ProcessEvent::StartRequested);
        desk.come_up();
        desk
    }

    fn tell(&mut self, event: ProcessEvent) -> Vec<Action> {
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
            actions.extend(self.tell(ProcessEvent::Tick));
        }
        self.now = until;
        actions
    }

    fn spawned(&mut self) -> Vec<Action> {
        self.tell(ProcessEvent::Spawned { instance: self.run(), pid: PID })
    }

    fn joined(&mut self) -> Vec<Action> {
        self.tell(ProcessEvent::Joined { session: format!("session {}", self.run()) })
    }

    fn left(&mut self) -> Vec<Action> {
        self.tell(ProcessEvent::Left { session: format!("session {}", self.run()) })
    }

    fn verdict(&mut self, verdict: HealthVerdict) -> Vec<Action> {
        self.tell(ProcessEvent::Verdict { instance: self.run(), verdict })
    }

    fn exited(&mut self, exit: Exit) -> Vec<Action> {
        self.tell(ProcessEvent::Exited { instance: self.run(), exit })
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
fn a_start_goes_from_launch_over_the_mesh_to_running() {
    let mut desk = Desk::preset(Preset::Show);
    assert_eq!((desk.state(), desk.reason()), (ProcessState::Stopped, "not started yet"));
    let actions = desk.tell(ProcessEvent::StartRequested);
    assert_eq!(actions, [Action::Spawn(desk.run())]);
    assert_eq!(desk.run().number(), 1);
    assert_eq!(reports(&desk.spawned()), [EventKind::Started]);
    assert_eq!(desk.state(), ProcessState::Starting);
    assert_eq!(desk.reason(), "launched; not on the mesh yet");
    assert_eq!(desk.supervisor.pid(), Some(PID));
    desk.joined();
    assert_eq!(desk.state(), ProcessState::Starting);
    desk.verdict(HealthVerdict::Starting);
    assert_eq!(desk.state(), ProcessState::Starting);
    desk.verdict(HealthVerdict::Running);
    assert_eq!((desk.state(), desk.reason()), (ProcessState::Running, ""));
    assert_eq!(desk.supervisor.next_deadline(), None);
}

#[test]
fn health_that_comes_before_the_token_counts_when_the_token_comes() {
    let mut desk = Desk::preset(Preset::Show);
    desk.tell(ProcessEvent::StartRequested);
    desk.spawned();
    desk.verdict(HealthVerdict::Running);
    assert_eq!(desk.state(), ProcessState::Starting);
    desk.joined();
    assert_eq!(desk.state(), ProcessState::Running);
}

#[test]
fn a_stop_is_polite_then_sigterm_then_sigkill() {
    let mut desk = Desk::running(Preset::Show);
    let run = desk.run();
    assert_eq!(desk.tell(ProcessEvent::StopRequested), [Action::RequestShutdown(run)]);
    assert_eq!(desk.state(), ProcessState::Stopping);
    assert!(desk.wait(millis(1499)).is_empty());
    assert_eq!(desk.wait(millis(1)), [Action::Terminate(run)]);
    assert_eq!(desk.reason(), "stop requested; SIGTERM sent");
    assert!(desk.wait(millis(1499)).is_empty());
    assert_eq!(desk.wait(millis(1)), [Action::Kill(run)]);
    assert_eq!(desk.wait(Duration::from_secs(3)).len(), 3);
    assert!(desk.reason().contains("does not end although SIGKILL was sent"));
    let actions = desk.exited(SIGKILL);
    assert_eq!(orders(&actions), [Action::KillRemaining(run)]);
    assert_eq!(reports(&actions), [EventKind::Stopped]);
    assert_eq!(desk.state(), ProcessState::Stopped);
    assert_eq!(desk.reason(), "stopped by force (signal 9 (SIGKILL))");
    assert_eq!(desk.supervisor.stopped_by(), Some(StoppedBy::Kill));
    assert_eq!(desk.supervisor.pid(), None);
}

#[test]
fn a_stop_says_what_it_took() {
    for (steps, exit, by) in [
        (0, Exit::Code(0), StoppedBy::Shutdown),
        (0, CRASH, StoppedBy::Shutdown),
        (1, Exit::Signal(15), StoppedBy::Terminate),
        (1, Exit::Code(0), StoppedBy::Terminate),
        (2, SIGKILL, StoppedBy::Kill),
    ] {
        for preset in [Preset::Show, Preset::Installation, Preset::Manual] {
            let mut desk = Desk::running(preset);
            desk.tell(ProcessEvent::StopRequested);
            desk.wait(millis(1500) * steps);
            desk.exited(exit);
            assert_eq!(desk.state(), ProcessState::Stopped);
            assert_eq!(desk.supervisor.stopped_by(), Some(by));
            assert!(desk.wait(Duration::from_hours(1)).is_empty());
        }
    }
}

#[test]
fn politeness_is_not_wasted_on_what_cannot_hear_it() {
    let mut unresponsive = Desk::running(Preset::Show);
    unresponsive.verdict(FROZEN);
    let mut gone = Desk::running(Preset::Show);
    gone.left();
    let mut starting = Desk::preset(Preset::Show);
    starting.tell(ProcessEvent::StartRequested);
    starting.spawned();
    let mut script = Desk::new(Policy { mesh: Monitoring::Never, ..Policy::default() });
    script.tell(ProcessEvent::StartRequested);
    script.spawned();
    for mut desk in [unresponsive, gone, starting, script] {
        let run = desk.run();
        assert_eq!(desk.tell(ProcessEvent::StopRequested), [Action::Terminate(run)]);
    }
    let mut refusing = Desk::running(Preset::Show);
    let run = refusing.run();
    refusing.tell(ProcessEvent::StopRequested);
    let failed = ProcessEvent::ShutdownFailed { instance: run };
    assert_eq!(refusing.tell(failed.clone()), [Action::Terminate(run)]);
    assert!(refusing.tell(failed).is_empty());
}

#[test]
fn a_kill_is_at_once_also_in_the_middle_of_a_stop() {
    let mut desk = Desk::running(Preset::Show);
    let run = desk.run();
    assert_eq!(desk.tell(ProcessEvent::KillRequested), [Action::Kill(run)]);
    assert!(desk.tell(ProcessEvent::KillRequested).is_empty());

    let mut desk = Desk::running(Preset::Show);
    desk.tell(ProcessEvent::StopRequested);
    assert_eq!(desk.tell(ProcessEvent::KillRequested), [Action::Kill(run)]);
    desk.exited(SIGKILL);
    assert_eq!(desk.supervisor.stopped_by(), Some(StoppedBy::Kill));
}

#[test]
fn a_stop_in_the_middle_of_a_launch_holds() {
    let mut desk = Desk::preset(Preset::Show);
    desk.tell(ProcessEvent::StartRequested);
    assert!(desk.tell(ProcessEvent::StopRequested).is_empty());
    assert_eq!(desk.state(), ProcessState::Stopping);
    assert_eq!(orders(&desk.spawned()), [Action::Terminate(desk.run())]);
    desk.exited(Exit::Signal(15));
    assert_eq!(desk.state(), ProcessState::Stopped);

    let mut desk = Desk::preset(Preset::Show);
    desk.tell(ProcessEvent::StartRequested);
    desk.tell(ProcessEvent::StopRequested);
    desk.tell(ProcessEvent::SpawnFailed { instance: desk.run(), reason: "no memory".into() });
    assert_eq!(desk.state(), ProcessState::Stopped);

    let mut desk = Desk::preset(Preset::Show);
    desk.tell(ProcessEvent::StartRequested);
    desk.tell(ProcessEvent::StopRequested);
    desk.exited(CRASH);
    assert_eq!(desk.state(), ProcessState::Stopped);
    assert_eq!(desk.supervisor.stopped_by(), Some(StoppedBy::Already));
}

#[test]
fn what_has_ended_is_stopped_already_and_no_restart_comes() {
    let mut waiting = Desk::running(Preset::Installation);
    waiting.exited(CRASH);
    assert_eq!(waiting.state(), ProcessState::Restarting);
    let mut crashed = Desk::running(Preset::Manual);
    crashed.exited(CRASH);
    let mut closed = Desk::running(Preset::Show);
    closed.exited(Exit::Code(0));
    for mut desk in [waiting, crashed, closed, Desk::preset(Preset::Show)] {
        assert!(orders(&desk.tell(ProcessEvent::StopRequested)).is_empty());
        assert_eq!(desk.state(), ProcessState::Stopped);
        assert_eq!(desk.supervisor.stopped_by(), Some(StoppedBy::Already));
        assert!(desk.wait(Duration::from_hours(1)).is_empty());
    }
}

#[test]
fn each_end_that_nobody_asked_for_gets_its_word_and_its_treatment() {
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
            let mut desk = Desk::running(preset);
            let run = desk.run();
            let actions = desk.exited(exit);
            assert_eq!(orders(&actions), [Action::KillRemaining(run)], "{exit}");
            let kind = if manual == Closed { EventKind::Closed } else { EventKind::Crashed };
            assert_eq!(reports(&actions), [kind]);
            assert_eq!(desk.state(), expected, "{exit} {preset:?}");
            assert!(desk.reason().starts_with(reason), "{}", desk.reason());
            assert_eq!(desk.supervisor.exit(), Some(exit));
            let spawns = orders(&desk.wait(millis(1)));
            assert_eq!(spawns.len(), usize::from(expected == Restarting), "{exit} {preset:?}");
        }
    }
}

#[test]
fn a_restart_comes_at_once_then_later_and_later_until_the_budget_is_spent() {
    let mut desk = Desk::running(Preset::Show);
    let began = desk.now;
    let mut pauses = vec![];
    while desk.exited(CRASH).len() == 2 && desk.state() == ProcessState::Restarting {
        let crashed = desk.now;
        assert_eq!(orders(&desk.wait(Duration::ZERO)).len(), usize::from(pauses.is_empty()));
        while desk.state() == ProcessState::Restarting {
            desk.wait(millis(10));
        }
        pauses.push(desk.now.duration_since(crashed));
        assert_eq!(reports(&desk.spawned()), [EventKind::Restarted]);
        assert_eq!(desk.reason(), "launched again after: exit code 1; not on the mesh yet");
    }
    assert_eq!(desk.state(), ProcessState::CrashLoop);
    assert_eq!((pauses.len(), desk.supervisor.restarts()), (5, 5));
    assert!(pauses.windows(2).all(|pair| pair[0] < pair[1]), "{pauses:?}");
    assert!(desk.now.duration_since(began) < Duration::from_secs(10));
    assert!(
        desk.reason()
            .starts_with("exit code 1; not restarted any more after 5 restarts within 60 s")
    );
    assert!(desk.wait(Duration::from_hours(1)).is_empty());

    desk.tell(ProcessEvent::StartRequested);
    assert_eq!((desk.state(), desk.supervisor.restarts()), (ProcessState::Starting, 0));
    desk.come_up();
    desk.exited(CRASH);
    assert_eq!(desk.state(), ProcessState::Restarting);
}

#[test]
fn an_installation_is_restarted_for_ever_and_never_waits_long() {
    let mut desk = Desk::running(Preset::Installation);
    for crashes in 1..=200 {
        desk.exited(SIGKILL);
        assert_eq!(desk.state(), ProcessState::Restarting);
        assert_eq!(orders(&desk.wait(Duration::from_secs(30))).len(), 1);
        assert_eq!(desk.supervisor.restarts(), crashes);
        desk.spawned();
    }
}

#[test]
fn a_crash_now_and_then_is_always_restarted_at_once() {
    let mut desk = Desk::running(Preset::Show);
    for _ in 0..50 {
        desk.now += Duration::from_secs(15);
        desk.exited(CRASH);
        assert_eq!(orders(&desk.wait(Duration::ZERO)).len(), 1);
        desk.come_up();
    }
}

#[test]
fn a_start_that_cannot_be_launched_is_told_and_a_restart_that_cannot_is_tried_again() {
    let failed = |instance| ProcessEvent::SpawnFailed { instance, reason: "no such file".into() };
    let mut desk = Desk::preset(Preset::Installation);
    desk.tell(ProcessEvent::StartRequested);
    let actions = desk.tell(failed(desk.run()));
    assert_eq!(reports(&actions), [EventKind::Crashed]);
    assert_eq!(desk.state(), ProcessState::Crashed);
    assert_eq!(desk.reason(), "could not be launched: no such file");
    assert!(desk.wait(Duration::from_hours(1)).is_empty());

    let mut desk = Desk::running(Preset::Installation);
    desk.exited(CRASH);
    desk.wait(Duration::ZERO);
    desk.tell(failed(desk.run()));
    assert_eq!(desk.state(), ProcessState::Restarting);
    assert_eq!(orders(&desk.wait(Duration::from_secs(1))).len(), 1);
}

#[test]
fn a_freeze_is_told_by_show_and_killed_by_installation_after_five_seconds() {
    for preset in [Preset::Show, Preset::Manual] {
        let mut desk = Desk::running(preset);
        assert_eq!(reports(&desk.verdict(FROZEN)), [EventKind::Unresponsive]);
        assert_eq!(desk.state(), ProcessState::Unresponsive);
        assert_eq!(desk.reason(), "its render loop has not moved for 0.7 s");
        assert!(desk.wait(Duration::from_hours(1)).is_empty());
        assert_eq!(reports(&desk.verdict(HealthVerdict::Running)), [EventKind::Responsive]);
        assert_eq!(desk.state(), ProcessState::Running);
    }
    let mut desk = Desk::running(Preset::Installation);
    let run = desk.run();
    desk.verdict(FROZEN);
    assert!(desk.wait(millis(4999)).is_empty());
    desk.verdict(HealthVerdict::Silent { for_: millis(800) });
    assert_eq!(desk.wait(millis(1)), [Action::Kill(run)]);
    assert_eq!(desk.state(), ProcessState::Stopping);
    desk.exited(SIGKILL);
    assert_eq!(desk.state(), ProcessState::Restarting);
    assert!(
        desk.reason().starts_with("killed after being unresponsive for 5.0 s: its render loop")
    );
    assert_eq!(orders(&desk.wait(Duration::ZERO)).len(), 1);
}

#[test]
fn what_a_person_ignores_is_not_killed_until_it_has_moved_again() {
    let mut desk = Desk::running(Preset::Installation);
    desk.verdict(FROZEN);
    desk.tell(ProcessEvent::Acknowledged);
    assert!(desk.reason().ends_with("; acknowledged by an operator"));
    assert!(desk.wait(Duration::from_hours(1)).is_empty());
    desk.verdict(HealthVerdict::Running);
    desk.verdict(FROZEN);
    assert_eq!(desk.wait(Duration::from_secs(5)).len(), 1);
}

#[test]
fn a_start_that_never_finishes_is_unresponsive_after_its_deadline() {
    for on_mesh in [false, true] {
        let mut desk = Desk::preset(Preset::Installation);
        desk.tell(ProcessEvent::StartRequested);
        desk.spawned();
        if on_mesh {
            desk.joined();
        }
        assert!(desk.wait(millis(29_999)).is_empty());
        assert_eq!(reports(&desk.wait(millis(1))), [EventKind::Unresponsive]);
        assert!(desk.reason().contains("30 s after its launch"), "{}", desk.reason());
        assert_eq!(desk.wait(Duration::from_secs(5)), [Action::Kill(desk.run())]);
        desk.exited(SIGKILL);
        assert_eq!(desk.state(), ProcessState::Restarting);
    }
    let mut ignored = Desk::preset(Preset::Installation);
    ignored.tell(ProcessEvent::StartRequested);
    ignored.spawned();
    ignored.tell(ProcessEvent::Acknowledged);
    assert!(ignored.wait(Duration::from_hours(1)).is_empty());
    ignored.joined();
    ignored.verdict(HealthVerdict::Running);
    assert_eq!(ignored.state(), ProcessState::Running);
}

#[test]
fn a_crash_carries_the_last_words_through_restarts_to_the_end() {
    let mut desk = Desk::running(Preset::Show);
    for _ in 0..6 {
        desk.tell(ProcessEvent::LastWords("the display ':77' cannot be reached".into()));
        desk.exited(Exit::Code(1));
        assert!(
            desk.reason().contains("exit code 1; last output: the display"),
            "{}",
            desk.reason()
        );
        if desk.state() == ProcessState::CrashLoop {
            break;
        }
        desk.wait(Duration::from_secs(3));
        desk.spawned();
    }
    assert_eq!(desk.state(), ProcessState::CrashLoop);
    // The last words of one instance are not reused for the next.
    desk.tell(ProcessEvent::StartRequested);
    desk.come_up();
    desk.exited(Exit::Code(2));
    assert!(!desk.reason().contains("display"), "{}", desk.reason());
}

#[test]
fn a_remark_stands_beside_the_state_of_what_runs() {
    let mut desk = Desk::running(Preset::Show);
    let remark = |desk: &Desk, remark: &str| ProcessEvent::Remark {
        instance: desk.run(),
        remark: remark.into(),
    };
    desk.tell(remark(&desk, "headless, no window: DISPLAY is not set"));
    assert_eq!(desk.state(), ProcessState::Running);
    assert_eq!(desk.reason(), "headless, no window: DISPLAY is not set");
    desk.verdict(HealthVerdict::Slow { fps: 2.0 });
    assert!(desk.reason().contains("2 frames") && desk.reason().contains("headless"));
    desk.verdict(HealthVerdict::Running);
    desk.tell(remark(&desk, ""));
    assert_eq!(desk.reason(), "");
}

#[test]
fn a_slow_one_is_explained_better_and_not_again_and_again() {
    let mut desk = Desk::running(Preset::Installation);
    desk.verdict(HealthVerdict::Slow { fps: 2.0 });
    let since = desk.supervisor.since();
    let throttled = HealthVerdict::Throttled { every: Duration::from_secs(1) };
    let mut reasons = vec![desk.reason().to_owned()];
    for verdict in
        [throttled, HealthVerdict::Slow { fps: 1.0 }, throttled, HealthVerdict::Stalling, throttled]
    {
        desk.wait(Duration::from_secs(1));
        desk.verdict(verdict);
        reasons.push(desk.reason().to_owned());
    }
    reasons.dedup();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[1].contains("covered"), "{reasons:?}");
    assert_eq!((desk.state(), desk.supervisor.since()), (ProcessState::Slow, since));
    assert!(desk.wait(Duration::from_hours(1)).is_empty(), "it is not killed");
}

#[test]
fn slow_is_said_with_the_rate_and_is_no_failure() {
    let mut desk = Desk::running(Preset::Installation);
    assert!(desk.verdict(HealthVerdict::Slow { fps: 2.0 }).is_empty());
    assert_eq!(desk.state(), ProcessState::Slow);
    assert_eq!(desk.reason(), "draws only 2 frames a second");
    assert!(desk.wait(Duration::from_hours(1)).is_empty());
    desk.verdict(HealthVerdict::Running);
    assert_eq!(desk.state(), ProcessState::Running);
}

#[test]
fn leaving_the_mesh_for_a_moment_is_not_said_and_for_longer_it_is() {
    let mut desk = Desk::running(Preset::Show);
    desk.left();
    assert!(desk.wait(millis(600)).is_empty());
    desk.joined();
    assert!(desk.wait(millis(600)).is_empty());
    assert_eq!(desk.state(), ProcessState::Running);
    desk.left();
    assert_eq!(reports(&desk.wait(millis(700))), [EventKind::Unresponsive]);
    assert_eq!(desk.reason(), "left the mesh, but its process runs");
    desk.joined();
    assert_eq!(desk.state(), ProcessState::Running);
}

#[test]
fn a_closed_window_is_never_restarted_however_the_process_then_ends() {
    for preset in [Preset::Show, Preset::Installation, Preset::Manual] {
        for exit in [Exit::Code(0), CRASH, Exit::Signal(11)] {
            let mut desk = Desk::running(preset);
            assert!(desk.tell(ProcessEvent::ClosedByPerson).is_empty());
            assert_eq!(desk.state(), ProcessState::Stopping);
            desk.exited(exit);
            assert_eq!(desk.state(), ProcessState::Closed);
            assert!(desk.wait(Duration::from_hours(1)).is_empty());

            // The announcement comes late.
            let mut desk = Desk::running(preset);
            desk.exited(exit);
            desk.tell(ProcessEvent::ClosedByPerson);
            assert_eq!(desk.state(), ProcessState::Closed);
            assert!(desk.wait(Duration::from_hours(1)).is_empty());
        }
    }
}

#[test]
fn why_one_ended_well_is_told_though_its_end_was_seen_first() {
    let mut desk = Desk::running(Preset::Show);
    assert_eq!(reports(&desk.exited(Exit::Code(0))), [EventKind::Closed]);
    assert_eq!(desk.reason(), "closed: ended by itself with exit code 0");
    assert!(desk.tell(ProcessEvent::ClosedByPerson).is_empty(), "it is down, and that was told");
    assert_eq!((desk.state(), desk.reason()), (ProcessState::Closed, "closed by a person"));
}

#[test]
fn one_that_hangs_while_closing_is_helped_to_end_and_stays_closed() {
    let mut desk = Desk::running(Preset::Installation);
    let run = desk.run();
    desk.tell(ProcessEvent::ClosedByPerson);
    assert_eq!(desk.wait(millis(1500)), [Action::Terminate(run)]);
    assert_eq!(desk.wait(millis(1500)), [Action::Kill(run)]);
    desk.exited(SIGKILL);
    assert_eq!(desk.state(), ProcessState::Closed);
}

#[test]
fn the_announcement_of_an_older_run_does_not_close_the_new_one() {
    let mut desk = Desk::running(Preset::Show);
    desk.exited(CRASH);
    desk.wait(Duration::ZERO);
    desk.spawned();
    desk.tell(ProcessEvent::ClosedByPerson);
    assert_eq!(desk.state(), ProcessState::Starting);
}

#[test]
fn what_waits_for_its_turn_says_so_and_can_be_taken_back() {
    let waiting = || {
        let mut desk = Desk::running(Preset::Show);
        desk.exited(CRASH);
        assert_eq!(orders(&desk.wait(Duration::ZERO)).len(), 1);
        assert_eq!(desk.supervisor.wish(), LaunchPriority::Policy);
        let queued = ProcessEvent::Queued { instance: desk.run() };
        assert!(desk.tell(queued.clone()).is_empty());
        assert!(desk.tell(queued).is_empty());
        assert_eq!(desk.state(), ProcessState::Restarting);
        assert_eq!(
            desk.reason(),
            "being launched again after: exit code 1; queued behind other launches"
        );
        desk
    };
    let mut desk = waiting();
    desk.spawned();
    assert_eq!(desk.reason(), "launched again after: exit code 1; not on the mesh yet");

    let mut stopped = waiting();
    let run = stopped.run();
    assert_eq!(orders(&stopped.tell(ProcessEvent::StopRequested)), [Action::Withdraw(run)]);
    assert_eq!(stopped.state(), ProcessState::Stopped);
    assert!(stopped.wait(Duration::from_hours(1)).is_empty());

    let mut closed = waiting();
    assert_eq!(orders(&closed.tell(ProcessEvent::ClosedByPerson)), [Action::Withdraw(run)]);
    assert_eq!(closed.state(), ProcessState::Closed);

    let mut hurried = waiting();
    let actions = hurried.tell(ProcessEvent::StartRequested);
    assert_eq!(actions, [Action::Withdraw(run), Action::Spawn(hurried.run())]);
    assert_eq!(
        (hurried.supervisor.wish(), hurried.supervisor.restarts()),
        (LaunchPriority::User, 0)
    );
    hurried.tell(ProcessEvent::Queued { instance: hurried.run() });
    assert_eq!(hurried.state(), ProcessState::Starting);
    assert_eq!(hurried.reason(), "being launched; queued behind other launches");
}

#[test]
fn a_restart_stops_first_and_then_starts_one() {
    let mut desk = Desk::running(Preset::Manual);
    let first = desk.run();
    assert_eq!(desk.tell(ProcessEvent::RestartRequested), [Action::RequestShutdown(first)]);
    assert!(desk.tell(ProcessEvent::RestartRequested).is_empty());
    assert!(desk.tell(ProcessEvent::StartRequested).is_empty());
    // The shutdown command makes the program announce that it was closed, which must not prevent the restart.
    desk.tell(ProcessEvent::ClosedByPerson);
    let actions = desk.exited(Exit::Code(0));
    assert_eq!(actions, [Action::KillRemaining(first), Action::Spawn(desk.run())]);
    assert_eq!(desk.run().number(), 2);
    assert_eq!(reports(&desk.spawned()), [EventKind::Restarted]);

    let mut down = Desk::preset(Preset::Manual);
    assert_eq!(down.tell(ProcessEvent::RestartRequested), [Action::Spawn(down.run())]);
}

#[test]
fn the_last_wish_of_a_person_holds() {
    let mut desk = Desk::running(Preset::Show);
    desk.tell(ProcessEvent::RestartRequested);
    desk.tell(ProcessEvent::StopRequested);
    desk.exited(Exit::Code(0));
    assert_eq!(desk.state(), ProcessState::Stopped);

    let mut desk = Desk::running(Preset::Show);
    desk.tell(ProcessEvent::StopRequested);
    desk.tell(ProcessEvent::StartRequested);
    desk.exited(Exit::Code(0));
    assert_eq!(desk.state(), ProcessState::Starting);

    let mut waiting = Desk::running(Preset::Show);
    waiting.exited(CRASH);
    assert_eq!(orders(&waiting.tell(ProcessEvent::StartRequested)).len(), 1);
    waiting.come_up();
    assert!(waiting.tell(ProcessEvent::StartRequested).is_empty());
}

#[test]
fn a_script_is_judged_by_its_process_alone_and_says_so() {
    let mut desk = Desk::new(Policy { mesh: Monitoring::Never, ..Policy::default() });
    desk.tell(ProcessEvent::StartRequested);
    desk.spawned();
    assert_eq!(desk.state(), ProcessState::Running);
    assert_eq!(desk.reason(), "not on the mesh; judged by its process alone");
    assert!(desk.wait(Duration::from_hours(1)).is_empty());
    desk.exited(CRASH);
    assert_eq!(desk.state(), ProcessState::Restarting);
}

#[test]
fn what_belongs_to_an_older_run_changes_nothing() {
    let mut desk = Desk::running(Preset::Show);
    let old = desk.run();
    desk.exited(CRASH);
    desk.wait(Duration::ZERO);
    desk.come_up();
    let before = format!("{:?}", desk.supervisor);
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
        assert!(desk.supervisor.handle(event, desk.now).is_empty());
    }
    assert_eq!(format!("{:?}", desk.supervisor), before);
}

#[test]
fn an_announcement_comes_with_a_change_and_only_then() {
    let mut desk = Desk::running(Preset::Show);
    let now = desk.now;
    let announced =
        |desk: &mut Desk, event| desk.supervisor.handle(event, now).contains(&Action::Publish);
    assert!(!announced(&mut desk, ProcessEvent::Tick));
    let verdict = |verdict| ProcessEvent::Verdict { instance: Instance::of_number(1), verdict };
    assert!(!announced(&mut desk, verdict(HealthVerdict::Running)));
    assert!(announced(&mut desk, verdict(FROZEN)));
    assert!(!announced(&mut desk, verdict(HealthVerdict::Frozen { for_: millis(900) })));
    assert!(announced(&mut desk, ProcessEvent::StopRequested));
    let status = desk.supervisor.status(|_| 42);
    assert_eq!((status.state, status.since_ms), (ProcessState::Stopping, 42));
    assert_eq!(status.pid, Some(PID));
}

/// The snapshot of an instance that was restarted.
fn memory() -> SupervisorSnapshot<Instant> {
    let now = Instant::now();
    let written = SupervisorSnapshot::<u64> {
        instance: Instance::of_number(4),
        restarts: 2,
        ..SupervisorSnapshot::default()
    };
    written.map_time(|_| now)
}

fn restore(found: AdoptionOutcome) -> ProcessEvent {
    ProcessEvent::Restored { snapshot: Box::new(memory()), found }
}

/// Kills the daemon at once. After `later`, another daemon starts and finds `found`.
fn another_daemon(desk: &Desk, later: Duration, found: AdoptionOutcome) -> (Desk, Vec<Action>) {
    // Serialized and parsed again.
    let day_before = desk.now.checked_sub(DAY).unwrap();
    let written = desk.supervisor.snapshot().map_time(|at| at.duration_since(day_before));
    let text = serde_json::to_string(&written).unwrap();
    let read: SupervisorSnapshot<Duration> = serde_json::from_str(&text).unwrap();
    let memory = Box::new(read.map_time(|after| day_before + after));
    let mut after = Desk::new(desk.supervisor.policy().clone());
    after.now = desk.now + later;
    let actions = after.tell(ProcessEvent::Restored { snapshot, found });
    (after, actions)
}

const DAY: Duration = Duration::from_hours(24);
const RUNNING: AdoptionOutcome = AdoptionOutcome::Running { pid: PID };

#[test]
fn one_that_runs_has_run_since_then_also_for_the_next_daemon() {
    let mut desk = Desk::running(Preset::Show);
    let since = desk.supervisor.since();
    desk.now += Duration::from_secs(5);
    let (mut after, actions) = another_daemon(&desk, Duration::from_secs(3), RUNNING);
    assert!(actions.is_empty());
    assert_eq!(after.state(), ProcessState::Starting);
    // The daemon after that starts before the second one has received anything.
    (after, _) = another_daemon(&after, Duration::from_secs(1), RUNNING);
    after.joined();
    after.verdict(HealthVerdict::Running);
    assert_eq!((after.state(), after.supervisor.since()), (ProcessState::Running, since));

    let mut other = another_daemon(&desk, Duration::ZERO, RUNNING).0;
    other.joined();
    other.verdict(HealthVerdict::Slow { fps: 2.0 });
    assert_ne!(other.supervisor.since(), since, "slow is another state");
    other.verdict(HealthVerdict::Running);
    assert_ne!(other.supervisor.since(), since, "it has been slow meanwhile");
}

#[test]
fn one_that_was_unresponsive_is_so_until_it_moves_and_has_its_time_again_before_it_is_killed() {
    let mut desk = Desk::running(Preset::Installation);
    desk.verdict(FROZEN);
    let since = desk.supervisor.since();
    desk.now += Duration::from_secs(4);
    let (mut after, actions) = another_daemon(&desk, Duration::from_secs(20), RUNNING);
    assert!(actions.is_empty());
    assert_eq!((after.state(), after.supervisor.since()), (ProcessState::Unresponsive, since));
    assert!(after.wait(millis(4999)).is_empty());
    assert_eq!(after.wait(millis(1)), [Action::Kill(after.run())]);
    assert_eq!(after.run(), desk.run());

    let mut moves = another_daemon(&desk, Duration::from_secs(20), RUNNING).0;
    moves.joined();
    assert_eq!(reports(&moves.verdict(HealthVerdict::Running)), [EventKind::Responsive]);

    desk.tell(ProcessEvent::Acknowledged);
    let mut ignored = another_daemon(&desk, Duration::ZERO, RUNNING).0;
    assert!(ignored.supervisor.is_acknowledged());
    assert!(ignored.wait(Duration::from_hours(1)).is_empty());
}

#[test]
fn a_restart_that_was_to_come_comes_when_it_was_to_come() {
    let mut desk = Desk::running(Preset::Show);
    for _ in 0..3 {
        desk.exited(CRASH);
        desk.wait(Duration::from_secs(2));
        desk.spawned();
    }
    desk.exited(CRASH);
    let until = desk.supervisor.next_deadline().unwrap();
    let wait = until - desk.now;
    assert!(wait > millis(500));
    let (mut after, actions) = another_daemon(&desk, millis(200), AdoptionOutcome::Nothing);
    assert!(actions.is_empty());
    assert_eq!((after.state(), after.reason()), (desk.state(), desk.reason()));
    assert_eq!(after.supervisor.next_deadline(), Some(until));
    assert_eq!(orders(&after.wait(wait)), [Action::Spawn(after.run())]);
    assert_eq!(after.supervisor.restarts(), 4);
    // The spent budget stays spent.
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

    let mut overdue = another_daemon(&desk, Duration::from_mins(2), AdoptionOutcome::Nothing).0;
    assert_eq!(orders(&overdue.wait(Duration::ZERO)).len(), 1);
}

#[test]
fn an_end_under_way_comes_to_the_same_end_under_the_next_daemon() {
    let under_way = |event: ProcessEvent| {
        let mut desk = Desk::running(Preset::Installation);
        desk.tell(event);
        desk
    };
    let ended = AdoptionOutcome::Ended(MissedExit::Unknown);
    for (event, order, state) in [
        (ProcessEvent::StopRequested, true, ProcessState::Stopped),
        (ProcessEvent::KillRequested, true, ProcessState::Stopped),
        (ProcessEvent::ClosedByPerson, false, ProcessState::Closed),
        (ProcessEvent::RestartRequested, true, ProcessState::Starting),
    ] {
        let desk = under_way(event.clone());
        let (mut after, actions) = another_daemon(&desk, Duration::from_secs(1), RUNNING);
        assert_eq!(orders(&actions).len(), usize::from(order), "{event:?}");
        assert_eq!((after.state(), after.reason()), (ProcessState::Stopping, desk.reason()));
        after.exited(Exit::Unknown);
        assert_eq!(after.state(), state, "{event:?}");
        let meanwhile = another_daemon(&desk, Duration::from_secs(1), ended).0;
        assert_eq!(meanwhile.state(), state, "{event:?}");
    }
    let mut frozen = Desk::running(Preset::Installation);
    frozen.verdict(FROZEN);
    frozen.wait(Duration::from_secs(5));
    let (mut after, actions) = another_daemon(&frozen, Duration::from_secs(1), RUNNING);
    assert_eq!(actions, [Action::Kill(after.run())]);
    after.exited(Exit::Unknown);
    assert_eq!(after.state(), ProcessState::Restarting);
}

#[test]
fn a_launch_of_which_nobody_knows_what_became_is_made_again_and_counted_once() {
    let mut desk = Desk::running(Preset::Show);
    desk.exited(CRASH);
    desk.wait(Duration::ZERO);
    let (after, actions) = another_daemon(&desk, Duration::from_secs(1), AdoptionOutcome::Nothing);
    assert_eq!(actions, [Action::Spawn(after.run())]);
    assert_eq!(after.supervisor.restarts(), 1);
    assert_eq!(after.run().number(), desk.run().number() + 1);
    desk.tell(ProcessEvent::StopRequested);
    let (stopped, actions) =
        another_daemon(&desk, Duration::from_secs(1), AdoptionOutcome::Nothing);
    assert!(orders(&actions).is_empty());
    assert_eq!(stopped.state(), ProcessState::Stopped);
}

#[test]
fn what_has_ended_is_as_it_was_whatever_became_of_the_clock() {
    for exit in [Exit::Code(0), CRASH, SIGKILL] {
        let mut desk = Desk::running(Preset::Manual);
        desk.exited(exit);
        let (after, actions) =
            another_daemon(&desk, Duration::from_secs(9), AdoptionOutcome::Nothing);
        assert!(actions.is_empty());
        assert_eq!(after.supervisor.snapshot(), desk.supervisor.snapshot());
    }
    // The clock was set back, so the recorded times are in the future.
    let mut desk = Desk::running(Preset::Show);
    desk.exited(CRASH);
    desk.wait(Duration::ZERO);
    desk.spawned();
    desk.exited(CRASH);
    let written = desk.supervisor.snapshot().map_time(|at| at + DAY);
    let mut after = Desk::preset(Preset::Show);
    after.tell(ProcessEvent::Restored {
        snapshot: Box::new(written),
        found: AdoptionOutcome::Nothing,
    });
    assert_eq!(after.supervisor.since(), after.now);
    assert_eq!(orders(&after.wait(Duration::from_secs(8))).len(), 1);
}

fn adopted(preset: Preset) -> Desk {
    let mut desk = Desk::preset(preset);
    let actions = desk.tell(recalled(AdoptionOutcome::Running { pid: PID }));
    assert!(actions.is_empty(), "{actions:?}");
    desk
}

#[test]
fn an_adopted_one_is_starting_until_it_is_heard_and_then_runs_on() {
    let mut desk = adopted(Preset::Show);
    assert_eq!(desk.state(), ProcessState::Starting);
    assert_eq!(desk.reason(), "adopted after a restart of the daemon; not on the mesh yet");
    assert_eq!((desk.supervisor.pid(), desk.supervisor.restarts()), (Some(PID), 2));
    assert_eq!(desk.run().number(), 4);
    desk.joined();
    desk.verdict(HealthVerdict::Running);
    assert_eq!((desk.state(), desk.reason()), (ProcessState::Running, ""));
    let run = desk.run();
    assert_eq!(desk.tell(ProcessEvent::StopRequested), [Action::RequestShutdown(run)]);
    assert_eq!(orders(&desk.exited(Exit::Unknown)), [Action::KillRemaining(run)]);
    assert_eq!((desk.state(), desk.reason()), (ProcessState::Stopped, "stopped as requested"));
    assert_eq!(desk.supervisor.stopped_by(), Some(StoppedBy::Shutdown));

    let mut silent = adopted(Preset::Show);
    assert_eq!(reports(&silent.wait(Duration::from_secs(30))), [EventKind::Unresponsive]);
}

#[test]
fn an_end_that_is_not_known_is_a_crash_unless_a_person_closed_it() {
    use ProcessState::{Closed, Crashed, Restarting};
    for (preset, expected) in
        [(Preset::Manual, Crashed), (Preset::Show, Restarting), (Preset::Installation, Restarting)]
    {
        let mut desk = adopted(preset);
        assert_eq!(reports(&desk.exited(Exit::Unknown)), [EventKind::Crashed]);
        assert_eq!(desk.state(), expected, "{preset:?}");
        assert!(desk.reason().starts_with("ended; how is not known"), "{}", desk.reason());
        assert_eq!(desk.supervisor.exit(), Some(Exit::Unknown));

        let mut missed = Desk::preset(preset);
        let event = |end| recalled(AdoptionOutcome::Ended(end));
        let actions = missed.tell(event(MissedExit::Unknown));
        assert_eq!((orders(&actions), reports(&actions)), (vec![], vec![EventKind::Crashed]));
        assert_eq!(missed.state(), expected, "{preset:?}");
        assert!(missed.reason().starts_with("ended while no daemon ran"));
        let spawned = orders(&missed.wait(Duration::ZERO));
        if expected == Restarting {
            assert_eq!(spawned, [Action::Spawn(Instance::of_number(5))]);
            assert_eq!(missed.supervisor.restarts(), 3);
        } else {
            assert!(spawned.is_empty());
        }

        let mut closed = adopted(preset);
        closed.tell(ProcessEvent::ClosedByPerson);
        assert_eq!(reports(&closed.exited(Exit::Unknown)), [EventKind::Closed]);
        assert_eq!((closed.state(), closed.reason()), (Closed, "closed by a person"));
        let mut closed = Desk::preset(preset);
        closed.tell(event(MissedExit::ClosedByPerson));
        assert_eq!(closed.state(), Closed);
        assert!(closed.wait(Duration::from_hours(1)).is_empty());
    }
    let mut only_signals = Policy::default();
    only_signals.restart.on = [RestartOn::Signal].into();
    let mut desk = Desk::new(only_signals);
    desk.tell(ProcessEvent::StartRequested);
    desk.spawned();
    desk.exited(Exit::Unknown);
    assert_eq!(desk.state(), Restarting);
}

// Properties over random sequences of events.

/// A random step of the world.
#[derive(Debug, Clone)]
enum Turn {
    Person(ProcessEvent),
    /// Carries out what is due of the oldest order, successfully or not.
    Carry {
        well: bool,
    },
    /// The order is a launch and stays queued.
    Queue,
    Exit(Exit),
    Join,
    Leave,
    Verdict(HealthVerdict),
    ClosedByPerson,
    /// An event of an earlier instance, this many instances ago.
    Stale(u32, u8),
    Pass(Duration),
    /// Time passes in one step without the ticks in between, as when a machine sleeps.
    Jump(Duration),
    /// A tick that was not due.
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
    /// The orders not carried out yet.
    orders: VecDeque<Action>,
    /// The living process, and whether it was sent SIGKILL.
    alive: Option<(Instance, bool)>,
    /// The adopted instance, whose exit status is unknown.
    adopted: Option<Instance>,
    launched: u32,
    /// Whether a person closed it and none has requested a start since.
    closed: bool,
    /// Whether a person stopped it and none has requested a start since.
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
        let memory = self.supervisor.snapshot();
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
        self.relaunches = matches!(snapshot.stage, Stage::Launching { .. });
        self.tell(ProcessEvent::Restored { snapshot: Box::new(snapshot.clone()), found })?;
        self.relaunches = false;
        let state = self.supervisor.state();
        if !snapshot.has_process() && !matches!(snapshot.stage, Stage::Launching { .. }) {
            prop_assert_eq!(self.supervisor.snapshot(), memory);
        }
        prop_assert_eq!(self.supervisor.pid().is_some(), self.alive.is_some());
        prop_assert!(state == ProcessState::Running || !self.supervisor.reason().is_empty());
        Ok(())
    }

    fn tell(&mut self, event: ProcessEvent) -> Result<(), TestCaseError> {
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
                        // Counted already.
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
                self.tell(ProcessEvent::Spawned { instance, pid: PID })
            },
            Action::Spawn(instance) => {
                self.tell(ProcessEvent::SpawnFailed { instance, reason: "no".into() })
            },
            Action::RequestShutdown(instance) if !well => {
                self.tell(ProcessEvent::ShutdownFailed { instance })
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
        self.tell(ProcessEvent::Exited { instance, exit })?;
        // The supervisor reports here an unexpected end that counts as closed by a person.
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
        let instance = Instance::of_number(number);
        let event = match what {
            0 => ProcessEvent::Spawned { instance, pid: 1 },
            1 => ProcessEvent::SpawnFailed { instance, reason: "stale".into() },
            2 => ProcessEvent::Exited { instance, exit: CRASH },
            3 => ProcessEvent::ShutdownFailed { instance },
            4 => ProcessEvent::Verdict { instance, verdict: FROZEN },
            5 => ProcessEvent::Left { session: format!("session {instance}") },
            6 => recalled(AdoptionOutcome::Running { pid: 1 }),
            7 => recalled(AdoptionOutcome::Ended(MissedExit::Unknown)),
            8 => ProcessEvent::Queued { instance },
            _ => ProcessEvent::Verdict { instance, verdict: HealthVerdict::Running },
        };
        let before = format!("{:?}", self.supervisor);
        self.tell(event)?;
        prop_assert_eq!(format!("{:?}", self.supervisor), before);
        Ok(())
    }

    /// Advances time, with ticks when they are due.
    fn pass(&mut self, time: Duration) -> Result<(), TestCaseError> {
        let until = self.now + time;
        let mut ticks = 0;
        while let Some(at) = self.supervisor.next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.tell(ProcessEvent::Tick)?;
            prop_assert_ne!(self.supervisor.next_deadline(), Some(at), "a tick changed nothing");
            ticks += 1;
            prop_assert!(ticks < 10_000, "ticks without end");
        }
        self.now = until;
        Ok(())
    }

    fn turn(&mut self, turn: Turn) -> Result<(), TestCaseError> {
        match turn {
            Turn::Person(event) => self.tell(event),
            Turn::Carry { well } => self.carry(well),
            Turn::Queue => match self.orders.front() {
                Some(Action::Spawn(instance)) => {
                    self.tell(ProcessEvent::Queued { instance: *instance })
                },
                _ => Ok(()),
            },
            Turn::Exit(exit) => self.exit(exit),
            Turn::Join => self.tell(ProcessEvent::Joined { session: self.session() }),
            Turn::Leave => self.tell(ProcessEvent::Left { session: self.session() }),
            Turn::Verdict(verdict) => {
                let instance = self.supervisor.instance();
                self.tell(ProcessEvent::Verdict { instance, verdict })
            },
            Turn::ClosedByPerson => {
                let before = &self.supervisor;
                let has_ended = match before.state() {
                    ProcessState::Crashed | ProcessState::CrashLoop => true,
                    // Waiting, but not at a person's request.
                    ProcessState::Restarting => before.next_deadline().is_some(),
                    _ => false,
                };
                self.tell(ProcessEvent::ClosedByPerson)?;
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
            Turn::Tick => self.tell(ProcessEvent::Tick),
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
    fn the_promises_hold_whatever_happens(
        policy in policies(),
        turns in turns(),
    ) {
        let mut world = World::new(policy);
        for turn in turns {
            world.turn(turn)?;
        }
    }

    #[test]
    fn a_stop_always_ends_stopped(
        policy in policies(),
        turns in turns(),
        kill: bool,
    ) {
        let mut world = World::new(policy);
        for turn in turns {
            world.turn(turn)?;
        }
        world.tell(if kill { ProcessEvent::KillRequested } else { ProcessEvent::StopRequested })?;
        world.settle(Duration::from_secs(8))?;
        prop_assert_eq!(world.supervisor.state(), ProcessState::Stopped);
        prop_assert!(world.alive.is_none());
        prop_assert_eq!(world.supervisor.next_deadline(), None);
    }

    #[test]
    fn an_adopted_one_that_said_that_a_person_closed_it_always_ends_closed(
        policy in policies(),
        joins: bool,
        ends: bool,
    ) {
        let mut world = World::new(policy);
        world.tell(ProcessEvent::StartRequested)?;
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
    fn a_closed_announcement_while_it_runs_always_ends_closed(policy in policies(), exit in 0..3) {
        let mut world = World::new(Policy { mesh: Monitoring::Joins, ..policy });
        world.tell(ProcessEvent::StartRequested)?;
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
