//! Two shows on one network do not see each other. A secret keeps strangers out, and both sides log the reason.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hana_lab::show::{Lines, hana, is, nodes, spawn_hana, start, start_daemon, start_daemon_with};
use hana_lab::{Host, Lab, Output, Running, eventually, foreign};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(15);
/// A time that is longer than the interval at which daemons search for each other.
const SEVERAL_LOOKS: Duration = Duration::from_secs(20);

/// Writes the settings of a machine to the directory in which all programs of its user find them.
fn set(host: &Host, settings: &str) {
    let directory = host.directory().join("home/.config/hana");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("hanad.toml"), settings).unwrap();
}

fn ids(host: &Host) -> BTreeSet<String> {
    nodes(host).iter().map(|node| node["node"].as_str().unwrap().into()).collect()
}

#[track_caller]
fn await_ids(host: &Host, wanted: &[&str]) {
    let wanted: BTreeSet<String> = wanted.iter().map(|&id| id.into()).collect();
    eventually(SOON, "exactly the nodes of the show", || {
        let seen = ids(host);
        if seen == wanted { Ok(()) } else { Err(seen) }
    });
}

#[track_caller]
fn assert_fails_with(output: &Output, words: &[&str]) {
    assert_eq!(output.code(), Some(1), "{output}");
    assert_eq!(output.stderr.trim_end().lines().count(), 1, "{output}");
    for word in words {
        assert!(output.stderr.contains(word), "{word:?} in {output}");
    }
}

fn count(text: &str, words: &str) -> usize {
    text.matches(words).count()
}

#[test]
fn two_shows_on_one_network_list_start_and_stop_only_their_own() {
    let Some(lab) = Lab::new("shows") else { return };
    let hosts: Vec<Host> = ["h1", "h2", "h3", "h4"].map(|name| lab.host(name)).into();
    let [h1, h2, h3, h4] = &hosts[..] else { unreachable!() };
    for host in [h1, h2] {
        set(host, "show = 'club'");
    }
    for host in [h3, h4] {
        set(host, "show = 'hall'");
    }
    // The hosts have the same ids in both shows.
    let _daemons: Vec<Running> = hosts
        .iter()
        .zip(["left", "right", "left", "right"])
        .map(|(host, id)| {
            start_daemon_with(host, |command| {
                command.env("HANA_HOST", id);
            })
        })
        .collect();
    let start_on = |from: &Host, host: &str| {
        hana(from, ["start", "pulse", "--host", host, "--json"]).ok().json()["node"].clone()
    };
    assert_eq!(start_on(h1, "right"), "pulse");
    assert_eq!(start_on(h3, "right"), "pulse");
    assert_eq!(start_on(h4, "left"), "pulse-2");
    for host in [h1, h2] {
        await_ids(host, &["left", "pulse", "right"]);
    }
    for host in [h3, h4] {
        await_ids(host, &["left", "pulse", "pulse-2", "right"]);
    }

    // The text names the show. The JSON consists of the list alone.
    let list = hana(h1, ["nodes"]).ok().stdout;
    assert!(list.starts_with("show 'club'\n"), "{list}");

    // A visualization started by hand on a host without a daemon belongs to the show of that host.
    let guest = &lab.host("h5");
    set(guest, "show = 'club'");
    let by_hand = guest.spawn({
        let mut command = guest.command("pulse");
        command.env("HANA_NODE", "by-hand");
        command
    });
    for host in [h1, h2, guest] {
        await_ids(host, &["by-hand", "left", "pulse", "right"]);
    }
    // The environment overrides the file.
    let as_hall = |words: &[&str]| {
        let mut command = guest.command("hana");
        command.env("HANA_SHOW", "hall").args(words);
        guest.run_within(SOON, command)
    };
    let seen = as_hall(&["nodes"]).ok().stdout;
    assert!(seen.starts_with("show 'hall'\n") && seen.contains("pulse-2"), "{seen}");
    let empty = {
        let mut command = guest.command("hana");
        command.env("HANA_SHOW", "attic").arg("nodes");
        guest.run_within(SOON, command).ok().stdout
    };
    assert!(empty.contains("the mesh of the show 'attic' is empty"), "{empty}");

    // Another Zenoh program sees the keys of a show under the name of the show.
    let mut command = h4.command(foreign::zenoh());
    command.args(["--mode", "client", "subscribe", "-k", "club/hana/**"]);
    command.args(["--decoder", "hana", "--line", "{key} {value}"]);
    let other = h4.spawn(command);
    for key in ["club/hana/pulse/health", "club/hana/left/health"] {
        eventually(SOON, key, || other.stdout().contains(key));
    }
    assert!(other.stdout().lines().all(|line| line.starts_with("club/hana/")));

    hana(h1, ["stop", "pulse"]).ok();
    assert!(is(&nodes(h2), "pulse", "stopped"));
    assert!(is(&nodes(h3), "pulse", "running"));
    let refused = hana(h1, ["stop", "pulse-2"]);
    assert_fails_with(&refused, &["pulse-2"]);
    assert!(is(&nodes(h3), "pulse-2", "running"));
    drop(by_hand);
}

