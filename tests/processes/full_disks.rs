//! Disks that are read-only, missing, full, slow or flooded, and deleted files.
//!
//! Each problem results in one clear message, and everything that is not affected continues.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hana_lab::show::{Lines, Show};
use hana_lab::{Host, Lab, Running, Signal, eventually, show};
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(20);

fn shell(host: &Host, words: &str) {
    host.run(["sh", "-c", &format!("set -e; {words}")]).ok();
}

/// Mounts a small disk on the host, at a path that the test can read too.
fn small_disk(host: &Host, name: &str) -> Disk {
    let directory = host.directory().join(name);
    fs::create_dir_all(&directory).unwrap();
    shell(host, &format!("mount -t tmpfs -o size=1m tmpfs '{}'", directory.display()));
    Disk { host: host.clone(), directory }
}

struct Disk {
    host: Host,
    directory: PathBuf,
}

impl Disk {
    fn fill(&self) {
        let file = self.directory.join("everything");
        // `cat` fails when the disk is full, which is intended.
        shell(&self.host, &format!("cat /dev/zero > '{}' 2>/dev/null || true", file.display()));
    }

    fn free(&self) {
        shell(&self.host, &format!("rm '{}'", self.directory.join("everything").display()));
    }

    /// Returns the content of a file on the disk.
    fn read(&self, file: &str) -> String {
        self.host.run(["cat", &self.directory.join(file).display().to_string()]).stdout
    }
}

/// Starts a daemon with these directories for its state and its temporary files.
fn daemon(host: &Host, state: Option<&Path>, temporary: Option<&Path>) -> Running {
    let mut command = host.command("hanad");
    match state {
        Some(state) => command.env("HANA_STATE", state),
        None => command.env_remove("HANA_STATE"),
    };
    if let Some(temporary) = temporary {
        command.env("TMPDIR", temporary);
    }
    let daemon = host.spawn(command);
    eventually(DEADLINE, "the daemon to be on the mesh", || {
        let printed = daemon.stderr();
        if printed.contains("is on the mesh") { Ok(()) } else { Err(printed) }
    });
    daemon
}

/// Returns the lines on the daemon's standard error that contain `what`.
fn stderr_lines_with(daemon: &Running, what: &str) -> Vec<String> {
    daemon.stderr().lines().filter(|line| line.contains(what)).map(String::from).collect()
}

fn await_drawing(host: &Host, id: &str, pid: i32) {
    let node = || show::node(&show::nodes(host), id).cloned().unwrap_or_default();
    let before = eventually(DEADLINE, "the visualization to draw", || node()["frame"].as_u64());
    eventually(DEADLINE, "the visualization to keep drawing", || {
        let now = node();
        if now["frame"].as_u64() > Some(before) && now["pid"] == pid { Ok(()) } else { Err(now) }
    });
}

fn await_log(host: &Host, id: &str, what: &str) {
    eventually(DEADLINE, "the line in the log", || {
        let output = show::hana(host, ["logs", id]);
        if output.stdout.contains(what) { Ok(()) } else { Err(output) }
    });
}

/// Waits for the event that reports lost output with this cause, and returns its text.
fn await_output_lost(watch: &mut Lines, about: &str, cause: &str) -> String {
    let text = |line: &Value| line["value"]["text"].as_str().unwrap_or_default().to_owned();
    let (_, event) = watch.wait_for(DEADLINE, "the event about lost output", |line| {
        line["value"]["kind"] == "output_lost"
            && line["value"]["about"] == about
            && text(line).contains(cause)
    });
    text(&event)
}

