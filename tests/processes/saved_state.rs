//! State that a visualization saves: `pulse` counts its beats, and the count survives a crash.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use hana_lab::show::{Show, hana, node, nodes, start, start_daemon};
use hana_lab::{Host, Lab, Signal, eventually};

/// The time limit for steps without a promised time, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(30);

/// Returns the numbers of the beats that the current instance of `pulse` has printed.
fn beats(host: &Host) -> Vec<u64> {
    let printed = hana(host, ["logs", "pulse"]).ok().stdout;
    printed.lines().filter_map(|line| line.trim().strip_prefix("beat ")?.parse().ok()).collect()
}

/// Waits until the current instance has printed this many beats.
#[track_caller]
fn wait_for_beats(host: &Host, count: usize) -> Vec<u64> {
    eventually(SOON, &format!("{count} beats"), || {
        let beats = beats(host);
        if beats.len() >= count { Ok(beats) } else { Err(beats) }
    })
}

/// Waits until a process with another pid runs, and returns its pid.
#[track_caller]
fn wait_for_another(host: &Host, than: i32) -> i32 {
    eventually(SOON, "a new instance", || {
        let nodes = nodes(host);
        let pid = node(&nodes, "pulse")
            .filter(|node| node["state"] == "running")
            .and_then(|node| i32::try_from(node["pid"].as_i64()?).ok());
        pid.filter(|pid| *pid != than).ok_or(nodes)
    })
}

/// Starts `pulse` and makes it beat once a second.
fn start_beating(host: &Host) -> i32 {
    let (_, pid) = start(host, host, "pulse");
    wait_for_another(host, 0);
    hana(host, ["set", "pulse", "speed=1"]).ok();
    pid
}

fn saved_file(host: &Host) -> PathBuf {
    host.directory().join("state").join(host.name()).join("saved").join("pulse")
}

/// Waits until the count on disk is that of the newest beat, since a crash may lose a quarter of a second.
#[track_caller]
fn wait_until_saved(host: &Host) -> u64 {
    let file = saved_file(host);
    eventually(SOON, "a beat to be saved", || {
        let newest = beats(host).pop();
        let bytes = fs::read(&file).unwrap_or_default();
        // The file is the MessagePack of `{"count": n}`, with n below 128.
        let saved = bytes.last().copied().map(u64::from);
        if newest.is_some() && saved == newest { Ok(saved.unwrap()) } else { Err((saved, newest)) }
    })
}

#[test]
fn saved_count_survives_a_crash_but_not_a_new_start() {
    let Some(lab) = Lab::new("saved") else { return };
    let show = Show::of(&lab, &["h1"]);
    let h1 = show.host("h1");
    let first = start_beating(h1);
    wait_for_beats(h1, 2);
    let saved = wait_until_saved(h1);
    h1.kill(Signal::KILL, first);
    let second = wait_for_another(h1, first);
    let went_on = wait_for_beats(h1, 1);
    assert!((saved + 1..=saved + 2).contains(&went_on[0]), "{went_on:?} after {saved}");

    // Before a restart by command, the visualization saves its state, so it continues to count.
    hana(h1, ["restart", "pulse"]).ok();
    wait_for_another(h1, second);
    let again = wait_for_beats(h1, 1);
    assert!(again[0] > went_on[0], "{again:?} after {went_on:?}");

    hana(h1, ["stop", "pulse"]).ok();
    start_beating(h1);
    assert_eq!(wait_for_beats(h1, 1)[0], 1, "a new start begins at one");
}

#[test]
fn saved_state_outlives_the_daemon_and_damage_is_reported() {
    let Some(lab) = Lab::new("saved-daemon") else { return };
    let mut show = Show::of(&lab, &["h1"]);
    let first = start_beating(show.host("h1"));
    wait_for_beats(show.host("h1"), 2);
    let saved = wait_until_saved(show.host("h1"));

    // The visualization dies while no daemon runs, and the next daemon restores it.
    let daemon = show.daemon("h1");
    daemon.kill(Signal::KILL);
    daemon.wait(SOON);
    show.host("h1").kill(Signal::KILL, first);
    *show.daemon("h1") = start_daemon(show.host("h1"));
    let h1 = show.host("h1");
    let second = wait_for_another(h1, first);
    let went_on = wait_for_beats(h1, 1);
    assert!((saved + 1..=saved + 2).contains(&went_on[0]), "{went_on:?} after {saved}");

    // A truncated file is reported, and the count starts from zero.
    h1.kill(Signal::STOP, second);
    let whole = fs::read(saved_file(h1)).unwrap();
    fs::write(saved_file(h1), &whole[..whole.len() - 1]).unwrap();
    h1.kill(Signal::KILL, second);
    wait_for_another(h1, second);
    assert_eq!(wait_for_beats(h1, 1)[0], 1);
    let printed = hana(h1, ["logs", "pulse"]).ok().stdout;
    assert!(printed.contains("ignoring the state that an earlier instance saved"), "{printed}");
}
