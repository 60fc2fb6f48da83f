//! Tests that processes of an earlier program are adopted, and no other processes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use hana_process::{
    AdoptError, LAUNCH_ID_VAR, LaunchSpec, PidFingerprint, Process, ProcessRecord, RunningLaunch,
    deleted_output_of,
};
use hana_protocol::message::Exit;
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(20);
/// The variable that makes this test program act as the earlier program. Its value is the directory for the files.
const EARLIER: &str = "ADOPTION_TEST_EARLIER";
const SCRIPT: &str = "ADOPTION_TEST_SCRIPT";

/// A process whose launching program was killed with SIGKILL, and the record that the program had written.
struct Orphan {
    record: ProcessRecord,
    dir: TempDir,
}

impl Orphan {
    /// Launches `/bin/sh` with the script from another program, and kills that program.
    fn of(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut earlier = Command::new(env::current_exe().unwrap())
            .args(["--exact", "earlier_program", "--nocapture"])
            .env(EARLIER, dir.path())
            .env(SCRIPT, script)
            .spawn()
            .unwrap();
        let written = dir.path().join("record");
        eventually("the launch by the earlier program", || written.exists());
        earlier.kill().unwrap();
        earlier.wait().unwrap();
        let lines = fs::read_to_string(written).unwrap();
        let mut lines = lines.lines();
        let pid = lines.next().unwrap().parse().unwrap();
        let started = lines.next().unwrap().to_owned();
        let launch_id = lines.next().unwrap().to_owned();
        let output = Some(dir.path().join("output.log"));
        let record =
            ProcessRecord { fingerprint: PidFingerprint { pid, started }, launch_id, output };
        assert!(record.fingerprint.is_alive());
        Self { record, dir }
    }

    fn adopt(&self) -> (Process, Receiver<(Exit, Instant)>) {
        adopt(&self.record).unwrap()
    }

    const fn pid(&self) -> u32 {
        self.record.fingerprint.pid
    }

    /// Returns the process whose pid is the first output of the script.
    fn printed_process(&self) -> PidFingerprint {
        let output = self.dir.path().join("output.log");
        let mut pid = None;
        eventually("a line of output", || {
            let text = fs::read_to_string(&output).unwrap_or_default();
            pid = text.split_once('\n').map(|(line, _)| line.trim().parse().unwrap());
            pid.is_some()
        });
        PidFingerprint::of(pid.unwrap()).unwrap()
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        if self.record.fingerprint.is_alive() {
            let _ = rustix::process::kill_process_group(
                to_pid(self.pid()),
                rustix::process::Signal::KILL,
            );
        }
    }
}

fn adopt(record: &ProcessRecord) -> Result<(Process, Receiver<(Exit, Instant)>), AdoptError> {
    let (sender, exits) = mpsc::channel();
    let process = Process::adopt(record, move |exit| {
        let _ = sender.send((exit, Instant::now()));
    })?;
    Ok((process, exits))
}

fn to_pid(pid: u32) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap()
}

fn kill(pid: u32) -> Instant {
    let now = Instant::now();
    rustix::process::kill_process(to_pid(pid), rustix::process::Signal::KILL).unwrap();
    now
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Acts as the earlier program that launches a process; not a test of its own.
#[test]
fn earlier_program() {
    let Some(dir) = env::var_os(EARLIER) else { return };
    let dir = Path::new(&dir);
    let spec = LaunchSpec {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), env::var(SCRIPT).unwrap()],
        env: BTreeMap::new(),
        dir: None,
        output: dir.join("output.log"),
        fallback_output: None,
        launch_id: hana_process::new_launch_id(),
    };
    let process = Process::launch(&spec, |_| ()).unwrap();
    let record = process.record().unwrap();
    let PidFingerprint { pid, started } = &record.fingerprint;
    fs::write(dir.join("temporary"), format!("{pid}\n{started}\n{}\n", record.launch_id)).unwrap();
    fs::rename(dir.join("temporary"), dir.join("record")).unwrap();
    thread::sleep(DEADLINE);
}

