//! Unplugged hosts, dead daemons and split networks: the reports, and the full recovery after them.

use std::thread;
use std::time::{Duration, Instant};

use hana_lab::show::{Lines, Show, figure, hana, is, node, nodes, start, start_daemon};
use hana_lab::{Host, Lab, Signal, eventually};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(15);

fn reason<'a>(nodes: &'a [Value], id: &str) -> &'a str {
    node(nodes, id).and_then(|node| node["reason"].as_str()).unwrap_or_default()
}

/// Returns whether all these nodes are unreachable with this cause.
fn lost(nodes: &[Value], cause: &str, ids: &[&str]) -> bool {
    ids.iter().all(|id| is(nodes, id, "unreachable") && reason(nodes, id).starts_with(cause))
}

/// Returns the nodes that the events so far report lost.
fn losses(events: &Lines) -> Vec<String> {
    let printed = events.running().stdout();
    let messages = printed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages
        .filter(|message| message["type"] == "event")
        .filter(|event| event["value"]["kind"].as_str().unwrap().ends_with("_lost"))
        .map(|event| event["value"]["about"].as_str().unwrap().to_owned())
        .collect()
}

fn all_run(nodes: &[Value], count: usize) -> bool {
    nodes.len() == count && nodes.iter().all(|node| node["state"] == "running")
}

#[test]
fn unplugged_host_is_one_loss_event_and_returns_with_its_nodes() {
    let Some(lab) = Lab::new("unplug") else { return };
    let show = Show::of(&lab, &["h1", "h2", "h3"]);
    let [h1, h2, h3] = show.hosts() else { unreachable!() };
    let (_, pid) = start(h1, h3, "pulse");
    start(h1, h3, "pulse");
    let mut apps = [h1, h2].map(Lines::of_nodes);
    for app in &mut apps {
        app.wait_for_nodes(SOON, "all five", |nodes| all_run(nodes, 5));
    }
    let mut events = Lines::of_messages(h2, &["h1", "h3"]);

    let unplugged = Instant::now();
    h3.unplug();
    for (app, host) in apps.iter_mut().zip([h1, h2]) {
        let (seen, _) = app.wait_for_nodes(SOON, "the host lost", |nodes| {
            lost(nodes, "host_lost", &["h3", "pulse", "pulse-2"])
        });
        figure(&format!(
            "on {} an unplugged host and its nodes are reported unreachable after {} ms (promised: 1500)",
            host.name(),
            seen.duration_since(unplugged).as_millis()
        ));
    }
    let (_, event) = events.wait_for_event(SOON, "host_lost", "h3");
    let text = event["value"]["text"].as_str().unwrap();
    assert!(text.contains("pulse, pulse-2"), "{text}");
    // A command that is started later lists the same nodes.
    let later = nodes(h1);
    assert!(lost(&later, "host_lost", &["h3", "pulse", "pulse-2"]), "{later:?}");

    let plugged = Instant::now();
    h3.plug();
    for (app, host) in apps.iter_mut().zip([h1, h2]) {
        let (seen, listed) = app.wait_for_nodes(SOON, "the host found", |nodes| all_run(nodes, 5));
        figure(&format!(
            "on {} a host that is plugged in again is back with its nodes after {} ms (promised: 10000)",
            host.name(),
            seen.duration_since(plugged).as_millis()
        ));
        assert_eq!(node(&listed, "pulse").unwrap()["pid"], pid, "the same process as before");
    }
    events.wait_for_event(SOON, "host_found", "h3");
    assert_eq!(losses(&events), ["h3"], "one event, not many");
}

