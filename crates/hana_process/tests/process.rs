//! Tests of real processes: launch, exit status, signals, and the processes that remain.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use std::{fs, thread};

use hana_process::{
    LaunchError, LaunchSpec, LogFollower, LogLimits, OutputNews, OutputReader, PidFingerprint,
    Process, ProcessOutput,
};
use hana_protocol::message::Exit;
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(20);

/// A process under test, its directory, and the channel that reports its exit.
struct Trial {
    process: Process,
    exits: Receiver<(Exit, Instant)>,
    dir: TempDir,
}

fn spec(dir: &Path, script: &str) -> LaunchSpec {
    LaunchSpec {
        program: PathBuf::from("/bin/sh"),
        args: vec!["-c".into(), script.into()],
        env: BTreeMap::new(),
        dir: None,
        output: dir.join("output.log"),
        fallback_output: None,
        launch_id: hana_process::new_launch_id(),
    }
}

fn launch(spec: &LaunchSpec) -> Result<(Process, Receiver<(Exit, Instant)>), LaunchError> {
    let (sender, exits) = mpsc::channel();
    let process = Process::launch(spec, move |exit| {
        let _ = sender.send((exit, Instant::now()));
    })?;
    Ok((process, exits))
}

impl Trial {
    fn of(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (process, exits) = launch(&spec(dir.path(), script)).unwrap();
        Self { process, exits, dir }
    }

    fn exit(&self) -> Exit {
        self.exits.recv_timeout(DEADLINE).unwrap().0
    }

    fn output(&self) -> String {
        fs::read_to_string(self.dir.path().join("output.log")).unwrap()
    }

    /// Waits for the first line of output.
    fn first_line(&self) -> String {
        let mut line = None;
        eventually("a line of output", || {
            line = self.output().split_once('\n').map(|(line, _)| line.to_owned());
            line.is_some()
        });
        line.unwrap()
    }

    /// Returns the process whose id the script prints.
    fn printed_process(&self) -> PidFingerprint {
        PidFingerprint::of(self.first_line().trim().parse().unwrap()).unwrap()
    }

    /// Kills the remaining processes and checks that the leader is reaped.
    fn kill_remaining(self) {
        self.process.kill_remaining().unwrap();
        assert!(!exists(self.process.pid()), "the leader is still a zombie");
    }
}