#[test]
fn end_of_an_adopted_process_is_noticed_within_milliseconds() {
    let mut delays: Vec<Duration> = (0..5)
        .map(|_| {
            let orphan = Orphan::of("exec sleep 61");
            let (process, exits) = orphan.adopt();
            assert_eq!((process.pid(), process.try_wait()), (orphan.pid(), None));
            assert_eq!(process.record().as_ref(), Some(&orphan.record));
            process.kill_remaining().unwrap();
            assert_eq!(process.try_wait(), None, "a sweep does nothing while it lives");
            let killed = kill(orphan.pid());
            let (exit, noticed) = exits.recv_timeout(DEADLINE).unwrap();
            assert_eq!((exit, process.try_wait()), (Exit::Unknown, Some(Exit::Unknown)));
            process.kill_remaining().unwrap();
            process.kill().unwrap();
            process.terminate().unwrap();
            noticed.duration_since(killed)
        })
        .collect();
    delays.sort();
    eprintln!("the end of an adopted process is noticed after {delays:?}");
    // The limit is generous because the machine may be busy. The measured time is printed.
    assert!(delays[2] < Duration::from_millis(200), "{delays:?}");
}

#[test]
fn adopted_process_is_terminated_and_killed_with_its_group() {
    let orphan = Orphan::of("sleep 61 & echo $!; wait");
    let forked = orphan.printed_process();
    let (process, exits) = orphan.adopt();
    process.terminate().unwrap();
    exits.recv_timeout(DEADLINE).unwrap();
    eventually("the forked process is gone", || !forked.is_alive());

    let orphan = Orphan::of("trap '' TERM; sleep 61 & echo $!; while :; do wait; done");
    let forked = orphan.printed_process();
    let (process, exits) = orphan.adopt();
    process.terminate().unwrap();
    assert!(exits.recv_timeout(Duration::from_millis(150)).is_err());
    process.kill().unwrap();
    exits.recv_timeout(DEADLINE).unwrap();
    eventually("the forked process is gone", || !forked.is_alive());
}

#[test]
fn processes_left_by_an_adopted_process_are_killed() {
    for script in
        ["sleep 61 & echo $!; exec sleep 60", "setsid sh -c 'sleep 61 & echo $!; wait' & sleep 60"]
    {
        let orphan = Orphan::of(script);
        let left_behind = orphan.printed_process();
        let (process, exits) = orphan.adopt();
        kill(orphan.pid());
        exits.recv_timeout(DEADLINE).unwrap();
        assert!(left_behind.is_alive());
        process.kill_remaining().unwrap();
        eventually("what was left behind is gone", || !left_behind.is_alive());
    }
}

#[test]
fn record_kills_what_an_unwatched_process_left_behind() {
    let orphan = Orphan::of("setsid sleep 61 & echo $!; exec sleep 60");
    let other = Orphan::of("exec sleep 60");
    let left_behind = orphan.printed_process();
    kill(orphan.pid());
    eventually("the process to end", || !orphan.record.fingerprint.is_alive());
    assert!(matches!(adopt(&orphan.record), Err(AdoptError::Gone { .. })));
    orphan.record.kill_remaining().unwrap();
    eventually("what was left behind is gone", || !left_behind.is_alive());
    assert!(other.record.fingerprint.is_alive());
}

#[test]
fn reused_process_id_is_never_adopted() {
    let mut bystander = Command::new("sleep").arg("61").process_group(0).spawn().unwrap();
    let fingerprint = PidFingerprint::of(bystander.id()).unwrap();
    let launch_id = String::from("1-2-3");
    // The id of the ended process now belongs to a process with another start time, or from another boot.
    for started in ["another/1".to_owned(), format!("{}0", fingerprint.started)] {
        let fingerprint = PidFingerprint { started, ..fingerprint.clone() };
        let gone =
            adopt(&ProcessRecord { fingerprint, launch_id: launch_id.clone(), output: None });
        assert!(matches!(gone, Err(AdoptError::Gone { .. })));
    }
    assert!(fingerprint.is_alive());
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    let gone = adopt(&ProcessRecord { fingerprint, launch_id, output: None });
    assert!(matches!(gone, Err(AdoptError::Gone { .. })));

    // A process with the launch id of another launch is not adopted, whatever its process id and start time.
    let orphan = Orphan::of("exec sleep 61");
    // The process has no environment in the middle of an `exec`.
    let name = format!("/proc/{}/comm", orphan.pid());
    eventually("it to sleep", || fs::read_to_string(&name).is_ok_and(|name| name == "sleep\n"));
    let other = ProcessRecord { launch_id: "1-2-3".into(), ..orphan.record.clone() };
    assert!(matches!(adopt(&other), Err(AdoptError::Gone { .. })));
    for pid in [0, 1, 1 << 31, u32::MAX] {
        let fingerprint = PidFingerprint { pid, started: "never".into() };
        let gone = adopt(&ProcessRecord { fingerprint, launch_id: "1-2-3".into(), output: None });
        assert!(matches!(gone, Err(AdoptError::Gone { .. })), "{pid}");
    }
    assert!(orphan.record.fingerprint.is_alive());
}

