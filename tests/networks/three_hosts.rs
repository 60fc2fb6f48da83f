//! Three hosts with a daemon on each, configured only with their names. All nodes see each other.
// The test values are exact in any float type.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, UNIX_EPOCH};

use hana_lab::show::{Lines, Show, figure, hana, is, node, nodes, spawn_hana, start, start_daemon};
use hana_lab::{Host, Lab, Output, eventually};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(10);
/// The time limit for effects that take a second on a quiet machine. This machine may be busy with other tests.
const WITHIN_A_SECOND: Duration = Duration::from_secs(3);

#[test]
fn every_host_lists_all_nodes_within_a_second() {
    let Some(lab) = Lab::new("list") else { return };
    let show = Show::of(&lab, &["h1", "h2", "h3"]);
    let [h1, h2, h3] = show.hosts() else { unreachable!() };
    let bridge = spawn_hana(h3, ["bridge", "osc", "--listen", "0.0.0.0:9000"]);
    let (_, pid_1) = start(h1, h1, "pulse");
    let mut apps: Vec<Lines> = show.hosts().iter().map(Lines::of_nodes).collect();
    for app in &mut apps {
        app.wait_for_nodes(SOON, "all nodes but the last", |nodes| {
            nodes.len() == 5 && nodes.iter().all(|node| node["state"] == "running")
        });
    }

    // The command is entered on another host. The visualization gets the next free id.
    let requested = Instant::now();
    let (second, pid_2) = start(h1, h2, "pulse");
    assert_eq!(second, "pulse-2");
    for (app, host) in apps.iter_mut().zip(show.hosts()) {
        let (seen, _) = app.wait_for_nodes(WITHIN_A_SECOND, "the whole list", |nodes| {
            nodes.len() == 6 && nodes.iter().all(|node| node["state"] == "running")
        });
        figure(&format!(
            "{} lists all six nodes {} ms after the last start command (promised: 1000)",
            host.name(),
            seen.duration_since(requested).as_millis()
        ));
    }

    let daemon = |host: &Host| {
        let found = host.processes().into_iter().find(|process| process.command.ends_with("hanad"));
        found.unwrap().pid
    };
    let expected = BTreeSet::from([
        ("h1", "daemon", "h1", daemon(h1)),
        ("h2", "daemon", "h2", daemon(h2)),
        ("h3", "daemon", "h3", daemon(h3)),
        ("osc-h3", "bridge", "h3", bridge.pid()),
        ("pulse", "visualization", "h1", pid_1),
        ("pulse-2", "visualization", "h2", pid_2),
    ]);
    for host in show.hosts() {
        // A `hana` command is not a node.
        let listed = nodes(host);
        let seen: BTreeSet<_> = listed
            .iter()
            .map(|node| {
                assert_eq!((&node["state"], &node["reason"]), (&"running".into(), &"".into()));
                let text = |field: &str| node[field].as_str().unwrap();
                let pid = i32::try_from(node["pid"].as_i64().unwrap()).unwrap();
                (text("node"), text("role"), text("host"), pid)
            })
            .collect();
        assert_eq!(seen, expected, "as listed on {}", host.name());
        assert_eq!(listed.len(), expected.len());
    }
}

#[test]
fn late_daemon_lists_all_nodes_and_is_listed_within_a_second() {
    let Some(lab) = Lab::new("last") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let [h1, h2] = show.hosts() else { unreachable!() };
    let h3 = &lab.host("h3");
    start(h1, h1, "pulse");
    start(h1, h2, "pulse");
    let mut apps = [Lines::of_nodes(h1), Lines::of_nodes(h2)];
    for app in &mut apps {
        app.wait_for_nodes(SOON, "the others", |nodes| all_run(nodes, 4));
    }

    let begun = Instant::now();
    let _daemon = start_daemon(h3);
    let listed = nodes(h3);
    let took = begun.elapsed();
    assert!(all_run(&listed, 5), "{listed:#?}");
    for app in &mut apps {
        let (seen, _) = app.wait_for_nodes(WITHIN_A_SECOND, "h3", |nodes| all_run(nodes, 5));
        figure(&format!(
            "a new daemon is listed by another host {} ms after it was started (promised: 1000)",
            seen.duration_since(begun).as_millis()
        ));
    }
    figure(&format!(
        "a new daemon's host has listed all nodes {} ms after its start (promised: 1000)",
        took.as_millis()
    ));
    assert!(took < WITHIN_A_SECOND, "{took:?}");
}

