use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, thread};

use crate::network::lab_inner::{Entrance, LabInner, shell};
use crate::network::namespace::Anchor;
use crate::skip::{is_lab_required, skip};
use crate::{Host, eventually, network::namespace};

/// A network of hosts on this machine, made of Linux namespaces: a switch, and hosts that are connected to it.
///
/// All names are inside the lab's own namespaces, so any number of labs can run at the same time, and the network of
/// this machine is neither changed nor reached. Everything inside ends when this value is dropped or the process that
/// holds it ends for any reason: the lab's first process waits for the end of a pipe, and the kernel kills the rest.
///
/// The files of a lab are in a separate folder in the system's temporary folder, which is removed with the lab. After
/// a failed test, the folder remains, and its path is printed.
pub struct Lab {
    inner: Arc<LabInner>,
    hosts: Mutex<Vec<(Host, Anchor)>>,
    switch: Anchor,
}

const NAMESPACES: [&str; 7] =
    ["--net", "--uts", "--pid", "--mount", "--mount-proc", "--fork", "--kill-child"];

impl Lab {
    /// Creates a lab without hosts. `name` is part of its folder and of printed messages.
    ///
    /// If this machine does not allow labs, prints `skipped: ...` with the reason and returns `None`. The test must
    /// return in that case.
    ///
    /// # Panics
    ///
    /// Panics if this machine does not allow labs and `HANA_LAB=required` is set.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let directory = tempfile::Builder::new()
            .prefix(&format!("hana-{name}-"))
            .tempdir()
            .expect("a temporary directory can be made")
            .keep();
        let wanted = if rustix::process::geteuid().is_root() {
            vec![Entrance::AsRoot, Entrance::ThroughUserNamespace]
        } else {
            vec![Entrance::ThroughUserNamespace]
        };
        let mut complaints = Vec::new();
        for entrance in wanted {
            match start_switch(entrance, &directory) {
                Ok(switch) => {
                    let inner = LabInner { entrance, switch: switch.init, directory };
                    return Some(Self { inner: Arc::new(inner), hosts: Mutex::default(), switch });
                },
                Err(complaint) => complaints.push(complaint),
            }
        }
        let _ = fs::remove_dir_all(&directory);
        let reasons = complaints.join("; and in a user namespace: ");
        let reason = format!("no network of hosts can be made here: {reasons}");
        assert!(!is_lab_required(), "HANA_LAB=required, and {reason}");
        skip(name, &reason);
        None
    }

    /// Adds a host and connects it. Its hostname is `name`; the address of the first host is 10.77.0.1, and so on.
    pub fn host(&self, name: &str) -> Host {
        let mut hosts = self.hosts();
        let number = u8::try_from(hosts.len() + 1)
            .ok()
            .filter(|n| *n < 255)
            .expect("a lab has at most 254 hosts");
        let mut command =
            self.inner.enter(self.inner.switch, &["--net", "--uts", "--pid", "--mount"]);
        command.arg("unshare").args(NAMESPACES);
        let anchor = Anchor::start(
            command,
            &format!(
                "set -e; hostname {name}; ip link set lo up; {NO_DUPLICATE_ADDRESS_DETECTION}
                echo ready; exec >/dev/null 2>&1; read -r _"
            ),
        )
        .unwrap_or_else(|error| panic!("cannot make the host {name}: {error}"));
        let init = anchor.init;
        self.inner.run_on_switch(&format!(
            "ip link add port{number} type veth peer name eth0 netns {init}
            ip link set port{number} master lan up"
        ));
        shell(
            self.inner.enter(init, &["--net"]),
            &format!(
                "ip address add 10.77.0.{number}/24 broadcast + dev eth0
                ip link set eth0 up
                ip route add 224.0.0.0/4 dev eth0"
            ),
        );
        let host = Host::new(Arc::clone(&self.inner), name, number, init);
        hosts.push((host.clone(), anchor));
        drop(hosts);
        host
    }

    /// Adds a second network, separate from the first. Can be called once per lab.
    ///
    /// Each of these hosts gets an interface `eth1` on it, with the address 10.78.0.1 for the lab's first host, and
    /// so on.
    pub fn second_network(&self, hosts: &[&Host]) {
        self.inner.run_on_switch(
            "ip link add second type bridge stp_state 0 forward_delay 0 mcast_snooping 0
            ip link set second up",
        );
        for host in hosts {
            let (number, init) = (host.number(), host.init());
            self.inner.run_on_switch(&format!(
                "ip link add second{number} type veth peer name eth1 netns {init}
                ip link set second{number} master second up"
            ));
            shell(
                self.inner.enter(init, &["--net"]),
                &format!(
                    "ip address add 10.78.0.{number}/24 broadcast + dev eth1
                    ip link set eth1 up"
                ),
            );
        }
    }

    /// Splits the network: hosts of `there` can reach only each other.
    ///
    /// Hosts in neither list remain in their part of the network. No cable loses its carrier.
    pub fn partition(&self, here: &[&Host], there: &[&Host]) {
        self.wire("lan", here);
        self.wire("far", there);
    }

    /// Reconnects the parts that [`Lab::partition`] has separated.
    pub fn heal(&self) {
        let hosts = self.hosts();
        self.wire(
            "lan",
            &hosts.iter().map(|(host, _)| host).filter(|host| host.is_on()).collect::<Vec<_>>(),
        );
    }

    /// Returns the namespaces of the lab, as `net:[4026532254]`; see [`crate::inhabitants`].
    #[must_use]
    pub fn namespaces(&self) -> Vec<String> {
        let mut found = namespace::namespaces_of(self.switch.init);
        for (host, _) in self.hosts().iter() {
            found.extend_from_slice(host.namespaces());
        }
        found
    }

    /// Returns the folder of the lab's files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.inner.directory
    }

    /// Locks the list of hosts, even after a panic while it was locked, since the drop must continue.
    fn hosts(&self) -> MutexGuard<'_, Vec<(Host, Anchor)>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wire(&self, bridge: &str, hosts: &[&Host]) {
        let moves: Vec<String> = hosts
            .iter()
            .map(|host| format!("ip link set port{} master {bridge}", host.number()))
            .collect();
        if !moves.is_empty() {
            self.inner.run_on_switch(&moves.join("\n"));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let failed = thread::panicking();
        let namespaces = self.namespaces();
        self.switch.release(if failed { "keep\n" } else { "\n" });
        self.switch.end();
        for (_, anchor) in self.hosts.get_mut().unwrap_or_else(PoisonError::into_inner) {
            anchor.end();
        }
        if failed {
            eprintln!("the lab's files are in {}", self.inner.directory.display());
            return;
        }
        eventually(
            // The kernel removes a network in the background, which takes seconds on a busy machine.
            Duration::from_secs(30),
            "no process left in the lab",
            || match &*describe_inhabitants(&namespaces) {
                [] => Ok(()),
                left => Err(left.to_vec()),
            },
        );
        let _ = fs::remove_dir_all(&self.inner.directory);
    }
}

