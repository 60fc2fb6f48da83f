//! Waiting for the children of this process, and signalling their groups.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hana_protocol::message::Exit;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus};

/// The leaders that are not reaped yet. `reap_orphans` must not reap them.
pub(super) static LEADERS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Converts a process id. Refuses 1, since a signal to group 1 would reach every process.
pub(super) fn to_pid(pid: u32) -> io::Result<Pid> {
    i32::try_from(pid)
        .ok()
        .filter(|&pid| pid > 1)
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other(format!("{pid} is not a valid process id")))
}

pub(super) fn wait(pid: Pid, options: WaitIdOptions) -> rustix::io::Result<Option<WaitIdStatus>> {
    rustix::process::waitid(WaitId::Pid(pid), options)
}

/// Blocks until the process ends.
pub(super) fn wait_for_child(pid: Pid) -> Exit {
    loop {
        match wait(pid, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Ok(Some(status)) => return to_exit(&status),
            Ok(None) | Err(Errno::INTR) => {},
            // Another caller has reaped it, so its exit status is lost.
            Err(_) => return Exit::Unknown,
        }
    }
}

pub(super) fn is_child(pid: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    !matches!(wait(pid, options), Err(Errno::CHILD))
}

pub(super) fn peek(pid: Pid) -> Option<Exit> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    wait(pid, options).ok().flatten().as_ref().map(to_exit)
}

fn to_exit(status: &WaitIdStatus) -> Exit {
    status
        .terminating_signal()
        .map_or_else(|| Exit::Code(status.exit_status().unwrap_or(-1)), Exit::Signal)
}

pub(super) fn signal_group(leader: Pid, signal: Signal) -> io::Result<()> {
    match rustix::process::kill_process_group(leader, signal) {
        // macOS returns EPERM for a group of zombies.
        Err(Errno::SRCH) => Ok(()),
        Err(Errno::PERM) if cfg!(target_os = "macos") => Ok(()),
        result => Ok(result?),
    }
}
