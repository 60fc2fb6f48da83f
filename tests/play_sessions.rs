//! Play sessions over what happens to networks and daemons: what is set is played, by whichever way there is, and nothing
//! twice or after something newer.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, missing_docs)]

use std::thread;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use hana_tests::Ensemble;
use hana_tests::Host;
use hana_tests::Lab;
use hana_tests::Signal;
use hana_tests::eventually;
use hana_tests::show;
use hana_tests::show::Show;
use hana_tests::show::figure;
use serde_json::Value;

fn shell(host: &Host, script: &str) {
    host.run(["sh", "-e", "-c", script]).ok();
}

/// Lets nothing of a play link through to a host; what the daemons say to each other passes.
fn block(host: &Host) {
    shell(
        host,
        "nft add table inet wall
        nft 'add chain inet wall in { type filter hook input priority 0; }'
        nft add rule inet wall in iif lo accept
        nft add rule inet wall in tcp dport 7447 accept
        nft add rule inet wall in tcp sport 7447 accept
        nft add rule inet wall in meta l4proto tcp drop",
    );
}

fn free(host: &Host) {
    shell(host, "nft delete table inet wall");
}

/// A number of a line, by its way through it.
fn number(line: &Value, way: &str) -> f64 {
    line.pointer(way).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {way} in {line}"))
}

/// Numbers that look like chance, and come again with the same seed.
struct Dice(u64);

impl Dice {
    fn thrown() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seed = std::env::var("HANA_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(now.subsec_nanos()));
        eprintln!("HANA_SEED={seed}");
        Self(seed)
    }

    fn between(&mut self, least: u64, most: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        least + (self.0 >> 33) % (most - least)
    }
}

/// The worst of a number of a visualization's lines.
fn worst(lines: &[Value], way: &str) -> f64 {
    lines.iter().map(|line| number(line, way)).fold(0.0, f64::max)
}

#[test]
fn a_direct_path_that_is_blocked_and_freed_at_random_plays_on_and_nothing_twice_or_out_of_order() {
    let Some(lab) = Lab::new("blocked") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let (h1, h2) = (show.host("h1"), show.host("h2"));
    let stage = Ensemble::stage(h2, &["v"], "--parameters 2");
    let hands = Ensemble::hands(h1, &["a"], &["v"], "--per-second 200");
    hands.wait_until_direct("a", "v");
    stage.wait_for("v", "it to be played", |line| number(line, "/heard/p0/count") > 100.0);
    let before = stage.lines("v").len();
    let mut dice = Dice::thrown();
    let mut fell_back = 0;
    for _ in 0..20 {
        block(h2);
        thread::sleep(Duration::from_millis(dice.between(100, 1500)));
        let status = hands.lines("a").pop().unwrap();
        fell_back += u32::from(status["plays"]["v"]["way"] == "mesh");
        free(h2);
        thread::sleep(Duration::from_millis(dice.between(100, 1500)));
    }
    let status = hands.wait_until_direct("a", "v");
    let lines = stage.lines("v").split_off(before);
    let last = lines.last().unwrap();
    let gap = worst(&lines, "/heard/p0/gap_ms");
    figure(&format!(
        "blocked and freed 20 times: on the mesh at the end of {fell_back} of them, {} changes of the way, the longest time between two values that were shown {gap:.0} ms; {} values shown, {} late",
        status["plays"]["v"]["switches"], last["heard"]["p0"]["count"], last["traffic"]["late"]
    ));
    assert_eq!(last["heard"]["p0"]["backwards"], 0, "{last}");
    assert!(fell_back >= 5, "{fell_back}");
    // A sixth of a second would do; a machine that is busy takes its time.
    assert!(gap < 2000.0, "{gap} ms");
    let age = worst(&lines[lines.len() - 1..], "/heard/p0/age_ms");
    assert!(age < 1000.0, "{age} ms");
}
