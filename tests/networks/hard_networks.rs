//! Difficult networks and machines: ids that are taken, ports that are in use, no IPv6, no multicast, a firewall.
//!
//! Each problem results in a clear message, and everything that is not affected continues.

use std::fs;
use std::process::Command;
use std::time::Duration;

use hana_lab::show::{Show, figure, hana, is, node, nodes, start, start_daemon, start_daemon_with};
use hana_lab::{Host, Lab, Output, Running, eventually, foreign};

const SOON: Duration = Duration::from_secs(20);
/// The time limit for a healed network. Its two halves search for each other every eight seconds.
const HEALED: Duration = Duration::from_secs(40);

#[track_caller]
fn assert_fails_with(output: &Output, words: &[&str]) {
    assert_eq!(output.code(), Some(1), "{output}");
    for word in words {
        assert!(output.stderr.contains(word), "{word:?} in {output}");
    }
}

#[track_caller]
fn await_stderr(program: &Running, words: &str) {
    eventually(SOON, words, || {
        let printed = program.stderr();
        if printed.contains(words) { Ok(()) } else { Err(printed) }
    });
}

#[track_caller]
fn await_running(from: &Host, id: &str) {
    eventually(SOON, &format!("'{id}' to run"), || {
        let nodes = nodes(from);
        if is(&nodes, id, "running") { Ok(()) } else { Err(nodes) }
    });
}

/// Asserts that `pulse` continues to draw: it prints a line every few seconds.
#[track_caller]
fn assert_draws(pulse: &Running) {
    let beats = || pulse.stdout().matches("beat").count();
    let before = beats();
    eventually(SOON, "the visualization to draw", || beats() >= before + 2);
}

fn spawn(host: &Host, program: &str, environment: &[(&str, &str)]) -> Running {
    let mut command = host.command(program);
    command.envs(environment.iter().copied());
    host.spawn(command)
}

fn shell(host: &Host, script: &str) {
    host.run(["sh", "-e", "-c", script]).ok();
}

fn set(host: &Host, settings: &str) {
    let directory = host.directory().join("home/.config/hana");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("hanad.toml"), settings).unwrap();
}

fn named(name: &'static str) -> impl Fn(&mut Command) {
    move |command| {
        command.env("HANA_HOST", name);
    }
}

#[test]
fn taken_id_is_refused_with_its_host_and_process() {
    let Some(lab) = Lab::new("taken") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let [h1, h2] = show.hosts() else { unreachable!() };
    let (_, pid) = start(h1, h1, "pulse");
    await_running(h2, "pulse");
    let second = spawn(h2, "pulse", &[]);
    let words = format!(
        "the id 'pulse' is taken by process {pid} on host 'h1'; set another one here: HANA_NODE"
    );
    await_stderr(&second, &words);
    assert_draws(&second);
    assert_eq!(node(&nodes(h2), "pulse").unwrap()["pid"], pid);
    let third = spawn(h2, "pulse", &[("HANA_NODE", "another")]);
    await_running(h1, "another");
    drop(third);
}

#[test]
fn second_host_with_the_same_name_gets_advice_on_renaming() {
    let Some(lab) = Lab::new("clones") else { return };
    let (h1, h2) = (&lab.host("h1"), &lab.host("h2"));
    // The hosts have the same name, like two machines with the same disk image.
    let mut first = start_daemon_with(h1, named("stage"));
    let pid = first.pid();
    let second = spawn(h2, "hanad", &[("HANA_HOST", "stage")]).finish(SOON);
    assert_fails_with(
        &second,
        &[
            &format!("the id 'stage' is taken by process {pid} on host 'stage'"),
            "HANA_HOST=... for a machine (a cloned disk has the hostname of its original)",
        ],
    );
    assert!(first.try_wait().is_none());
    let list = nodes(h1);
    assert!(is(&list, "stage", "running") && list.len() == 1, "{list:?}");
    let _renamed = start_daemon_with(h2, named("stage-2"));
    await_running(h1, "stage-2");
}

