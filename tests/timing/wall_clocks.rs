//! Wall clocks that are set, or that differ by years. Playing, reports and durations do not depend on them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hana_lab::show::{hana, node, nodes, spawn_hana, start_daemon, start_daemon_with};
use hana_lab::{Host, Lab, Running, Signal, WallClock, eventually};
use serde_json::Value;

/// The time limit for immediate effects, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(15);
/// The clock error, in seconds, of a machine whose battery-backed clock is in local time.
const HOURS: i64 = 7200;
/// The clock error, in seconds, of a machine with an empty battery.
const YEARS: i64 = 30 * 365 * 86_400;

/// The beginning of an OSC message to `/hana/pulse/zoom` with a float argument.
const ZOOM: &str = r"/hana/pulse/zoom\0\0\0\0,f\0\0";
const QUARTER: (f64, &str) = (0.25, r"\x3e\x80\0\0");
const HALF: (f64, &str) = (0.5, r"\x3f\0\0\0");
const MOST: (f64, &str) = (0.75, r"\x3f\x40\0\0");

/// Plays the zoom of `pulse` through the bridge on `host` until it is listed on `on`.
fn play(host: &Host, on: &Host, (value, bytes): (f64, &str)) {
    eventually(SOON, &format!("pulse to show the zoom {value}"), || {
        let send = format!("printf '{ZOOM}{bytes}' > /dev/udp/127.0.0.1/9000");
        host.run(["bash", "-c", &send]).ok();
        let shown = pulse(on)["parameters"]["zoom"].clone();
        if shown.as_f64() == Some(value) { Ok(()) } else { Err(shown) }
    });
}

fn bridge(host: &Host) -> Running {
    let bridge = spawn_hana(host, ["bridge", "osc", "--listen", "127.0.0.1:9000"]);
    eventually(SOON, "the bridge to listen", || {
        let printed = bridge.stdout() + &bridge.stderr();
        if printed.contains("listens") { Ok(()) } else { Err(printed) }
    });
    bridge
}

fn pulse(from: &Host) -> Value {
    node(&nodes(from), "pulse").cloned().unwrap_or_default()
}

/// Waits until `pulse` runs in another process than `before`.
fn running(from: &Host, before: &Value) -> Value {
    eventually(SOON, "pulse to run", || {
        let found = pulse(from);
        let is_so = found["state"] == "running" && found["pid"] != before["pid"];
        if is_so { Ok(found) } else { Err(found) }
    })
}

#[test]
fn visualization_restarted_after_a_clock_step_is_played() {
    let Some(lab) = Lab::new("clock-back") else { return };
    let clock = WallClock::ahead_by(&lab, "clock", HOURS);
    let (h1, h2) = (lab.host("h1"), lab.host("h2"));
    let _daemons = [start_daemon_with(&h1, |command| clock.give(command)), start_daemon(&h2)];
    hana(&h1, ["start", "pulse"]).ok();
    let before = running(&h2, &Value::Null);
    let _bridge = bridge(&h2);
    play(&h2, &h2, QUARTER);
    clock.set(0);
    h1.kill(Signal::KILL, i32::try_from(before["pid"].as_i64().unwrap()).unwrap());
    running(&h2, &before);
    play(&h2, &h2, MOST);
}

#[test]
fn visualizations_started_by_hand_are_played_at_any_clock() {
    let Some(lab) = Lab::new("clock-by-hand") else { return };
    let clock = WallClock::ahead_by(&lab, "clock", HOURS);
    let (h1, h2) = (lab.host("h1"), lab.host("h2"));
    let _daemons = [start_daemon(&h1), start_daemon(&h2)];
    let _bridge = bridge(&h2);
    let events = spawn_hana(&h2, ["watch", "hana/pulse/event", "--json"]);
    let mut before = Value::Null;
    // A visualization that is closed publishes its end in an event, for which the test waits. A killed one does not.
    for (ahead, value, ends) in [
        (HOURS, QUARTER, Signal::INT),
        (0, MOST, Signal::KILL),
        (-YEARS, HALF, Signal::KILL),
        (-YEARS - HOURS, QUARTER, Signal::INT),
    ] {
        clock.set(ahead);
        let mut command = h1.command("pulse");
        clock.give(&mut command);
        let mut program = h1.spawn(command);
        before = running(&h2, &before);
        play(&h2, &h2, value);
        let count = events.stdout().lines().count();
        program.kill(ends);
        program.wait(SOON);
        if ends == Signal::INT {
            eventually(SOON, "the event about the end of that instance", || {
                let lines = events.stdout().lines().count();
                if lines > count { Ok(()) } else { Err(lines) }
            });
        }
    }
}

#[test]
fn times_of_a_host_years_off_are_shown_by_the_local_clock() {
    let Some(lab) = Lab::new("clock-years") else { return };
    let clock = WallClock::ahead_by(&lab, "clock", YEARS);
    let (h1, h2) = (lab.host("h1"), lab.host("h2"));
    let _daemons = [start_daemon_with(&h1, |command| clock.give(command)), start_daemon(&h2)];
    for ahead in [YEARS, -YEARS, 0] {
        clock.set(ahead);
        let before = pulse(&h2);
        hana(&h1, ["start", "pulse"]).ok();
        running(&h2, &before);
        for found in nodes(&h2) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
            let since = u128::from(found["since_ms"].as_u64().unwrap());
            assert!(since <= now && now - since < 120_000, "{ahead}: {found}");
            assert!(found["uptime_s"].as_u64().unwrap() < 120, "{ahead}: {found}");
        }
        hana(&h1, ["stop", "pulse"]).ok();
    }
}
