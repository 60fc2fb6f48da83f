use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::launch::process::ProcessRecord;
use crate::os;

/// A launch of some daemon on this machine that still runs, as its environment shows it: enough to adopt it where no
/// record is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningLaunch {
    /// Which process leads it, and the mark of its launch. Its output is not known from here.
    pub process: ProcessRecord,
    /// The variables of its environment whose names begin with `HANA_`.
    pub variables: BTreeMap<String, String>,
}

impl RunningLaunch {
    /// Every launch that runs in this network namespace, in the order of their process ids. On Linux; elsewhere none,
    /// since the environment of another process cannot be read there. Not those that have cleared their environment,
    /// nor those of other users. Reads a file for each process of the machine.
    #[must_use]
    pub fn all() -> Vec<Self> {
        os::running_launches()
    }
}

/// The file that process `pid` writes its output to, if that was deleted: it can be read for as long as the process has
/// it open. On Linux; elsewhere none. `output` is the name that the file had.
#[must_use]
pub fn nameless_output_of(pid: u32, output: &std::path::Path) -> Option<PathBuf> {
    os::nameless_output_of(pid, output)
}