#[test]
fn one_of_two_hosts_with_the_same_name_stays_when_both_start() {
    let Some(lab) = Lab::new("twins") else { return };
    let (h1, h2) = (&lab.host("h1"), &lab.host("h2"));
    let mut twins = [
        spawn(h1, "hanad", &[("HANA_HOST", "stage")]),
        spawn(h2, "hanad", &[("HANA_HOST", "stage")]),
    ];
    eventually(HEALED, "one of the two to end", || {
        twins.iter_mut().filter_map(Running::try_wait).count() == 1
    });
    let (ended, on): (Vec<_>, Vec<_>) =
        twins.iter_mut().partition(|twin| twin.stderr().contains("hanad: "));
    let (ended, on) = (&ended[0], &on[0]);
    assert!(ended.stderr().contains("HANA_HOST"), "{}", ended.stderr());
    assert!(on.stderr().contains("is on the mesh"), "{}", on.stderr());
    for host in [h1, h2] {
        eventually(SOON, "one host to be listed", || {
            let list = nodes(host);
            if list.len() == 1 && is(&list, "stage", "running") { Ok(()) } else { Err(list) }
        });
    }
}

#[test]
fn younger_duplicate_yields_when_a_split_network_heals() {
    let Some(lab) = Lab::new("healed") else { return };
    let (h1, h2) = (&lab.host("h1"), &lab.host("h2"));
    lab.partition(&[h1], &[h2]);
    let mut older = start_daemon_with(h1, named("stage"));
    let launch = |host: &Host, id: &str| {
        let mut command = host.command("hana");
        command.env("HANA_HOST", "stage").args(["start", "pulse", "--id", id, "--json"]);
        let answer = host.run_within(SOON, command).ok().json();
        i32::try_from(answer["pid"].as_i64().unwrap()).unwrap()
    };
    let left = launch(h1, "left");
    // Visualizations can have the same id in both halves, too.
    let of_left = spawn(h1, "pulse", &[("HANA_HOST", "stage")]);
    await_running(h1, "pulse");
    eventually(SOON, "the left side to be clearly older", || {
        nodes(h1).iter().all(|node| node["uptime_s"].as_u64().is_some_and(|up| up >= 4))
    });
    let mut younger = start_daemon_with(h2, named("stage"));
    let right = launch(h2, "right");
    let mut of_right = spawn(h2, "pulse", &[("HANA_HOST", "stage")]);
    await_running(h2, "right");
    await_running(h2, "pulse");

    lab.heal();
    eventually(HEALED, "the younger daemon to end", || younger.try_wait().is_some());
    let log = younger.stderr();
    let pid = older.pid();
    for words in [
        &format!(
            "two nodes have the id 'stage': process {pid} on host 'stage' has it too and is older"
        ),
        "HANA_HOST=",
    ] {
        assert!(log.contains(words), "{words:?} in {log}");
    }
    assert_eq!(younger.wait(SOON).code(), Some(1));
    assert!(older.try_wait().is_none());
    let pid = of_left.pid();
    await_stderr(
        &of_right,
        &format!("two nodes have the id 'pulse': process {pid} on host 'stage'"),
    );
    assert!(of_right.try_wait().is_none());
    assert_draws(&of_right);
    // The processes that the two daemons launched continue to run.
    for (host, pid) in [(h1, left), (h2, right)] {
        assert!(host.processes().iter().any(|process| process.pid == pid && process.state != 'Z'));
    }
    let list = nodes(h1);
    assert!(is(&list, "stage", "running") && is(&list, "left", "running"), "{list:?}");
    assert_eq!(node(&list, "pulse").unwrap()["pid"], pid);
}

#[test]
fn second_daemon_on_a_host_reports_the_first_and_ends() {
    let Some(lab) = Lab::new("second") else { return };
    let mut show = Show::of(&lab, &["h1"]);
    let h1 = &show.host("h1").clone();
    start(h1, h1, "pulse");
    await_running(h1, "pulse");
    let pid = show.daemon("h1").pid();
    for environment in [&[][..], &[("HANA_HOST", "another")]] {
        let second = spawn(h1, "hanad", environment).finish(SOON);
        assert_fails_with(
            &second,
            &[&format!("a daemon runs on this machine already: 'h1', process {pid}")],
        );
    }
    // A daemon of another show or with another secret cannot be identified.
    let second = spawn(h1, "hanad", &[("HANA_SHOW", "club")]).finish(SOON);
    assert_fails_with(
        &second,
        &["port 7447 of this machine is in use by hanad or another Zenoh program", "ss -ltnp"],
    );
    let list = nodes(h1);
    assert!(is(&list, "h1", "running") && is(&list, "pulse", "running"), "{list:?}");
}