// This is one long test, because starting five hosts takes most of the time.
#[allow(clippy::too_many_lines)]
#[test]
fn secret_keeps_strangers_out_and_the_reason_is_reported() {
    let Some(lab) = Lab::new("secret") else { return };
    let (secret, other_secret) = ("correct-horse-7f3a", "battery-staple-91c2");
    let hosts: Vec<Host> = ["h1", "h2", "h3", "h4"].map(|name| lab.host(name)).into();
    let [h1, h2, without, other] = &hosts[..] else { unreachable!() };
    set(h1, &format!("secret = '{secret}'"));
    set(other, &format!("secret = '{other_secret}'"));
    // One host gets the secret from the environment.
    set(h2, "");
    let d2 = start_daemon_with(h2, |command| {
        command.env("HANA_SECRET", secret);
    });
    let d1 = start_daemon(h1);
    let d3 = start_daemon(without);
    let d4 = start_daemon(other);
    set(h2, &format!("secret = \"{secret}\""));

    start(h1, h2, "pulse");
    start(h1, h1, "pulse");
    start(without, without, "pulse");
    for host in [h1, h2] {
        await_ids(host, &["h1", "h2", "pulse", "pulse-2"]);
    }
    await_ids(without, &["h3", "pulse"]);
    await_ids(other, &["h4"]);
    // A direct link requires the secret too, and both ends have it.
    let ping = hana(h1, ["ping", "pulse", "--count", "5", "--json"]).ok().json();
    assert_eq!(ping["play"]["count"], 5, "{ping}");

    // Each daemon reports its problem with each other daemon once.
    let met = [
        (&d1, "10.77.0.3:7447 has no secret"),
        (&d1, "10.77.0.4:7447 has another secret"),
        (&d2, "10.77.0.3:7447 has no secret"),
        (&d3, "10.77.0.1:7447 requires a secret, and none is set here"),
        (&d3, "10.77.0.4:7447 requires a secret, and none is set here"),
        (&d4, "10.77.0.1:7447 has another secret"),
        (&d4, "10.77.0.3:7447 has no secret"),
    ];
    for (daemon, words) in met {
        eventually(SOON, words, || {
            let printed = daemon.stderr();
            if count(&printed, words) == 1 { Ok(()) } else { Err(printed) }
        });
    }

    // Strangers receive no messages, neither on the daemon's host nor on others, and their own messages have no
    // effect.
    let mut watch = Lines::of_messages(h1, &["pulse"]);
    for (host, mode) in [(h1, "client"), (h1, "peer"), (without, "peer")] {
        let mut command = host.command(foreign::zenoh());
        command.args(["--mode", mode, "put", "-k", "hana/pulse-2/modulation/zoom", "-v", "0.5"]);
        host.run_within(SOON, command);
    }
    let mut command = without.command(foreign::zenoh());
    command.args(["subscribe", "-k", "**", "--line", "{key}"]);
    let stranger = without.spawn(command);
    eventually(SOON, "the stranger to receive its own daemon", || {
        stranger.stdout().contains("hana/h3/health")
    });
    hana(h1, ["set", "pulse-2", "hue=0.25"]).ok();
    watch.wait_for(SOON, "the new value", |line| {
        assert!(line["value"]["parameters"]["zoom"] != 0.5, "{line}");
        line["key"] == "hana/pulse-2/look" && line["value"]["parameters"]["hue"] == 0.25
    });
    let received = stranger.stdout();
    assert!(!received.contains("hana/h1/") && !received.contains("pulse-2"), "{received}");

    // A program that is refused by the daemon on its own host receives the reason.
    let nothing = lab.directory().join("nothing");
    fs::create_dir_all(&nothing).unwrap();
    let with = |host: &Host, program: &str, secret: Option<&str>| {
        let mut command = host.command(program);
        command.env("HANA_CONFIG", &nothing);
        if let Some(secret) = secret {
            command.env("HANA_SECRET", secret);
        }
        command
    };
    let list = |host: &Host, secret: Option<&str>| {
        let mut command = with(host, "hana", secret);
        command.arg("nodes");
        host.run_within(SOON, command)
    };
    assert_fails_with(
        &list(h1, None),
        &["daemon on this machine requires a secret", "HANA_SECRET"],
    );
    assert_fails_with(
        &list(h1, Some(other_secret)),
        &["secret set here is not that of the daemon on this machine"],
    );
    assert_fails_with(&list(without, Some(secret)), &["daemon on this machine has none"]);
    assert!(list(h1, Some(secret)).ok().stdout.contains("pulse-2"));
    let mut by_hand = with(h1, "pulse", None);
    by_hand.env("HANA_NODE", "stranger");
    let by_hand = h1.spawn(by_hand);
    eventually(SOON, "the refusal in its log", || by_hand.stderr().contains("requires a secret"));
    // The program draws anyway and retries, without logging the refusal again.
    let beats = || count(&by_hand.stdout(), "beat");
    let before = beats();
    eventually(SOON, "the visualization to draw", || beats() >= before + 2);
    assert_eq!(count(&by_hand.stderr(), "requires a secret"), 1, "{}", by_hand.stderr());

    // The time is long enough for the daemons to connect several times.
    let d1_up = || {
        let nodes = nodes(h1);
        nodes.iter().find(|node| node["node"] == "h1").unwrap()["uptime_s"].as_u64().unwrap()
    };
    eventually(SEVERAL_LOOKS * 2, "some time to pass", || d1_up() >= SEVERAL_LOOKS.as_secs());
    for (daemon, words) in met {
        assert_eq!(count(&daemon.stderr(), words), 1, "{words}: {}", daemon.stderr());
    }
    for daemon in [&d1, &d3, &d4] {
        let printed = daemon.stderr();
        assert!(printed.lines().count() < 12 && !printed.contains("UsrPwd"), "{printed}");
    }

    // Even a trace log does not contain the secret.
    let verbose_host = lab.host("h5");
    let verbose = start_daemon_with(&verbose_host, |command| {
        command.env("HANA_SECRET", secret).env("HANA_LOG", "trace");
    });
    eventually(SOON, "the verbose host to list the show", || {
        let mut command = verbose_host.command("hana");
        command.env("HANA_SECRET", secret).env("HANA_LOG", "trace").arg("nodes");
        verbose_host.run_within(SOON, command).ok().stdout.contains("pulse-2")
    });
    assert!(verbose.stderr().contains("TRACE"));
    drop(verbose);

    // No command line, message, log or file contains the secret, except the files that set it.
    for host in &hosts {
        for process in host.processes() {
            assert!(!process.command.contains(secret), "{}", process.command);
        }
    }
    assert!(!watch.running().stdout().contains(secret));
    drop(watch);
    for file in files_below(lab.directory()) {
        if file.ends_with("hanad.toml") {
            continue;
        }
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap_or_default()).into_owned();
        for secret in [secret, other_secret] {
            let at = text.find(secret).map(|at| &text[at.saturating_sub(200)..at]);
            assert!(at.is_none(), "{} has the secret after {at:?}", file.display());
        }
    }
}

