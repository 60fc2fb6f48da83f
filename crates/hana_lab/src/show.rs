//! Daemons on the hosts of a lab, and queries that tests send to a mesh.

use std::ffi::OsStr;
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use serde_json::Value;

use crate::{Host, Lab, Output, Running, Signal, eventually};

/// The time limit for a daemon to be on the mesh, on a machine that is busy with other tests.
const DAEMON: Duration = Duration::from_secs(10);
/// The polling interval of the harness, which is also the resolution of its measurements.
const GLANCE: Duration = Duration::from_millis(1);

/// Hosts with a daemon on each. Dropping it kills the daemons; the processes that they launched end with the lab.
pub struct Show {
    hosts: Vec<Host>,
    daemons: Vec<Running>,
}

impl Show {
    /// Creates hosts with these names and starts a daemon on each, configured only with its name.
    ///
    /// Returns once all of them are on the mesh.
    #[must_use]
    pub fn of(lab: &Lab, names: &[&str]) -> Self {
        Self::start(lab, names, |_| {})
    }

    /// Does the same as [`Show::of`] with a catalogue, the text of a `visualizations.toml`.
    #[must_use]
    pub fn with_catalogue(lab: &Lab, names: &[&str], catalogue: &str) -> Self {
        let directory = lab.directory().join("config");
        fs::create_dir_all(&directory).expect("a lab's directory can be written");
        fs::write(directory.join("visualizations.toml"), catalogue)
            .expect("a lab's directory can be written");
        Self::start(lab, names, |command| {
            command.env("HANA_CONFIG", &directory);
        })
    }

    /// Does the same as [`Show::of`] after `configure` has changed each daemon's command, for example its
    /// environment.
    #[must_use]
    pub fn start(lab: &Lab, names: &[&str], configure: impl Fn(&mut Command)) -> Self {
        let hosts: Vec<Host> = names.iter().map(|name| lab.host(name)).collect();
        let daemons: Vec<Running> = hosts
            .iter()
            .map(|host| {
                let mut command = host.command("hanad");
                configure(&mut command);
                host.spawn(command)
            })
            .collect();
        daemons.iter().for_each(wait_for_daemon);
        Self { hosts, daemons }
    }

    /// Returns the host with this name.
    #[must_use]
    #[track_caller]
    pub fn host(&self, name: &str) -> &Host {
        &self.hosts[self.index(name)]
    }

    /// Returns all hosts.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Returns the daemon of the host with this name.
    #[track_caller]
    pub fn daemon(&mut self, name: &str) -> &mut Running {
        let index = self.index(name);
        &mut self.daemons[index]
    }

    #[track_caller]
    fn index(&self, name: &str) -> usize {
        let found = self.hosts.iter().position(|host| host.name() == name);
        found.unwrap_or_else(|| panic!("this show has no host {name}"))
    }
}

/// Starts a daemon without configuration, and waits until it is on the mesh.
#[must_use]
pub fn start_daemon(host: &Host) -> Running {
    start_daemon_with(host, |_| {})
}

/// Does the same as [`start_daemon`] after `configure` has changed the command.
#[must_use]
pub fn start_daemon_with(host: &Host, configure: impl FnOnce(&mut Command)) -> Running {
    let mut command = host.command("hanad");
    configure(&mut command);
    let daemon = host.spawn(command);
    wait_for_daemon(&daemon);
    daemon
}

fn wait_for_daemon(daemon: &Running) {
    eventually(DAEMON, "the daemon to be on the mesh", || {
        let printed = daemon.stderr();
        if printed.contains("is on the mesh") { Ok(()) } else { Err(printed) }
    });
}

/// Runs `hana` on a host until it ends.
#[track_caller]
pub fn hana<S: AsRef<OsStr>>(host: &Host, words: impl IntoIterator<Item = S>) -> Output {
    let mut command = host.command("hana");
    command.args(words);
    host.run_within(Duration::from_secs(30), command)
}

/// Starts `hana` on a host, with a command that keeps running.
#[must_use]
#[track_caller]
pub fn spawn_hana<S: AsRef<OsStr>>(host: &Host, words: impl IntoIterator<Item = S>) -> Running {
    let mut command = host.command("hana");
    command.args(words);
    host.spawn(command)
}

/// Returns the nodes that `hana nodes --json` lists on a host.
#[track_caller]
pub fn nodes(host: &Host) -> Vec<Value> {
    match hana(host, ["nodes", "--json"]).ok().json() {
        Value::Array(nodes) => nodes,
        other => panic!("`hana nodes --json` is no array: {other}"),
    }
}

/// Returns the node with this id in a list of nodes.
#[must_use]
pub fn node<'a>(nodes: &'a [Value], id: &str) -> Option<&'a Value> {
    nodes.iter().find(|node| node["node"] == id)
}