#[test]
fn daemon_with_read_only_home_reports_its_fallback_and_works() {
    let Some(lab) = Lab::new("read-only") else { return };
    let host = lab.host("h1");
    let home = host.directory().join("home");
    shell(&host, &format!("mount -t tmpfs -o ro tmpfs '{}'", home.display()));

    let mut daemon = daemon(&host, None, None);
    let printed = stderr_lines_with(&daemon, "HANA_STATE");
    assert_eq!(printed.len(), 1, "{printed:?}");
    let instead = host.directory().join("tmp").join(format!("hana-{}", user(&host))).join("h1");
    for word in [".local/state/hana/h1", "Read-only file system", &instead.display().to_string()] {
        assert!(printed[0].contains(word), "{word} is not in: {}", printed[0]);
    }
    let (id, pid) = show::start(&host, &host, "pulse");
    await_drawing(&host, &id, pid);
    assert!(fs::read_to_string(instead.join("log/pulse.log")).unwrap().contains("I am 'pulse'"));
    await_log(&host, "h1", "HANA_STATE");
    assert!(fs::read_to_string(instead.join("log/hanad.log")).unwrap().contains("HANA_STATE"));
    show::hana(&host, ["stop", &id]).ok();
    assert!(daemon.try_wait().is_none());
}

fn user(host: &Host) -> String {
    host.run(["id", "-u"]).ok().stdout.trim().to_owned()
}

#[test]
fn state_path_that_is_a_file_is_reported_and_replaced() {
    let Some(lab) = Lab::new("no-directory") else { return };
    let host = lab.host("h1");
    let file = host.directory().join("state/file");
    fs::write(&file, "").unwrap();
    let no_temporary = host.directory().join("state/file/tmp");
    // The daemon has no directory that it can write to.
    let daemon = daemon(&host, Some(&file), Some(&no_temporary));
    assert_eq!(stderr_lines_with(&daemon, "so no log is kept").len(), 1, "{}", daemon.stderr());
    assert_eq!(stderr_lines_with(&daemon, "its log").len(), 1, "{}", daemon.stderr());
    let mut watch = Lines::of_messages(&host, &["h1"]);
    let (id, pid) = show::start(&host, &host, "pulse");
    await_drawing(&host, &id, pid);
    assert!(await_output_lost(&mut watch, &id, "Not a directory").contains("it is not kept"));
    // The daemon's own log is still available over the mesh.
    await_log(&host, "h1", "is on the mesh");
}

#[test]
fn launch_succeeds_when_its_output_cannot_be_written() {
    let Some(lab) = Lab::new("no-output") else { return };
    let host = lab.host("h1");
    let disk = small_disk(&host, "small");
    let daemon = daemon(&host, Some(&disk.directory), None);
    let mut watch = Lines::of_messages(&host, &["h1"]);

    disk.fill();
    let (id, pid) = show::start(&host, &host, "pulse");
    await_drawing(&host, &id, pid);
    let reported = await_output_lost(&mut watch, &id, "No space left on device");
    assert!(reported.contains("it goes to"), "{reported}");
    assert_eq!(
        stderr_lines_with(&daemon, "cannot write its output").len(),
        1,
        "{}",
        daemon.stderr()
    );
    await_log(&host, &id, "I am 'pulse'");
    show::hana(&host, ["stop", &id]).ok();
    disk.free();

    // Once the disk has free space again, the output goes to the primary file.
    show::start(&host, &host, "pulse");
    await_log(&host, "pulse", "I am 'pulse'");
    assert!(disk.read("h1/log/pulse.log").contains("I am 'pulse'"));
    show::hana(&host, ["stop", "pulse"]).ok();

    // The next disk is read-only.
    let log = disk.directory.join("h1/log").display().to_string();
    shell(&host, &format!("mount --bind '{log}' '{log}'; mount -o remount,bind,ro '{log}'"));
    let (id, pid) = show::start(&host, &host, "pulse");
    await_drawing(&host, &id, pid);
    let reported = await_output_lost(&mut watch, &id, "Read-only file system");
    assert!(reported.contains("it goes to"), "{reported}");
}

