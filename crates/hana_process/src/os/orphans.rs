use std::io;

use crate::os;

/// Makes this process the parent of every descendant whose own parent has ended.
///
/// The daemon calls this once at its start. In a container whose first process does not reap, killed orphans would
/// stay zombies. Linux only (`PR_SET_CHILD_SUBREAPER`); on other platforms this does nothing, because the system's
/// first process reaps them. The caller must call [`reap_orphans`] from then on.
///
/// # Errors
///
/// Fails if the kernel refuses (before Linux 3.4).
pub fn become_subreaper() -> io::Result<()> {
    os::become_subreaper()
}

/// Reaps adopted processes that have ended and returns their number.
///
/// Does not block and never reaps a [`Process`](crate::launch::process::Process). Reads all of `/proc`, which takes a
/// few milliseconds: call it some hundred milliseconds after a process has ended, and also every few seconds.
///
/// Use it only in a program that starts all its children through [`Process`](crate::launch::process::Process): it
/// could take the exit status of any other child.
#[allow(clippy::must_use_candidate)]
pub fn reap_orphans() -> usize {
    os::reap_orphans()
}