/// Returns whether the node with this id has this state in a list of nodes.
#[must_use]
pub fn is(nodes: &[Value], id: &str, state: &str) -> bool {
    node(nodes, id).is_some_and(|node| node["state"] == state)
}

/// Starts a catalogue entry, and returns its id and its pid on the host.
#[track_caller]
pub fn start(from: &Host, on: &Host, name: &str) -> (String, i32) {
    let answer = hana(from, ["start", name, "--host", on.name(), "--json"]).ok().json();
    let pid = answer["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    let id = answer["node"].as_str().map(String::from);
    id.zip(pid).unwrap_or_else(|| panic!("no pid in the reply to a start: {answer}"))
}

/// Sends a signal, and returns the time just before it, so that every effect is later.
#[track_caller]
pub fn signal_now(host: &Host, signal: Signal, pid: i32) -> Instant {
    let outside =
        host.outside(pid).unwrap_or_else(|| panic!("there is no process {pid} on {host:?}"));
    let now = Instant::now();
    rustix::process::kill_process(outside, signal)
        .unwrap_or_else(|error| panic!("cannot send {signal:?} to {pid} on {host:?}: {error}"));
    now
}

/// Prints a measurement, even if the test succeeds.
pub fn figure(text: &str) {
    // The test harness would capture the output of `eprintln!`.
    let _ = writeln!(io::stderr(), "measured: {text}");
}

/// A program on a host that prints JSON lines, with the reading position in its output.
pub struct Lines {
    running: Running,
    /// The number of bytes read, without the line that was accepted last.
    read: usize,
}

impl Lines {
    /// Creates a reader of the output of `running`.
    #[must_use]
    pub const fn of(running: Running) -> Self {
        Self { running, read: 0 }
    }

    /// Runs `hana nodes --watch --json` on a host, which prints the list of nodes at every change.
    #[must_use]
    #[track_caller]
    pub fn of_nodes(host: &Host) -> Self {
        let mut lines = Self::of(spawn_hana(host, ["nodes", "--watch", "--json"]));
        lines.wait_for(DAEMON, "the first list", |_| true);
        lines
    }

    /// Runs `hana watch --json` on a host, which prints all messages.
    ///
    /// Returns once it has received messages of all nodes `of`.
    #[must_use]
    #[track_caller]
    pub fn of_messages(host: &Host, of: &[&str]) -> Self {
        let mut lines = Self::of(spawn_hana(host, ["watch", "--json"]));
        for node in of {
            let key = format!("hana/{node}/health");
            lines.wait_for(DAEMON, &key, |line| line["key"] == key.as_str());
        }
        lines
    }

    /// Returns the program.
    #[must_use]
    pub const fn running(&self) -> &Running {
        &self.running
    }

    /// Waits for a line that `is_expected` accepts, and returns it with the time at which it was read.
    ///
    /// The search starts with the line that was accepted last. Lines that are not accepted are skipped.
    #[track_caller]
    pub fn wait_for(
        &mut self,
        deadline: Duration,
        awaited: &str,
        mut wished: impl FnMut(&Value) -> bool,
    ) -> (Instant, Value) {
        let begun = Instant::now();
        let mut last = None;
        loop {
            let now = Instant::now();
            let text = self.running.stdout();
            let whole = text.rfind('\n').map_or(0, |at| at + 1);
            let mut at = self.read;
            while at < whole {
                let end = text[at..whole].find('\n').map_or(whole, |length| at + length + 1);
                let line: Value = serde_json::from_str(&text[at..end])
                    .unwrap_or_else(|error| panic!("no JSON: {}: {error}", &text[at..end]));
                self.read = at;
                if wished(&line) {
                    return (now, line);
                }
                last = Some(line);
                at = end;
            }
            assert!(
                begun.elapsed() < deadline,
                "waited {:.2} s for: {awaited}\nlast seen: {}",
                deadline.as_secs_f64(),
                last.unwrap_or_default()
            );
            thread::sleep(GLANCE);
        }
    }

    /// Waits for an event of this kind about this node, in the output of a program that prints messages.
    #[track_caller]
    pub fn wait_for_event(
        &mut self,
        deadline: Duration,
        kind: &str,
        about: &str,
    ) -> (Instant, Value) {
        self.wait_for(deadline, &format!("the event that '{about}' is {kind}"), |line| {
            line["type"] == "event"
                && line["value"]["kind"] == kind
                && line["value"]["about"] == about
        })
    }

    /// Waits for a list of nodes that `is_expected` accepts, in the output of a program that prints such lists.
    #[track_caller]
    pub fn wait_for_nodes(
        &mut self,
        deadline: Duration,
        awaited: &str,
        mut wished: impl FnMut(&[Value]) -> bool,
    ) -> (Instant, Vec<Value>) {
        let as_list = |line: &Value| line.as_array().cloned().unwrap_or_default();
        let (at, line) = self.wait_for(deadline, awaited, |line| wished(&as_list(line)));
        (at, as_list(&line))
    }
}
