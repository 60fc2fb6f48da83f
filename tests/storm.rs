//! Fifty visualizations crash at the same time: all come back, one after the other, and the daemon has time left.
#![cfg(target_os = "linux")]
#![allow(clippy::panic, clippy::unwrap_used)]

use std::time::{Duration, Instant};
use std::{fs, thread};

use hana_tests::show::{Show, figure, nodes};
use hana_tests::{Host, Lab, Signal, eventually};
use serde_json::Value;

/// How many there are.
const MANY: usize = 50;
/// For what is no promise of time, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_mins(3);
/// What the daemon may take of one core while they come back. The promise is of a build for use: in one that is not
/// optimised the network alone takes several times as much, so there it is only to have time left.
const SHARE: f64 = if cfg!(debug_assertions) { 0.8 } else { 0.2 };
/// From one launch to the next, of the 75 that are between two: what is written down is when one had been made, which on a
/// busy machine takes longer one time than another.
const SPACING_MS: u64 = 30;

const CATALOGUE: &str = "[visualizations.plain]\nprogram = \"plain\"\n";

/// The time that a process of a host has spent on a processor.
fn busy(host: &Host, pid: i32) -> Duration {
    let stat = host.run(["cat", &format!("/proc/{pid}/stat")]).ok().stdout;
    // After the name, which may have anything in it.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// The share of a core that it takes meanwhile.
fn share<T>(host: &Host, pid: i32, meanwhile: impl FnOnce() -> T) -> (f64, Duration, T) {
    let (before, began) = (busy(host, pid), Instant::now());
    let done = meanwhile();
    let took = began.elapsed();
    let spent = busy(host, pid).saturating_sub(before);
    (spent.as_secs_f64() / took.as_secs_f64(), took, done)
}

/// Those that run, having been started again so often.
fn running(listed: &[Value], restarts: u64) -> Vec<&Value> {
    let runs = |node: &&Value| {
        node["role"] == "visualization"
            && node["state"] == "running"
            && node["restarts"] == restarts
    };
    listed.iter().filter(runs).collect()
}

fn all_run(host: &Host, restarts: u64) -> Vec<Value> {
    let mut listed = vec![];
    let begun = Instant::now();
    // Not as often as can be: whoever asks makes the daemon work.
    eventually(SOON, "all to run", || {
        thread::sleep(Duration::from_millis(500));
        listed = nodes(host);
        let count = running(&listed, restarts).len();
        if count == MANY { Ok(()) } else { Err(format!("{count} after {:?}", begun.elapsed())) }
    });
    listed
}

#[test]
fn fifty_that_crash_at_once_come_back_one_after_the_other() {
    let Some(lab) = Lab::new("storm") else { return };
    let mut show = Show::with_catalogue(&lab, &["h1"], CATALOGUE);
    let h1 = show.host("h1").clone();
    let daemon = show.daemon("h1").pid();
    let mut start = h1.command("sh");
    start.args(["-c", &format!("for i in $(seq {MANY}); do hana start plain || exit 1; done")]);
    h1.run_within(SOON, start).ok();
    let before = all_run(&h1, 0);
    let (quiet, ..) = share(&h1, daemon, || thread::sleep(Duration::from_secs(5)));

    let pids: Vec<i32> = running(&before, 0)
        .iter()
        .map(|node| node["pid"].as_i64().unwrap().try_into().unwrap())
        .collect();
    let (storm, took, after) = share(&h1, daemon, || {
        for pid in &pids {
            h1.kill(Signal::KILL, *pid);
        }
        all_run(&h1, 1)
    });
    figure(&format!(
        "{MANY} crashed at once and run again after {:.1} s; the daemon took {:.1} % of a core meanwhile, {:.1} % while they just ran",
        took.as_secs_f64(),
        storm * 100.0,
        quiet * 100.0
    ));
    let records = h1.directory().join("state/h1/run");
    let mut launched: Vec<u64> = fs::read_dir(records)
        .unwrap()
        .map(|entry| {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            serde_json::from_str::<Value>(&text).unwrap()["launched_ms"].as_u64().unwrap()
        })
        .collect();
    launched.sort_unstable();
    assert_eq!(launched.len(), MANY);
    let closest = launched.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
    let within = launched[MANY - 1] - launched[0];
    figure(&format!("launched within {within} ms, the closest two {closest} ms apart"));
    assert!(closest >= SPACING_MS, "{launched:?}");
    let mut ids: Vec<&Value> = running(&after, 1).iter().map(|node| &node["pid"]).collect();
    ids.sort_by_key(|pid| pid.as_i64());
    ids.dedup();
    assert_eq!(ids.len(), MANY, "each is a process of its own");
    let processes =
        h1.processes().iter().filter(|it| it.state != 'Z' && it.command.ends_with("plain")).count();
    assert_eq!(processes, MANY, "no one is there twice");
    assert!(storm < SHARE, "{:.1} % of a core", storm * 100.0);
}
