//! The attach mode of a node: through a daemon, as a peer, and on a network that becomes available later.

use std::time::{Duration, Instant};

use hana_lab::show::{Lines, Show, figure, is, node, nodes, start, start_daemon};
use hana_lab::{Host, Lab, Signal, eventually};

const SOON: Duration = Duration::from_secs(15);

/// Runs `ip` on a host.
fn ip(host: &Host, words: &str) {
    host.run(std::iter::once("ip").chain(words.split_whitespace())).ok();
}

fn processes_like(host: &Host, name: &str) -> Vec<i32> {
    host.processes()
        .into_iter()
        .filter(|process| process.command.split(' ').next().unwrap_or_default().ends_with(name))
        .map(|process| process.pid)
        .collect()
}

#[test]
fn node_without_its_daemon_joins_as_a_peer_and_goes_back() {
    let Some(lab) = Lab::new("ways") else { return };
    let mut show = Show::of(&lab, &["h1", "h2"]);
    let (h1, h2) = (show.host("h1").clone(), show.host("h2").clone());
    let (_, pid) = start(&h1, &h2, "pulse");
    eventually(SOON, "pulse to run", || is(&nodes(&h1), "pulse", "running"));

    show.daemon("h2").kill(Signal::KILL);
    let killed = Instant::now();
    let mut app = Lines::of_nodes(&h1);
    let (seen, _) = app.wait_for_nodes(SOON, "pulse without its daemon", |nodes| {
        is(nodes, "pulse", "running") && !is(nodes, "h2", "running")
    });
    figure(&format!(
        "a node whose daemon was killed is on the mesh as a peer {} ms later (promised: it waits 5 s)",
        seen.duration_since(killed).as_millis()
    ));
    assert_eq!(processes_like(&h2, "pulse"), [pid]);

    let _daemon = start_daemon(&h2);
    let connections = || {
        let all = h2.run(["ss", "-tn", "state", "established", "dport", "=", ":7447"]).ok();
        let to_daemon = all.stdout.lines().filter(|line| line.contains("127.0.0.1:7447")).count();
        if to_daemon > 0 { Ok(()) } else { Err(all.stdout) }
    };
    eventually(SOON, "pulse to go through the daemon again", connections);
    // The node was never missing: its presence in the new mode begins before that in the old mode ends.
    let listed = nodes(&h1);
    // The new daemon may be adopting the process at this time, without a verdict yet.
    let is_there = ["running", "starting"].iter().any(|state| is(&listed, "pulse", state));
    assert!(is_there, "{listed:?}");
    assert_eq!(node(&listed, "pulse").unwrap()["pid"], pid);
    eventually(SOON, "pulse to be listed as running", || is(&nodes(&h1), "pulse", "running"));
}

#[test]
fn daemon_without_network_joins_within_three_seconds_of_it() {
    let Some(lab) = Lab::new("late") else { return };
    let show = Show::of(&lab, &["h1"]);
    let h1 = show.host("h1");
    let h2 = lab.host("h2");
    ip(&h2, "address flush dev eth0");
    ip(&h2, "link set eth0 down");
    let _daemon = start_daemon(&h2);
    let (_, pid) = start(&h2, &h2, "pulse");
    eventually(SOON, "pulse to run on its own host", || is(&nodes(&h2), "pulse", "running"));
    assert!(node(&nodes(h1), "pulse").is_none());

    let mut app = Lines::of_nodes(h1);
    ip(&h2, "link set eth0 up");
    ip(&h2, &format!("address add {}/24 broadcast + dev eth0", h2.address()));
    ip(&h2, "route add 224.0.0.0/4 dev eth0");
    let there = Instant::now();
    let (seen, listed) = app.wait_for_nodes(SOON, "the host that came late", |nodes| {
        is(nodes, "h2", "running") && is(nodes, "pulse", "running")
    });
    figure(&format!(
        "a daemon is on the mesh {} ms after its address came (promised: 3000)",
        seen.duration_since(there).as_millis()
    ));
    assert_eq!(node(&listed, "pulse").unwrap()["pid"], pid, "the same process as before");
    eventually(SOON, "a direct link from the other host", || {
        let ping = h1.run(["hana", "ping", "pulse", "--json"]);
        if ping.stdout.contains("\"play\":{") { Ok(()) } else { Err(ping.stdout + &ping.stderr) }
    });
}
