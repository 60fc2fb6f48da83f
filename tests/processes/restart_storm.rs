//! Fifty visualizations crash at the same time. All of them are restarted, one after another, and the daemon keeps
//! up.

use std::time::{Duration, Instant};
use std::{fs, thread};

use hana_lab::show::{Show, figure, nodes};
use hana_lab::{Host, Lab, Signal, eventually};
use serde_json::Value;

/// The number of visualizations.
const MANY: usize = 50;
/// The time limit for steps without a promised time, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_mins(3);
/// The largest share of a core that the daemon may use during the restarts.
///
/// The promise is for a release build. In a debug build, the network alone takes several times as much, so the daemon
/// must only keep up.
const SHARE: f64 = if cfg!(debug_assertions) { 0.8 } else { 0.2 };
/// The shortest accepted time between two launches. The daemon aims at 75 ms.
///
/// The recorded time is that of the completed launch, which varies on a busy machine.
const SPACING_MS: u64 = 30;

const CATALOGUE: &str = "[visualizations.no_bevy]\nprogram = \"no_bevy\"\n";

/// Returns the processor time of a process of a host.
fn busy(host: &Host, pid: i32) -> Duration {
    let stat = host.run(["cat", &format!("/proc/{pid}/stat")]).ok().stdout;
    // These are the fields after the name, which may contain any character.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// Returns the share of a core that a process uses during `meanwhile`, the time that took, and the result.
fn share<T>(host: &Host, pid: i32, meanwhile: impl FnOnce() -> T) -> (f64, Duration, T) {
    let (before, began) = (busy(host, pid), Instant::now());
    let done = meanwhile();
    let took = began.elapsed();
    let spent = busy(host, pid).saturating_sub(before);
    (spent.as_secs_f64() / took.as_secs_f64(), took, done)
}

/// Lists the visualizations that run after this many restarts.
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
    // The polling interval is long, because each query makes the daemon work.
    eventually(SOON, "all visualizations to run", || {
        thread::sleep(Duration::from_millis(500));
        listed = nodes(host);
        let count = running(&listed, restarts).len();
        if count == MANY { Ok(()) } else { Err(format!("{count} after {:?}", begun.elapsed())) }
    });
    listed
}

#[test]
fn fifty_crashes_at_once_are_restarted_one_after_the_other() {
    let Some(lab) = Lab::new("storm") else { return };
    let mut show = Show::with_catalogue(&lab, &["h1"], CATALOGUE);
    let h1 = show.host("h1").clone();
    let daemon = show.daemon("h1").pid();
    let mut start = h1.command("sh");
    start.args(["-c", &format!("for i in $(seq {MANY}); do hana start no_bevy || exit 1; done")]);
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
    assert_eq!(ids.len(), MANY, "each is a separate process");
    let processes = h1
        .processes()
        .iter()
        .filter(|it| it.state != 'Z' && it.command.ends_with("no_bevy"))
        .count();
    assert_eq!(processes, MANY, "no visualization runs twice");
    assert!(storm < SHARE, "{:.1} % of a core", storm * 100.0);
}