#[test]
fn dead_daemon_is_distinguished_from_a_dead_host() {
    let Some(lab) = Lab::new("daemon-lost") else { return };
    let mut show = Show::of(&lab, &["h1", "h2"]);
    let (h1, h2) = (show.host("h1").clone(), show.host("h2").clone());
    let (_, pid) = start(&h1, &h2, "pulse");
    let mut app = Lines::of_nodes(&h1);
    app.wait_for_nodes(SOON, "all three", |nodes| all_run(nodes, 3));
    let mut events = Lines::of_messages(&h1, &["h1", "h2"]);

    show.daemon("h2").kill(Signal::KILL);
    let killed = Instant::now();
    let (seen, _) = app.wait_for_nodes(SOON, "the daemon lost", |nodes| {
        lost(nodes, "daemon_lost", &["h2", "pulse"])
    });
    figure(&format!(
        "a killed daemon is reported lost after {} ms",
        seen.duration_since(killed).as_millis()
    ));
    events.wait_for_event(SOON, "daemon_lost", "h2");
    app.wait_for_nodes(SOON, "pulse without its daemon", |nodes| {
        is(nodes, "pulse", "running") && lost(nodes, "daemon_lost", &["h2"])
    });
    assert!(h2.processes().iter().any(|process| process.pid == pid));

    let _daemon = start_daemon(&h2);
    events.wait_for_event(SOON, "host_found", "h2");
    app.wait_for_nodes(SOON, "all as before", |nodes| {
        all_run(nodes, 3) && node(nodes, "pulse").is_some_and(|node| node["pid"] == pid)
    });
}

#[test]
fn daemon_with_an_orderly_end_is_not_reported_lost() {
    let Some(lab) = Lab::new("goodbye") else { return };
    let mut show = Show::of(&lab, &["h1", "h2"]);
    let (h1, h2) = (show.host("h1").clone(), show.host("h2").clone());
    start(&h1, &h2, "pulse");
    let mut app = Lines::of_nodes(&h1);
    app.wait_for_nodes(SOON, "all three", |nodes| all_run(nodes, 3));
    let events = Lines::of_messages(&h1, &["h1", "h2"]);
    show.daemon("h2").kill(Signal::INT);
    show.daemon("h2").wait(SOON);
    app.wait_for_nodes(SOON, "one host alone", |nodes| nodes.len() == 1);
    eventually(SOON, "the report of the orderly end", || {
        let printed = events.running().stdout();
        if printed.contains("ended normally") { Ok(()) } else { Err(printed) }
    });
    assert_eq!(nodes(&h1).len(), 1);
    assert!(losses(&events).is_empty(), "{:?}", losses(&events));
}

/// Returns the list of nodes once all hosts list the same nodes, without the fields that change with time.
fn agreed(hosts: &[&Host]) -> Result<Vec<Value>, Vec<Vec<Value>>> {
    let lists: Vec<Vec<Value>> = hosts
        .iter()
        .map(|host| {
            let essence = |node: &Value| {
                let field = |name: &str| node[name].clone();
                Value::Array(["node", "role", "host", "state", "pid"].map(field).into())
            };
            nodes(host).iter().map(essence).collect()
        })
        .collect();
    let first = lists.first().cloned().unwrap_or_default();
    if lists.iter().all(|list| *list == first) { Ok(first) } else { Err(lists) }
}

