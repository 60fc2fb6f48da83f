//! The recovery from a crash: the same id, the last look, and the time that it takes.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hana_lab::show::{Lines, Show, figure, hana, node, nodes, signal_now, start, start_daemon};
use hana_lab::{Host, Lab, Signal, eventually};
use serde_json::Value;

/// The time limit for steps without a promised time, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(20);

fn wait_for(
    host: &Host,
    id: &str,
    what: &str,
    mut is_expected: impl FnMut(&Value) -> bool,
) -> Value {
    eventually(SOON, what, || {
        let nodes = nodes(host);
        match node(&nodes, id) {
            Some(node) if is_expected(node) => Ok(node.clone()),
            _ => Err(nodes),
        }
    })
}

fn is_at(node: &Value, zoom: f64, hue: f64) -> bool {
    let is = |name: &str, value: f64| {
        node["parameters"][name].as_f64().is_some_and(|is| (is - value).abs() < 1e-6)
    };
    node["state"] == "running" && is("zoom", zoom) && is("hue", hue)
}

fn pid(node: &Value) -> i32 {
    node["pid"].as_i64().unwrap().try_into().unwrap()
}

fn look_file(host: &Host, id: &str) -> PathBuf {
    host.directory().join("state").join(host.name()).join("looks").join(format!("{id}.json"))
}

fn kill_daemon(show: &mut Show) {
    let daemon = show.daemon("h1");
    daemon.kill(Signal::KILL);
    daemon.wait(SOON);
}

#[test]
fn crash_restores_the_last_look_and_a_new_start_begins_afresh() {
    let Some(lab) = Lab::new("last-look") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let (h1, h2) = (show.host("h1"), show.host("h2"));
    let mut list = Lines::of_nodes(h2);
    let (mut plain, mut restored) = (vec![], vec![]);
    for round in 0..5 {
        let began = Instant::now();
        let (_, first) = start(h2, h1, "pulse");
        let (at, _) = list.wait_for_nodes(SOON, "the visualization to run", |nodes| {
            node(nodes, "pulse").is_some_and(|pulse| is_at(pulse, 0.0, 0.0) && pid(pulse) == first)
        });
        plain.push(at.duration_since(began));
        let hue = f64::from(round) / 8.0;
        hana(h2, ["set", "pulse", "zoom=0.625", &format!("hue={hue}")]).ok();
        wait_for(h2, "pulse", "the values to be applied", |pulse| is_at(pulse, 0.625, hue));
        let killed = signal_now(h1, Signal::KILL, first);
        let (at, _) = list.wait_for_nodes(SOON, "a new instance with the same look", |nodes| {
            node(nodes, "pulse")
                .is_some_and(|pulse| is_at(pulse, 0.625, hue) && pid(pulse) != first)
        });
        restored.push(at.duration_since(killed));
        // A restart by command keeps the look too.
        hana(h2, ["restart", "pulse"]).ok();
        wait_for(h2, "pulse", "the same look", |pulse| is_at(pulse, 0.625, hue));
        hana(h2, ["stop", "pulse"]).ok();
    }
    for times in [&mut plain, &mut restored] {
        times.sort();
    }
    figure(&format!(
        "from a crash to the last look, as listed on another host: {:.0} ms (worst {:.0}); a plain start takes {:.0} ms from the command (worst {:.0})",
        restored[2].as_secs_f64() * 1e3,
        restored[4].as_secs_f64() * 1e3,
        plain[2].as_secs_f64() * 1e3,
        plain[4].as_secs_f64() * 1e3
    ));
}

#[test]
fn first_frame_after_a_crash_has_the_last_look() {
    let Some(lab) = Lab::new("first-frame") else { return };
    let show = Show::of(&lab, &["h1"]);
    let h1 = show.host("h1");
    let (_, first) = start(h1, h1, "pulse");
    wait_for(h1, "pulse", "the visualization to run", |pulse| is_at(pulse, 0.0, 0.0));
    hana(h1, ["set", "pulse", "zoom=0.375"]).ok();
    wait_for(h1, "pulse", "the value to be applied", |pulse| is_at(pulse, 0.375, 0.0));
    h1.kill(Signal::KILL, first);
    wait_for(h1, "pulse", "a new instance", |pulse| {
        is_at(pulse, 0.375, 0.0) && pid(pulse) != first
    });
    let log = hana(h1, ["logs", "pulse"]).ok().stdout;
    let shown: Vec<&str> = log.lines().filter(|line| line.contains("zoom")).collect();
    assert!(!shown.is_empty() && shown.iter().all(|line| line.contains("zoom +0.375")), "{log}");
}