#[test]
fn disk_that_fills_up_during_a_show_ends_nothing() {
    let Some(lab) = Lab::new("full") else { return };
    let host = lab.host("h1");
    let disk = small_disk(&host, "small");
    let mut daemon = daemon(&host, Some(&disk.directory), None);
    let (id, pid) = show::start(&host, &host, "pulse");
    await_drawing(&host, &id, pid);

    disk.fill();
    // The visualization prints a line for each value, which soon fills the rest of its disk page.
    let play = "for n in $(seq 100 190); do hana set pulse zoom=0.$n >/dev/null; done";
    let mut command = host.command("sh");
    command.args(["-c", play]);
    host.run_within(Duration::from_mins(2), command).ok();
    let written = disk.read("h1/log/pulse.log");
    assert!(written.contains("zoom +0.10") && !written.contains("zoom +0.190"), "{written}");
    await_drawing(&host, &id, pid);
    show::hana(&host, ["stop", &id]).ok();
    // The daemon logs many lines about its work.
    for _ in 0..20 {
        show::start(&host, &host, "pulse");
        show::hana(&host, ["kill", "pulse"]).ok();
    }
    assert!(daemon.try_wait().is_none());
    let reports = stderr_lines_with(&daemon, "its log");
    // The problem is not reported for each line. The removal of a record may free some space for a moment.
    assert!((1..5).contains(&reports.len()), "{reports:?}");
    assert!(reports[0].contains("No space left on device"), "{reports:?}");

    // With free space, the daemon's log continues and states the number of missing lines.
    disk.free();
    let (id, pid) = show::start(&host, &host, "pulse");
    await_drawing(&host, &id, pid);
    eventually(DEADLINE, "the log to go on", || {
        let log = disk.read("h1/log/hanad.log");
        if log.contains("lines are missing here") { Ok(()) } else { Err(log) }
    });
}

#[test]
fn command_that_cannot_write_its_output_fails_with_one_line() {
    let Some(lab) = Lab::new("dev-full") else { return };
    let host = lab.host("h1");
    let _daemon = daemon(&host, None, None);
    for words in ["nodes", "nodes --json", "logs h1", "start pulse"] {
        let output = host.run(["sh", "-c", &format!("hana {words} >/dev/full")]);
        assert_eq!(output.code(), Some(1), "{output}");
        assert_eq!(output.stderr.lines().count(), 1, "{output}");
        assert!(output.stderr.contains("No space left on device"), "{output}");
        let output = host.run(["sh", "-c", &format!("hana {words} >/dev/full 2>/dev/full")]);
        assert_eq!(output.code(), Some(1), "{output}");
    }
    let nodes = show::nodes(&host);
    assert!(nodes.iter().any(|node| node["node"] == "pulse"), "{:?}", Value::from(nodes));
}

#[test]
fn daemon_that_can_write_neither_output_nor_log_goes_on() {
    let Some(lab) = Lab::new("unheard") else { return };
    let host = lab.host("h1");
    let disk = small_disk(&host, "small");
    disk.fill();
    let mut command = host.command("sh");
    command.args(["-c", "exec hanad >/dev/full 2>/dev/full"]).env("HANA_STATE", &disk.directory);
    let mut daemon = host.spawn(command);
    eventually(DEADLINE, "the daemon to be on the mesh", || {
        show::is(&show::nodes(&host), "h1", "running")
    });
    let (id, pid) = show::start(&host, &host, "pulse");
    await_drawing(&host, &id, pid);
    show::hana(&host, ["stop", &id]).ok();
    assert!(daemon.try_wait().is_none());
}

/// A catalogue of three programs: one writes as fast as it can, one writes an endless line, and one is ordinary.
const FLOOD: &str = r#"
[visualizations.pulse]
program = "pulse"
[visualizations.flood]
program = "/bin/sh"
args = ["-c", "exec yes 'ERROR the surface was lost, configuring it anew; a renderer writes this in each frame'"]
mesh = false
[visualizations.endless]
program = "/bin/sh"
args = ["-c", "exec cat /dev/zero"]
mesh = false
"#;