#[test]
fn json_list_has_the_documented_fields_and_live_figures() {
    let Some(lab) = Lab::new("json") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let [h1, h2] = show.hosts() else { unreachable!() };
    start(h1, h2, "pulse");
    await_running(h1, "pulse");
    let first = nodes(h1);
    let fields = [
        "fps", "frame", "host", "node", "pid", "reason", "restarts", "role", "since_ms", "state",
        "uptime_s",
    ];
    for listed in &first {
        let mut wanted = BTreeSet::from(fields);
        if listed["role"] == "visualization" {
            wanted.insert("parameters");
        }
        let mut seen: BTreeSet<&str> =
            listed.as_object().unwrap().keys().map(String::as_str).collect();
        // These fields exist only for nodes that have drawn for a second, or that have problems.
        for sometimes in ["frame_max_us", "counters", "lanes", "troubles"] {
            seen.remove(sometimes);
        }
        assert_eq!(seen, wanted);
    }
    let pulse = node(&first, "pulse").unwrap();
    assert_eq!(
        parameters(pulse),
        known(&[("hue", 0.0), ("intensity", 0.5), ("speed", 0.3), ("zoom", 0.0)])
    );
    assert_eq!(pulse["restarts"], 0);
    let now_ms = UNIX_EPOCH.elapsed().unwrap().as_millis();
    let since_ms = u128::from(pulse["since_ms"].as_u64().unwrap());
    assert!(since_ms <= now_ms && now_ms - since_ms < 20_000, "{since_ms} of {now_ms}");
    assert!(pulse["fps"].as_f64().unwrap() > 1.0, "{pulse}");

    let frame = |nodes: &[Value]| node(nodes, "pulse").unwrap()["frame"].as_u64().unwrap();
    let before = frame(&first);
    eventually(SOON, "the frame counter to move", || frame(&nodes(h1)) > before);
    eventually(SOON, "the uptime to increase", || {
        node(&nodes(h1), "pulse").unwrap()["uptime_s"].as_u64().unwrap() >= 1
    });
}

#[test]
fn list_on_a_quiet_mesh_takes_less_than_half_a_second() {
    let Some(lab) = Lab::new("quick") else { return };
    let show = Show::of(&lab, &["h1", "h2", "h3"]);
    let [h1, h2, _] = show.hosts() else { unreachable!() };
    start(h1, h2, "pulse");
    await_running(h1, "pulse");
    let mut took: Vec<Duration> = (0..5)
        .map(|_| {
            let output = hana(h1, ["nodes", "--json"]).ok();
            assert!(all_run(output.json().as_array().unwrap(), 4), "{output}");
            output.took
        })
        .collect();
    took.sort();
    figure(&format!("`hana nodes` takes {} ms, of five (promised: 500)", format_ms(&took)));
    // The fastest start shows the time on an idle machine.
    assert!(took[0] < Duration::from_millis(500), "{took:?}");
}

#[test]
fn start_assigns_the_next_free_id_and_refuses_a_taken_one() {
    let Some(lab) = Lab::new("names") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let [h1, h2] = show.hosts() else { unreachable!() };
    assert_eq!(start(h1, h2, "pulse").0, "pulse");
    await_running(h1, "pulse");
    assert_eq!(start(h1, h2, "pulse").0, "pulse-2");
    await_running(h2, "pulse-2");
    // Ids are unique on the whole mesh, not only on each host.
    assert_eq!(start(h1, h1, "pulse").0, "pulse-3");

    let refused = hana(h2, ["start", "pulse", "--host", "h1", "--id", "pulse"]);
    assert_fails(&refused, &["pulse", "taken"]);
    let accepted =
        hana(h2, ["start", "pulse", "--host", "h1", "--id", "left-wall", "--json"]).ok().json();
    assert_eq!(accepted["node"], "left-wall");
    await_running(h2, "left-wall");
    let ids: Vec<String> =
        nodes(h2).iter().map(|node| node["node"].as_str().unwrap().into()).collect();
    assert_eq!(ids, ["h1", "h2", "left-wall", "pulse", "pulse-2", "pulse-3"]);
}

