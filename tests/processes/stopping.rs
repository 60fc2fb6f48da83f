//! A stop always works, however the program behaves. No orphan or zombie remains, and the message is clear.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use hana_lab::show::{Lines, Show, figure, hana, is, node, nodes, start, start_daemon};
use hana_lab::{Host, Lab, Output, Process, Running, Signal, eventually};

const SOON: Duration = Duration::from_secs(15);

/// A catalogue of programs that are hard to stop, each for a different reason.
const CATALOGUE: &str = r#"
[visualizations.pulse]
program = "pulse"

[visualizations.no-mesh]
program = "sleep"
args    = ["1000"]
mesh    = false

[visualizations.deaf]
program = "sh"
args    = ["-c", "trap '' HUP INT TERM; echo deaf; while :; do sleep 0.1; done"]
mesh    = false
[visualizations.deaf.stop]
polite_s    = 0.3
terminate_s = 0.3

[visualizations.forks]
program = "sh"
args    = ["-c", "sleep 1001 & sleep 1002 & echo forked; wait"]
mesh    = false

[visualizations.orphans]
program = "sh"
args    = ["-c", "setsid sh -c 'trap \"\" HUP INT TERM; setsid sleep 1003 & sleep 1004' & sleep 0.2; echo forked; exec sleep 1005"]
mesh    = false

[visualizations.leaves-children]
program = "sh"
args    = ["-c", "setsid sleep 1006 & sleep 1007 & sleep 0.2; echo leaving; exit 0"]
mesh    = false

[visualizations.floods]
program = "sh"
args    = ["-c", "while :; do head -c 104857 /dev/zero | tr '\\0' x | fold -w 99; echo; sleep 0.1; done"]
mesh    = false

[visualizations.ends]
program = "sh"
args    = ["-c", "exit 0"]
mesh    = false

[visualizations.fails]
program = "sh"
args    = ["-c", "echo no such screen >&2; exit 7"]
mesh    = false
policy  = "manual"

[visualizations.missing]
program = "there-is-no-such-program"
"#;

#[test]
fn well_behaved_visualization_shuts_down_on_stop() {
    let Some((_lab, show)) = a_host("good") else { return };
    let h1 = show.host("h1");
    start(h1, h1, "pulse");
    let mut app = Lines::of_nodes(h1);
    app.wait_for_nodes(SOON, "the visualization to run", |nodes| is(nodes, "pulse", "running"));
    assert_eq!(stopped_by(h1, "stop", "pulse"), "shutdown");
    let listed = nodes(h1);
    let pulse = node(&listed, "pulse").unwrap();
    assert!(pulse["state"] == "stopped" && pulse["pid"].is_null(), "{pulse}");
    assert_nothing_left(h1);
    // Stopping a stopped visualization succeeds and reports that it was already stopped.
    assert_eq!(stopped_by(h1, "stop", "pulse"), "already");
    let for_people = hana(h1, ["stop", "pulse"]).ok().stdout;
    assert_eq!(for_people, "'pulse' had already ended\n");
}

#[test]
fn visualization_without_mesh_is_stopped_by_sigterm() {
    let Some((_lab, show)) = a_host("no-mesh") else { return };
    let h1 = show.host("h1");
    start(h1, h1, "no-mesh");
    assert_eq!(stopped_by(h1, "stop", "no-mesh"), "terminate");
    assert_nothing_left(h1);
}

#[test]
fn visualization_that_ignores_stop_and_sigterm_is_killed() {
    let Some((_lab, show)) = a_host("deaf") else { return };
    let h1 = show.host("h1");
    start(h1, h1, "deaf");
    await_log(h1, "deaf", "deaf");
    let begun = Instant::now();
    assert_eq!(stopped_by(h1, "stop", "deaf"), "kill");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(is(&nodes(h1), "deaf", "stopped"));
    assert_nothing_left(h1);

    // A suspended program on the mesh cannot receive the command. It is continued so that it receives SIGTERM.
    let (_, pid) = start(h1, h1, "pulse");
    let mut app = Lines::of_nodes(h1);
    app.wait_for_nodes(SOON, "the visualization to run", |nodes| is(nodes, "pulse", "running"));
    h1.kill(Signal::STOP, pid);
    assert_eq!(stopped_by(h1, "stop", "pulse"), "terminate");
    assert!(is(&nodes(h1), "pulse", "stopped"));
    assert_nothing_left(h1);
}

