//! Freeze, blackout and resume from a terminal, without an app.

use std::time::{Duration, Instant};

use hana_lab::show::{Lines, Show, figure, hana, is, node, nodes, start};
use hana_lab::{Host, Lab, Running, Signal, Stage, eventually};
use serde_json::{Value, json};

/// The time limit for steps without a promised time, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(20);

/// Waits until the listed node is as expected, and returns the node.
fn wait_for(
    host: &Host,
    id: &str,
    what: &str,
    mut is_expected: impl FnMut(&Value) -> bool,
) -> Value {
    eventually(SOON, what, || {
        let nodes = nodes(host);
        match node(&nodes, id) {
            Some(node) if is_expected(node) => Ok(node.clone()),
            _ => Err(nodes),
        }
    })
}

fn zoom(node: &Value) -> f64 {
    (node["parameters"]["zoom"].as_f64().unwrap() * 100.0).round() / 100.0
}

/// Starts a program that keeps a core busy.
fn busy(host: &Host) -> Running {
    let mut command = host.command("sh");
    command.args(["-c", "while :; do :; done"]);
    host.spawn(command)
}

#[test]
fn freeze_and_blackout_act_at_once_with_all_cores_busy() {
    let Some(lab) = Lab::new("panic-keys") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let (h1, h2) = (show.host("h1"), show.host("h2"));
    start(h1, h1, "pulse");
    wait_for(h2, "pulse", "the visualization to run", |node| node["state"] == "running");
    let mut looks = Lines::of_messages(h2, &["h1"]);
    let cores = std::thread::available_parallelism().unwrap().get();
    let load: Vec<Running> = (0..cores * 2).map(|_| busy(h1)).collect();
    let (mut answered, mut seen) = (vec![], vec![]);
    for (command, shown) in
        [("freeze", json!("freeze")), ("blackout", json!("blackout")), ("resume", Value::Null)]
            .iter()
            .cycle()
            .take(9)
    {
        let began = Instant::now();
        hana(h2, [*command, "pulse"]).ok();
        answered.push(began.elapsed());
        let (at, _) = looks.wait_for(SOON, "the override in the look", |line| {
            line["key"] == "hana/pulse/look" && line["value"]["override"] == *shown
        });
        seen.push(at.duration_since(began));
    }
    drop(load);
    for times in [&mut answered, &mut seen] {
        times.sort();
    }
    figure(&format!(
        "{cores} cores busy twice over: an override command on another host returns after {:?} (median; worst {:?}), and is in the look after {:?} (worst {:?})",
        answered[4], answered[8], seen[4], seen[8]
    ));
}

#[test]
fn override_survives_restarts_of_visualization_and_daemon() {
    let Some(lab) = Lab::new("in-force") else { return };
    let mut show = Show::of(&lab, &["h1", "h2"]);
    let h2 = show.host("h2");
    let (_, pid) = start(h2, show.host("h1"), "pulse");
    wait_for(h2, "pulse", "the visualization to run", |node| node["state"] == "running");
    hana(h2, ["set", "pulse", "zoom=0.25"]).ok();
    hana(h2, ["freeze", "--host", "h1"]).ok();
    hana(h2, ["set", "pulse", "zoom=0.75"]).ok();
    let frozen = wait_for(h2, "pulse", "the visualization to be frozen", |node| {
        node["override"] == "freeze"
    });
    assert_eq!(zoom(&frozen), 0.25, "values played meanwhile are not shown");

    let mut last = pid;
    for _ in 0..2 {
        // The daemon stores the look at its own pace.
        show.host("h1").kill(Signal::KILL, last);
        let again = wait_for(show.host("h2"), "pulse", "a new instance", |node| {
            node["state"] == "running" && node["pid"] != last
        });
        assert_eq!((&again["override"], zoom(&again)), (&json!("freeze"), 0.25), "{again}");
        last = again["pid"].as_i64().unwrap().try_into().unwrap();

        let daemon = show.daemon("h1");
        daemon.kill(Signal::KILL);
        daemon.wait(SOON);
        *show.daemon("h1") = hana_lab::show::start_daemon(show.host("h1"));
        wait_for(show.host("h2"), "pulse", "the daemon to be back", |node| {
            node["state"] == "running" && node["override"] == "freeze"
        });
    }

    let h2 = show.host("h2");
    hana(h2, ["set", "pulse", "zoom=-0.5"]).ok();
    hana(h2, ["blackout", "--all"]).ok();
    let black = wait_for(h2, "pulse", "the visualization to be blacked out", |node| {
        node["override"] == "blackout"
    });
    assert_eq!(zoom(&black), -0.5, "parameters change during a blackout");
    hana(h2, ["resume", "pulse"]).ok();
    wait_for(h2, "pulse", "the override to be gone", |node| node["override"].is_null());
    let log = hana(h2, ["logs", "pulse"]).ok().stdout;
    assert!(log.contains("blackout\n") && log.contains("resumed\n"), "{log}");
}

