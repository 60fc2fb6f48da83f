//! Twenty times, in random order, a host is unplugged or a daemon is killed. Nothing is restarted, duplicated,
//! forgotten or leaked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hana_lab::show::{Lines, figure, hana, node, nodes, start, start_daemon};
use hana_lab::{Host, Lab, Running, Signal, eventually};
use hana_random::Random;
use serde_json::Value;

const CYCLES: usize = 20;
const BACK: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(15);

/// A failure of a host.
#[derive(Debug, Clone, Copy)]
enum Blow {
    /// The cable of the host is unplugged for this time.
    Unplug(Duration),
    /// The daemon of the host is killed, and restarted after this time.
    KillDaemon(Duration),
    /// Both happen at once; the cable is plugged in first.
    Both,
}

/// Waits while a failure lasts. The duration is under test, so there is no condition to wait for.
fn let_last(lasting: Duration) {
    std::thread::sleep(lasting);
}

/// Returns the next failure.
const fn blow(random: &mut Random) -> Blow {
    match random.below(5) {
        0 => Blow::Unplug(Duration::from_millis(400)),
        1 => Blow::Unplug(Duration::from_secs(3)),
        2 => Blow::KillDaemon(Duration::from_millis(100)),
        // By then, the visualizations of the host have switched to peer mode.
        3 => Blow::KillDaemon(Duration::from_secs(7)),
        _ => Blow::Both,
    }
}

/// The resources of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Resources {
    files: u64,
    threads: u64,
    memory_kib: u64,
}

fn resources(host: &Host, pid: i64) -> Resources {
    let script = format!(
        "ls /proc/{pid}/fd | wc -l; sed -n 's/^Threads:\\s*//p; s/^VmRSS:\\s*\\([0-9]*\\).*/\\1/p' /proc/{pid}/status"
    );
    let output = host.run(["sh", "-c", &script]).ok().stdout;
    let mut numbers = output.lines().map(|line| line.trim().parse().unwrap());
    // `status` lists the memory before the threads.
    let files = numbers.next().unwrap();
    let memory_kib = numbers.next().unwrap();
    let threads = numbers.next().unwrap();
    Resources { files, threads, memory_kib }
}

impl Resources {
    /// Returns whether the resources are those of an earlier time, apart from momentary differences.
    const fn is_within(&self, earlier: &Self) -> bool {
        self.files <= earlier.files + 3
            && self.threads <= earlier.threads + 2
            && self.memory_kib <= earlier.memory_kib + 8 * 1024
    }
}

/// Returns each node with its role, host, state and pid.
fn essence(nodes: &[Value]) -> Vec<Value> {
    let of = |node: &Value| {
        Value::Array(["node", "role", "host", "state", "pid"].map(|name| node[name].clone()).into())
    };
    nodes.iter().map(of).collect()
}

/// Returns the list without the pids of daemons, which change with each restart.
fn without_daemons(list: &[Value]) -> Vec<Value> {
    list.iter()
        .cloned()
        .map(|mut node| {
            if node[1] == "daemon" {
                node[4] = Value::Null;
            }
            node
        })
        .collect()
}

fn frames(host: &Host, id: &str) -> (Instant, f64) {
    let listed = nodes(host);
    let frame = node(&listed, id).and_then(|node| node["frame"].as_f64());
    (Instant::now(), frame.unwrap_or_else(|| panic!("'{id}' draws: {listed:?}")))
}