#[test]
fn forked_processes_end_with_their_visualization() {
    let Some((_lab, show)) = a_host("forks") else { return };
    let h1 = show.host("h1");
    start(h1, h1, "forks");
    await_log(h1, "forks", "forked");
    assert_eq!(sleepers(h1).len(), 2);
    assert_eq!(stopped_by(h1, "stop", "forks"), "terminate");
    assert_nothing_left(h1);

    // Descendants that have left the process group and ignore signals end as well.
    start(h1, h1, "orphans");
    await_log(h1, "orphans", "forked");
    assert_eq!(sleepers(h1).len(), 3);
    stopped_by(h1, "stop", "orphans");
    assert_nothing_left(h1);

    // So do the descendants of a program that ends on its own.
    start(h1, h1, "leaves-children");
    await_log(h1, "leaves-children", "leaving");
    eventually(SOON, "the visualization to end", || is(&nodes(h1), "leaves-children", "closed"));
    assert_nothing_left(h1);
}

#[test]
fn flooding_visualization_stays_bounded_and_is_stopped() {
    let Some((_lab, show)) = a_host("floods") else { return };
    let h1 = show.host("h1");
    start(h1, h1, "floods");
    start(h1, h1, "pulse");
    let mut app = Lines::of_nodes(h1);
    app.wait_for_nodes(SOON, "the other to run", |nodes| is(nodes, "pulse", "running"));
    let written = |host: &Host| size(&host.directory().join("state"));
    eventually(SOON, "three megabytes", || {
        let bytes = written(h1);
        if bytes > 3_000_000 { Ok(()) } else { Err(bytes) }
    });
    // The other programs are not affected.
    let listed = hana(h1, ["nodes", "--json"]).ok();
    figure(&format!(
        "`hana nodes` beside a megabyte a second of output: {} ms",
        listed.took.as_millis()
    ));
    assert!(is(listed.json().as_array().unwrap(), "pulse", "running"), "{listed}");
    let last = hana(h1, ["logs", "floods"]).ok().stdout;
    assert!(last.lines().count() > 10 && last.contains("xxxxxxxxxx"), "{}", last.len());
    let begun = Instant::now();
    assert_eq!(stopped_by(h1, "stop", "floods"), "terminate");
    figure(&format!(
        "a flooding visualization is stopped after {} ms",
        begun.elapsed().as_millis()
    ));
    assert_eq!(stopped_by(h1, "stop", "pulse"), "shutdown");
    assert_nothing_left(h1);
    // The program's stored output is bounded, however long the program runs.
    assert!(written(h1) < 40_000_000, "{}", written(h1));
}

#[test]
fn visualization_that_ends_at_once_is_listed_with_the_reason() {
    let Some((_lab, show)) = a_host("ends") else { return };
    let h1 = show.host("h1");
    // The program may end before or after the start command is answered.
    hana(h1, ["start", "ends"]);
    eventually(SOON, "the visualization to be closed", || is(&nodes(h1), "ends", "closed"));
    hana(h1, ["start", "fails"]);
    eventually(SOON, "the crash", || is(&nodes(h1), "fails", "crashed"));
    let listed = nodes(h1);
    let reason = node(&listed, "fails").unwrap()["reason"].as_str().unwrap();
    assert!(reason.contains("exit code 7"), "{reason}");
    assert_eq!(hana(h1, ["logs", "fails"]).ok().stdout, "no such screen\n");
    for id in ["ends", "fails"] {
        assert_eq!(stopped_by(h1, "stop", id), "already");
    }
    assert_nothing_left(h1);
}

