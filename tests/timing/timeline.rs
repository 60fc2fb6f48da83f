//! All hosts share one timeline, whichever host gets a command, dies or returns.

use std::time::Duration;

use hana_lab::show::{Show, figure, hana, start_daemon};
use hana_lab::{Host, Lab, Signal, eventually};
use serde_json::Value;

/// The time limit: a second until the better leader leads, another until a lost host is reported, and more for a busy
/// machine.
const SOON: Duration = Duration::from_secs(20);
/// The largest accepted deviation of a beat from its expected time, in microseconds.
const NEAR_US: f64 = 1000.0;

fn timeline(host: &Host) -> Value {
    hana(host, ["tempo", "--json"]).ok().json()
}

/// Returns the deviation of the beat from its expected position, in microseconds at the unchanged tempo.
fn off_us(before: &Value, after: &Value) -> f64 {
    let of = |value: &Value, name: &str| value[name].as_f64().unwrap();
    let bpm = of(before, "bpm");
    let passed = of(after, "at_us") - of(before, "at_us");
    of(after, "beat").mul_add(60e6 / bpm, -of(before, "beat") * 60e6 / bpm) - passed
}

fn await_following(host: &Host, leader: Option<&str>) -> Value {
    eventually(SOON, "the host to follow the leader", || {
        let now = timeline(host);
        let is_exact = now["error_us"].as_u64().is_some_and(|error| error < 5000);
        if now["from"].as_str() == leader && (leader.is_none() || is_exact) {
            Ok(now)
        } else {
            Err(now)
        }
    })
}

/// Waits until all hosts but one follow that one, and returns its name.
///
/// Of daemons that are started together, the first one with a follower leads.
fn leader<'a>(hosts: &[&'a Host]) -> &'a str {
    let leader = eventually(SOON, "one of them to lead the others", || {
        let from = hosts.iter().map(|host| timeline(host)["from"].clone());
        let from: Vec<Value> = from.collect();
        let leads = from.iter().position(Value::is_null).map(|place| hosts[place].name());
        let follows_it = |from: &&Value| from.as_str() == leads;
        match leads {
            Some(leads) if from.iter().filter(follows_it).count() + 1 == hosts.len() => Ok(leads),
            _ => Err(from),
        }
    });
    for host in hosts.iter().filter(|host| host.name() != leader) {
        await_following(host, Some(leader));
    }
    leader
}

#[test]
fn all_hosts_follow_a_change_made_on_any_host() {
    let Some(lab) = Lab::new("told") else { return };
    let show = Show::of(&lab, &["h1", "h2", "h3"]);
    let [h1, h2, h3] = show.hosts() else { unreachable!() };
    let leader = leader(&[h1, h2, h3]);
    hana(h3, ["tempo", "140"]).ok();
    hana(h2, ["pause"]).ok();
    for host in [h1, h2, h3] {
        eventually(SOON, "the tempo that was set elsewhere", || {
            let now = timeline(host);
            if now["bpm"] == 140.0 && now["playing"] == false { Ok(()) } else { Err(now) }
        });
    }
    hana(h1, ["play"]).ok();
    eventually(SOON, "the timeline to play", || {
        let now = timeline(h3);
        if now["playing"] == true { Ok(()) } else { Err(now) }
    });
    for wrong in ["19", "1000", "nan"] {
        let refused = hana(h2, ["tempo", wrong]);
        assert!(!refused.status.success(), "{}", refused.stdout);
        assert!(refused.stderr.contains("from 20 to 999"), "{}", refused.stderr);
    }
    // A host without a daemon has a timeline too, and can change it.
    let h4 = lab.host("h4");
    await_following(&h4, Some(leader));
    hana(&h4, ["tempo", "99.5"]).ok();
    eventually(SOON, "the tempo that was set without a daemon", || {
        let now = timeline(h2);
        if now["bpm"] == 99.5 { Ok(()) } else { Err(now) }
    });
}

#[test]
fn killed_leader_leaves_the_beat_unchanged_and_returns_to_it() {
    let Some(lab) = Lab::new("led") else { return };
    let mut show = Show::of(&lab, &["h1", "h2", "h3"]);
    let hosts = show.hosts().to_vec();
    let [h1, h2, h3] = &*hosts else { unreachable!() };
    let first = leader(&[h1, h2, h3]);
    let is_first = |host: &&Host| host.name() == first;
    let (killed, others): (Vec<&Host>, Vec<&Host>) = hosts.iter().partition(is_first);
    let jumps = |value: &Value| value["jumps"].clone();
    // After this time, the initial slewing is over.
    std::thread::sleep(Duration::from_secs(1));
    let timelines = || others.iter().map(|host| timeline(host)).collect::<Vec<Value>>();
    let before = timelines();
    show.daemon(first).kill(Signal::KILL);
    let second = leader(&others);
    let after = timelines();
    for (before, after) in before.iter().zip(&after) {
        let off = off_us(before, after);
        figure(&format!(
            "after the leading daemon was killed, a host's beat is off by {off:.0} us"
        ));
        assert!(off.abs() < NEAR_US, "{off} us: {before} {after}");
        assert_eq!(jumps(before), jumps(after));
    }
    let _again = start_daemon(killed[0]);
    let back = await_following(killed[0], Some(second));
    assert_eq!(back["jumps"], 0, "the restarted daemon continues without a jump: {back}");
    for (host, before) in others.iter().zip(&after) {
        let now = timeline(host);
        let off = off_us(before, &now);
        assert!(off.abs() < NEAR_US, "{off} us: {before} {now}");
        assert_eq!(jumps(before), jumps(&now));
    }
}

#[test]
fn killed_daemon_restarted_alone_continues_the_beat() {
    let Some(lab) = Lab::new("alone") else { return };
    let mut show = Show::of(&lab, &["h1"]);
    let h1 = show.host("h1").clone();
    hana(&h1, ["tempo", "171"]).ok();
    let before = timeline(&h1);
    show.daemon("h1").kill(Signal::KILL);
    let _again = start_daemon(&h1);
    let after = timeline(&h1);
    assert_eq!(after["bpm"], 171.0, "{after}");
    let off = off_us(&before, &after);
    figure(&format!("after a kill and restart of the only daemon the beat is off by {off:.0} us"));
    assert!(off.abs() < NEAR_US, "{off} us: {before} {after}");
}