fn state_of(host: &Host) -> PathBuf {
    host.directory().join("state").join(host.name())
}

/// Sums the sizes of the files in a directory.
fn size_of(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}

#[test]
fn output_stays_bounded_at_any_rate_and_the_daemon_responds() {
    const MB: u64 = 1_000_000;
    /// The most output that a program can write while a busy machine runs no other thread.
    const OVERSHOOT: u64 = 1500 * MB;
    let Some(lab) = Lab::new("flood") else { return };
    let mut show = Show::with_catalogue(&lab, &["h1"], FLOOD);
    let host = show.host("h1").clone();
    let log = state_of(&host).join("log");
    let (pulse, pid) = show::start(&host, &host, "pulse");
    await_drawing(&host, &pulse, pid);
    for id in ["flood", "endless"] {
        show::hana(&host, ["start", id]).ok();
        let begun = Instant::now();
        let mut most = 0;
        while begun.elapsed() < Duration::from_secs(4) {
            let asked = Instant::now();
            show::hana(&host, ["logs", "h1"]).ok();
            assert!(asked.elapsed() < DEADLINE / 2, "a reply after {:?}", asked.elapsed());
            most = size_of(&log).max(most);
        }
        assert!(most < OVERSHOOT, "{} MB of {id}", most / MB);
        show::hana(&host, ["stop", id]).ok();
        eventually(DEADLINE, "the output to be bounded", || {
            let size = size_of(&log);
            if size < 100 * MB { Ok(()) } else { Err(size) }
        });
    }
    assert!(!stderr_lines_with(show.daemon("h1"), "of the output of 'flood'").is_empty());
    assert!(show::hana(&host, ["logs", "flood"]).ok().stdout.contains("ERROR the surface"));
    // Other visualizations are still supervised.
    host.kill(Signal::KILL, pid);
    eventually(DEADLINE, "a new instance", || {
        let nodes = show::nodes(&host);
        let now = show::node(&nodes, "pulse").and_then(|node| node["pid"].as_i64());
        if now.is_some_and(|now| now != i64::from(pid)) { Ok(()) } else { Err(nodes) }
    });
}

/// Waits until each of these files exists and is not empty.
#[track_caller]
fn await_files(state: &Path, files: &[&str]) {
    eventually(DEADLINE, "the files to exist again", || {
        let missing: Vec<&&str> = files
            .iter()
            .filter(|file| fs::metadata(state.join(file)).map_or(0, |file| file.len()) == 0)
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) }
    });
}

#[track_caller]
fn await_running_as(host: &Host, id: &str, pid: i32) {
    eventually(DEADLINE, "the visualization to keep running", || {
        let nodes = show::nodes(host);
        let node = show::node(&nodes, id).cloned().unwrap_or_default();
        if node["state"] == "running" && node["pid"] == pid { Ok(()) } else { Err(nodes) }
    });
}

/// Waits until the visualization runs with another pid and with this zoom.
#[track_caller]
fn await_restart_with_zoom(host: &Host, id: &str, than: i32, zoom: f64) {
    eventually(DEADLINE, "the visualization to return with its look", || {
        let nodes = show::nodes(host);
        let node = show::node(&nodes, id).cloned().unwrap_or_default();
        let is_same =
            node["parameters"]["zoom"].as_f64().is_some_and(|now| (now - zoom).abs() < 0.01);
        if node["state"] == "running" && node["pid"] != than && is_same {
            Ok(())
        } else {
            Err(node)
        }
    });
}