#[test]
fn twenty_lost_hosts_and_dead_daemons_leave_all_as_before() {
    let Some(lab) = Lab::new("cycles") else { return };
    let hosts: Vec<Host> = ["h1", "h2", "h3"].map(|name| lab.host(name)).into();
    let mut daemons: Vec<Running> = hosts.iter().map(start_daemon).collect();
    let (watching, struck) = (&hosts[0], &hosts[1..]);
    for host in &hosts {
        start(watching, host, "pulse");
    }
    let all_run = || {
        let list = essence(&nodes(watching));
        let running = list.len() == 6 && list.iter().all(|node| node[3] == "running");
        if running { Ok(list) } else { Err(list) }
    };
    let before = eventually(SOON, "all six nodes to run", all_run);
    let mut app = Lines::of_nodes(watching);
    let begun: Vec<(Instant, f64)> =
        ["pulse", "pulse-2", "pulse-3"].iter().map(|id| frames(watching, id)).collect();

    let mut random = Random::of_this_run();
    let mut settled = BTreeMap::new();
    for cycle in 1..=CYCLES {
        let which = random.index(struck.len());
        let (host, daemon) = (&struck[which], &mut daemons[which + 1]);
        let blow = blow(&mut random);
        match blow {
            Blow::Unplug(lasting) => {
                host.unplug();
                let_last(lasting);
                host.plug();
            },
            Blow::KillDaemon(lasting) => {
                daemon.kill(Signal::KILL);
                daemon.wait(SOON);
                let_last(lasting);
                *daemon = start_daemon(host);
            },
            Blow::Both => {
                host.unplug();
                daemon.kill(Signal::KILL);
                daemon.wait(SOON);
                let_last(Duration::from_secs(2));
                host.plug();
                *daemon = start_daemon(host);
            },
        }
        let healed = Instant::now();
        let mut lists = vec![];
        let awaited = format!("cycle {cycle}, {blow:?} of {}: the list as before", host.name());
        eventually(BACK, &awaited, || {
            lists = hosts.iter().map(|host| without_daemons(&essence(&nodes(host)))).collect();
            let expected = without_daemons(&before);
            if lists.iter().all(|list| *list == expected) { Ok(()) } else { Err(lists.clone()) }
        });
        figure(&format!(
            "cycle {cycle}, {blow:?} of {}: the same list on all three hosts after {} ms",
            host.name(),
            healed.elapsed().as_millis()
        ));
        // This measures the processes that were never killed, after they have been through all kinds of failures.
        if cycle == CYCLES / 2 || cycle == CYCLES {
            let listed = nodes(watching);
            for (id, of) in [("h1", 0), ("pulse", 0), ("pulse-2", 1), ("pulse-3", 2)] {
                let pid = node(&listed, id).unwrap()["pid"].as_i64().unwrap();
                let host = &hosts[of];
                let Some(half) = settled.get(id) else {
                    settled.insert(id, resources(host, pid));
                    continue;
                };
                // A connection that is being opened holds threads and files for a moment, whereas a leak holds them
                // permanently.
                let whole = eventually(SOON, &format!("{id} to use no more than {half:?}"), || {
                    let whole = resources(host, pid);
                    if whole.is_within(half) { Ok(whole) } else { Err(whole) }
                });
                figure(&format!("{id} uses {half:?} after ten cycles and {whole:?} after twenty"));
            }
        }
    }

    // The observer that has run since the start has the same list as a new one.
    let expected = without_daemons(&before);
    app.wait_for_nodes(SOON, "the list as before", |nodes| {
        without_daemons(&essence(nodes)) == expected
    });
    for (id, (from, frames_before)) in ["pulse", "pulse-2", "pulse-3"].iter().zip(begun) {
        let (to, frames_now) = frames(watching, id);
        let rate = (frames_now - frames_before) / to.duration_since(from).as_secs_f64();
        figure(&format!("{id} drew {rate:.1} frames a second all the time (its own rate is 60)"));
        assert!(rate > 45.0, "{id} drew {rate:.1} frames a second");
    }
    // The last daemon can stop visualizations of an earlier one, whose output was never interrupted.
    for (id, host) in [("pulse-2", &hosts[1]), ("pulse-3", &hosts[2])] {
        let logged = hana(watching, ["logs", id]).ok().stdout;
        assert!(!logged.contains("panicked") && !logged.contains("Broken pipe"), "{logged}");
        hana(watching, ["stop", id]).ok();
        let left = host.processes().into_iter().filter(|process| process.command.contains("pulse"));
        assert_eq!(left.count(), 0, "{id} is gone");
    }
}
