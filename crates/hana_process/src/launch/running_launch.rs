use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::launch::process::ProcessRecord;
use crate::os;
use crate::os::launch_id::LAUNCH_ID_VAR;

/// A running launch of any daemon on this machine, as found in process environments.
///
/// It has enough information to adopt the process even if there is no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningLaunch {
    /// The leading process and its launch id. Its output file is unknown.
    pub process: ProcessRecord,
    /// The environment variables whose names begin with `HANA_`.
    pub variables: BTreeMap<String, String>,
}

impl RunningLaunch {
    /// Finds every launch that runs in this network namespace, ordered by process id. Linux only.
    ///
    /// Returns an empty list on other platforms, since they do not let the environment of another process be read.
    /// Processes that have cleared their environment and processes of other users are not found. Reads a file for
    /// each process of the machine.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let leaders = os::launch_leaders().into_iter();
        let launches = leaders.filter_map(|(fingerprint, variables)| {
            let launch_id = variables.get(LAUNCH_ID_VAR)?.clone();
            Some(Self {
                process: ProcessRecord { fingerprint, launch_id, output: None },
                variables,
            })
        });
        launches.collect()
    }
}

/// Returns a path to the deleted file that process `pid` still writes its output to. Linux only.
///
/// `output` is the name that the file had. The file stays readable for as long as the process has it open.
#[must_use]
pub fn deleted_output_of(pid: u32, output: &Path) -> Option<PathBuf> {
    os::deleted_output_of(pid, output)
}
