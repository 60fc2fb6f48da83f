//! Visualizations survive the crash of their daemon, and the next daemon adopts them.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hana_lab::show::{Lines, Show, figure, hana, is, node, nodes, spawn_hana, start};
use hana_lab::{Host, Lab, Process, Running, Signal, eventually};
use serde_json::Value;

/// The time limit for steps without a promised time, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(30);

const CATALOGUE: &str = r#"
[visualizations.pulse]
program = "pulse"

[visualizations.family]
program = "sh"
args    = ["-c", "setsid sleep 1001 & sleep 1002 & exec pulse"]

[visualizations.by-hand]
program = "pulse"
policy  = "manual"

[visualizations.counts]
program = "sh"
args    = ["-c", "n=0; while :; do echo $n; n=$((n + 1)); sleep 0.02; done"]
mesh    = false

[visualizations.stubborn]
program = "sh"
args    = ["-c", "trap '' TERM; while :; do sleep 0.1; done"]
mesh    = false
stop    = { terminate_s = 4.0 }
"#;

/// Kills the daemon of a host, as a crash would.
fn kill_daemon(show: &mut Show, name: &str) {
    let daemon = show.daemon(name);
    daemon.kill(Signal::KILL);
    daemon.wait(SOON);
}

/// Starts a daemon on a host again, and returns the time at which it is on the mesh.
fn start_daemon_again(lab: &Lab, show: &mut Show, name: &str) -> Instant {
    let daemon = spawn_daemon(lab, show.host(name));
    eventually(SOON, "the daemon to be on the mesh again", || {
        let printed = daemon.stderr();
        if printed.contains("is on the mesh") { Ok(()) } else { Err(printed) }
    });
    *show.daemon(name) = daemon;
    Instant::now()
}

fn spawn_daemon(lab: &Lab, host: &Host) -> Running {
    let mut command = host.command("hanad");
    command.env("HANA_CONFIG", lab.directory().join("config"));
    host.spawn(command)
}

fn records(host: &Host) -> PathBuf {
    host.directory().join("state").join(host.name()).join("run")
}

