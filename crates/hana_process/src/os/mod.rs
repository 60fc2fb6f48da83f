//! What differs by platform. Both modules have the same face: `Leader`, `started`, `is_executable`, `is_no_program`,
//! `adopt_orphans`, `reap_orphans`, `kill_marked`.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::*;
#[cfg(windows)]
pub(crate) use windows::*;
