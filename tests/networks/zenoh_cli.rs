//! The `zenoh` command line, which is independent of hana, lists, reads and plays a show.
// The `zenoh` program replaces `{key} {value}`. The played values are exact in any float type.

use std::process::Command;
use std::time::Duration;

use hana_lab::show::{Lines, Show, figure, is, node, spawn_hana, start};
use hana_lab::{Host, Lab, Output, Running, eventually, foreign};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(15);

#[test]
fn zenoh_cli_receives_every_topic_as_json() {
    let Some(lab) = Lab::new("subscribe") else { return };
    let show = Show::of(&lab, &["h1", "h2", "h3"]);
    let [h1, h2, h3] = show.hosts() else { unreachable!() };
    start(h1, h2, "pulse");
    // The program has no configuration. It runs on the host of a daemon, and on a host without one.
    let plain = subscribe(h3, &["-k", "hana/**", "--line", "{key}"]);
    let guest = &lab.host("h4");
    let decoded =
        subscribe(guest, &["-k", "hana/**", "--decoder", "hana", "--line", "{key} {value}"]);
    for key in ["hana/h1/health", "hana/h2/health", "hana/h3/health", "hana/pulse/health"] {
        eventually(SOON, key, || plain.stdout().lines().any(|line| line == key));
        let health = message(&decoded, key, |_| true);
        assert!(health["uptime_ms"].is_u64() && health["counters"]["sent"].is_u64(), "{health}");
    }
    let frames = message(&decoded, "hana/pulse/health", |health| health["frames"]["count"] != 0);
    assert!(frames["frames"]["fps"].as_f64().unwrap() > 0.0, "{frames}");

    // Another visualization starts, and all its messages are readable.
    start(h1, h1, "pulse");
    let info = message(&decoded, "hana/pulse-2/info", |_| true);
    assert_eq!(
        (&info["node"], &info["role"], &info["host"]),
        (&"pulse-2".into(), &"visualization".into(), &"h1".into())
    );
    assert_eq!(info["parameters"][0]["name"], "zoom");
    message(&decoded, "hana/h1/process/pulse-2", |process| process["state"] == "running");
    message(&decoded, "hana/h1/event", |event| {
        event["kind"] == "started" && event["about"] == "pulse-2"
    });
    message(&decoded, "hana/h1/log/pulse-2", |line| line["text"] == "I am 'pulse-2'");

    // The stored state of a node can be queried.
    let look = query(guest, "hana/pulse/look");
    assert_eq!(look["parameters"]["speed"], 0.3, "{look}");
    assert_eq!(query(guest, "hana/h2/process/pulse")["state"], "running");
}

