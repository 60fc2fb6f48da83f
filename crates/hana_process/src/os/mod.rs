//! Platform differences.
//!
//! `linux`, `bsd` and `windows` have the same functions; `unix` and `job` each define `GroupLeader`.

pub(crate) mod adopt_error;
pub(crate) mod fingerprint;
pub(crate) mod launch_id;
pub(crate) mod orphans;

#[cfg(all(unix, not(target_os = "linux")))]
mod bsd;
#[cfg(unix)]
mod children;
#[cfg(windows)]
mod job;
#[cfg(target_os = "linux")]
mod launches;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod no_launches;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) use bsd::*;
#[cfg(windows)]
pub(crate) use job::GroupLeader;
#[cfg(target_os = "linux")]
pub(crate) use launches::*;
#[cfg(target_os = "linux")]
pub(crate) use linux::*;
#[cfg(not(target_os = "linux"))]
pub(crate) use no_launches::*;
#[cfg(unix)]
pub(crate) use unix::*;
#[cfg(windows)]
pub(crate) use windows::*;