#[test]
// After an `exec`, the adopting process is still the parent.
#[allow(clippy::zombie_processes)]
fn process_adopted_after_exec_is_a_child_with_known_exit() {
    for (script, expected) in [("exit 7", Exit::Code(7)), ("kill -SEGV $$", Exit::Signal(11))] {
        let launch_id = format!("exec-{}", std::process::id());
        let dir = tempfile::tempdir().unwrap();
        let go = dir.path().join("go");
        let child = Command::new("/bin/sh")
            .args([
                "-c",
                &format!("while ! [ -e {} ]; do sleep 0.01; done; {script}", go.display()),
            ])
            .env(LAUNCH_ID_VAR, &launch_id)
            .process_group(0)
            .spawn()
            .unwrap();
        let fingerprint = PidFingerprint::of(child.id()).unwrap();
        let (process, exits) =
            adopt(&ProcessRecord { fingerprint, launch_id, output: None }).unwrap();
        assert_eq!(process.try_wait(), None);
        fs::write(go, "").unwrap();
        assert_eq!(exits.recv_timeout(DEADLINE).unwrap().0, expected);
        assert_eq!(process.try_wait(), Some(expected));
        process.kill_remaining().unwrap();
        assert!(!Path::new("/proc").join(child.id().to_string()).exists(), "it is a zombie");
    }
}

#[test]
fn dropped_adopted_process_runs_on() {
    let orphan = Orphan::of("setsid sleep 61 & echo $!; exec sleep 60");
    let forked = orphan.printed_process();
    let (process, exits) = orphan.adopt();
    drop(process);
    assert!(orphan.record.fingerprint.is_alive());
    kill(orphan.pid());
    exits.recv_timeout(DEADLINE).unwrap();
    eventually("the leftovers are gone", || !forked.is_alive());
}

#[test]
fn launch_without_record_is_found_by_its_environment() {
    // The children have their own groups, but the same environment.
    let orphan = Orphan::of("echo $$; setsid sleep 61 & setsid sleep 61 & wait");
    let leader = orphan.printed_process();
    let found: Vec<RunningLaunch> = RunningLaunch::all()
        .into_iter()
        .filter(|launch| launch.process.launch_id == orphan.record.launch_id)
        .collect();
    let [launch] = found.as_slice() else { unreachable!("{found:?}") };
    assert_eq!(launch.process.fingerprint, leader);
    assert_eq!(launch.variables.get(LAUNCH_ID_VAR), Some(&orphan.record.launch_id));
    let (process, exits) = adopt(&launch.process).unwrap();
    kill(orphan.pid());
    exits.recv_timeout(DEADLINE).unwrap();
    process.kill_remaining().unwrap();
    let launch_id = &orphan.record.launch_id;
    eventually("nothing of it to be left", || {
        !RunningLaunch::all().iter().any(|launch| launch.process.launch_id == *launch_id)
    });
}

#[test]
fn deleted_output_is_found_while_the_process_runs() {
    let orphan = Orphan::of("echo $$; exec sleep 61");
    orphan.printed_process();
    let output = orphan.record.output.clone().unwrap();
    assert_eq!(deleted_output_of(orphan.pid(), &output), None, "it still has its name");
    fs::remove_file(&output).unwrap();
    let nameless = deleted_output_of(orphan.pid(), &output).unwrap();
    assert!(!fs::read_to_string(nameless).unwrap().is_empty());
    assert_eq!(deleted_output_of(orphan.pid(), Path::new("/other")), None);
}
