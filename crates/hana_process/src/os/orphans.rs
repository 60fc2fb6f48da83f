use std::io;

use crate::os;

/// Makes this process the parent of every descendant whose own parent has ended.
///
/// For the daemon, once, at its start: in a container whose first process does not reap, killed orphans would
/// stay zombies. Linux only (`PR_SET_CHILD_SUBREAPER`); elsewhere it does nothing, there the system's first
/// process reaps. Whoever calls it calls [`reap_orphans`] from then on.
///
/// # Errors
///
/// When the kernel refuses (before Linux 3.4).
pub fn adopt_orphans() -> io::Result<()> {
    os::adopt_orphans()
}

/// Reaps adopted processes that have ended and returns how many they were.
///
/// Does not block and leaves every [`Process`](crate::launch::process::Process) alone. Reads all of `/proc`, a few
/// milliseconds: call it some hundred milliseconds after a process has ended, and every few seconds besides.
///
/// Only for a program that starts its children with [`Process`](crate::launch::process::Process) alone: the exit status of any
/// other child might be taken away.
#[allow(clippy::must_use_candidate)]
pub fn reap_orphans() -> usize {
    os::reap_orphans()
}