#[test]
fn deleted_state_directory_is_created_again() {
    let Some(lab) = Lab::new("cleaned") else { return };
    let mut show = Show::of(&lab, &["h1"]);
    let host = show.host("h1").clone();
    let state = state_of(&host);
    let (id, pid) = show::start(&host, &host, "pulse");
    await_drawing(&host, &id, pid);
    show::hana(&host, ["set", "pulse", "zoom=0.5"]).ok();
    await_files(&state, &["looks/pulse.json", "run/pulse.json", "log/pulse.log"]);
    fs::remove_dir_all(&state).unwrap();
    await_files(&state, &["looks/pulse.json", "run/pulse.json", "log/pulse.log"]);
    eventually(DEADLINE, "the daemon's log", || {
        state.join("log/hanad.log").exists().then_some(()).ok_or("")
    });
    // The program continues to write, now into the new file.
    let written = fs::metadata(state.join("log/pulse.log")).unwrap().len();
    show::hana(&host, ["set", "pulse", "zoom=0.75"]).ok();
    eventually(DEADLINE, "the output to go on", || {
        let now = fs::metadata(state.join("log/pulse.log")).unwrap().len();
        if now > written { Ok(()) } else { Err(now) }
    });
    await_log(&host, &id, "I am 'pulse'");

    // After a crash, the next daemon adopts the process together with its output.
    let daemon = show.daemon("h1");
    daemon.kill(Signal::KILL);
    daemon.wait(DEADLINE);
    *show.daemon("h1") = show::start_daemon(&host);
    await_running_as(&host, &id, pid);
    await_log(&host, &id, "I am 'pulse'");
    fs::remove_dir_all(&state).unwrap();
    host.kill(Signal::KILL, pid);
    await_restart_with_zoom(&host, &id, pid, 0.75);
}

#[test]
fn processes_without_a_record_are_adopted() {
    let Some(lab) = Lab::new("no-record") else { return };
    let mut show = Show::of(&lab, &["h1", "h2"]);
    let host = show.host("h1").clone();
    let (id, pid) = show::start(&host, &host, "pulse");
    let (second, second_pid) = show::start(&host, &host, "pulse");
    await_drawing(&host, &id, pid);
    show::hana(&host, ["set", "pulse", "zoom=0.5"]).ok();
    let daemon = show.daemon("h1");
    daemon.kill(Signal::KILL);
    daemon.wait(DEADLINE);
    fs::remove_dir_all(state_of(&host)).unwrap();
    *show.daemon("h1") = show::start_daemon(&host);
    await_running_as(&host, &id, pid);
    await_running_as(&host, &second, second_pid);
    await_log(&host, &id, "I am 'pulse'");
    await_files(&state_of(&host), &["run/pulse.json", "run/pulse-2.json", "log/pulse.log"]);
    // The daemon still has the data for a restart, including the look.
    host.kill(Signal::KILL, pid);
    await_restart_with_zoom(&host, &id, pid, 0.5);
    show::hana(&host, ["stop", &second]).ok();
    assert_eq!(
        show::nodes(show.host("h2"))
            .iter()
            .filter(|node| node["pid"] == second_pid && node["state"] == "running")
            .count(),
        0
    );
}

/// Replaces a file with a pipe that no program reads, so that opening it blocks forever, as on a disk that does not
/// respond.
#[test]
fn unresponsive_disk_does_not_delay_a_launch() {
    let Some(lab) = Lab::new("hung-disk") else { return };
    let mut show = Show::of(&lab, &["h1"]);
    let host = show.host("h1").clone();
    let pipe = state_of(&host).join("run/pulse.json.new");
    fs::create_dir_all(pipe.parent().unwrap()).unwrap();
    host.run(["mkfifo", &pipe.display().to_string()]).ok();
    let (id, pid) = show::start(&host, &host, "pulse");
    await_drawing(&host, &id, pid);
    show::hana(&host, ["set", "pulse", "zoom=0.5"]).ok();
    // The list contains the published look, which the daemon has received too.
    await_restart_with_zoom(&host, &id, 0, 0.5);
    host.kill(Signal::KILL, pid);
    // The visualization is restarted with its look, which the daemon passes in another file.
    await_restart_with_zoom(&host, &id, pid, 0.5);
    assert!(show.daemon("h1").try_wait().is_none());
}
