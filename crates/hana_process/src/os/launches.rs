//! Finds running launches through `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::os::fingerprint::PidFingerprint;
use crate::os::launch_id::LAUNCH_ID_VAR;
use crate::os::linux::{Stat, pids, started};

/// The common prefix of the variables that are read.
const OURS: &str = "HANA_";

/// Returns the leading process of every launch that runs in this network namespace, with its variables.
pub(crate) fn launch_leaders() -> Vec<(PidFingerprint, BTreeMap<String, String>)> {
    let own = network_of("self");
    let mut leaders: BTreeMap<String, (u64, u32, BTreeMap<String, String>)> = BTreeMap::new();
    for pid in pids() {
        let Some(stat) = Stat::of(pid).filter(|stat| stat.group == pid && !stat.is_zombie()) else {
            continue;
        };
        let variables = variables_of(pid);
        let Some(launch_id) = variables.get(LAUNCH_ID_VAR).cloned() else { continue };
        let is_of_another = variables_of(stat.parent).get(LAUNCH_ID_VAR) == Some(&launch_id);
        if is_of_another || network_of(&pid.to_string()) != own {
            continue;
        }
        // A child that the leader moved to its own group has a later start time.
        let began = (stat.started, pid);
        if leaders.get(&launch_id).is_none_or(|(started, pid, _)| began < (*started, *pid)) {
            leaders.insert(launch_id, (stat.started, pid, variables));
        }
    }
    let mut found: Vec<_> = leaders
        .into_values()
        .filter_map(|(_, pid, variables)| {
            let fingerprint = PidFingerprint { pid, started: started(pid)? };
            Some((fingerprint, variables))
        })
        .collect();
    found.sort_by_key(|(fingerprint, _)| fingerprint.pid);
    found
}

fn variables_of(pid: u32) -> BTreeMap<String, String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environ
        .split(|byte| *byte == 0)
        .filter(|entry| entry.starts_with(OURS.as_bytes()))
        .filter_map(|entry| {
            let (name, value) = std::str::from_utf8(entry).ok()?.split_once('=')?;
            Some((name.into(), value.into()))
        })
        .collect()
}

fn network_of(pid: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/net")).ok()
}

pub(crate) fn deleted_output_of(pid: u32, output: &Path) -> Option<PathBuf> {
    /// The suffix that the kernel adds to the name of a deleted file.
    const DELETED: &str = " (deleted)";
    let mut name = output.as_os_str().to_owned();
    name.push(DELETED);
    let opened = |number: u32| PathBuf::from(format!("/proc/{pid}/fd/{number}"));
    [1, 2].map(opened).into_iter().find(|file| {
        fs::read_link(file).is_ok_and(|link| link.as_os_str() == name)
            && fs::metadata(file).is_ok_and(|metadata| metadata.is_file())
    })
}