#[test]
fn zenoh_router_on_the_port_is_reported_and_used() {
    let Some(lab) = Lab::new("router") else { return };
    let h1 = &lab.host("h1");
    let mut command = h1.command(foreign::python());
    command.args([
        "-c",
        "import zenoh, time
config = zenoh.Config()
config.insert_json5('mode', '\"router\"')
config.insert_json5('listen/endpoints', '[\"tcp/0.0.0.0:7447\"]')
session = zenoh.open(config)
print('open', flush=True)
time.sleep(600)",
    ]);
    let router = h1.spawn(command);
    eventually(SOON, "the router", || router.stdout().contains("open"));
    let refused = h1.run(["hanad"]);
    assert_fails_with(
        &refused,
        &["port 7447 of this machine is in use by a Zenoh router (zenohd); stop that", "ss -ltnp"],
    );
    assert_eq!(refused.stderr.lines().count(), 1, "{refused}");
    // All commands except launches work through the router.
    let pulse = spawn(h1, "pulse", &[]);
    await_running(h1, "pulse");
    hana(h1, ["set", "pulse", "zoom=0.5"]).ok();
    hana(h1, ["ping", "pulse", "--count", "1"]).ok();
    assert!(!pulse.stderr().contains("WARN"), "{}", pulse.stderr());
}

#[test]
fn other_program_on_the_port_is_reported_and_bypassed() {
    let Some(lab) = Lab::new("foreign") else { return };
    let (h1, h2) = (&lab.host("h1"), &lab.host("h2"));
    let _other = start_daemon(h2);
    let web = "import http.server; http.server.test(port=7447)";
    let gate = "import socket
server = socket.create_server(('0.0.0.0', 7447)); print('Serving', flush=True)
while True: server.accept()[0].sendall(b'SSH-2.0-gate\\r\\n')";
    let silent = "import socket, time
server = socket.create_server(('0.0.0.0', 7447)); print('Serving', flush=True); time.sleep(600)";
    for (script, what, name) in [
        (web, "a program that does not respond", "beside-web"),
        (gate, "a program that is neither hanad nor Zenoh", "beside-gate"),
        (silent, "a program that does not respond", "beside-silence"),
    ] {
        let mut command = h1.command("python3");
        command.args(["-u", "-c", script]);
        let holder = h1.spawn(command);
        eventually(SOON, "the program to listen", || holder.stdout().contains("Serving"));
        assert_fails_with(
            &h1.run(["hanad"]),
            &["port 7447 of this machine is in use by", what, "ss -ltnp"],
        );
        let pulse = spawn(h1, "pulse", &[("HANA_NODE", name)]);
        // As a peer, the node and the others discover each other. Node and command report once why there is no
        // daemon.
        await_running(h2, name);
        let list = hana(h1, ["nodes"]);
        assert!(list.stdout.contains(name) && list.stdout.contains("h2"), "{list}");
        for printed in [&list.stderr, &pulse.stderr()] {
            assert_eq!(printed.matches(&format!("is in use by {what}")).count(), 1, "{printed}");
        }
    }
}

