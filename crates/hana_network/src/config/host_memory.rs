//! The host id of a machine, stored on disk.
//!
//! The hostname can change while a daemon runs or between two daemons, by DHCP, a VPN or the operator. The processes
//! of the host, their looks, and the id by which other hosts know it must survive such a change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use etcetera::BaseStrategy;
use hana_protocol::id::NodeId;
use serde::{Deserialize, Serialize};

/// The host ids of the machines that share a state directory.
///
/// Several machines may share a home directory, so each machine has its own list. Containers that share a machine id
/// are told apart by their hostnames, if these differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMemory {
    /// The host ids by machine id, the most recent last.
    #[serde(default)]
    machines: BTreeMap<String, Vec<Remembered>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    /// The hostname of the machine when the host id was stored.
    hostname: NodeId,
    /// The host id of the machine under this hostname.
    host: NodeId,
}

/// The current use of one of the earlier host ids of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostUse {
    /// Another daemon with this id is running, for example in another container or network namespace.
    Taken,
    /// Processes that a daemon with this id launched are running, or will be restarted.
    InUse,
    /// No process belongs to this id.
    Idle,
}

/// The name of the file. It cannot clash with a host's file, since no host id begins with `_`.
const FILE: &str = "_hosts.json";
/// The maximum number of hostnames stored for one machine.
const MOST: usize = 32;
/// Placeholder hostnames of machines without a name, for example during startup.
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
    /// When a directory or file cannot be written.
    pub fn write(&self, base: &Path) -> io::Result<()> {
        fs::create_dir_all(base)?;
        let draft = base.join(format!("{FILE}.{}", std::process::id()));
        fs::write(&draft, serde_json::to_vec_pretty(self)?)?;
        fs::rename(&draft, base.join(FILE))
    }

    /// Returns the host id for a machine with this hostname, if one is stored.
    ///
    /// This is the id stored for the hostname. If none is stored, the hostname may have changed, so this is the
    /// machine's most recent id that no other daemon uses. In that case, an id stored for a placeholder hostname is
    /// considered only while it is in use.
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

    /// Stores the host id of a machine with this hostname.
    pub fn remember(&mut self, machine: &str, hostname: &NodeId, host: &NodeId) {
        let known = self.machines.entry(machine.into()).or_default();
        known.retain(|entry| entry.hostname != *hostname);
        known.push(Remembered { hostname: hostname.clone(), host: host.clone() });
        let surplus = known.len().saturating_sub(MOST);
        known.drain(..surplus);
    }

    /// Returns the stored host ids of a machine, the most recent last.
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

/// Returns the directory in which the daemons of this user store their state.
///
/// This is `HANA_STATE`, or `hana` in the user's state directory.
pub(crate) fn state_base() -> Option<PathBuf> {
    if let Some(path) = env::var_os("HANA_STATE").filter(|path| !path.is_empty()) {
        return std::path::absolute(path).ok();
    }
    let base = etcetera::choose_base_strategy().ok()?;
    Some(base.state_dir().unwrap_or_else(|| base.data_dir()).join("hana"))
}

/// Returns the stored host id of this machine, or its hostname if none is stored, while no daemon runs here.
#[must_use]
pub(crate) fn remembered_host() -> NodeId {
    let hostname = hostname_id();
    let Some(base) = state_base() else { return hostname };
    let memory = HostMemory::read(&base);
    // Only daemons know which host ids are in use, and no daemon replied here, so every id counts as in use.
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
