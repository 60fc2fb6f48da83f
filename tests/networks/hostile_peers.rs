//! Attacks by a foreign Zenoh program. No process crashes, memory stays bounded, the other nodes keep their frame
//! rate, and refused messages are counted and reported.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hana_lab::show::{Lines, Show, figure, hana, is, node, nodes, spawn_hana, start};
use hana_lab::{Host, Lab, Running, eventually, foreign};
use serde_json::Value;

const SOON: Duration = Duration::from_mins(1);
/// The largest accepted peak memory of a process, in MiB.
///
/// It is three times the normal memory of a process, plus the partial messages that Zenoh may buffer.
const MEMORY_MIB: u64 = 160;
/// The duration of each flood, in seconds.
const FLOOD: &str = "1.5";

/// Two hosts with a daemon and a visualization each, an OSC bridge that watches the whole mesh, and a hostile guest.
struct Besieged {
    _lab: Lab,
    show: Show,
    guest: Host,
    /// An observer of the states of all nodes.
    app: Lines,
    events: Running,
    /// The published health of the visualization on the other host.
    health: Running,
    _bridge: Running,
    /// The command of every process on both hosts, by host and pid.
    before: BTreeMap<(String, i32), String>,
}

impl Besieged {
    fn new(name: &str) -> Option<Self> {
        let lab = Lab::new(name)?;
        let show = Show::of(&lab, &["h1", "h2"]);
        let guest = lab.host("h3");
        let (h1, h2) = (show.host("h1"), show.host("h2"));
        start(h1, h1, "pulse");
        start(h1, h2, "pulse");
        let bridge = spawn_hana(h2, ["bridge", "osc", "--listen", "127.0.0.1:9000"]);
        let mut app = Lines::of_nodes(h2);
        app.wait_for_nodes(SOON, "all to run", |nodes| {
            ["pulse", "pulse-2", "osc-h2"].iter().all(|id| is(nodes, id, "running"))
        });
        let events = spawn_hana(h2, ["watch", "hana/*/event", "--json"]);
        let health = spawn_hana(h2, ["watch", "hana/pulse-2/health", "--json"]);
        eventually(SOON, "health messages", || health.stdout().lines().count() > 3);
        let before = running(&[h1, h2]);
        Some(Self { guest, app, events, health, _bridge: bridge, before, show, _lab: lab })
    }

    fn hosts(&self) -> [&Host; 2] {
        [self.show.host("h1"), self.show.host("h2")]
    }

    /// Runs the hostile program with these arguments against the daemon of the first host, in `processes` processes
    /// at once.
    ///
    /// Returns the total of their messages per second.
    fn attack(&self, processes: usize, words: &[&str]) -> u64 {
        let endpoint = format!("tcp/{}:7447", self.show.host("h1").address());
        let running: Vec<Running> = (0..processes)
            .map(|_| {
                let mut command = self.guest.command(foreign::python());
                command.arg(foreign::script("hostile.py")).arg(&endpoint).args(words);
                self.guest.spawn(command)
            })
            .collect();
        running
            .into_iter()
            .map(|attacker| attacker.finish(Duration::from_mins(2)).ok().json())
            .map(|report| report["per_s"].as_u64().unwrap())
            .sum()
    }

    /// Measures the frames per second of the visualization on the other host during `act`.
    fn rate_during<T>(&self, act: impl FnOnce() -> T) -> (f64, T) {
        let last = || {
            let text = self.health.stdout();
            let whole = &text[..text.rfind('\n').unwrap_or(0)];
            let line: Value = serde_json::from_str(whole.lines().next_back().unwrap()).unwrap();
            let frame = line["value"]["frames"]["count"].as_f64().unwrap();
            (line["value"]["uptime_ms"].as_f64().unwrap(), frame)
        };
        let before = last();
        let done = act();
        let after = eventually(SOON, "the next health message", || {
            let now = last();
            (now.0 > before.0 + 500.0).then_some(now)
        });
        ((after.1 - before.1) / (after.0 - before.0) * 1000.0, done)
    }

