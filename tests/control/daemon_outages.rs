//! Values that OSC, an app and `hana set` play while daemons or the network between them are down: the table in
//! `docs/play_sessions.md`. Also tests the values after a burst of OSC.

use std::time::{Duration, Instant};

use hana_lab::show::figure;
use hana_lab::{Ensemble, Host, Lab, Running, Signal, eventually, show};
use serde_json::Value;

/// The time limit for changes, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(30);
/// The duration of each outage: longer than the mesh needs to recover without daemons.
const OUTAGE: Duration = Duration::from_secs(6);
/// The longest accepted time between two shown values at a hundred per second, which is that of fifty values.
///
/// A busy machine takes longer than an idle one. The mesh would take five seconds to recover.
const GAP_MS: f64 = 500.0;
/// The least number of shown values, out of the six hundred values played in an outage.
const SHOWN: f64 = 300.0;
/// The port of the bridge.
const PORT: &str = "9000";

/// A program that sends OSC messages in one of three modes.
///
/// `stream SECONDS` sends a hundred per second to `p0`, each with the time as `load_test` reads it. `burst COUNT
/// SENDERS FINAL` sends as fast as it can to four parameters, which end at FINAL. `once VALUE` sends one message.
const SENDER: &str = r#"
import socket, struct, sys, time
def text(s):
    b = s.encode()
    return b + b"\0" * (4 - len(b) % 4)
def message(p, v): return text("/hana/v/p%d" % p) + text(",f") + struct.pack(">f", v)
def sender(): return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
to = ("127.0.0.1", 9000)
what, *rest = sys.argv[1:]
if what == "stream":
    s, begun, n = sender(), time.time(), 0
    while time.time() - begun < float(rest[0]):
        s.sendto(message(0, time.time() % 60 / 30 - 1), to)
        n += 1
        time.sleep(max(0, begun + n / 100 - time.time()))
elif what == "burst":
    count, senders, final = int(rest[0]), [sender() for _ in range(int(rest[1]))], float(rest[2])
    packets = [message(i % 4, -0.5 + i / count * 0.4) for i in range(count - 4)]
    packets += [message(p, final) for p in range(4)]
    for i, packet in enumerate(packets):
        senders[i % len(senders)].sendto(packet, to)
else:
    sender().sendto(message(0, float(rest[0])), to)
"#;

fn python(host: &Host, words: &str) -> std::process::Command {
    let mut command = host.command("python3");
    command.args(["-c", SENDER]).args(words.split(' '));
    command
}

fn send(host: &Host, words: &str) {
    host.run_within(SOON, python(host, words)).ok();
}

/// Two hosts with daemons, and `v` on the second one, which was started without a daemon.
struct Theatre {
    h1: Host,
    h2: Host,
    daemons: [Option<Running>; 2],
    stage: Ensemble,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outage {
    OwnDaemon,
    OtherDaemon,
    BothDaemons,
    Network,
}

const OUTAGES: [Outage; 4] =
    [Outage::OwnDaemon, Outage::OtherDaemon, Outage::BothDaemons, Outage::Network];

impl Theatre {
    fn new(lab: &Lab) -> Self {
        let (h1, h2) = (lab.host("h1"), lab.host("h2"));
        let daemons = [Some(show::start_daemon(&h1)), Some(show::start_daemon(&h2))];
        let stage = Ensemble::stage(&h2, &["v"], "--parameters 4 --look-us 500");
        let theatre = Self { h1, h2, daemons, stage };
        theatre.wait_until_whole();
        theatre
    }

    fn wait_until_whole(&self) {
        eventually(SOON, "'v' to be listed on the first host", || {
            let nodes = show::nodes(&self.h1);
            let is_there = show::is(&nodes, "v", "running") && show::is(&nodes, "h2", "running");
            if is_there { Ok(()) } else { Err(nodes) }
        });
    }

    fn bridge(&self) -> Running {
        let listen = format!("127.0.0.1:{PORT}");
        let bridge = show::spawn_hana(&self.h1, ["bridge", "osc", "--listen", &listen]);
        eventually(SOON, "the bridge to listen", || {
            if bridge.stdout().contains(PORT) { Ok(()) } else { Err(bridge.stderr()) }
        });
        send(&self.h1, "once 0.5");
        self.wait_until_shown("p0", 0.5);
        eventually(SOON, "the bridge to play directly", || {
            let nodes = show::nodes(&self.h1);
            let path = show::node(&nodes, "osc-h1").map(|node| node["plays"]["v"]["path"].clone());
            if path == Some("direct".into()) { Ok(()) } else { Err(nodes) }
        });
        bridge
    }