#[test]
fn missing_program_is_refused_with_the_searched_places() {
    let Some((_lab, show)) = a_host("missing") else { return };
    let h1 = show.host("h1");
    let output = hana(h1, ["start", "missing"]);
    assert_eq!((output.code(), &*output.stdout), (Some(1), ""), "{output}");
    assert_eq!(output.stderr.lines().count(), 1, "{output}");
    for word in ["there-is-no-such-program", "cannot find", "target"] {
        assert!(output.stderr.contains(word), "no '{word}' in: {output}");
    }
    assert_nothing_left(h1);
}

#[test]
fn kill_ends_a_visualization_at_once_with_its_descendants() {
    let Some((_lab, show)) = a_host("kill") else { return };
    let h1 = show.host("h1");
    start(h1, h1, "orphans");
    await_log(h1, "orphans", "forked");
    let begun = Instant::now();
    assert_eq!(stopped_by(h1, "kill", "orphans"), "kill");
    figure(&format!("`hana kill` ended it after {} ms", begun.elapsed().as_millis()));
    assert!(is(&nodes(h1), "orphans", "stopped"), "a kill on command is not a crash");
    assert_nothing_left(h1);
}

#[test]
fn restart_gives_a_new_process_with_the_same_id() {
    let Some((_lab, show)) = a_host("restart") else { return };
    let h1 = show.host("h1");
    let (_, first) = start(h1, h1, "pulse");
    let mut app = Lines::of_nodes(h1);
    app.wait_for_nodes(SOON, "the visualization to run", |nodes| is(nodes, "pulse", "running"));
    let reply = hana(h1, ["restart", "pulse", "--json"]).ok().json();
    let second = reply["pid"].as_i64().unwrap();
    assert_eq!(reply["node"], "pulse");
    assert_ne!(second, i64::from(first));
    app.wait_for_nodes(SOON, "the visualization to run again", |nodes| {
        is(nodes, "pulse", "running") && node(nodes, "pulse").unwrap()["pid"] == second
    });
    let pulses: Vec<Process> = others(h1);
    assert!(pulses.len() == 1 && i64::from(pulses[0].pid) == second, "{pulses:?}");
    // A restart also starts a stopped visualization.
    stopped_by(h1, "stop", "pulse");
    hana(h1, ["restart", "pulse"]).ok();
    app.wait_for_nodes(SOON, "the visualization to run once more", |nodes| {
        is(nodes, "pulse", "running")
    });
    stopped_by(h1, "stop", "pulse");
    assert_nothing_left(h1);
}

#[test]
fn daemon_that_ends_stops_all_it_launched() {
    for signal in [Signal::INT, Signal::TERM] {
        let Some((_lab, mut show)) = a_host("end") else { return };
        let h1 = show.host("h1").clone();
        for name in ["pulse", "pulse", "deaf", "orphans", "floods"] {
            start(&h1, &h1, name);
        }
        await_log(&h1, "orphans", "forked");
        await_log(&h1, "deaf", "deaf");
        let mut app = Lines::of_nodes(&h1);
        app.wait_for_nodes(SOON, "both to run", |nodes| {
            is(nodes, "pulse", "running") && is(nodes, "pulse-2", "running")
        });
        drop(app);
        let begun = Instant::now();
        show.daemon("h1").kill(signal);
        let status = show.daemon("h1").wait(SOON);
        figure(&format!(
            "a daemon with five visualizations ends {} ms after {signal:?}",
            begun.elapsed().as_millis()
        ));
        assert!(status.success(), "{status}");
        // The machine's first process reaps the orphans, which may take a moment.
        eventually(Duration::from_secs(1), &format!("nothing to be left after {signal:?}"), || {
            let left = h1.processes();
            if left.is_empty() { Ok(()) } else { Err(left) }
        });
    }
}

#[test]
fn demo_leaves_nothing_behind() {
    let Some(lab) = Lab::new("demo") else { return };
    let host = lab.host("h1");
    let output = demo(&host, &["--seconds", "6"]).finish(Duration::from_mins(1));
    assert!(output.status.success(), "{output}");
    assert_shows_two_running(&output);
    assert_eq!(host.processes(), []);
}