#[test]
fn both_halves_of_a_split_network_work_and_agree_when_it_heals() {
    let Some(lab) = Lab::new("parted") else { return };
    let show = Show::of(&lab, &["h1", "h2", "h3", "h4"]);
    let hosts: Vec<&Host> = show.hosts().iter().collect();
    let [h1, h2, h3, h4] = hosts[..] else { unreachable!() };
    start(h1, h2, "pulse");
    start(h1, h4, "pulse");
    for round in 1..=3 {
        // Visualizations that were started and stopped in the halves remain in the list as stopped.
        let alive = |list: &Vec<Value>| {
            list.iter().filter(|node| node[3] != "stopped").cloned().collect::<Vec<_>>()
        };
        let before = eventually(SOON, "all to agree", || {
            agreed(&hosts).and_then(|list| {
                let alive = alive(&list);
                let running = alive.iter().all(|node| node[3] == "running");
                if running && alive.len() == 6 { Ok(alive) } else { Err(vec![list]) }
            })
        });
        lab.partition(&[h1, h2], &[h3, h4]);
        let parted = Instant::now();
        for (host, other, there) in [(h1, h3, "pulse-2"), (h3, h1, "pulse")] {
            eventually(SOON, "the other half to be lost", || {
                let listed = nodes(host);
                if lost(&listed, "host_lost", &[other.name(), there]) {
                    Ok(())
                } else {
                    Err(listed)
                }
            });
        }
        // Each half of the network works.
        for (host, viz) in [(h1, "pulse"), (h3, "pulse-2")] {
            host.run(["hana", "set", viz, "zoom=0.5"]).ok();
            let (id, _) = start(host, host, "pulse");
            assert!(!["pulse", "pulse-2"].contains(&id.as_str()), "an id that is in use: {id}");
            host.run(["hana", "stop", &id]).ok();
        }
        // This is the time that a restarted switch may take. The duration itself is under test.
        thread::sleep(Duration::from_secs(20).saturating_sub(parted.elapsed()));
        lab.heal();
        let healed = Instant::now();
        let known = |list: &Vec<Value>| {
            list.iter().filter(|node| node[3] != "stopped").cloned().collect::<Vec<_>>()
        };
        eventually(SOON, "all to agree again", || {
            agreed(&hosts).and_then(|list| {
                if known(&list) == known(&before) { Ok(()) } else { Err(vec![list]) }
            })
        });
        figure(&format!(
            "round {round}: all four hosts agree {} ms after the network healed",
            healed.elapsed().as_millis()
        ));
    }
}

/// The cause for which two hosts lose contact for a moment.
#[derive(Debug, Clone, Copy)]
enum Silence {
    BothWays,
    FirstIsDeaf,
    SecondIsDeaf,
}

fn shell(host: &Host, script: &str) {
    host.run(["sh", "-e", "-c", script]).ok();
}

fn silence_for(lab: &Lab, [h1, h2]: [&Host; 2], how: Silence, length: Duration) {
    let deaf = |host: &Host, to: &Host| {
        shell(
            host,
            &format!(
                "nft add table inet t; nft 'add chain inet t in {{ type filter hook input priority 0; }}'
                nft add rule inet t in ip saddr {} drop",
                to.address()
            ),
        );
    };
    match how {
        Silence::BothWays => lab.partition(&[h1], &[h2]),
        Silence::FirstIsDeaf => deaf(h1, h2),
        Silence::SecondIsDeaf => deaf(h2, h1),
    }
    // The length of the silence is under test.
    thread::sleep(length);
    match how {
        Silence::BothWays => lab.heal(),
        Silence::FirstIsDeaf => shell(h1, "nft delete table inet t"),
        Silence::SecondIsDeaf => shell(h2, "nft delete table inet t"),
    }
}

#[test]
fn silence_as_long_as_the_lease_leaves_no_host_half_blind() {
    let Some(lab) = Lab::new("hiccup") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let [h1, h2] = show.hosts() else { unreachable!() };
    start(h1, h1, "pulse");
    start(h1, h2, "pulse");
    let whole = |host: &Host| {
        let list = nodes(host);
        if all_run(&list, 4) { Ok(()) } else { Err(list) }
    };
    let mut worst = Duration::ZERO;
    for length in [850, 900, 950, 1000, 1050, 1100, 1150] {
        for how in [Silence::BothWays, Silence::FirstIsDeaf, Silence::SecondIsDeaf] {
            for host in [h1, h2] {
                eventually(SOON, "all to run", || whole(host));
            }
            silence_for(&lab, [h1, h2], how, Duration::from_millis(length));
            let healed = Instant::now();
            for host in [h1, h2] {
                let what = format!("{} to list all again, {how:?} for {length} ms", host.name());
                eventually(SOON, &what, || {
                    whole(host)?;
                    // Each host must not only be in the list but also reply.
                    let [own, other] = if host.name() == "h1" { [h1, h2] } else { [h2, h1] };
                    let ping = hana(own, ["ping", other.name(), "--count", "1", "--json"]);
                    if ping.code() == Some(0) { Ok(()) } else { Err(nodes(host)) }
                });
            }
            worst = worst.max(healed.elapsed());
        }
    }
    figure(&format!(
        "after silences of about a second both hosts listed all nodes again within {} ms",
        worst.as_millis()
    ));
}
