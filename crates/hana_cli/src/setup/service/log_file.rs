use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use hana_network::{HostMemory, HostUse};
use hana_protocol::id::NodeId;

/// Returns the path of the log of a daemon with this environment, if the path can be determined.
pub(crate) fn of_daemon_with(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let base: PathBuf = if let Some(base) = environment.get("HANA_STATE") {
        base.into()
    } else {
        let base = etcetera::choose_base_strategy().ok()?;
        base.state_dir().unwrap_or_else(|| base.data_dir()).join("hana")
    };
    let host = if let Some(host) = environment.get("HANA_HOST") {
        NodeId::new(host.as_str()).ok()?
    } else {
        let hostname = hana_network::hostname_id();
        HostMemory::read(&base)
            .host(&hana_network::machine_id(), &hostname, |_| HostUse::InUse)
            .unwrap_or(hostname)
    };
    Some(base.join(host.as_str()).join("log").join("hanad.log"))
}

/// Returns the last line of the log, which is the reason if the daemon has ended; `None` if the log cannot be read.
pub(crate) fn last_line(log: &Path) -> Option<String> {
    let text = fs::read(log).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().rfind(|line| !line.trim().is_empty()).map(String::from)
}
