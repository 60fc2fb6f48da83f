//! What happens on the beat: changes that wait for it, and parameters that move with it.
#![cfg(target_os = "linux")]
#![allow(clippy::panic, clippy::unwrap_used)]

use std::time::Duration;

use hana_tests::Host;
use hana_tests::Lab;
use hana_tests::eventually;
use hana_tests::show::Show;
use hana_tests::show::hana;
use hana_tests::show::node;
use hana_tests::show::nodes;
use hana_tests::show::start;
use serde_json::Value;

/// For what is no promise of time, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(20);

fn wait_for(host: &Host, id: &str, what: &str, mut as_wished: impl FnMut(&Value) -> bool) -> Value {
    eventually(SOON, what, || {
        let nodes = nodes(host);
        match node(&nodes, id) {
            Some(node) if as_wished(node) => Ok(node.clone()),
            _ => Err(nodes),
        }
    })
}

/// The beat that it is now on a host.
fn beat_now(host: &Host) -> f64 {
    hana(host, ["tempo", "--json"]).ok().json()["beat"].as_f64().unwrap()
}

#[test]
fn a_change_that_comes_too_late_is_made_at_once_and_counted() {
    let Some(lab) = Lab::new("too-late") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let (h1, h2) = (show.host("h1"), show.host("h2"));
    start(h1, h1, "pulse");
    wait_for(h2, "pulse", "it to run", |node| node["state"] == "running");
    let said = hana(h2, ["set", "pulse", "zoom=0.5", "hue=-0.5", "--at", "beat:-100"]).ok().stdout;
    assert_eq!(said.trim(), "'pulse' has zoom +0.5, hue -0.5: at once, since beat -100 was over");
    wait_for(h2, "pulse", "it to be set and counted", |pulse| {
        pulse["parameters"]["zoom"] == 0.5
            && pulse["parameters"]["hue"] == -0.5
            && pulse["counters"]["overdue"] == 1
    });
    let list = hana(h2, ["nodes"]).ok().stdout;
    assert!(list.contains("changes too late for their beat: 1"), "{list}");
    // What waits for the next bar is not late, and comes in time.
    let said = hana(h2, ["set", "pulse", "zoom=-0.5", "--at", "next-bar", "--json"]).ok().json();
    let beat = said["waits_for"].as_f64().unwrap();
    wait_for(h2, "pulse", "the bar", |pulse| pulse["parameters"]["zoom"] == -0.5);
    assert!(beat_now(h1) >= beat, "before its bar");
    let list = wait_for(h2, "pulse", "it to be listed", |_| true);
    assert_eq!(list["counters"]["overdue"], 1);
}

#[test]
fn what_is_no_recipe_is_told_how_to_write_it() {
    let Some(lab) = Lab::new("recipes") else { return };
    let show = Show::of(&lab, &["h1"]);
    let h1 = show.host("h1");
    start(h1, h1, "pulse");
    wait_for(h1, "pulse", "it to run", |node| node["state"] == "running");
    let said = hana(h1, ["set", "pulse", "zoom=lfo:sine:1bar", "hue=0.25"]).ok().stdout;
    assert_eq!(said.trim(), "'pulse' has zoom lfo:sine:1bar, hue +0.25");
    wait_for(h1, "pulse", "it to be listed", |_| {
        hana(h1, ["nodes"]).ok().stdout.contains("zoom lfo:sine:1bar")
    });
    for (word, told) in [
        ("zoom=lfo:sin:1bar", "waves are sine, triangle, saw, square, sample-and-hold"),
        ("zoom=lfo:sine:0bars", "'period' is"),
        ("zoom=env:1beat:speed=1", "there are at, attack, decay"),
        ("gone=lfo:sine", "there is no parameter 'gone'; there are zoom"),
    ] {
        let failed = hana(h1, ["set", "pulse", word]);
        assert_eq!(failed.code(), Some(1), "{failed:?}");
        assert!(failed.stderr.contains(told), "{}", failed.stderr);
    }
    let wrong = hana(h1, ["set", "pulse", "zoom=0", "--at", "bar"]);
    assert_eq!(wrong.code(), Some(2), "{wrong:?}");
    assert!(wrong.stderr.contains("next-bar, or a beat such as beat:128"), "{}", wrong.stderr);
    // A value ends it.
    hana(h1, ["set", "pulse", "zoom=0.125"]).ok();
    wait_for(h1, "pulse", "it to stand still", |pulse| pulse["parameters"]["zoom"] == 0.125);
    assert!(!hana(h1, ["nodes"]).ok().stdout.contains("lfo:"));
}

#[test]
fn a_start_on_the_next_bar_is_made_there() {
    let Some(lab) = Lab::new("start-at") else { return };
    let show = Show::of(&lab, &["h1"]);
    let h1 = show.host("h1");
    let before = beat_now(h1);
    let started = hana(h1, ["start", "pulse", "--at", "next-bar", "--json"]).ok().json();
    assert_eq!(started["node"], "pulse");
    assert!((beat_now(h1) / 4.0).floor() > (before / 4.0).floor(), "before its bar");
    wait_for(h1, "pulse", "it to run", |node| node["state"] == "running");
    // What cannot be started is said at once, not at its beat.
    let refused = hana(h1, ["start", "gone", "--at", "beat:100000"]);
    assert_eq!(refused.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("gone"), "{}", refused.stderr);
}