#[test]
fn override_names_unreachable_nodes_and_reaches_the_others() {
    let Some(lab) = Lab::new("told") else { return };
    let show = Show::of(&lab, &["h1"]);
    let h1 = show.host("h1");
    let refused = hana(h1, ["blackout", "--all"]);
    assert_eq!(refused.code(), Some(1));
    assert!(refused.stderr.contains("no visualization"), "{}", refused.stderr);
    assert_eq!(
        hana(h1, ["blackout"]).code(),
        Some(2),
        "a command without a target is a usage error"
    );

    let (_, frozen) = start(h1, h1, "pulse");
    start(h1, h1, "pulse");
    for id in ["pulse", "pulse-2"] {
        wait_for(h1, id, "the visualization to run", |node| node["state"] == "running");
    }
    h1.kill(Signal::STOP, frozen);
    let reply = hana(h1, ["blackout", "--all", "--json"]);
    assert_eq!(reply.code(), Some(1));
    let reply = reply.json();
    let done: Vec<(&str, bool)> = reply
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["node"].as_str().unwrap(), one["done"].as_bool().unwrap()))
        .collect();
    assert_eq!(done, [("pulse", false), ("pulse-2", true)], "{reply}");
    h1.kill(Signal::CONT, frozen);
}

#[test]
fn blackout_turns_a_window_black_even_after_a_crash() {
    let Some(lab) = Lab::new("black-window") else { return };
    let stage = Stage::new(&lab);
    let opened = stage.open("ripples");
    let brightness = || stage.screen.screenshot().mean_brightness();
    eventually(SOON, "a picture", || brightness() > 0.02);

    let began = Instant::now();
    hana(&stage.h1, ["blackout", "ripples"]).ok();
    let replied = began.elapsed();
    eventually(SOON, "black", || brightness() == 0.0);
    figure(&format!(
        "a window is black {:.0} ms after the start of `hana blackout`, which had its reply after {:.0} ms",
        began.elapsed().as_secs_f64() * 1e3,
        replied.as_secs_f64() * 1e3
    ));
    // The picture is black from the first frame, even after a crash, so there is no flash of light.
    stage.h2.kill(Signal::KILL, opened.pid);
    eventually(SOON, "the visualization to run again", || {
        assert_eq!(brightness(), 0.0);
        let nodes = nodes(&stage.h1);
        let again = node(&nodes, "ripples").is_some_and(|node| node["pid"] != opened.pid);
        if again && is(&nodes, "ripples", "running") { Ok(()) } else { Err(nodes) }
    });
    let mut pictures = 0;
    eventually(SOON, "a while of darkness", || {
        assert_eq!(brightness(), 0.0);
        pictures += 1;
        pictures > 20
    });
    stage.wait_for_frames(&stage.h1, "ripples", 5);
    assert_eq!(brightness(), 0.0);

    hana(&stage.h1, ["resume", "--all"]).ok();
    eventually(SOON, "the picture again", || brightness() > 0.02);
}