#[test]
fn mistake_prints_one_line_and_sets_the_exit_status() {
    let Some(lab) = Lab::new("mistakes") else { return };
    let show = Show::of(&lab, &["h1"]);
    let [h1] = show.hosts() else { unreachable!() };
    start(h1, h1, "pulse");
    await_running(h1, "pulse");
    for (line, words) in [
        ("start nonsense", &["nonsense", "pulse", "ripples"][..]),
        ("start pulse --host h9", &["h9", "hanad"]),
        ("stop nonsense", &["nonsense", "hana nodes"]),
        ("restart nonsense", &["nonsense", "hana nodes"]),
        ("kill nonsense", &["nonsense", "hana nodes"]),
        ("set nonsense zoom=1", &["nonsense", "hana nodes"]),
        ("set pulse size=1", &["size", "zoom"]),
        ("set pulse zoom=1.5", &["zoom", "1.5", "-1", "1"]),
        ("set pulse zoom=nan", &["zoom"]),
        ("logs nonsense", &["nonsense", "hana nodes"]),
        ("ping nonsense", &["nonsense", "hana nodes"]),
    ] {
        assert_fails(&hana(h1, line.split(' ')), words);
        assert_fails(&hana(h1, line.split(' ').chain(["--json"])), words);
    }
    for line in ["nonsense", "nodes nonsense", "start", "set pulse zoom", "ping", ""] {
        let output = hana(h1, line.split(' ').filter(|word| !word.is_empty()));
        assert_eq!((output.code(), &*output.stdout), (Some(2), ""), "{output}");
        assert!(!output.stderr.is_empty());
    }
    let unchanged = known(&[("hue", 0.0), ("intensity", 0.5), ("speed", 0.3), ("zoom", 0.0)]);
    assert_eq!(parameters(node(&nodes(h1), "pulse").unwrap()), unchanged);
}

#[test]
fn parameters_are_set_remotely_all_or_none() {
    let Some(lab) = Lab::new("set") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let [h1, h2] = show.hosts() else { unreachable!() };
    start(h1, h2, "pulse");
    await_running(h1, "pulse");
    let mut app = Lines::of_nodes(h1);
    hana(h1, ["set", "pulse", "zoom=0.25", "hue=-1"]).ok();
    let set = known(&[("hue", -1.0), ("intensity", 0.5), ("speed", 0.3), ("zoom", 0.25)]);
    app.wait_for_nodes(SOON, "the new values", |nodes| {
        node(nodes, "pulse").is_some_and(|pulse| parameters(pulse) == set)
    });
    assert_fails(&hana(h1, ["set", "pulse", "zoom=0.75", "hue=7"]), &["hue", "7"]);
    assert_eq!(parameters(node(&nodes(h1), "pulse").unwrap()), set);
    // The program itself uses the values.
    eventually(SOON, "the values in its log", || {
        let printed = hana(h1, ["logs", "pulse"]).ok().stdout;
        if printed.contains("zoom +0.250  speed +0.300  hue -1.000") {
            Ok(())
        } else {
            Err(printed)
        }
    });
}

#[test]
fn ping_measures_mesh_and_direct_link() {
    let Some(lab) = Lab::new("ping") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let [h1, h2] = show.hosts() else { unreachable!() };
    start(h1, h2, "pulse");
    await_running(h1, "pulse");
    let reply = hana(h1, ["ping", "pulse", "--count", "50", "--json"]).ok().json();
    for path in ["mesh", "play"] {
        let us = |field: &str| reply[path][field].as_u64().unwrap();
        assert!(us("count") == 50 && us("p50_us") > 0 && us("p99_us") >= us("p50_us"), "{reply}");
        figure(&format!(
            "round trip over {path}: p50 {} us, p99 {} us",
            us("p50_us"),
            us("p99_us")
        ));
    }
    let daemon = hana(h1, ["ping", "h2", "--json"]).ok().json();
    assert!(daemon["mesh"]["p50_us"].as_u64().unwrap() > 0 && daemon["play"].is_null(), "{daemon}");
}

