//! Platform differences.
//!
//! The Unix and Windows modules have the same interface: `GroupLeader`, `started`, `is_executable`,
//! `is_no_program`, `adopt_orphans`, `reap_orphans`, `kill_marked`. Functions that only Linux supports are at the
//! end of this file.

pub(crate) mod fingerprint;
pub(crate) mod orphans;

#[cfg(target_os = "linux")]
mod launches;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(target_os = "linux")]
pub(crate) use launches::{nameless_output_of, running_launches};
#[cfg(unix)]
pub(crate) use unix::*;
#[cfg(windows)]
pub(crate) use windows::*;

/// Returns none: this platform does not let the environment of another process be read.
#[cfg(not(target_os = "linux"))]
pub(crate) const fn running_launches() -> Vec<crate::launch::running_launch::RunningLaunch> {
    vec![]
}

#[cfg(not(target_os = "linux"))]
pub(crate) const fn nameless_output_of(
    _pid: u32,
    _output: &std::path::Path,
) -> Option<std::path::PathBuf> {
    None
}
