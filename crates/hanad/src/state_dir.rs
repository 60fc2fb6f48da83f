use std::env;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use etcetera::BaseStrategy;
use hana_protocol::NodeId;

/// Where the daemon of one host keeps what shall outlive it: `HANA_STATE` or the user's state directory,
/// then the host's id, so that several daemons on one machine never meet.
#[derive(Debug, Clone)]
pub(crate) struct StateDir(PathBuf);

impl StateDir {
    pub(crate) fn of(host: &NodeId) -> anyhow::Result<Self> {
        let base = if let Some(path) = env::var_os("HANA_STATE").filter(|path| !path.is_empty()) {
            PathBuf::from(path)
        } else {
            let base = etcetera::choose_base_strategy()
                .context("finding the user's state directory; set HANA_STATE to one")?;
            base.state_dir().unwrap_or_else(|| base.data_dir()).join("hana")
        };
        Ok(Self(base.join(host.as_str())))
    }

    /// The file that the output of a process goes to.
    pub(crate) fn output_of(&self, node: &NodeId) -> PathBuf {
        Path::new(&self.0).join("log").join(format!("{node}.log"))
    }
}
