//! A visualization that draws steadily raises no alarm, however busy its machine is.

use std::time::Duration;
use std::{env, thread};

use hana_lab::show::{Lines, Show, figure, is, nodes, spawn_hana, start};
use hana_lab::{Lab, Running, eventually};
use serde_json::Value;

/// A catalogue with `fault_injection`, which draws twenty frames a second and fails only on request.
const CATALOGUE: &str = r#"
[visualizations.steady]
program = "fault_injection"
"#;

/// The time without alarms, which `HANA_STEADY_S` can extend.
const PEACE: Duration = Duration::from_mins(1);

#[test]
fn twenty_frames_a_second_are_never_reported_slow_or_frozen() {
    let Some(lab) = Lab::new("peace") else { return };
    let show = Show::with_catalogue(&lab, &["h1", "h2"], CATALOGUE);
    let (h1, h2) = (show.host("h1"), show.host("h2"));
    start(h2, h1, "steady");
    eventually(Duration::from_secs(20), "the visualization to run", || {
        let nodes = nodes(h2);
        if is(&nodes, "steady", "running") { Ok(()) } else { Err(nodes) }
    });
    let mut events = Lines::of_messages(h2, &["h1"]);
    let list = Lines::of_nodes(h2);
    let configured = env::var("HANA_STEADY_S").ok().and_then(|seconds| seconds.parse().ok());
    let peace = configured.map_or(PEACE, Duration::from_secs);
    thread::sleep(peace / 2);
    // In the second half, every core has twice as much work as it can do.
    let cores = thread::available_parallelism().unwrap().get();
    let load: Vec<Running> = (0..cores * 2)
        .map(|_| {
            let mut command = h1.command("sh");
            command.args(["-c", "while :; do :; done"]);
            h1.spawn(command)
        })
        .collect();
    thread::sleep(peace / 2);
    drop(load);

    let lists: Vec<Value> =
        list.running().stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rates: Vec<f64> = lists
        .iter()
        .filter_map(|list| {
            let steady = list.as_array()?.iter().find(|node| node["node"] == "steady")?;
            assert_eq!(steady["state"], "running", "{steady}");
            steady["fps"].as_f64()
        })
        .collect();
    figure(&format!(
        "{} s at {:.1} to {:.1} frames a second, half of them with {cores} cores busy twice over: always reported as running",
        peace.as_secs(),
        rates.iter().copied().fold(f64::INFINITY, f64::min),
        rates.iter().copied().fold(0.0, f64::max),
    ));
    // No alarm was raised if the next event is the one that this kill causes.
    let _ends = spawn_hana(h2, ["kill", "steady"]);
    let (_, event) = events.wait_for(Duration::from_secs(20), "an event", |line| {
        line["type"] == "event" && line["value"]["about"] == "steady"
    });
    assert_ne!(event["value"]["kind"], "unresponsive", "{event}");
    assert_ne!(event["value"]["kind"], "slow", "{event}");
}
