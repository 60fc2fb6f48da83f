//! A visualization in plain Rust, and a shell script that does not join the mesh. The daemon supervises both.

use std::time::Duration;

use hana_lab::show::{Show, hana, is, node, nodes, start};
use hana_lab::{Host, Lab, Signal, eventually};
use serde_json::Value;

/// The time limit for steps without a promised time, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(30);

const CATALOGUE: &str = r#"
[visualizations.no_bevy]
program = "no_bevy"

[visualizations.script]
program = "sh"
args    = ["-c", "echo drawing; while :; do sleep 0.1; done"]
mesh    = false
"#;

/// Waits until the node runs after `restarts` restarts, and returns it.
fn runs(host: &Host, id: &str, restarts: u64) -> Value {
    eventually(SOON, &format!("'{id}' to run"), || {
        let listed = nodes(host);
        let runs = is(&listed, id, "running") && node(&listed, id).unwrap()["restarts"] == restarts;
        if runs { Ok(node(&listed, id).unwrap().clone()) } else { Err(listed) }
    })
}

fn pid(of: &Value) -> i32 {
    of["pid"].as_i64().unwrap().try_into().unwrap()
}

/// Lists the kinds of a program's threads that read or accept connections.
fn network_threads(host: &Host, of: &Value) -> Vec<String> {
    let listing = format!("cat /proc/{}/task/*/comm", pid(of));
    let output = host.run(["sh", "-c", &listing]).ok().stdout;
    let kinds = ["acc", "net", "rx"];
    let kind = |name: &str| name.split('-').next().map(ToOwned::to_owned);
    let mut names: Vec<String> =
        output.lines().filter_map(kind).filter(|kind| kinds.contains(&kind.as_str())).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn played_values_are_read_in_the_thread_that_awaits_them() {
    let Some(lab) = Lab::new("threads") else { return };
    let show = Show::with_catalogue(&lab, &["h1"], CATALOGUE);
    let h1 = show.host("h1");
    start(h1, h1, "no_bevy");
    let plain = runs(h1, "no_bevy", 0);
    assert_eq!(network_threads(h1, &plain), ["net", "rx"], "no additional thread per controller");
    let daemon = node(&nodes(h1), "h1").unwrap().clone();
    assert_eq!(
        network_threads(h1, &daemon),
        ["acc", "net", "rx"],
        "a daemon may block on a full link, so it accepts connections in another thread"
    );
}

#[test]
fn visualization_without_bevy_is_played_restored_and_stopped() {
    let Some(lab) = Lab::new("no_bevy") else { return };
    let show = Show::with_catalogue(&lab, &["h1", "h2"], CATALOGUE);
    let [h1, h2] = show.hosts() else { unreachable!() };
    start(h2, h1, "no_bevy");
    let first = runs(h2, "no_bevy", 0);
    assert_eq!(first["reason"], "");
    let frame = |listed: &[Value]| node(listed, "no_bevy").unwrap()["frame"].as_u64();
    let before = frame(&nodes(h2));
    eventually(SOON, "the visualization to draw", || frame(&nodes(h2)) > before);
    hana(h2, ["set", "no_bevy", "zoom=0.25"]).ok();
    let zoom = |listed: &[Value]| node(listed, "no_bevy").unwrap()["parameters"]["zoom"].as_f64();
    eventually(SOON, "the visualization to be played", || zoom(&nodes(h2)) == Some(0.25));
    eventually(SOON, "the value in its log", || {
        let log = hana(h2, ["logs", "no_bevy"]).ok().stdout;
        if log.contains("zoom +0.250") { Ok(()) } else { Err(log) }
    });

    h1.kill(Signal::KILL, pid(&first));
    let second = runs(h2, "no_bevy", 1);
    assert_ne!(pid(&second), pid(&first));
    eventually(SOON, "the last look to be restored", || zoom(&nodes(h2)) == Some(0.25));

    h1.kill(Signal::STOP, pid(&second));
    eventually(SOON, "the freeze to be reported", || is(&nodes(h2), "no_bevy", "unresponsive"));
    h1.kill(Signal::CONT, pid(&second));
    runs(h2, "no_bevy", 1);

    // A person closes the program, and it stays closed.
    h1.kill(Signal::INT, pid(&second));
    let closed = eventually(SOON, "the visualization to be closed", || {
        let listed = nodes(h2);
        if is(&listed, "no_bevy", "closed") { Ok(listed) } else { Err(listed) }
    });
    assert_eq!(node(&closed, "no_bevy").unwrap()["reason"], "closed by a person");
    hana(h2, ["start", "no_bevy", "--host", "h1"]).ok();
    runs(h2, "no_bevy", 0);
    let stopped = hana(h2, ["stop", "no_bevy", "--json"]).ok().json();
    assert_eq!(stopped["by"], "shutdown", "{stopped}");
    assert!(!h1.processes().iter().any(|process| process.command.contains("no_bevy")));
}

#[test]
fn script_without_mesh_is_judged_by_its_process_alone() {
    let Some(lab) = Lab::new("script") else { return };
    let show = Show::with_catalogue(&lab, &["h1", "h2"], CATALOGUE);
    let [h1, h2] = show.hosts() else { unreachable!() };
    let (_, first) = start(h2, h1, "script");
    let it = runs(h2, "script", 0);
    assert_eq!(it["reason"], "never joins the mesh; monitored by its process alone");
    assert!(it["frame"].is_null() && it["fps"].is_null(), "{it}");
    let table = hana(h2, ["nodes"]).ok().stdout;
    assert!(table.contains("monitored by its process alone"), "{table}");
    assert!(hana(h2, ["logs", "script"]).ok().stdout.contains("drawing"));

    h1.kill(Signal::KILL, first);
    let again = runs(h2, "script", 1);
    assert_ne!(pid(&again), first);
    assert_eq!(again["reason"], "never joins the mesh; monitored by its process alone");
    // Freezes of the script cannot be detected, and the script is not reported as responsive either.
    h1.kill(Signal::STOP, pid(&again));
    let reply = hana(h2, ["restart", "script", "--json"]).ok().json();
    assert_ne!(reply["pid"], again["pid"]);
    runs(h2, "script", 0);
    let stopped = hana(h2, ["stop", "script", "--json"]).ok().json();
    assert_eq!(stopped["by"], "terminate", "{stopped}");
    assert!(is(&nodes(h2), "script", "stopped"));
    assert!(!h1.processes().iter().any(|process| process.command.contains("drawing")));
}