#[test]
fn daemon_killed_with_its_processes_restores_their_looks() {
    let Some(lab) = Lab::new("both-killed") else { return };
    let mut show = Show::of(&lab, &["h1"]);
    for round in 1..=3 {
        let zoom = f64::from(round) / 4.0;
        if round == 1 {
            start(show.host("h1"), show.host("h1"), "pulse");
        }
        let before = wait_for(show.host("h1"), "pulse", "the visualization to run", |it| {
            it["state"] == "running"
        });
        hana(show.host("h1"), ["set", "pulse", &format!("zoom={zoom}")]).ok();
        // The look must reach the disk before the kill, for which the daemon takes a moment.
        eventually(SOON, "the look to be on disk", || {
            let text = fs::read_to_string(look_file(show.host("h1"), "pulse")).unwrap_or_default();
            if text.contains(&format!("\"zoom\":{zoom}")) { Ok(()) } else { Err(text) }
        });
        kill_daemon(&mut show);
        show.host("h1").kill(Signal::KILL, pid(&before));
        *show.daemon("h1") = start_daemon(show.host("h1"));
        wait_for(show.host("h1"), "pulse", "a new instance with the same look", |pulse| {
            is_at(pulse, zoom, 0.0) && pid(pulse) != pid(&before)
        });
    }
}

#[test]
fn daemon_killed_while_writing_leaves_a_complete_look() {
    let Some(lab) = Lab::new("half-written") else { return };
    let mut show = Show::of(&lab, &["h1"]);
    start(show.host("h1"), show.host("h1"), "pulse");
    wait_for(show.host("h1"), "pulse", "the visualization to run", |it| it["state"] == "running");
    let mut player = show.host("h1").command("sh");
    // The value moves all the time, so that the daemon writes as often as possible.
    player.args([
        "-c",
        "while :; do for v in 0.1 0.2 0.3 0.4; do hana set pulse zoom=$v; done; done",
    ]);
    let player = show.host("h1").spawn(player);
    let mut looks = 0;
    for round in 0..12_u64 {
        eventually(SOON, "looks to be written", || {
            fs::read_dir(look_file(show.host("h1"), "pulse").parent().unwrap())
                .is_ok_and(|files| files.count() > 0)
        });
        // The kill comes at a different time in each round.
        std::thread::sleep(Duration::from_millis(20 + round * 37 % 260));
        kill_daemon(&mut show);
        if let Ok(bytes) = fs::read(look_file(show.host("h1"), "pulse")) {
            let look: Value = serde_json::from_slice(&bytes).unwrap();
            assert!(look["look"]["parameters"]["zoom"].is_number(), "{look}");
            looks += 1;
        }
        *show.daemon("h1") = start_daemon(show.host("h1"));
    }
    drop(player);
    assert!(looks >= 6, "{looks} looks of twelve");
}

#[test]
fn damaged_look_is_reported_and_only_the_look_is_lost() {
    let Some(lab) = Lab::new("damaged-look") else { return };
    let mut show = Show::of(&lab, &["h1"]);
    start(show.host("h1"), show.host("h1"), "pulse");
    let before = wait_for(show.host("h1"), "pulse", "the visualization to run", |it| {
        it["state"] == "running"
    });
    hana(show.host("h1"), ["set", "pulse", "zoom=0.5"]).ok();
    let file = look_file(show.host("h1"), "pulse");
    eventually(SOON, "the look to be on disk", || file.exists());
    kill_daemon(&mut show);
    show.host("h1").kill(Signal::KILL, pid(&before));
    fs::write(&file, b"{\"node\": \"pulse\", \"look\": {\"par").unwrap();
    *show.daemon("h1") = start_daemon(show.host("h1"));
    wait_for(show.host("h1"), "pulse", "the visualization to run with its defaults", |pulse| {
        is_at(pulse, 0.0, 0.0) && pid(pulse) != pid(&before)
    });
    let printed = show.daemon("h1").stderr();
    assert!(printed.contains("the saved look is damaged"), "{printed}");
}