    fn begin(&mut self, outage: Outage) {
        let [own, other] = &mut self.daemons;
        let killed: &mut [&mut Option<Running>] = match outage {
            Outage::OwnDaemon => &mut [own],
            Outage::OtherDaemon => &mut [other],
            Outage::BothDaemons => &mut [own, other],
            Outage::Network => {
                self.h2.unplug();
                return;
            },
        };
        for daemon in killed {
            let mut daemon = daemon.take().unwrap();
            daemon.kill(Signal::KILL);
            daemon.wait(SOON);
        }
    }

    fn end(&mut self, outage: Outage) {
        if outage == Outage::Network {
            self.h2.plug();
        }
        for (daemon, host) in self.daemons.iter_mut().zip([&self.h1, &self.h2]) {
            daemon.get_or_insert_with(|| show::start_daemon(host));
        }
        self.wait_until_whole();
    }

    /// Returns the longest time between two shown values during an outage, and the number of values.
    fn shown_meanwhile(&self) -> (f64, f64) {
        let count = |line: &Value| line.pointer("/heard/p0/count").and_then(Value::as_f64);
        let before = self.stage.last("v").as_ref().and_then(count).unwrap_or_default();
        let lines = self.stage.during("v", OUTAGE);
        let gaps = lines.iter().filter_map(|line| line.pointer("/heard/p0/gap_ms")?.as_f64());
        let shown = lines.last().and_then(count).unwrap_or_default() - before;
        (gaps.fold(0.0, f64::max), shown)
    }