fn files_below(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn launched_programs_get_the_settings_of_their_daemon() {
    let Some(lab) = Lab::new("passed-on") else { return };
    let (h1, h2) = (&lab.host("h1"), &lab.host("h2"));
    let file = lab.directory().join("venue.toml");
    fs::write(&file, "show = 'club'\nsecret = 'correct-horse'\nplay_ports = '7450-7452'\n")
        .unwrap();
    let configured = |host: &Host, program: &str| {
        let mut command = host.command(program);
        command.env("HANA_CONFIG", &file);
        command
    };
    let with_file = |command: &mut Command| {
        command.arg("--config").arg(&file);
    };
    let _daemons = [start_daemon_with(h1, with_file), start_daemon_with(h2, with_file)];
    let hana = |words: &[&str]| {
        let mut command = configured(h2, "hana");
        command.args(words);
        h2.run_within(SOON, command)
    };
    for id in ["a", "b", "c", "d"] {
        hana(&["start", "pulse", "--host", "h1", "--id", id]).ok();
    }
    let running = |list: &Value| {
        let of = |id: &str| is(list.as_array().unwrap(), id, "running");
        ["a", "b", "c", "d"].into_iter().all(of)
    };
    eventually(SOON, "all to be on the mesh", || {
        let list = hana(&["nodes", "--json"]).ok().json();
        if running(&list) { Ok(()) } else { Err(list) }
    });
    // Three of the four get one of the ports that a firewall would open. The fourth logs that these are in use, and
    // is played over the mesh.
    let mut command = configured(h2, "hana");
    command.args(["ping", "a", "--count", "1", "--json"]);
    h2.run_within(SOON, command).ok();
    let mut linked = 0;
    for id in ["a", "b", "c", "d"] {
        let ping = hana(&["ping", id, "--count", "1", "--json"]).ok().json();
        linked += i32::from(!ping["play"].is_null());
        assert_eq!(ping["mesh"]["count"], 1, "{ping}");
    }
    assert_eq!(linked, 3);
    let listening = h1.run(["ss", "-ltnH"]).ok().stdout;
    for port in ["7447", "7450", "7451", "7452"] {
        assert!(listening.contains(&format!(":{port} ")), "{listening}");
    }
    assert_eq!(listening.lines().count(), 4, "{listening}");
    let logs: String =
        ["a", "b", "c", "d"].iter().map(|id| hana(&["logs", id]).ok().stdout).collect();
    assert_eq!(count(&logs, "all ports for direct links are in use (7450-7452)"), 1, "{logs}");
}

#[test]
fn broken_settings_are_one_error_line_and_drawing_goes_on() {
    let Some(lab) = Lab::new("broken") else { return };
    let h1 = &lab.host("h1");
    set(h1, "multicast = true\nshow = 'The Club'\n");
    let place = "home/.config/hana/hanad.toml:2: show: \"The Club\" is not a show name";
    assert_fails_with(&h1.run(["hanad"]), &[place]);
    assert_fails_with(&hana(h1, ["nodes"]), &[place]);
    let by_hand = h1.spawn(h1.command("pulse"));
    eventually(SOON, "the error in its log", || by_hand.stderr().contains(place));
    eventually(SOON, "the visualization to draw", || count(&by_hand.stdout(), "beat") >= 2);
    assert_eq!(count(&by_hand.stderr(), place), 1, "{}", by_hand.stderr());
    // The node has joined neither this show nor the default one.
    set(h1, "");
    let list = spawn_hana(h1, ["nodes", "--watch", "--json"]);
    let mut lines = Lines::of(list);
    lines.wait_for(SOON, "an empty list", |line| line.as_array().is_some_and(Vec::is_empty));

    let mut command = h1.command("hana");
    command.env("HANA_SECRET", " hunter2").arg("nodes");
    let refused = h1.run_within(SOON, command);
    assert_fails_with(&refused, &["HANA_SECRET", "without spaces at its ends"]);
    assert!(!refused.stderr.contains("hunter2"), "{refused}");
}