#[test]
fn interrupted_demo_leaves_nothing_behind() {
    let Some(lab) = Lab::new("ctrl-c") else { return };
    for moment in ["started a daemon", "started 'ripples-2'", "ripples-2  visualization"] {
        let host = lab.host(&format!("h{}", lab.namespaces().len()));
        let demo = demo(&host, &[]);
        eventually(SOON, moment, || {
            let printed = demo.stdout();
            if printed.contains(moment) { Ok(()) } else { Err(printed) }
        });
        demo.kill(Signal::INT);
        let output = demo.finish(Duration::from_secs(30));
        assert!(output.status.success(), "interrupted at: {moment}\n{output}");
        assert_eq!(host.processes(), [], "interrupted at: {moment}");
    }
}

#[test]
fn demo_uses_a_running_daemon_and_leaves_it_running() {
    let Some(lab) = Lab::new("demo-beside") else { return };
    let host = lab.host("h1");
    let daemon = start_daemon(&host);
    start(&host, &host, "pulse");
    let output = demo(&host, &["--seconds", "3"]).finish(Duration::from_mins(1));
    assert!(output.status.success(), "{output}");
    assert!(output.stdout.contains("a daemon runs on this machine already"), "{output}");
    let left: Vec<i32> = host
        .processes()
        .into_iter()
        .filter(|process| !process.command.ends_with("pulse"))
        .map(|process| process.pid)
        .collect();
    assert_eq!(left, [daemon.pid()]);
    assert!(is(&nodes(&host), "pulse", "running"), "other visualizations keep running");
}

/// Creates a lab with one host, whose daemon has the catalogue of this file.
fn a_host(name: &str) -> Option<(Lab, Show)> {
    let lab = Lab::new(name)?;
    let show = Show::with_catalogue(&lab, &["h1"], CATALOGUE);
    Some((lab, show))
}

/// Stops or kills a node, and returns the step that ended it.
#[track_caller]
fn stopped_by(host: &Host, command: &str, id: &str) -> String {
    let answer = hana(host, [command, id, "--json"]).ok().json();
    answer["by"].as_str().unwrap().into()
}

#[track_caller]
fn await_log(host: &Host, id: &str, wanted: &str) {
    eventually(SOON, "the line in its log", || {
        let printed = hana(host, ["logs", id]).ok().stdout;
        if printed.contains(wanted) { Ok(()) } else { Err(printed) }
    });
}

fn sleepers(host: &Host) -> Vec<Process> {
    let sleeps = |process: &Process| process.command.starts_with("sleep 100");
    host.processes().into_iter().filter(sleeps).collect()
}

/// Lists the processes of a host except its daemon.
fn others(host: &Host) -> Vec<Process> {
    let is_hanad = |process: &Process| process.command.ends_with("hanad") && process.state != 'Z';
    // A `hana` command of the test may still be ending.
    let is_hana = |process: &Process| process.ppid == 0;
    host.processes().into_iter().filter(|process| !is_hanad(process) && !is_hana(process)).collect()
}

/// Asserts that neither orphans nor zombies remain. The kernel may take a moment to remove a killed process.
#[track_caller]
fn assert_nothing_left(host: &Host) {
    eventually(Duration::from_secs(1), "nothing to be left but the daemon", || {
        let left = others(host);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

/// Runs the demo as a new user does: with only the shipped configuration, and without a display.
fn demo(host: &Host, words: &[&str]) -> Running {
    let mut command = host.command("hana");
    command.arg("demo").args(words);
    host.spawn(command)
}

fn assert_shows_two_running(output: &Output) {
    for id in ["ripples ", "ripples-2 "] {
        let runs = output.stdout.lines().any(|line| {
            line.starts_with(id) && line.contains(" running ") && line.contains("zoom")
        });
        assert!(runs, "{id} is not shown as running: {output}");
    }
}

fn size(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