#[test]
fn logs_are_read_and_followed_from_another_host() {
    let Some(lab) = Lab::new("logs") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let [h1, h2] = show.hosts() else { unreachable!() };
    start(h1, h2, "pulse");
    await_running(h1, "pulse");
    eventually(SOON, "the first log line", || {
        hana(h1, ["logs", "pulse"]).ok().stdout.contains("I am 'pulse'")
    });
    let reader = spawn_hana(h1, ["logs", "pulse", "--follow"]);
    eventually(SOON, "the earlier line", || reader.stdout().contains("I am 'pulse'"));
    hana(h1, ["set", "pulse", "zoom=0.125"]).ok();
    eventually(SOON, "the new line", || reader.stdout().contains("zoom +0.125"));
    let lines = hana(h1, ["logs", "pulse", "--json"]).ok().json_lines();
    for (index, line) in lines.iter().enumerate() {
        assert_eq!(
            (line["number"].as_u64(), &line["stream"]),
            (Some(index as u64), &"output".into())
        );
        assert!(line["text"].is_string(), "{line}");
    }
    let texts: Vec<&str> = lines.iter().filter_map(|line| line["text"].as_str()).collect();
    let shown = reader.stdout();
    let followed: Vec<&str> = shown.lines().take(texts.len()).collect();
    assert_eq!(&followed[..], &texts[..followed.len()], "each line once, in order");
}

#[test]
fn watch_prints_messages_as_they_are_published() {
    let Some(lab) = Lab::new("watch") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let [h1, h2] = show.hosts() else { unreachable!() };
    let mut watch = Lines::of(spawn_hana(h1, ["watch", "--json"]));
    watch.wait_for(SOON, "the other daemon", |line| line["key"] == "hana/h2/health");
    start(h1, h2, "pulse");
    watch.wait_for(SOON, "the start", |line| {
        line["key"] == "hana/h2/event"
            && line["type"] == "event"
            && line["from"] == "h2"
            && line["value"]["kind"] == "started"
            && line["value"]["about"] == "pulse"
    });
    watch.wait_for(SOON, "the info", |line| {
        line["key"] == "hana/pulse/info" && line["value"]["host"] == "h2"
    });
    watch.wait_for(SOON, "the health", |line| {
        line["key"] == "hana/pulse/health"
            && line["type"] == "health"
            && line["value"]["frames"]["count"].as_u64().is_some_and(|count| count > 0)
    });
    watch.wait_for(SOON, "the output", |line| {
        line["key"] == "hana/h2/log/pulse" && line["type"] == "log" && line["from"] == "h2"
    });
    hana(h1, ["set", "pulse", "zoom=0.5"]).ok();
    watch.wait_for(SOON, "the look", |line| {
        line["key"] == "hana/pulse/look" && line["value"]["parameters"]["zoom"] == 0.5
    });
    let now = i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap();
    for line in watch.running().stdout().lines().filter(|line| line.ends_with('}')) {
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let fields: BTreeSet<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, BTreeSet::from(["at", "from", "key", "type", "value"]));
        assert!((now - 60_000_000..=now + 1_000_000).contains(&line["at"].as_i64().unwrap()));
    }
    // This watches only the requested key.
    let mut one = Lines::of(spawn_hana(h1, ["watch", "hana/pulse/health", "--json"]));
    one.wait_for(SOON, "health", |line| {
        assert_eq!(line["key"], "hana/pulse/health");
        true
    });
}

#[test]
fn visualization_on_a_host_without_daemon_is_listed_and_set() {
    let Some(lab) = Lab::new("alone") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let [h1, h2] = show.hosts() else { unreachable!() };
    let h3 = &lab.host("h3");
    let by_hand = h3.spawn(h3.command("pulse"));
    for host in [h1, h2, h3] {
        let listed = await_running(host, "pulse");
        assert_eq!(
            (&listed["host"], listed["pid"].as_i64()),
            (&"h3".into(), Some(by_hand.pid().into()))
        );
    }
    hana(h1, ["set", "pulse", "zoom=0.5"]).ok();
    eventually(SOON, "the new value", || {
        let shown = parameters(node(&nodes(h2), "pulse").unwrap());
        if shown["zoom"] == 0.5 { Ok(()) } else { Err(shown) }
    });
    // `pulse` can be stopped although no daemon launched it. A restart is impossible, and the error states that.
    assert_fails(&hana(h1, ["restart", "pulse"]), &["no daemon launched", "h3"]);
    hana(h1, ["stop", "pulse"]).ok();
    let output = by_hand.finish(SOON);
    assert!(output.status.success(), "{output}");
}