    #[track_caller]
    fn wait_until_shown(&self, parameter: &str, value: f64) {
        self.stage.wait_for("v", &format!("{parameter} to be {value}"), |line| {
            let shown = line["values"][parameter].as_f64();
            shown.is_some_and(|shown| (shown - value).abs() < 1e-5)
        });
    }
}

fn errors(bridge: &Running) -> Vec<String> {
    bridge.stderr().lines().filter(|line| line.starts_with("hana: ")).map(String::from).collect()
}

#[test]
fn osc_keeps_playing_while_daemons_are_down() {
    let Some(lab) = Lab::new("osc-outages") else { return };
    let mut theatre = Theatre::new(&lab);
    let bridge = theatre.bridge();
    let _stream = theatre.h1.spawn(python(&theatre.h1, "stream 120"));
    for outage in [Outage::BothDaemons, Outage::OwnDaemon, Outage::OtherDaemon] {
        theatre.stage.wait_for("v", "the visualization to be played", |line| {
            line.pointer("/heard/p0/age_ms").and_then(Value::as_f64).is_some_and(|age| age < 100.0)
        });
        theatre.stage.during("v", Duration::from_millis(500));
        theatre.begin(outage);
        let (gap, shown) = theatre.shown_meanwhile();
        figure(&format!(
            "{outage:?} down: {shown} shown, the longest time between two {gap:.0} ms"
        ));
        assert!(gap < GAP_MS && shown > SHOWN, "{outage:?}: {gap} ms, {shown} shown");
        theatre.end(outage);
    }
    assert_eq!(errors(&bridge), [""; 0], "no errors");
}

#[test]
fn osc_bridge_reports_a_lost_network_and_ends_at_last_values() {
    let Some(lab) = Lab::new("osc-network") else { return };
    let mut theatre = Theatre::new(&lab);
    let bridge = theatre.bridge();
    theatre.begin(Outage::Network);
    send(&theatre.h1, "stream 3");
    send(&theatre.h1, "once -0.75");
    eventually(SOON, "the line that 'v' does not reply", || {
        let lines = errors(&bridge);
        if lines.iter().any(|line| line.contains("'v' does not reply")) {
            Ok(())
        } else {
            Err(lines)
        }
    });
    theatre.end(Outage::Network);
    theatre.wait_until_shown("p0", -0.75);
    send(&theatre.h1, "once 0.25");
    theatre.wait_until_shown("p0", 0.25);
    eventually(SOON, "the line that 'v' replies again", || {
        let lines = errors(&bridge);
        if lines.iter().any(|line| line.contains("'v' replies again")) {
            Ok(())
        } else {
            Err(lines)
        }
    });
    assert!(errors(&bridge).len() <= 4, "{:?}", errors(&bridge));
}

#[test]
fn app_keeps_playing_while_daemons_are_down() {
    let Some(lab) = Lab::new("app-outages") else { return };
    let mut theatre = Theatre::new(&lab);
    let controllers = Ensemble::controllers(&theatre.h1, &["a"], &["v"], "--per-second 100");
    controllers.wait_until_direct("a", "v");
    for outage in OUTAGES {
        theatre.stage.wait_for("v", "the visualization to be played", |line| {
            line.pointer("/heard/p0/age_ms").and_then(Value::as_f64).is_some_and(|age| age < 100.0)
        });
        theatre.stage.during("v", Duration::from_millis(500));
        theatre.begin(outage);
        let (gap, shown) = theatre.shown_meanwhile();
        if outage == Outage::Network {
            controllers.wait_for("a", "the loss of replies", |line| {
                line["plays"]["v"]["round_trip_us"].is_null()
            });
        } else {
            assert!(gap < GAP_MS && shown > SHOWN, "{outage:?}: {gap} ms, {shown} shown");
        }
        theatre.end(outage);
        controllers.wait_until_direct("a", "v");
    }
}

#[test]
fn set_works_without_daemons_and_reports_an_unreachable_node() {
    let Some(lab) = Lab::new("set-outages") else { return };
    let mut theatre = Theatre::new(&lab);
    for (outage, value) in OUTAGES.into_iter().zip(["0.1", "0.2", "0.3", "0.4"]) {
        theatre.begin(outage);
        if matches!(outage, Outage::OtherDaemon | Outage::Network) {
            // The loss of a host is reported after a second and a half.
            eventually(SOON, "the other host to be reported lost", || {
                let nodes = show::nodes(&theatre.h1);
                if show::is(&nodes, "h2", "unreachable") { Ok(()) } else { Err(nodes) }
            });
        }
        let begun = Instant::now();
        let set = show::hana(&theatre.h1, ["set", "v", &format!("p0={value}")]);
        figure(&format!("{outage:?} down: `hana set` took {:.1} s", begun.elapsed().as_secs_f64()));
        if outage == Outage::Network {
            assert_eq!(set.code(), Some(1), "{set}");
            let words = set.stderr;
            assert!(words.contains("'v' cannot be reached: host_lost"), "{words}");
            theatre.end(outage);
            show::hana(&theatre.h1, ["set", "v", &format!("p0={value}")]).ok();
        } else {
            set.ok();
            theatre.end(outage);
        }
        theatre.wait_until_shown("p0", value.parse().unwrap());
    }
}

/// Returns the number of datagrams that the kernel has dropped at the port of the bridge.
fn dropped(host: &Host) -> u64 {
    let table = host.run(["cat", "/proc/net/udp"]).ok().stdout;
    let port: u16 = PORT.parse().unwrap();
    let line = table.lines().find(|line| line.contains(&format!(":{port:04X} "))).unwrap();
    line.split_whitespace().last().unwrap().parse().unwrap()
}

/// Returns the number of datagrams that the bridge has reported lost.
fn reported(bridge: &Running) -> u64 {
    let lines = errors(bridge);
    let counts = lines.iter().filter(|line| line.contains("OSC datagrams were lost"));
    counts.map(|line| line.split(' ').nth(1).unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn burst_of_osc_ends_at_its_last_values() {
    let Some(lab) = Lab::new("osc-burst") else { return };
    let theatre = Theatre::new(&lab);
    let bridge = theatre.bridge();
    for (count, senders, last) in
        [(500, 1, 0.125), (10_000, 1, 0.25), (10_000, 50, 0.375), (3000, 50, 0.5)]
    {
        send(&theatre.h1, &format!("burst {count} {senders} {last}"));
        for parameter in ["p0", "p1", "p2", "p3"] {
            theatre.wait_until_shown(parameter, last);
        }
        figure(&format!("{count} messages from {senders}: {} dropped", dropped(&theatre.h1)));
    }
    eventually(SOON, "the loss to be reported", || {
        let (reported, dropped) = (reported(&bridge), dropped(&theatre.h1));
        if reported == dropped { Ok(()) } else { Err((reported, dropped)) }
    });
}

#[test]
fn osc_datagrams_dropped_by_the_kernel_are_counted() {
    let Some(lab) = Lab::new("osc-drops") else { return };
    let theatre = Theatre::new(&lab);
    let bridge = theatre.bridge();
    bridge.kill(Signal::STOP);
    send(&theatre.h1, "burst 120000 1 0.75");
    bridge.kill(Signal::CONT);
    let lost = dropped(&theatre.h1);
    assert!(lost > 0, "the buffer had room for all of them");
    eventually(SOON, "the loss to be reported", || {
        let reported = reported(&bridge);
        if reported == lost { Ok(()) } else { Err((reported, lost)) }
    });
    eventually(SOON, "the loss to be listed on the mesh", || {
        let nodes = show::nodes(&theatre.h1);
        let counted =
            show::node(&nodes, "osc-h1").map(|node| node["counters"]["input_lost"].clone());
        if counted == Some(lost.into()) { Ok(()) } else { Err(nodes) }
    });
    // The bridge continues to play.
    send(&theatre.h1, "once 0.5");
    theatre.wait_until_shown("p0", 0.5);
}