/// A script that turns off duplicate address detection, which makes an IPv6 address unusable for its first second.
const NO_DUPLICATE_ADDRESS_DETECTION: &str = "
    if [ -d /proc/sys/net/ipv6/conf/default ]; then
        echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
        echo 0 > /proc/sys/net/ipv6/conf/default/dad_transmits
    fi";

fn start_switch(entrance: Entrance, directory: &Path) -> Result<Anchor, String> {
    let mut command = Command::new("unshare");
    if entrance == Entrance::ThroughUserNamespace {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(NAMESPACES).env("LAB", directory);
    // A bridge that tracks multicast groups would need a querier. A bridge that floods behaves like a plain switch.
    Anchor::start(
        command,
        "set -e
        # Its last act is to kill all that it can see.
        [ $$ = 1 ]
        hostname switch
        ip link set lo up
        for bridge in lan far; do
            ip link add $bridge type bridge stp_state 0 forward_delay 0 mcast_snooping 0
            ip link set $bridge up
        done
        echo ready
        exec >/dev/null 2>&1
        set +e
        read -r word
        kill -KILL -1
        [ \"$word\" = keep ] && exit
        for attempt in 1 2 3 4 5; do
            rm -rf -- \"$LAB\" && exit
            sleep 0.05
        done",
    )
}

fn describe_inhabitants(namespaces: &[String]) -> Vec<String> {
    namespace::inhabitants(namespaces)
        .into_iter()
        .map(|pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            format!("{pid} {}", String::from_utf8_lossy(&command).replace('\0', " "))
        })
        .collect()
}
