//! The host id of a machine, remembered on disk: the hostname can change while a daemon runs or between two daemons,
//! by DHCP, a VPN or the operator. The processes, their looks and the id known to other hosts must survive that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use etcetera::BaseStrategy;
use hana_protocol::id::NodeId;
use serde::{Deserialize, Serialize};

/// The host ids of the machines that share a state directory.
///
/// Several machines may share a home directory, so each has its own list; so do containers that share one, if they
/// have hostnames of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMemory {
    /// By machine id; the newest entry is last.
    #[serde(default)]
    machines: BTreeMap<String, Vec<Remembered>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    /// The machine's hostname at the time.
    hostname: NodeId,
    /// The host id that it had under this hostname.
    host: NodeId,
}

/// The current use of a host id that a machine had before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostUse {
    /// Another daemon with this id is running, in a container or network namespace of its own.
    Taken,
    /// Processes that it launched are running, or are to be restarted.
    InUse,
    /// No process belongs to it.
    Idle,
}

/// The name of the file. No host can have this name, since no id begins with `_`.
const FILE: &str = "_hosts.json";
/// The maximum number of hostnames remembered per machine.
const MOST: usize = 32;
/// Placeholder hostnames: the machine has no name yet, for example while it boots.
const NAMELESS: [&str; 4] = ["localhost", "localhost-localdomain", "none", "host"];

impl HostMemory {
    /// Reads the host memory from a state directory; empty if the file is missing or damaged.
    #[must_use]
    pub fn read(base: &Path) -> Self {
        let text = fs::read_to_string(base.join(FILE)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Writes the host memory atomically.
    ///
    /// # Errors
    ///
    /// When the directory cannot be written.
    pub fn write(&self, base: &Path) -> io::Result<()> {
        fs::create_dir_all(base)?;
        let draft = base.join(format!("{FILE}.{}", std::process::id()));
        fs::write(&draft, serde_json::to_vec_pretty(self)?)?;
        fs::rename(&draft, base.join(FILE))
    }

    /// Returns the host id of a machine with this hostname.
    ///
    /// This is the id that it had under this hostname. Otherwise, since a hostname can change, it is the machine's most
    /// recent id that is not taken by another daemon; an id from a placeholder hostname counts only while it is in use.
    #[must_use]
    pub fn host(
        &self,
        machine: &str,
        hostname: &NodeId,
        use_of: impl Fn(&NodeId) -> HostUse,
    ) -> Option<NodeId> {
        let known = self.machines.get(machine)?;
        if let Some(same) = known.iter().rfind(|entry| entry.hostname == *hostname) {
            return Some(same.host.clone());
        }
        let goes_on = |entry: &&Remembered| match use_of(&entry.host) {
            HostUse::Taken => false,
            HostUse::InUse => true,
            HostUse::Idle => !NAMELESS.contains(&entry.hostname.as_str()),
        };
        known.iter().rev().find(goes_on).map(|entry| entry.host.clone())
    }

    /// Remembers that a machine with this hostname has this host id.
    pub fn remember(&mut self, machine: &str, hostname: &NodeId, host: &NodeId) {
        let known = self.machines.entry(machine.into()).or_default();
        known.retain(|entry| entry.hostname != *hostname);
        known.push(Remembered { hostname: hostname.clone(), host: host.clone() });
        let surplus = known.len().saturating_sub(MOST);
        known.drain(..surplus);
    }

    /// Returns the host ids that a machine has had, the newest last.
    pub fn hosts(&self, machine: &str) -> impl Iterator<Item = &NodeId> {
        self.machines.get(machine).into_iter().flatten().map(|entry| &entry.host)
    }
}

/// Returns an id of this machine that does not change with its hostname.
///
/// Empty if the operating system has no such id.
#[must_use]
pub fn machine_id() -> String {
    ["/etc/machine-id", "/var/lib/dbus/machine-id"]
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .map(|text| text.trim().to_owned())
        .find(|id| !id.is_empty() && id != "uninitialized")
        .unwrap_or_default()
}

/// Returns the current hostname of this machine, as an id.
#[must_use]
pub fn hostname_id() -> NodeId {
    NodeId::from_hostname(&gethostname::gethostname().to_string_lossy())
}

/// Returns the directory in which daemons of this user keep their state: `HANA_STATE`, or `hana` in the user's state
/// directory.
pub(crate) fn state_base() -> Option<PathBuf> {
    if let Some(path) = env::var_os("HANA_STATE").filter(|path| !path.is_empty()) {
        return std::path::absolute(path).ok();
    }
    let base = etcetera::choose_base_strategy().ok()?;
    Some(base.state_dir().unwrap_or_else(|| base.data_dir()).join("hana"))
}

/// Returns the remembered host id of this machine, for use while no daemon runs here.
#[must_use]
pub(crate) fn remembered_host() -> NodeId {
    let hostname = hostname_id();
    let Some(base) = state_base() else { return hostname };
    let memory = HostMemory::read(&base);
    // Only daemons know which hosts are in use, and none replied here.
    memory.host(&machine_id(), &hostname, |_| HostUse::InUse).unwrap_or(hostname)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn id(name: &str) -> NodeId {
        NodeId::new(name).unwrap()
    }

    fn memory_of(entries: &[(&str, &str, &str)]) -> HostMemory {
        let mut memory = HostMemory::default();
        for (machine, hostname, host) in entries {
            memory.remember(machine, &id(hostname), &id(host));
        }
        memory
    }

    #[test]
    fn changed_hostname_keeps_the_host_id() {
        let memory = memory_of(&[("m", "alpha", "alpha")]);
        let host = |hostname| memory.host("m", &id(hostname), |_| HostUse::Idle);
        assert_eq!(host("beta"), Some(id("alpha")));
        assert_eq!(host("alpha"), Some(id("alpha")));
        assert_eq!(memory.host("other", &id("beta"), |_| HostUse::Idle), None);
    }

    #[test]
    fn running_daemon_keeps_its_host_id() {
        let memory = memory_of(&[("m", "box-1", "box-1")]);
        assert_eq!(memory.host("m", &id("box-2"), |_| HostUse::Taken), None);
        let memory = memory_of(&[("m", "box-1", "box-1"), ("m", "box-2", "box-2")]);
        let first = memory.host("m", &id("box-1"), |_| HostUse::Idle);
        assert_eq!(first, Some(id("box-1")), "started in whatever order");
    }

    #[test]
    fn placeholder_hostname_is_remembered_while_in_use() {
        let memory = memory_of(&[("m", "localhost", "localhost")]);
        assert_eq!(memory.host("m", &id("wall"), |_| HostUse::Idle), None);
        assert_eq!(memory.host("m", &id("wall"), |_| HostUse::InUse), Some(id("localhost")));
    }

    #[test]
    fn memory_round_trips_and_damaged_file_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(HostMemory::read(dir.path()), HostMemory::default());
        let memory = memory_of(&[("m", "beta", "alpha")]);
        memory.write(dir.path()).unwrap();
        assert_eq!(HostMemory::read(dir.path()), memory);
        fs::write(dir.path().join(FILE), "{\"machines\": 3").unwrap();
        assert_eq!(HostMemory::read(dir.path()), HostMemory::default());
    }

    #[test]
    fn remembered_hostnames_are_bounded() {
        let mut memory = HostMemory::default();
        for number in 0..MOST * 2 {
            memory.remember("m", &id(&format!("dhcp-{number}")), &id("alpha"));
        }
        assert_eq!(memory.hosts("m").count(), MOST);
    }
}