#[test]
fn values_and_commands_typed_as_json_take_effect() {
    let Some(lab) = Lab::new("put") else { return };
    let show = Show::of(&lab, &["h1", "h2", "h3"]);
    let [h1, h2, h3] = show.hosts() else { unreachable!() };
    let mut app = Lines::of_nodes(h1);
    let put = |key: &str, value: &str| put(h3, &["--mode", "client"], key, value);

    put("hana/h2/control", r#"{"start": {"name": "pulse"}}"#);
    app.wait_for_nodes(SOON, "the visualization to run", |nodes| {
        is(nodes, "pulse", "running") && node(nodes, "pulse").unwrap()["host"] == "h2"
    });
    put("hana/pulse/control", r#"{"set": {"parameters": {"zoom": 0.25, "speed": -1}}}"#);
    app.wait_for_nodes(SOON, "the set values", |nodes| {
        shown(nodes, "zoom") == 0.25 && shown(nodes, "speed") == -1.0
    });
    put("hana/pulse/modulation/hue", "0.5");
    app.wait_for_nodes(SOON, "the played value", |nodes| shown(nodes, "hue") == 0.5);
    put("hana/pulse/modulation/hue", r#"{"value": -0.75}"#);
    app.wait_for_nodes(SOON, "the played value", |nodes| shown(nodes, "hue") == -0.75);
    put("hana/pulse/control", r#"{"shutdown": {}}"#);
    app.wait_for_nodes(SOON, "the visualization to be closed", |nodes| {
        is(nodes, "pulse", "closed")
    });
    assert!(h2.processes().iter().all(|process| !process.command.ends_with("pulse")));

    put("hana/h2/control", r#"{"start": {"name": "pulse", "id": "wall"}}"#);
    app.wait_for_nodes(SOON, "the other visualization to run", |nodes| {
        is(nodes, "wall", "running")
    });
    put("hana/h2/control", r#"{"stop": {"node": "wall"}}"#);
    app.wait_for_nodes(SOON, "the other visualization to stop", |nodes| {
        is(nodes, "wall", "stopped")
    });
}

#[test]
fn zenoh_cli_needs_no_option_with_one_daemon() {
    let Some(lab) = Lab::new("plain") else { return };
    let show = Show::of(&lab, &["h1"]);
    let h1 = show.host("h1");
    let guest = &lab.host("h2");
    start(h1, h1, "pulse");
    let mut app = Lines::of_nodes(h1);
    app.wait_for_nodes(SOON, "the visualization to run", |nodes| is(nodes, "pulse", "running"));
    for (host, value) in [(h1, "0.5"), (guest, "0.25"), (h1, "-0.5"), (guest, "-0.25")] {
        put(host, &[], "hana/pulse/modulation/hue", value);
        let (_, nodes) = app.wait_for_nodes(SOON, "the played value", |nodes| {
            shown(nodes, "hue").to_string() == value
        });
        assert!(is(&nodes, "pulse", "running"));
    }
    put(guest, &[], "hana/pulse/control", r#"{"set": {"parameters": {"zoom": 0.25}}}"#);
    app.wait_for_nodes(SOON, "the set value", |nodes| shown(nodes, "zoom") == 0.25);
}

/// A default peer may finish opening at any time. The daemons that it has discovered by then relay its messages to
/// every host. A command that arrives over two paths is carried out once.
#[test]
fn zenoh_cli_needs_no_option_with_several_daemons() {
    let Some(lab) = Lab::new("plainer") else { return };
    let show = Show::of(&lab, &["h1", "h2", "h3"]);
    let [h1, _, h3] = show.hosts() else { unreachable!() };
    let mut app = Lines::of_nodes(h1);
    put(h1, &[], "hana/h2/control", r#"{"start": {"name": "pulse"}}"#);
    app.wait_for_nodes(SOON, "the visualization to run", |nodes| {
        is(nodes, "pulse", "running") && node(nodes, "pulse").unwrap()["host"] == "h2"
    });
    for (host, value) in
        [(h1, "0.5"), (h3, "0.25"), (h1, "-0.5"), (h3, "-0.25"), (h1, "0.75"), (h3, "-0.75")]
    {
        put(host, &[], "hana/pulse/modulation/hue", value);
        let (_, nodes) = app.wait_for_nodes(SOON, "the played value", |nodes| {
            shown(nodes, "hue").to_string() == value
        });
        assert!(node(&nodes, "pulse-2").is_none(), "started twice: {nodes:#?}");
    }
}

/// The number of values, which is enough to detect random losses.
const PUTS: usize = 50;

/// Waits until each of these values was published.
#[track_caller]
fn await_values(passing: &Running, values: &[String]) {
    eventually(SOON, "every value", || {
        let text = passing.stdout();
        let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let seen: Vec<f64> = messages.filter_map(|message| value_of(&message["value"])).collect();
        let is_missing = |value: &&String| !seen.contains(&value.parse().unwrap());
        let missing: Vec<_> = values.iter().filter(is_missing).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("lost: {missing:?}")) }
    });
}

/// Returns a played value, which is a bare number or part of a message.
fn value_of(message: &Value) -> Option<f64> {
    message.as_f64().or_else(|| message["value"].as_f64())
}

/// Returns the values to publish, each exact in any float.
fn values() -> Vec<String> {
    (0..PUTS)
        .map(|number| format!("{:.6}", f64::from(u8::try_from(number).unwrap()) / 64.0))
        .collect()
}

#[test]
fn no_put_of_a_client_is_lost_beside_a_foreign_peer() {
    let Some(lab) = Lab::new("put-beside") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let [h1, h2] = show.hosts() else { unreachable!() };
    start(h1, h2, "pulse");
    let mut app = Lines::of_nodes(h1);
    app.wait_for_nodes(SOON, "the visualization to run", |nodes| is(nodes, "pulse", "running"));
    let passing = spawn_hana(h1, ["watch", "hana/pulse/modulation/hue", "--json"]);
    // The programs have no configuration. They run on the same host and on another one.
    let foreign = [h1, h2].map(|host| subscribe(host, &["-k", "hana/**", "--line", "{key}"]));
    for peer in &foreign {
        eventually(SOON, "the foreign peer to receive", || {
            peer.stdout().contains("hana/pulse/health")
        });
    }
    let mut modes =
        [&["--mode", "client"][..], &["--config", "config/zenoh/client.json5"]].into_iter().cycle();
    let values = values();
    for value in &values {
        put(h1, modes.next().unwrap(), "hana/pulse/modulation/hue", value);
    }
    await_values(&passing, &values);
}

#[test]
fn no_put_from_python_is_lost_with_the_shipped_config() {
    let Some(lab) = Lab::new("put-from-env") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let [h1, h2] = show.hosts() else { unreachable!() };
    start(h1, h2, "pulse");
    let mut app = Lines::of_nodes(h1);
    app.wait_for_nodes(SOON, "the visualization to run", |nodes| is(nodes, "pulse", "running"));
    let passing = spawn_hana(h1, ["watch", "hana/pulse/modulation/hue", "--json"]);
    let foreign = subscribe(h1, &["-k", "hana/**", "--line", "{key}"]);
    eventually(SOON, "the foreign peer to receive", || {
        foreign.stdout().contains("hana/pulse/health")
    });
    let values = values();
    let script = "
import sys, zenoh
for value in sys.argv[1:]:
    with zenoh.open(zenoh.Config.from_env()) as session:
        session.put('hana/pulse/modulation/hue', value)";
    let mut command = h1.command(foreign::python());
    command.env("ZENOH_CONFIG", "config/zenoh/client.json5").args(["-c", script]).args(&values);
    h1.run_within(Duration::from_mins(1), command).ok();
    await_values(&passing, &values);
}

#[test]
fn unusable_message_changes_nothing_and_is_reported() {
    let Some(lab) = Lab::new("malformed") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let [h1, h2] = show.hosts() else { unreachable!() };
    start(h1, h2, "pulse");
    let mut app = Lines::of_nodes(h1);
    app.wait_for_nodes(SOON, "the visualization to run", |nodes| is(nodes, "pulse", "running"));
    let mut messages = Lines::of_messages(h1, &["pulse", "h2"]);
    let control = "hana/pulse/control";
    let hue = "hana/pulse/modulation/hue";
    for (key, value, words) in [
        // These are not JSON, a wrong type, a missing field, a value out of range, and an unknown parameter.
        (hue, "blue", &[hue][..]),
        (hue, "[0.5]", &[hue]),
        (hue, r#"{"value": "blue"}"#, &[hue, "value"]),
        (hue, r#"{"vale": 0.5}"#, &[hue, "value"]),
        (hue, "1.5", &[hue, "hue", "1.5"]),
        (hue, "NaN", &[hue]),
        ("hana/pulse/modulation/size", "0.5", &["hana/pulse/modulation/size", "size"]),
        (control, "{", &[control]),
        (control, r#"{"paint": {}}"#, &[control, "paint"]),
        (control, r#"{"set": {}}"#, &[control, "parameters"]),
        (control, r#"{"set": {"parameters": {"hue": true}}}"#, &[control, "hue"]),
        (control, r#"{"set": {"parameters": {"zoom": 0.5, "hue": 7}}}"#, &[control, "hue", "7"]),
        (control, r#"{"start": {"name": "pulse"}}"#, &[control, "start", "visualization"]),
    ] {
        put(h1, &["--mode", "client"], key, value);
        let (_, event) = messages.wait_for(SOON, &format!("a refusal of {key} {value}"), |line| {
            let text = line["value"]["text"].as_str().unwrap_or_default();
            line["key"] == "hana/pulse/event"
                && line["value"]["kind"] == "message_refused"
                && words.iter().all(|word| text.contains(word))
        });
        assert_eq!((&event["value"]["about"], &event["from"]), (&"pulse".into(), &"pulse".into()));
    }
    put(h1, &["--mode", "client"], "hana/h2/control", r#"{"start": {"name": "nonsense"}}"#);
    messages.wait_for(SOON, "the daemon's refusal", |line| {
        line["key"] == "hana/h2/event"
            && line["value"]["kind"] == "message_refused"
            && line["value"]["text"].as_str().unwrap().contains("nonsense")
    });
    let listed = hana_lab::show::nodes(h2);
    for (name, value) in [("zoom", 0.0), ("speed", 0.3), ("hue", 0.0), ("intensity", 0.5)] {
        assert!((shown(&listed, name) - value).abs() < 1e-6, "{name}: {listed:#?}");
    }
    assert!(is(&listed, "pulse", "running") && is(&listed, "h2", "running"));
}

#[test]
fn zenoh_cli_receives_values_played_over_a_direct_link() {
    let Some(lab) = Lab::new("echo") else { return };
    let show = Show::of(&lab, &["h1", "h2", "h3"]);
    let [h1, h2, h3] = show.hosts() else { unreachable!() };
    start(h1, h2, "pulse");
    let mut app = Lines::of_nodes(h1);
    let bridge = spawn_hana(h3, ["bridge", "osc", "--listen", "127.0.0.1:9000"]);
    app.wait_for_nodes(SOON, "the visualization and the bridge to run", |nodes| {
        is(nodes, "pulse", "running") && is(nodes, "osc-h3", "running")
    });
    let line = "{key} {value}";
    let played = subscribe(h1, &["-k", "hana/*/modulation/*", "--decoder", "hana", "--line", line]);
    // The first values travel over the mesh, until the direct link is open. After that, the visualization publishes
    // an echo with its own name as sender.
    let mut passing = Lines::of(spawn_hana(h1, ["watch", "hana/*/modulation/*", "--json"]));
    let mut echoed = |value: &str| {
        let mut osc = h3.command(foreign::python());
        osc.arg(foreign::script("osc_send.py")).args(["127.0.0.1", "9000"]);
        h3.run_within(SOON, {
            osc.args(["/hana/pulse/zoom", value]);
            osc
        })
        .ok();
        let (_, line) = passing.wait_for(SOON, "a value", |line| {
            line["key"] == "hana/pulse/modulation/zoom"
                && line["value"]["value"].as_f64() == value.parse().ok()
        });
        line["from"] == "pulse"
    };
    let values = ["0.125", "0.25", "0.375", "0.5", "0.625", "0.75", "0.875", "1.0"];
    let number = values.into_iter().position(&mut echoed);
    let number =
        number.unwrap_or_else(|| panic!("no echo of the visualization: {}", bridge.stderr()));
    figure(&format!("the direct link was in use for value number {}", number + 1));
    // The foreign client does not report when its subscription is active, so values are played until it prints one.
    let mut last = String::new();
    let mut others = ["-0.25", "-0.5"].into_iter().cycle();
    eventually(SOON, "the foreign client to print a played value", || {
        last = others.next().unwrap().to_owned();
        assert!(echoed(&last), "the path is the mesh again");
        played.stdout().contains("hana/pulse/modulation/zoom {\"value\": -0.")
    });
    let value: f64 = last.parse().unwrap();
    app.wait_for_nodes(SOON, "the played value", |nodes| {
        shown(nodes, "zoom").to_bits() == value.to_bits()
    });
}

fn zenoh(host: &Host, words: &[&str]) -> Command {
    let mut command = host.command(foreign::zenoh());
    command.args(words);
    command
}

/// Starts a subscriber without any configuration.
fn subscribe(host: &Host, words: &[&str]) -> Running {
    let mut command = zenoh(host, &["subscribe"]);
    command.args(words);
    host.spawn(command)
}

/// Waits for the first message that `is_expected` accepts and returns it.
///
/// The subscriber prints messages with `--line '{key} {value}'`.
#[track_caller]
fn message(subscriber: &Running, key: &str, is_expected: impl Fn(&Value) -> bool) -> Value {
    eventually(SOON, &format!("a message on {key}"), || {
        let text = subscriber.stdout();
        let of_key: Vec<Value> = text
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n')?.strip_prefix(key)?.strip_prefix(' '))
            .map(|value| serde_json::from_str(value).unwrap())
            .collect();
        of_key.iter().find(|value| is_expected(value)).cloned().ok_or(of_key)
    })
}

#[track_caller]
fn put(host: &Host, options: &[&str], key: &str, value: &str) -> Output {
    let mut command = zenoh(host, options);
    command.args(["put", "-k", key, "-v", value]);
    host.run_within(SOON, command).ok()
}

/// Queries the stored value of a key.
#[track_caller]
fn query(host: &Host, key: &str) -> Value {
    let words = ["--mode", "client", "get", "-s", key, "--decoder", "hana", "--line", "{value}"];
    let output = host.run_within(SOON, zenoh(host, &words)).ok();
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"))
}

/// Returns the value of a parameter of `pulse` in a list of nodes.
fn shown(nodes: &[Value], parameter: &str) -> f64 {
    let pulse = node(nodes, "pulse");
    pulse.and_then(|pulse| pulse["parameters"][parameter].as_f64()).unwrap_or(f64::NAN)
}