#[test]
fn hosts_without_ipv6_find_each_other() {
    let Some(lab) = Lab::new("no-ipv6") else { return };
    let hosts = ["h1", "h2"].map(|name| lab.host(name));
    for host in &hosts {
        shell(host, "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
        let addresses = host.run(["ip", "-6", "address"]).ok().stdout;
        assert!(addresses.is_empty(), "{addresses}");
    }
    let [h1, h2] = &hosts;
    let daemons = [start_daemon(h1), start_daemon(h2)];
    start(h1, h2, "pulse");
    await_running(h1, "pulse");
    let ping = hana(h1, ["ping", "pulse", "--count", "1", "--json"]).ok().json();
    assert_eq!(ping["play"]["count"], 1, "{ping}");
    for daemon in &daemons {
        assert!(!daemon.stderr().contains("WARN"), "{}", daemon.stderr());
    }
}

/// Two kinds of networks that block multicast, each with its script.
const NO_MULTICAST: [(&str, &str); 2] = [
    (
        "an interface without it",
        "ip link set eth0 multicast off; ip route del 224.0.0.0/4 dev eth0",
    ),
    (
        "a filter",
        "nft add table inet test
        nft 'add chain inet test in { type filter hook input priority 0; }'
        nft add rule inet test in ip daddr 224.0.0.0/4 drop",
    ),
];

#[test]
fn without_multicast_hosts_meet_at_configured_addresses() {
    for (what, script) in NO_MULTICAST {
        let Some(lab) = Lab::new("no-multicast") else { return };
        let hosts = ["h1", "h2", "h3", "h4"].map(|name| lab.host(name));
        let [h1, h2, h3, apart] = &hosts;
        for host in &hosts {
            shell(host, script);
        }
        // `h2` is configured with the address of `h1`, and so is `h3`, which has no daemon.
        for host in [h2, h3] {
            set(host, "connect = ['tcp/10.77.0.1:7447']\n");
        }
        set(apart, "connect = ['tcp/10.77.0.99:7447']\n");
        let daemons = [start_daemon(h1), start_daemon(h2), start_daemon(apart)];
        start(h1, h2, "pulse");
        let _by_hand = spawn(h3, "pulse", &[("HANA_NODE", "by-hand")]);
        for host in [h1, h2, h3] {
            for id in ["h1", "h2", "pulse", "by-hand"] {
                await_running(host, id);
            }
            assert!(node(&nodes(host), "h4").is_none(), "{what} does not keep multicast off");
        }
        hana(h3, ["set", "pulse", "zoom=0.5"]).ok();
        hana(h2, ["stop", "by-hand"]).ok();
        // The configured address of the host without a daemon is reported.
        eventually(HEALED, "the report", || {
            let printed = daemons[2].stderr();
            let words = "10.77.0.99:7447 is named in `connect`, but is unreachable";
            if printed.contains(words) { Ok(()) } else { Err(printed) }
        });
    }
}

#[test]
fn firewalled_host_is_reported_and_documented_ports_suffice() {
    let Some(lab) = Lab::new("firewall") else { return };
    let (h1, h2) = (&lab.host("h1"), &lab.host("h2"));
    set(h2, "play_ports = '7450-7459'\n");
    // The firewall is like that of a desktop: replies, multicast and little else can pass.
    let closed = "nft add table inet wall
        nft 'add chain inet wall in { type filter hook input priority 0; policy drop; }'
        nft add rule inet wall in ct state established,related accept
        nft add rule inet wall in iif lo accept";
    shell(h1, closed);
    shell(h2, closed);
    for host in [h1, h2] {
        shell(host, "nft add rule inet wall in udp dport 7446 accept");
    }
    let (d1, d2) = (start_daemon(h1), start_daemon(h2));
    // The scouting message and its reply can pass, but the connection cannot.
    let words =
        |host: &Host| format!("{}:7447 replies to discovery, but is unreachable", host.address());
    eventually(SOON, "the report of one daemon", || {
        let (one, other) = (d1.stderr(), d2.stderr());
        if one.contains(&words(h2)) || other.contains(&words(h1)) {
            Ok(())
        } else {
            Err((one, other))
        }
    });
    assert_eq!(nodes(h1).len(), 1);
    // The rule is that of `docs/network.md`.
    shell(h1, "nft add rule inet wall in tcp dport 7447 accept");
    shell(h2, "nft add rule inet wall in tcp dport '{ 7447, 7450-7459 }' accept");
    eventually(SOON, "both to see both", || {
        [h1, h2]
            .iter()
            .all(|host| is(&nodes(host), "h1", "running") && is(&nodes(host), "h2", "running"))
    });
    start(h1, h2, "pulse");
    await_running(h1, "pulse");
    let ping = hana(h1, ["ping", "pulse", "--count", "20", "--json"]).ok().json();
    assert_eq!(ping["play"]["count"], 20, "{ping}");
    figure(&format!("through a firewall: {ping}"));
}

#[test]
fn host_on_two_networks_uses_both_or_the_configured_one() {
    let Some(lab) = Lab::new("two-networks") else { return };
    let hosts = ["h1", "h2", "h3"].map(|name| lab.host(name));
    let [both, first, second] = &hosts;
    lab.second_network(&[both, second]);
    shell(second, "ip address flush dev eth0; ip route add 224.0.0.0/4 dev eth1");
    // As on every machine with containers, there is a bridge with the usual address.
    for host in [both, first] {
        shell(
            host,
            "ip link add docker0 type bridge
            ip address add 172.17.0.1/16 dev docker0
            ip link set docker0 up",
        );
    }
    let daemons = [start_daemon(both), start_daemon(first), start_daemon(second)];
    let sees = |host: &Host, wanted: &[&str]| {
        eventually(SOON, &format!("{} to see {wanted:?}", host.name()), || {
            let list = nodes(host);
            // A restarted daemon still lists the processes that it launched.
            let daemons = list.iter().filter(|node| node["role"] == "daemon");
            let seen: Vec<&str> = daemons.map(|node| node["node"].as_str().unwrap()).collect();
            if seen == wanted { Ok(()) } else { Err(list) }
        });
    };
    sees(both, &["h1", "h2", "h3"]);
    // Daemons do not relay between networks.
    sees(first, &["h1", "h2"]);
    sees(second, &["h1", "h3"]);
    // A direct link uses the right address.
    start(both, second, "pulse");
    await_running(both, "pulse");
    let ping = hana(both, ["ping", "pulse", "--count", "3", "--json"]).ok().json();
    assert_eq!(ping["play"]["count"], 3, "{ping}");
    hana(both, ["stop", "pulse"]).ok();
    drop(daemons);

    set(both, "interface = 'eth1'");
    let _daemons = [start_daemon(both), start_daemon(first), start_daemon(second)];
    sees(both, &["h1", "h3"]);
    sees(second, &["h1", "h3"]);
    sees(first, &["h2"]);
}

#[test]
fn hosts_meet_despite_half_of_the_multicast_packets_lost() {
    let Some(lab) = Lab::new("wifi") else { return };
    let (h1, h2) = (&lab.host("h1"), &lab.host("h2"));
    for host in [h1, h2] {
        shell(
            host,
            "nft add table inet test
            nft 'add chain inet test in { type filter hook input priority 0; }'
            nft add rule inet test in ip daddr 224.0.0.0/4 numgen random mod 2 0 drop",
        );
    }
    let _daemons = [start_daemon(h1), start_daemon(h2)];
    let begun = std::time::Instant::now();
    eventually(Duration::from_secs(90), "both to see both", || {
        [h1, h2].iter().all(|host| nodes(host).len() == 2)
    });
    figure(&format!(
        "with half of the multicast packets lost two hosts found each other after {:.1} s",
        begun.elapsed().as_secs_f64()
    ));
}

#[test]
fn documented_diagnosis_commands_print_the_documented_output() {
    let Some(lab) = Lab::new("list-of-steps") else { return };
    let hosts = ["h1", "h2"].map(|name| lab.host(name));
    let [h1, _] = &hosts;
    assert!(hana(h1, ["nodes"]).ok().stdout.contains("the mesh is empty"));
    let _daemons = hosts.each_ref().map(start_daemon);
    let sockets = h1.run(["ss", "-ltnp", "sport = :7447"]).ok().stdout;
    assert!(sockets.contains("*:7447") && sockets.contains("\"hanad\""), "{sockets}");
    eventually(SOON, "both daemons to answer", || {
        let mut command = h1.command(foreign::zenoh());
        command.args(["scout", "--timeout", "2"]);
        let output = h1.run_within(SOON, command).stdout;
        if output.contains("10.77.0.1:7447") && output.contains("10.77.0.2:7447") {
            Ok(())
        } else {
            Err(output)
        }
    });
}