/// Lists the files in the directory of the records.
fn record_files(host: &Host) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(records(host))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn record(host: &Host, node: &str) -> Value {
    let text = fs::read_to_string(records(host).join(format!("{node}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn runs(host: &Host, pid: i32) -> bool {
    host.processes().iter().any(|process| process.pid == pid && process.state != 'Z')
}

/// Lists the running processes whose command contains `word`.
fn running(host: &Host, word: &str) -> Vec<Process> {
    let mut processes = host.processes();
    processes.retain(|process| process.command.contains(word) && process.state != 'Z');
    processes
}

fn frame(nodes: &[Value], id: &str) -> u64 {
    node(nodes, id).and_then(|node| node["frame"].as_u64()).unwrap_or_default()
}

fn log_lines(host: &Host, id: &str) -> Vec<(u64, String)> {
    hana(host, ["logs", id, "--json"])
        .ok()
        .json_lines()
        .iter()
        .map(|line| (line["number"].as_u64().unwrap(), line["text"].as_str().unwrap().to_owned()))
        .collect()
}

#[test]
fn restarted_daemon_adopts_processes_logs_and_parameters() {
    let Some(lab) = Lab::new("adopts") else { return };
    let mut show = Show::with_catalogue(&lab, &["h1", "h2"], CATALOGUE);
    let (h1, h2) = (show.host("h1").clone(), show.host("h2").clone());
    let (_, pulse) = start(&h2, &h1, "pulse");
    let (_, family) = start(&h2, &h1, "family");
    let (_, counts) = start(&h2, &h1, "counts");
    let mut app = Lines::of_nodes(&h2);
    app.wait_for_nodes(SOON, "both to run", |nodes| {
        is(nodes, "pulse", "running") && is(nodes, "family", "running")
    });
    // The visualization has been restarted once, so there is state to restore.
    h1.kill(Signal::KILL, pulse);
    let (_, listed) = app.wait_for_nodes(SOON, "the visualization to run again", |nodes| {
        is(nodes, "pulse", "running") && node(nodes, "pulse").unwrap()["restarts"] == 1
    });
    let pulse = i32::try_from(node(&listed, "pulse").unwrap()["pid"].as_i64().unwrap()).unwrap();
    hana(&h2, ["set", "pulse", "zoom=0.25", "speed=1"]).ok();
    let parameter = |nodes: &[Value], name: &str| {
        node(nodes, "pulse").and_then(|node| node["parameters"][name].as_f64())
    };
    eventually(SOON, "the value to be shown", || parameter(&nodes(&h2), "zoom") == Some(0.25));
    let before = nodes(&h2);
    assert_eq!(record_files(&h1), ["counts.json", "family.json", "pulse.json"]);

    kill_daemon(&mut show, "h1");
    let away = Instant::now();
    let output = h1.directory().join("state/h1/log/counts.log");
    let lines = || fs::read_to_string(&output).unwrap().lines().count();
    let then = lines();
    eventually(SOON, "more lines while no daemon reads them", || lines() > then + 20);
    assert!([pulse, family, counts].iter().all(|pid| runs(&h1, *pid)));
    let back = start_daemon_again(&lab, &mut show, "h1");
    let (seen, listed) = app.wait_for_nodes(SOON, "the visualizations to run", |nodes| {
        ["pulse", "family"]
            .iter()
            .all(|id| is(nodes, id, "running") && frame(nodes, id) > frame(&before, id))
            && is(nodes, "counts", "running")
    });
    figure(&format!(
        "adopted visualizations run again {} ms after the daemon is back",
        seen.saturating_duration_since(back).as_millis()
    ));
    assert!(seen.saturating_duration_since(back) < Duration::from_secs(5));
    for (id, pid, restarts) in [("pulse", pulse, 1), ("family", family, 0), ("counts", counts, 0)] {
        let it = node(&listed, id).unwrap();
        assert_eq!(
            (it["pid"].as_i64(), it["restarts"].as_i64()),
            (Some(pid.into()), Some(restarts))
        );
    }
    let drawn = frame(&listed, "pulse") - frame(&before, "pulse");
    figure(&format!(
        "frames drawn in the {:.2} s that the daemon was away and came back: {drawn}",
        away.elapsed().as_secs_f64()
    ));
    assert!(drawn > 0);
    assert_eq!(parameter(&nodes(&h2), "zoom"), Some(0.25));
    hana(&h2, ["set", "pulse", "zoom=0.75"]).ok();
    eventually(SOON, "the new value", || parameter(&nodes(&h2), "zoom") == Some(0.75));

    // The log has lines from before and after, with their original numbers.
    let logged = log_lines(&h2, "counts");
    let last = logged.last().unwrap().0;
    assert_eq!(u64::try_from(logged.len()).unwrap(), (last + 1).min(200));
    assert!(logged.iter().all(|(number, text)| number.to_string() == *text), "{logged:?}");
    assert!(logged.first().unwrap().0 < u64::try_from(then).unwrap());
    let mut log = Lines::of(spawn_hana(&h2, ["logs", "counts", "--follow", "--json"]));
    log.wait_for(SOON, "new lines", |line| {
        assert_eq!(line["number"].to_string(), line["text"].as_str().unwrap());
        line["number"].as_u64() > Some(last + 20)
    });

    let stopped = hana(&h2, ["stop", "pulse", "--json"]).ok().json();
    assert_eq!(stopped["by"], "shutdown", "{stopped}");
    assert!(!runs(&h1, pulse));
    hana(&h2, ["stop", "family"]).ok();
    eventually(SOON, "the children to be gone", || match running(&h1, "sleep 100").as_slice() {
        [] => Ok(()),
        left => Err(left.to_vec()),
    });
    hana(&h2, ["kill", "counts"]).ok();
    assert!(!runs(&h1, counts));
    assert!(running(&h1, "pulse").is_empty());
    let stages =
        ["pulse", "family", "counts"].map(|id| record(&h1, id)["snapshot"]["stage"].clone());
    assert!(stages.iter().all(|stage| stage == "down"), "{stages:?}");
    // The visualization can be started again with its id, and its daemon works as before.
    let (id, pid) = start(&h2, &h1, "pulse");
    assert_eq!(id, "pulse");
    assert_ne!(pid, pulse);
}

#[test]
fn ends_during_daemon_absence_follow_the_policy() {
    let Some(lab) = Lab::new("missed") else { return };
    let mut show = Show::with_catalogue(&lab, &["h1"], CATALOGUE);
    let h1 = show.host("h1").clone();
    let (_, killed) = start(&h1, &h1, "pulse");
    let (_, manual) = start(&h1, &h1, "by-hand");
    let (_, family) = start(&h1, &h1, "family");
    let (closed, closed_pid) = start(&h1, &h1, "pulse");
    assert_eq!(closed, "pulse-2");
    eventually(SOON, "all visualizations to run", || {
        let nodes = nodes(&h1);
        ["pulse", "pulse-2", "by-hand", "family"].iter().all(|id| is(&nodes, id, "running"))
    });
    kill_daemon(&mut show, "h1");
    for pid in [killed, manual, family] {
        h1.kill(Signal::KILL, pid);
    }
    // SIGINT has the effect of Ctrl-C, with which an operator closes a program.
    h1.kill(Signal::INT, closed_pid);
    eventually(SOON, "all processes to end", || {
        [killed, manual, family, closed_pid].iter().all(|pid| !runs(&h1, *pid))
    });
    start_daemon_again(&lab, &mut show, "h1");
    eventually(SOON, "the restarts, and one crash that stays down", || {
        let nodes = nodes(&h1);
        let again = ["pulse", "family"].iter().all(|id| is(&nodes, id, "running"));
        if again && is(&nodes, "by-hand", "crashed") { Ok(()) } else { Err(nodes) }
    });
    let listed = nodes(&h1);
    let pulse = node(&listed, "pulse").unwrap();
    assert_eq!(pulse["restarts"], 1, "{pulse}");
    assert_ne!(pulse["pid"].as_i64(), Some(killed.into()));
    let by_hand = node(&listed, "by-hand").unwrap();
    assert_eq!(by_hand["reason"], "ended while no daemon ran");
    let closed = node(&listed, "pulse-2").unwrap();
    assert_eq!(
        (&closed["state"], &closed["reason"]),
        (&"closed".into(), &"closed by a person while no daemon ran".into())
    );
    assert_eq!(running(&h1, "pulse").len(), 2, "one process per id");
    assert_eq!(running(&h1, "sleep 1002").len(), 1, "the leftovers of the first instance are gone");
    let process = |id| record(&h1, id)["process"].is_object();
    assert_eq!(["family", "pulse", "by-hand", "pulse-2"].map(process), [true, true, false, false]);
    // The program's last output is still available.
    let log = hana(&h1, ["logs", "by-hand"]).ok().stdout;
    assert!(log.contains("I am 'by-hand'"), "{log}");
}

#[test]
fn adopted_visualization_that_ends_is_closed_or_crashed() {
    let Some(lab) = Lab::new("adopted-ends") else { return };
    let mut show = Show::with_catalogue(&lab, &["h1"], CATALOGUE);
    let h1 = show.host("h1").clone();
    let (_, closed) = start(&h1, &h1, "pulse");
    let (_, killed) = start(&h1, &h1, "family");
    let both_run = || {
        let nodes = nodes(&h1);
        is(&nodes, "pulse", "running") && is(&nodes, "family", "running")
    };
    eventually(SOON, "both to run", both_run);
    kill_daemon(&mut show, "h1");
    start_daemon_again(&lab, &mut show, "h1");
    eventually(SOON, "both to run", both_run);
    let mut app = Lines::of_nodes(&h1);

    h1.kill(Signal::INT, closed);
    let (_, listed) = app.wait_for_nodes(SOON, "the visualization to be closed", |nodes| {
        assert!(!is(nodes, "pulse", "crashed") && !is(nodes, "pulse", "restarting"));
        is(nodes, "pulse", "closed")
    });
    assert_eq!(node(&listed, "pulse").unwrap()["reason"], "closed by a person");

    let children = running(&h1, "sleep 100");
    assert_eq!(children.len(), 2);
    h1.kill(Signal::KILL, killed);
    app.wait_for_nodes(SOON, "the visualization to run again", |nodes| {
        node(nodes, "family")
            .is_some_and(|family| family["state"] == "running" && family["restarts"] == 1)
    });
    assert!(children.iter().all(|child| !runs(&h1, child.pid)), "its leftovers are killed");
    assert_eq!(running(&h1, "pulse").len(), 1);
}

#[test]
fn visualization_closed_by_hand_publishes_it_before_the_end() {
    let Some(lab) = Lab::new("goodbye") else { return };
    let show = Show::with_catalogue(&lab, &["h1", "h2"], CATALOGUE);
    let [h1, h2] = show.hosts() else { unreachable!() };
    let mut messages = Lines::of_messages(h2, &["h1"]);
    let mut ends = vec![];
    for _ in 0..5 {
        let mut by_hand = h1.spawn(h1.command("pulse"));
        eventually(SOON, "the visualization to run", || is(&nodes(h2), "pulse", "running"));
        let closed = Instant::now();
        by_hand.kill(Signal::INT);
        by_hand.wait(SOON);
        ends.push(closed.elapsed());
        let before = messages.running().stdout().len();
        let (_, event) = messages.wait_for_event(SOON, "closed", "pulse");
        assert_eq!(event["from"], "pulse", "{event} {before}");
        // The next round waits for a new event.
        let at = event["at"].clone();
        messages.wait_for(SOON, "a later message", |line| line["at"].as_u64() > at.as_u64());
    }
    figure(&format!("a closed visualization has reported it and ended after {ends:?}"));
}

#[test]
fn daemon_away_for_long_adopts_what_attached_as_a_peer() {
    let Some(lab) = Lab::new("away-long") else { return };
    let mut show = Show::with_catalogue(&lab, &["h1", "h2"], CATALOGUE);
    let (h1, h2) = (show.host("h1").clone(), show.host("h2").clone());
    let (_, pulse) = start(&h1, &h1, "pulse");
    eventually(SOON, "the visualization to run", || is(&nodes(&h2), "pulse", "running"));
    kill_daemon(&mut show, "h1");
    let on_mesh = |listed: &[Value]| {
        node(listed, "h1").is_none_or(|h1| h1["state"] != "running")
            && is(listed, "pulse", "running")
            && node(listed, "pulse").unwrap()["fps"].as_f64() > Some(0.0)
    };
    eventually(SOON, "the visualization to be on the mesh without a daemon", || {
        on_mesh(&nodes(&h2))
    });
    start_daemon_again(&lab, &mut show, "h1");
    eventually(SOON, "the visualization to run under its daemon", || {
        let listed = nodes(&h1);
        let kept = is(&listed, "pulse", "running")
            && node(&listed, "pulse").unwrap()["pid"].as_i64() == Some(pulse.into());
        if kept { Ok(()) } else { Err(listed) }
    });
    let stopped = hana(&h2, ["stop", "pulse", "--json"]).ok().json();
    assert_eq!(stopped["by"], "shutdown", "{stopped}");
    assert!(!runs(&h1, pulse));
}

#[test]
fn orderly_end_stops_adopted_processes_and_leaves_no_record() {
    let Some(lab) = Lab::new("adopted-end") else { return };
    let mut show = Show::with_catalogue(&lab, &["h1"], CATALOGUE);
    let h1 = show.host("h1").clone();
    start(&h1, &h1, "pulse");
    start(&h1, &h1, "counts");
    let (_, stubborn) = start(&h1, &h1, "stubborn");
    // Three daemons run one after another.
    for _ in 0..2 {
        kill_daemon(&mut show, "h1");
        start_daemon_again(&lab, &mut show, "h1");
        eventually(SOON, "the visualization to run", || is(&nodes(&h1), "pulse", "running"));
    }
    // The next daemon completes a stop that the killed one had begun.
    let _asking = spawn_hana(&h1, ["stop", "stubborn"]);
    eventually(SOON, "the stop to be recorded", || {
        record(&h1, "stubborn")["snapshot"]["stage"]["ending"]["after"] == "stop"
    });
    assert!(runs(&h1, stubborn));
    kill_daemon(&mut show, "h1");
    start_daemon_again(&lab, &mut show, "h1");
    eventually(SOON, "the visualization to be stopped", || is(&nodes(&h1), "stubborn", "stopped"));
    assert!(!runs(&h1, stubborn));

    assert_eq!(record_files(&h1), ["counts.json", "pulse.json", "stubborn.json"]);
    show.daemon("h1").kill(Signal::TERM);
    assert!(show.daemon("h1").wait(SOON).success());
    assert!(running(&h1, "pulse").is_empty() && running(&h1, "echo").is_empty());
    assert_eq!(record_files(&h1), [""; 0]);
}

#[test]
fn recycled_pid_bad_record_and_unknown_name_do_no_harm() {
    let Some(lab) = Lab::new("records") else { return };
    let mut show = Show::with_catalogue(&lab, &["h1"], CATALOGUE);
    let h1 = show.host("h1").clone();
    let (_, pulse) = start(&h1, &h1, "pulse");
    let (_, damaged) = start(&h1, &h1, "by-hand");
    eventually(SOON, "both to run", || {
        is(&nodes(&h1), "pulse", "running") && is(&nodes(&h1), "by-hand", "running")
    });
    let bystander = h1.spawn({
        let mut command = h1.command("sleep");
        command.arg("1003");
        command
    });
    kill_daemon(&mut show, "h1");
    // The recorded pid now belongs to another process, which has another start time or is from another boot.
    let write = |node: &str, name: &str, pid: i32, started: &str| {
        let record = serde_json::json!({
            "node": node, "name": name, "instance": 1, "restarts": 0,
            "process": { "fingerprint": { "pid": pid, "started": started }, "launch_id": "1-2-3" },
        });
        fs::write(records(&h1).join(format!("{node}.json")), record.to_string()).unwrap();
    };
    let started = record(&h1, "pulse")["process"]["fingerprint"]["started"].clone();
    let boot = started.as_str().unwrap().split('/').next().unwrap();
    write("recycled", "by-hand", bystander.pid(), &format!("{boot}/1"));
    write("rebooted", "no-longer", bystander.pid(), "another/1");
    let text = fs::read_to_string(records(&h1).join("by-hand.json")).unwrap();
    fs::write(records(&h1).join("by-hand.json"), &text[..text.len() / 3]).unwrap();
    // This record names an entry that is no longer in the catalogue.
    let text = fs::read_to_string(records(&h1).join("pulse.json")).unwrap();
    let text = text.replace("\"name\": \"pulse\"", "\"name\": \"no-longer\"");
    fs::write(records(&h1).join("pulse.json"), text).unwrap();

    start_daemon_again(&lab, &mut show, "h1");
    eventually(SOON, "the restored states", || {
        let nodes = nodes(&h1);
        let listed = is(&nodes, "recycled", "crashed")
            && is(&nodes, "rebooted", "crashed")
            && is(&nodes, "pulse", "running");
        if listed { Ok(()) } else { Err(nodes) }
    });
    assert!(runs(&h1, bystander.pid()) && runs(&h1, pulse) && runs(&h1, damaged));
    let printed = show.daemon("h1").stderr();
    for word in ["by-hand.json", "unreadable", "policy 'manual'", "no-longer"] {
        assert!(printed.contains(word), "{word}: {printed}");
    }
    assert_eq!(
        record_files(&h1),
        [
            // The program itself has reported to the daemon, so it has a record again.
            "by-hand.json",
            "by-hand.json.unreadable",
            "pulse.json",
            "rebooted.json",
            "recycled.json"
        ]
    );
    let refused = hana(&h1, ["restart", "pulse"]);
    assert!(!refused.status.success() && refused.stderr.contains("'no-longer'"), "{refused}");
    assert!(runs(&h1, bystander.pid()));

    // A record that was moved aside is neither read nor reported again, and a past crash is not reported as a new
    // one.
    kill_daemon(&mut show, "h1");
    start_daemon_again(&lab, &mut show, "h1");
    let printed = show.daemon("h1").stderr();
    assert!(!printed.contains("unreadable") && !printed.contains("'recycled' ended"), "{printed}");
    assert!(is(&nodes(&h1), "recycled", "crashed"));
}

#[test]
fn second_daemon_adopts_nothing_and_lost_state_stops_no_launch() {
    let Some(lab) = Lab::new("second") else { return };
    let show = Show::with_catalogue(&lab, &["h1", "h2"], CATALOGUE);
    let [h1, h2] = show.hosts() else { unreachable!() };
    let (_, pulse) = start(h1, h1, "pulse");
    eventually(SOON, "the visualization to run", || is(&nodes(h1), "pulse", "running"));
    let before = record(h1, "pulse");
    let refused = spawn_daemon(&lab, h1).finish(SOON);
    assert!(!refused.status.success(), "{refused}");
    assert_eq!(record(h1, "pulse"), before);
    assert!(runs(h1, pulse) && is(&nodes(h1), "pulse", "running"));

    fs::create_dir_all(h2.directory().join("state/h2")).unwrap();
    fs::write(h2.directory().join("state/h2/run"), "in the way").unwrap();
    let (id, _) = start(h2, h2, "pulse");
    eventually(SOON, "the visualization to run anyway", || is(&nodes(h2), &id, "running"));
    hana(h2, ["stop", &id]).ok();
}