fn exists(pid: u32) -> bool {
    Command::new("ps").args(["-p", &pid.to_string()]).output().unwrap().status.success()
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn kill(signal: Signal, pid: u32) {
    rustix::process::kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn exit_is_reported_with_its_code_or_signal() {
    for (script, expected) in [
        ("exit 0", Exit::Code(0)),
        ("exit 3", Exit::Code(3)),
        ("kill -SEGV $$", Exit::Signal(11)),
        ("kill -KILL $$", Exit::Signal(9)),
        ("kill -INT $$", Exit::Signal(2)),
    ] {
        let trial = Trial::of(script);
        assert_eq!(trial.exit(), expected, "{script}");
        assert_eq!(trial.process.try_wait(), Some(expected));
        trial.kill_remaining();
    }
}

#[test]
fn exit_is_noticed_within_milliseconds() {
    let mut delays: Vec<Duration> = (0..9)
        .map(|_| {
            let trial = Trial::of("echo; exec sleep 61");
            trial.first_line();
            assert_eq!(trial.process.try_wait(), None);
            let killed = Instant::now();
            trial.process.kill().unwrap();
            let (exit, noticed) = trial.exits.recv_timeout(DEADLINE).unwrap();
            assert_eq!(exit, Exit::Signal(9));
            trial.kill_remaining();
            noticed.duration_since(killed)
        })
        .collect();
    delays.sort();
    assert!(delays[4] < Duration::from_millis(20), "{delays:?}");
}

#[test]
fn many_simultaneous_exits_leave_no_zombie() {
    let trials: Vec<Trial> = (0..30).map(|_| Trial::of("exit 1")).collect();
    for trial in trials {
        assert_eq!(trial.exit(), Exit::Code(1));
        trial.kill_remaining();
    }
}

#[test]
fn killing_the_rest_waits_for_the_end_and_is_idempotent() {
    let trial = Trial::of("exec sleep 61");
    trial.process.kill_remaining().unwrap();
    assert_eq!(trial.process.try_wait(), None);
    trial.process.kill().unwrap();
    trial.exit();
    trial.process.kill_remaining().unwrap();
    trial.process.kill_remaining().unwrap();
    trial.process.kill().unwrap();
    trial.process.terminate().unwrap();
    assert_eq!(trial.process.try_wait(), Some(Exit::Signal(9)));
}

#[test]
fn process_that_ignores_sigterm_is_killed() {
    let trial = Trial::of("trap '' TERM; echo; while :; do sleep 61; done");
    trial.first_line();
    trial.process.terminate().unwrap();
    assert!(trial.exits.recv_timeout(Duration::from_millis(150)).is_err());
    trial.process.kill().unwrap();
    assert_eq!(trial.exit(), Exit::Signal(9));
    trial.kill_remaining();
}

#[test]
fn suspended_process_receives_sigterm() {
    let trial = Trial::of("echo; exec sleep 61");
    trial.first_line();
    kill(Signal::STOP, trial.process.pid());
    trial.process.terminate().unwrap();
    assert_eq!(trial.exit(), Exit::Signal(15));
    trial.kill_remaining();
}

#[test]
fn kill_reaches_forked_processes() {
    let trial = Trial::of("sleep 61 & echo $!; wait");
    let forked = trial.printed_process();
    trial.process.kill().unwrap();
    assert_eq!(trial.exit(), Exit::Signal(9));
    trial.kill_remaining();
    eventually("the forked one is gone", || !forked.is_alive());
}

#[test]
fn processes_left_by_a_leader_are_killed() {
    for script in [
        "sleep 61 & echo $!; exit 1",
        "(trap '' TERM INT HUP; sleep 61) & echo $!; sleep 0.1; kill -TERM $$",
    ] {
        let trial = Trial::of(script);
        trial.first_line();
        let left_behind: u32 = trial.first_line().trim().parse().unwrap();
        trial.exit();
        let left_behind = PidFingerprint::of(left_behind).unwrap();
        assert!(left_behind.is_alive());
        trial.kill_remaining();
        eventually("what was left behind is gone", || !left_behind.is_alive());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn processes_that_left_the_group_are_killed() {
    // The process is forked twice, in a new session, and has a child.
    let trial = Trial::of("setsid sh -c 'sleep 61 & echo $!; wait' & echo; sleep 61");
    eventually("two lines", || trial.output().lines().count() == 2);
    let output = trial.output();
    let escaped = output.lines().find_map(|line| line.parse().ok()).unwrap();
    let escaped = PidFingerprint::of(escaped).unwrap();
    trial.process.kill().unwrap();
    trial.exit();
    assert!(escaped.is_alive());
    trial.kill_remaining();
    eventually("the escaped one is gone", || !escaped.is_alive());
}

#[test]
fn killing_the_rest_leaves_other_launches_alone() {
    let other = Trial::of("setsid sleep 61 & echo $!; exec sleep 61");
    other.first_line();
    let trial = Trial::of("exit 0");
    trial.exit();
    trial.kill_remaining();
    assert_eq!(other.process.try_wait(), None);
    let bystander: u32 = other.first_line().trim().parse().unwrap();
    assert!(exists(bystander));
    other.process.kill().unwrap();
    other.exit();
    other.kill_remaining();
}

#[test]
fn failed_launch_is_reported_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let missing = LaunchSpec { program: dir.path().join("rpples"), ..spec(dir.path(), "") };
    let error = launch(&missing).unwrap_err();
    assert!(matches!(error, LaunchError::ProgramNotFound { .. }));
    assert!(error.to_string().contains("rpples"), "{error}");

    let nowhere = LaunchSpec { dir: Some("/nowhere".into()), ..spec(dir.path(), "") };
    let error = launch(&nowhere).unwrap_err();
    assert!(matches!(&error, LaunchError::DirNotFound { dir, .. } if dir == Path::new("/nowhere")));

    let text = dir.path().join("text");
    fs::write(&text, "no program").unwrap();
    let error = launch(&LaunchSpec { program: text, ..spec(dir.path(), "") }).unwrap_err();
    assert!(matches!(error, LaunchError::Faulty { .. }), "{error}");
}

/// Uses an output file that cannot be opened, as on a read-only or full disk.
#[test]
fn program_is_launched_even_if_its_output_is_unwritable() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("text"), "no directory").unwrap();
    let impossible = dir.path().join("text/output.log");
    let spare = dir.path().join("spare/output.log");
    let wish = |fallback_output| {
        let script = "echo said; echo complained >&2; exit 7";
        LaunchSpec { output: impossible.clone(), fallback_output, ..spec(dir.path(), script) }
    };

    let (process, exits) = launch(&wish(Some(spare.clone()))).unwrap();
    assert_eq!(exits.recv_timeout(DEADLINE).unwrap().0, Exit::Code(7));
    assert_eq!(process.output().file(), Some(&*spare));
    assert_eq!(fs::read_to_string(&spare).unwrap(), "said\ncomplained\n");

    let (process, exits) = launch(&wish(None)).unwrap();
    assert_eq!(exits.recv_timeout(DEADLINE).unwrap().0, Exit::Code(7));
    let ProcessOutput::Discarded { problem } = process.output() else { panic!("{process:?}") };
    assert!(problem.to_string().contains("text/output.log"), "{problem}");
}

#[test]
fn service_manager_variables_are_not_passed_on() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"echo "${NOTIFY_SOCKET-none} ${HANA_LAUNCH:+marked}""#;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "launched_program_prints_its_environment", "--ignored", "--nocapture"])
        .env("NOTIFY_SOCKET", "/nowhere")
        .env("HANA_TEST_SCRIPT", script)
        .env("HANA_TEST_DIR", dir.path());
    assert!(command.output().unwrap().status.success());
    assert_eq!(fs::read_to_string(dir.path().join("output.log")).unwrap(), "none marked\n");
}

