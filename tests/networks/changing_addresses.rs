//! Interfaces and addresses that appear, disappear and change while a show runs.
//!
//! The nodes find each other over the addresses that exist, and a connection that still works is kept.

use std::time::{Duration, Instant};

use hana_lab::show::{Lines, Show, figure, hana, is, node, nodes, spawn_hana, start, start_daemon};
use hana_lab::{Host, Lab, Running, eventually};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(25);

fn shell(host: &Host, script: &str) -> String {
    host.run(["sh", "-e", "-c", script]).ok().stdout
}

/// Waits until both hosts list both daemons as running.
#[track_caller]
fn await_each_other(hosts: [&Host; 2]) {
    for host in hosts {
        eventually(SOON, &format!("{} to see both", host.name()), || {
            let list = nodes(host);
            let sees = |other: &&Host| is(&list, other.name(), "running");
            if hosts.iter().all(sees) { Ok(()) } else { Err(list) }
        });
    }
}

/// Waits until pings from another host reach `pulse` over a direct link.
#[track_caller]
fn assert_direct_link(from: &Host) {
    eventually(SOON, "'pulse' to run", || is(&nodes(from), "pulse", "running"));
    eventually(SOON, "a direct link", || {
        let ping = hana(from, ["ping", "pulse", "--count", "2", "--json"]).ok().json();
        if ping["play"]["count"] == 2 { Ok(()) } else { Err(ping) }
    });
}

/// Lists the connections between the daemon of a host and other daemons, each by its two ends.
fn connections(host: &Host) -> Vec<String> {
    let all = shell(host, "ss -tnH state established '( sport = :7447 or dport = :7447 )'");
    let ends =
        all.lines().map(|line| line.split_whitespace().skip(2).collect::<Vec<_>>().join(" "));
    let mut ends: Vec<String> = ends.filter(|ends| ends.matches("10.77.0.").count() == 2).collect();
    ends.sort();
    ends
}

/// Returns the losses reported in the events so far.
fn losses(messages: &Lines) -> Vec<Value> {
    let seen = messages.running().stdout();
    let all = seen.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let events = all.filter(|message| message["type"] == "event");
    events.filter(|event| event["value"]["kind"].as_str().unwrap().ends_with("_lost")).collect()
}

/// Waits until the daemon has published a change of its addresses.
#[track_caller]
fn await_address_published(info: &Running, address: &str) {
    eventually(SOON, &format!("{address} to be noticed"), || info.stdout().contains(address));
}

#[test]
fn new_interface_or_address_interrupts_nothing() {
    let Some(lab) = Lab::new("new-interface") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let [h1, h2] = show.hosts() else { unreachable!() };
    start(h1, h1, "pulse");
    await_each_other([h1, h2]);
    let events = Lines::of_messages(h2, &["h1", "h2"]);
    let of_h1 = spawn_hana(h2, ["watch", "hana/h1/info", "--json"]);
    let before = eventually(SOON, "a connection between the daemons", || {
        Some(connections(h1)).filter(|all| !all.is_empty())
    });
    for (what, script, address) in [
        (
            "a container network",
            "ip link add docker0 type bridge; ip link add c0 type veth peer name c1
            ip link set c0 master docker0 up; ip link set c1 up
            ip address add 172.17.0.1/16 dev docker0; ip link set docker0 up",
            "172.17.0.1:7447",
        ),
        (
            "a VPN",
            "ip link add tun0 type veth peer name tun1; ip link set tun1 up
            ip address add 10.8.0.6/24 dev tun0; ip link set tun0 up",
            "10.8.0.6:7447",
        ),
        (
            "a temporary IPv6 address",
            "ip address add 2001:db8:1::a1/64 dev eth0 nodad",
            "[2001:db8:1::a1]:7447",
        ),
    ] {
        shell(h1, script);
        await_address_published(&of_h1, address);
        assert_eq!(connections(h1), before, "{what} reopened the session");
    }
    // The removal of an address does not interrupt the connections either.
    shell(h1, "ip link del tun0; ip address del 2001:db8:1::a1/64 dev eth0");
    shell(h1, "ip address add 10.9.0.1/24 dev docker0");
    await_address_published(&of_h1, "10.9.0.1:7447");
    assert_eq!(connections(h1), before);
    assert_eq!(losses(&events), [Value::Null; 0]);
}