    /// Asserts that the same processes run as before, that none of them exceeds its memory limit, and that all nodes
    /// have the state `running`.
    #[track_caller]
    fn assert_unharmed(&self, after: &str) {
        assert_eq!(running(&self.hosts()), self.before, "after {after}");
        for ((host, pid), command) in &self.before {
            let peak = peak_mib(self.show.host(host), *pid);
            assert!(peak <= MEMORY_MIB, "after {after}: {command} on {host} used up to {peak} MiB");
        }
        for host in self.hosts() {
            eventually(SOON, &format!("all nodes to run on {} after {after}", host.name()), || {
                let listed = nodes(host);
                let all = ["h1", "h2", "pulse", "pulse-2", "osc-h2"];
                if all.iter().all(|id| is(&listed, id, "running")) { Ok(()) } else { Err(listed) }
            });
        }
    }

    /// Waits until a counter of a node is at least `at_least`, and returns the counter.
    #[track_caller]
    fn await_counter(&self, id: &str, counter: &str, at_least: u64) -> u64 {
        eventually(SOON, &format!("{id} to have counted {at_least} {counter}"), || {
            let listed = nodes(self.show.host("h2"));
            let count = node(&listed, id)
                .map_or(0, |node| node["counters"][counter].as_u64().unwrap_or_default());
            if count >= at_least { Ok(count) } else { Err(format!("{:?}", node(&listed, id))) }
        })
    }

    /// Waits for a node's event about a refused message with these words, and returns its text.
    #[track_caller]
    fn await_refusal(&self, by: &str, words: &[&str]) -> String {
        let key = format!("hana/{by}/event");
        eventually(SOON, &format!("an event of {by} with {words:?}"), || {
            let text = self.events.stdout();
            let events: Vec<Value> = text
                .split_inclusive('\n')
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
            let refusals: Vec<String> = events
                .iter()
                .filter(|event| event["key"] == key.as_str())
                .filter(|event| event["value"]["kind"] == "message_refused")
                .filter_map(|event| event["value"]["text"].as_str().map(String::from))
                .collect();
            let found = refusals.iter().find(|text| words.iter().all(|word| text.contains(word)));
            found.cloned().ok_or(refusals)
        })
    }
}

/// Lists the processes of these hosts.
fn running(hosts: &[&Host]) -> BTreeMap<(String, i32), String> {
    hosts
        .iter()
        .flat_map(|host| {
            host.processes()
                .into_iter()
                .map(|process| ((host.name().to_owned(), process.pid), process.command))
        })
        .collect()
}