#[test]
fn commands_work_on_a_host_without_a_daemon() {
    let Some(lab) = Lab::new("guest") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let [h1, h2] = show.hosts() else { unreachable!() };
    let h3 = &lab.host("h3");
    // A launch works on another host, but not on this one, which has no daemon.
    assert_eq!(start(h3, h2, "pulse").0, "pulse");
    assert_fails(&hana(h3, ["start", "pulse"]), &["h3", "hanad"]);
    await_running(h3, "pulse");
    // A peer that has just joined discovers one host before the others. The others must never be reported as missing.
    for zoom in ["0.5", "0.25", "-0.5", "-0.25", "0.75"] {
        hana(h3, ["set", "pulse", &format!("zoom={zoom}")]).ok();
        hana(h3, ["ping", "h1", "--count", "1"]).ok();
        hana(h3, ["logs", "pulse"]).ok();
    }
    let shown = |host: &Host| parameters(node(&nodes(host), "pulse").unwrap());
    eventually(SOON, "the last value to be shown", || shown(h1)["zoom"] == 0.75);
    hana(h3, ["stop", "pulse"]).ok();
    assert!(is(&nodes(h1), "pulse", "stopped"));
}

#[test]
fn newcomer_with_a_taken_id_reports_the_owner() {
    let Some(lab) = Lab::new("taken") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let [h1, h2] = show.hosts() else { unreachable!() };
    let (_, pid) = start(h1, h1, "pulse");
    await_running(h1, "pulse");
    let newcomer = h2.spawn(h2.command("pulse"));
    eventually(SOON, "the error of the newcomer", || {
        let printed = newcomer.stderr();
        let owner = format!("by process {pid} on host 'h1'");
        if printed.contains("'pulse' is taken")
            && printed.contains(&owner)
            && printed.contains("HANA_NODE")
        {
            Ok(())
        } else {
            Err(printed)
        }
    });
    // The older node keeps the id.
    let kept = nodes(h2);
    let kept = node(&kept, "pulse").unwrap();
    assert_eq!((kept["pid"].as_i64(), &kept["host"]), (Some(pid.into()), &"h1".into()));
    assert_eq!(kept["state"], "running");

    // The same happens to a second machine with the same name.
    let h3 = &lab.host("h3");
    let mut clone = h3.command("hanad");
    clone.env("HANA_HOST", "h1");
    let output = h3.run_within(SOON, clone);
    assert_eq!(output.code(), Some(1), "{output}");
    // The conflict is reported before the daemon joins, or later if a busy machine delays the discovery.
    let is_reported =
        ["'h1' is taken", "two nodes have the id 'h1'"].iter().any(|of| output.stderr.contains(of));
    assert!(is_reported && output.stderr.contains("HANA_HOST"), "{output}");
}

#[track_caller]
fn await_running(host: &Host, id: &str) -> Value {
    eventually(SOON, "the visualization to run", || {
        let listed = nodes(host);
        if is(&listed, id, "running") {
            Ok(node(&listed, id).cloned().unwrap())
        } else {
            Err(listed)
        }
    })
}

fn all_run(nodes: &[Value], count: usize) -> bool {
    nodes.len() == count && nodes.iter().all(|node| node["state"] == "running")
}

/// Asserts exit status 1, empty standard output, and one line on standard error that contains these words.
#[track_caller]
fn assert_fails(output: &Output, words: &[&str]) {
    assert_eq!((output.code(), &*output.stdout), (Some(1), ""), "{output}");
    assert_eq!(output.stderr.lines().count(), 1, "{output}");
    assert!(output.stderr.starts_with("hana: "), "{output}");
    for word in words {
        assert!(output.stderr.contains(word), "no '{word}' in: {output}");
    }
}

/// Returns the values as they were typed, for example `0.3` and not its nearest 32-bit number.
fn parameters(node: &Value) -> BTreeMap<String, f64> {
    let values = node["parameters"].as_object().unwrap();
    values
        .iter()
        .map(|(name, value)| (name.clone(), (value.as_f64().unwrap() * 1e6).round() / 1e6))
        .collect()
}

fn known(values: &[(&str, f64)]) -> BTreeMap<String, f64> {
    values.iter().map(|(name, value)| ((*name).into(), *value)).collect()
}

fn format_ms(sorted: &[Duration]) -> String {
    let formatted: Vec<String> = sorted.iter().map(|took| took.as_millis().to_string()).collect();
    formatted.join(", ")
}