#[test]
fn hosts_meet_on_an_interface_added_later() {
    let Some(lab) = Lab::new("later-interface") else { return };
    let hosts = ["h1", "h2", "h3"].map(|name| lab.host(name));
    let [both, first, second] = &hosts;
    shell(second, "ip address flush dev eth0");
    let _daemons = [start_daemon(both), start_daemon(first), start_daemon(second)];
    await_each_other([both, first]);
    let before = connections(both);
    lab.second_network(&[both, second]);
    let plugged_in = Instant::now();
    await_each_other([both, second]);
    figure(&format!(
        "two daemons met {} ms after both had a new interface",
        plugged_in.elapsed().as_millis()
    ));
    start(both, second, "pulse");
    assert_direct_link(both);
    assert_eq!(connections(both), before, "the connection over the first interface was replaced");
}

#[test]
fn hosts_with_link_local_addresses_meet_and_play_directly() {
    let Some(lab) = Lab::new("link-local") else { return };
    let (h1, h2) = (&lab.host("h1"), &lab.host("h2"));
    for host in [h1, h2] {
        shell(host, "ip route flush default; ip route del 224.0.0.0/4; ip address flush dev eth0");
    }
    let give = |host: &Host, last: u8| {
        shell(host, &format!("ip address add 169.254.10.{last}/16 brd + scope link dev eth0"));
    };
    // The hosts are in the state a minute after boot, without DHCP.
    let daemons = [start_daemon(h1), start_daemon(h2)];
    give(h1, 1);
    give(h2, 2);
    await_each_other([h1, h2]);
    start(h1, h2, "pulse");
    assert_direct_link(h1);
    drop(daemons);
    // Now the addresses exist before the daemons start.
    let [_first, second] = [start_daemon(h1), start_daemon(h2)];
    await_each_other([h1, h2]);
    assert_direct_link(h1);
    drop(second);
    eventually(SOON, "the daemon to be lost, and not its host", || {
        let list = nodes(h1);
        let reason = node(&list, "h2").and_then(|node| node["reason"].as_str().map(str::to_owned));
        reason.is_some_and(|reason| reason.starts_with("daemon_lost"))
    });
}

#[test]
fn host_with_a_new_address_is_found_again() {
    let Some(lab) = Lab::new("dhcp") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let [h1, h2] = show.hosts() else { unreachable!() };
    start(h1, h2, "pulse");
    assert_direct_link(h1);
    for (old, new) in [(2, 52), (52, 53)] {
        shell(
            h2,
            &format!(
                "ip address del 10.77.0.{old}/24 dev eth0; ip address add 10.77.0.{new}/24 dev eth0
                ip route replace 224.0.0.0/4 dev eth0"
            ),
        );
        let played = |value: &str| {
            let set = hana(h1, ["set", "pulse", &format!("zoom={value}")]);
            set.code() == Some(0)
        };
        let changed = Instant::now();
        eventually(SOON, "the visualization to be played again", || played("0.5"));
        figure(&format!(
            "a host was played again {} ms after its address had changed",
            changed.elapsed().as_millis()
        ));
        assert_direct_link(h1);
    }
}

#[test]
fn lost_host_with_the_same_container_network_is_lost() {
    let Some(lab) = Lab::new("same-address") else { return };
    let hosts = ["h1", "h2"].map(|name| lab.host(name));
    for host in &hosts {
        shell(
            host,
            "ip link add docker0 type bridge; ip link add c0 type veth peer name c1
            ip link set c0 master docker0 up; ip link set c1 up
            ip address add 172.17.0.1/16 dev docker0; ip link set docker0 up",
        );
    }
    let [h1, h2] = &hosts;
    let _daemons = [start_daemon(h1), start_daemon(h2)];
    await_each_other([h1, h2]);
    let mut app = Lines::of_nodes(h1);
    h2.unplug();
    // 172.17.0.1 is also an address of h1, where its own daemon answers.
    let lost = |nodes: &[Value]| {
        let reason = node(nodes, "h2").and_then(|node| node["reason"].as_str());
        reason.is_some_and(|reason| reason.starts_with("host_lost"))
    };
    let unplugged = Instant::now();
    let (seen, _) =
        app.wait_for_nodes(Duration::from_secs(9), "the host to be reported lost", lost);
    figure(&format!(
        "a host with the same container network was reported lost after {} ms",
        seen.duration_since(unplugged).as_millis()
    ));
}