/// Returns the peak memory of a process.
fn peak_mib(host: &Host, pid: i32) -> u64 {
    let status = host.run(["cat", &format!("/proc/{pid}/status")]).ok().stdout;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[test]
fn undecodable_messages_are_reported_and_change_nothing() {
    let Some(mut show) = Besieged::new("nonsense") else { return };
    let shown = |show: &Besieged| {
        let listed = nodes(show.show.host("h2"));
        node(&listed, "pulse").unwrap()["parameters"].clone()
    };
    let values = shown(&show);
    for (key, from) in [
        ("hana/pulse/control", None),
        ("hana/h1/control", None),
        ("hana/pulse/modulation/zoom", None),
        ("hana/pulse/modulation/nothing", None),
        // The messages come from a made-up node, so that they are decoded.
        ("hana/ghost/info", Some("ghost")),
        ("hana/ghost/health", Some("ghost")),
        ("hana/ghost/look", Some("ghost")),
        ("hana/ghost/event", Some("ghost")),
        ("hana/ghost/topic/spark", Some("ghost")),
        ("hana/ghost/process/pulse", Some("ghost")),
        ("hana/ghost/log/pulse", Some("ghost")),
    ] {
        let mut words = vec!["nonsense", key];
        words.extend(from);
        show.attack(1, &words);
    }
    assert_eq!(shown(&show), values);
    show.await_counter("pulse", "malformed", 400);
    show.await_counter("h1", "malformed", 100);
    show.await_counter("osc-h2", "malformed", 300);
    show.await_refusal("pulse", &["hana/pulse/modulation/zoom", "an unnamed sender"]);
    show.await_refusal("osc-h2", &["hana/ghost/", "from ghost"]);
    show.assert_unharmed("nonsense");

    // An unknown field is ignored, and so is an envelope of another version.
    show.attack(1, &["put", "hana/pulse/modulation/zoom", r#"{"value": 0.25, "colour": "red"}"#]);
    show.app.wait_for_nodes(SOON, "the value of the message with an unknown field", |nodes| {
        node(nodes, "pulse").unwrap()["parameters"]["zoom"] == 0.25
    });
    let envelope = r#"[9, "desk", 1, 0, 0]"#;
    show.attack(1, &["put", "hana/pulse/modulation/zoom", "-0.25", envelope]);
    show.app.wait_for_nodes(SOON, "the value of the sender with a newer envelope", |nodes| {
        node(nodes, "pulse").unwrap()["parameters"]["zoom"] == -0.25
    });
}

#[test]
fn messages_of_a_hundred_mebibytes_do_no_harm() {
    let Some(show) = Besieged::new("huge") else { return };
    let size = (100 * 1024 * 1024).to_string();
    let (rate, ()) = show.rate_during(|| {
        for key in ["hana/pulse/modulation/zoom", "hana/pulse/control", "hana/ghost/info"] {
            show.attack(1, &["huge", key, &size]);
        }
    });
    figure(&format!(
        "{rate:.0} frames a second on the other host while six messages of 100 MiB arrived"
    ));
    show.assert_unharmed("messages of 100 MiB");
    // This message is too large for its type, but not for the network. It is reported with its size.
    show.attack(1, &["huge", "hana/pulse/modulation/zoom", "2000000"]);
    show.await_refusal("pulse", &["hana/pulse/modulation/zoom", "2000000 bytes", "256"]);
    show.await_counter("pulse", "malformed", 1);
}

#[test]
fn impersonated_messages_are_refused_and_reported() {
    let Some(show) = Besieged::new("forged") else { return };
    let dead = r#"{"frames": {"count": 1, "fps": 0.0, "max_us": 0}, "uptime_ms": 1}"#;
    let key = "hana/pulse/health";
    show.attack(1, &["forge", "2", key, "desk", "1", dead]);
    let report = show.await_refusal("h1", &[key, "'desk'", "'pulse'"]);
    figure(&report);
    // This message has no envelope.
    show.attack(1, &["put", key, dead]);
    show.await_counter("h1", "impersonated", 100);
    for key in ["hana/pulse/info", "hana/pulse/look", "hana/h1/process/pulse"] {
        show.attack(1, &["forge", "0.5", key, "desk", "1", "{}"]);
        show.await_refusal("osc-h2", &[key, "'desk'"]);
    }

    // The attacker uses the visualization's name and an instance far in the future, without end. The real node is
    // still received.
    let future = u64::MAX.to_string();
    let mut checks = None;
    for instance in [future.as_str(), "1"] {
        let endpoint = format!("tcp/{}:7447", show.show.host("h1").address());
        let mut command = show.guest.command(foreign::python());
        command.arg(foreign::script("hostile.py")).arg(endpoint);
        command.args(["forge", "4", key, "pulse", instance, dead]);
        let attacker = show.guest.spawn(command);
        show.await_refusal("h1", &[key, "two senders use the id 'pulse'"]);
        let begun = Instant::now();
        let mut seen = 0;
        while begun.elapsed() < Duration::from_millis(2500) {
            let listed = nodes(show.show.host("h1"));
            let pulse = node(&listed, "pulse").unwrap();
            assert_eq!(pulse["state"], "running", "{pulse}");
            seen += 1;
        }
        checks = Some(seen);
        attacker.finish(SOON).ok();
    }
    figure(&format!("checked {} times during each forgery: always running", checks.unwrap()));
    show.assert_unharmed("forged envelopes");
}

#[test]
fn flood_on_any_kind_of_key_is_survived() {
    let Some(show) = Besieged::new("flood") else { return };
    let (calm, ()) = show.rate_during(|| {
        let until = Instant::now() + Duration::from_secs(3);
        eventually(SOON, "three seconds of peace", || Instant::now() >= until);
    });
    figure(&format!("{calm:.0} frames a second on the other host in peace"));
    let mut best = 0;
    for (what, words) in [
        // A message on the key of a token has no effect, whereas tokens themselves do.
        ("alive", &["flood", FLOOD, "hana/pulse/alive/visualization/1f"][..]),
        ("tokens", &["tokens", FLOOD]),
        ("info", &["flood", FLOOD, "hana/pulse/info", "pulse"]),
        ("health", &["flood", FLOOD, "hana/pulse/health", "pulse"]),
        ("health, unnamed", &["flood", FLOOD, "hana/pulse/health"]),
        ("control", &["flood", FLOOD, "hana/pulse/control"]),
        ("control of a daemon", &["flood", FLOOD, "hana/h1/control", "desk"]),
        ("control, asked", &["ask", FLOOD, "hana/pulse/control"]),
        ("event", &["flood", FLOOD, "hana/h1/event", "h1"]),
        ("modulation", &["flood", FLOOD, "hana/pulse/modulation/zoom", "desk"]),
        ("modulation, made-up parameters", &["keys", FLOOD, "hana/pulse/modulation/{}"]),
        ("look", &["flood", FLOOD, "hana/pulse/look", "pulse"]),
        ("look, asked", &["ask", FLOOD, "hana/pulse/look"]),
        ("topic", &["flood", FLOOD, "hana/pulse/topic/spark", "desk"]),
        ("inbox", &["flood", FLOOD, "hana/pulse/inbox/spark", "desk"]),
        ("inbox of a kind", &["flood", FLOOD, "hana/_pulse/inbox/spark", "desk"]),
        ("process", &["flood", FLOOD, "hana/h1/process/pulse", "h1"]),
        ("lost", &["flood", FLOOD, "hana/h1/lost_peers", "h1"]),
        ("log", &["flood", FLOOD, "hana/h1/log/pulse", "h1"]),
        ("log, asked", &["ask", FLOOD, "hana/h1/log/pulse"]),
        ("info, made-up nodes", &["keys", FLOOD, "hana/{}/info"]),
        ("health, made-up nodes", &["keys", FLOOD, "hana/{}/health"]),
        ("process, made-up daemons", &["keys", FLOOD, "hana/{}/process/pulse"]),
    ] {
        // Two processes that play as the same node would be detected and reported.
        let processes = if words.contains(&"desk") { 1 } else { 2 };
        let (rate, sent) = show.rate_during(|| show.attack(processes, words));
        best = best.max(sent);
        figure(&format!("{what}: {sent} a second, {rate:.0} frames a second on the other host"));
        show.assert_unharmed(what);
        // All hosts share the processors of this machine, and the guest uses as much of them as it can.
        assert!(rate > calm / 6.0, "{what}: {rate:.0} frames a second, {calm:.0} in peace");
    }
    let peaks: Vec<String> = show
        .before
        .iter()
        .map(|((host, pid), command)| {
            let name = command.split('/').next_back().unwrap_or_default();
            format!("{} {}", name.split(" --").next().unwrap_or_default(), {
                peak_mib(show.show.host(host), *pid)
            })
        })
        .collect();
    figure(&format!("up to {best} messages a second; MiB at most: {}", peaks.join(", ")));
    let figures = [
        ("pulse", "limited", 2_000),
        ("pulse", "malformed", 100),
        ("h1", "limited", 1_000),
        ("h1", "impersonated", 1_000),
        ("osc-h2", "limited", 1_000),
    ];
    for (id, counter, at_least) in figures {
        let count = show.await_counter(id, counter, at_least);
        figure(&format!("{id}: {counter} {count}"));
    }
    let report =
        show.await_refusal("pulse", &["hana/pulse/control", "an unnamed sender", "more than 1000"]);
    figure(&report);
    show.await_refusal("pulse", &["hana/pulse/modulation/", "there is no parameter"]);
    show.await_refusal(
        "h1",
        &[
            "hana/pulse/health",
            "an unnamed sender publishes on a key that only 'pulse' may publish on",
        ],
    );

    // The output for operators reports it too.
    let table = hana(show.show.host("h2"), ["nodes"]).ok().stdout;
    assert!(table.contains("messages refused: "), "{table}");
}