#[test]
#[ignore = "run by the test above, in a process with an environment of its own"]
fn launched_program_prints_its_environment() {
    let (Ok(script), Ok(dir)) = (std::env::var("HANA_TEST_SCRIPT"), std::env::var("HANA_TEST_DIR"))
    else {
        return;
    };
    let (_process, exits) = launch(&spec(Path::new(&dir), &script)).unwrap();
    exits.recv_timeout(DEADLINE).unwrap();
}

#[test]
fn environment_directory_and_an_empty_input_are_passed() {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().canonicalize().unwrap();
    let spec = LaunchSpec {
        env: [("HANA_TEST".to_owned(), "a b".to_owned())].into(),
        dir: Some(work.clone()),
        ..spec(dir.path(), "echo \"$HANA_TEST\"; pwd; cat; echo oops >&2; test -n \"$HANA_LAUNCH\"")
    };
    let (process, exits) = launch(&spec).unwrap();
    let trial = Trial { process, exits, dir };
    assert_eq!(trial.exit(), Exit::Code(0));
    assert_eq!(trial.output(), format!("a b\n{}\noops\n", work.display()));
    trial.kill_remaining();
}

#[test]
fn each_launch_has_a_new_output_and_keeps_the_last() {
    let dir = tempfile::tempdir().unwrap();
    for word in ["first", "second"] {
        let (process, exits) = launch(&spec(dir.path(), &format!("echo {word}"))).unwrap();
        exits.recv_timeout(DEADLINE).unwrap();
        process.kill_remaining().unwrap();
    }
    let read = |name| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(read("output.log"), "second\n");
    assert_eq!(read("output.log.1"), "first\n");
}

#[test]
fn megabytes_of_output_stall_nothing_and_are_all_counted() {
    const LINES: u64 = 120_000;
    let trial = Trial::of(&format!("yes {} | head -n {LINES}", "x".repeat(49)));
    let limits = LogLimits { file: 1024 * 1024, ..LogLimits::default() };
    let mut follower = LogFollower::new(trial.dir.path().join("output.log"), limits);
    let mut told = 0;
    let began = Instant::now();
    while trial.process.try_wait().is_none() {
        assert!(began.elapsed() < DEADLINE);
        told += follower.poll().unwrap().len();
        thread::sleep(Duration::from_millis(10));
    }
    told += follower.finish().unwrap().len();
    assert_eq!(trial.exit(), Exit::Code(0));
    // Each line has 50 bytes. A poll that finds too many bytes counts only some of the lines.
    let counted = u64::try_from(told).unwrap() + follower.skipped();
    let bytes = counted * 50 + follower.unread() + follower.dropped();
    assert!(counted > 0 && bytes >= LINES * 50 - 50 * 100, "{counted} of {LINES}, {bytes} bytes");
    assert!(follower.tail(1)[0].text.ends_with('x'));
    trial.kill_remaining();
}

#[test]
fn flooding_program_runs_on_and_its_files_stay_bounded() {
    const LIMIT: u64 = 1024 * 1024;
    let Trial { mut process, exits, dir } = Trial::of("exec yes");
    let file = process.take_output_file().unwrap();
    let path = dir.path().join("output.log");
    let limits = LogLimits { file: LIMIT, ..LogLimits::default() };
    let (sender, news) = mpsc::channel();
    let reader = OutputReader::start(
        move || Ok(LogFollower::of_file(path, file, limits)),
        move |news| {
            sender.send(news).ok();
        },
    )
    .unwrap();
    let mut dropped = 0;
    while dropped < 200 * LIMIT {
        match news.recv_timeout(DEADLINE).unwrap() {
            OutputNews::Dropped(bytes) => dropped += bytes,
            OutputNews::Lines(lines) => assert!(lines.len() <= limits.lines_per_poll),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(process.try_wait(), None);
    process.kill().unwrap();
    exits.recv_timeout(DEADLINE).unwrap();
    process.kill_remaining().unwrap();
    reader.finish();
    assert!(reader.wait(DEADLINE));
    let entries = fs::read_dir(dir.path()).unwrap();
    let sizes: Vec<u64> = entries.map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
    assert!(sizes.len() <= 4 && sizes.iter().all(|size| *size <= LIMIT + 300_000), "{sizes:?}");
}

#[test]
fn dropped_process_runs_on_and_leaves_no_zombie() {
    let Trial { process, exits, dir: _dir } = Trial::of("exec sleep 61");
    let pid = process.pid();
    let fingerprint = process.fingerprint().unwrap().clone();
    drop(process);
    assert!(fingerprint.is_alive());
    kill(Signal::KILL, pid);
    assert_eq!(exits.recv_timeout(DEADLINE).unwrap().0, Exit::Signal(9));
    eventually("the process is gone", || !exists(pid));

    let Trial { process, exits, dir: _dir } = Trial::of("exit 0");
    exits.recv_timeout(DEADLINE).unwrap();
    let pid = process.pid();
    drop(process);
    assert!(!exists(pid));
}
