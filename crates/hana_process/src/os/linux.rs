//! Processes through `/proc` and process handles.

use std::os::fd::OwnedFd;
use std::time::Duration;
use std::{fs, io, thread};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use crate::os::children::{LEADERS, lock, to_pid, wait};
use crate::os::launch_id::LAUNCH_ID_VAR;

/// A handle that keeps referring to one process even if its id is reused.
#[derive(Debug)]
pub(super) struct PidHandle(OwnedFd);

impl PidHandle {
    /// Opens a handle. Returns `None` if no process has this id.
    pub(super) fn open(pid: Pid) -> io::Result<Option<Self>> {
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => Ok(Some(Self(handle))),
            Err(Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn has_ended(&self, _pid: Pid) -> bool {
        self.poll(Some(&Timespec::default()))
    }

    /// Blocks until the process has ended.
    pub(super) fn wait(&self, _pid: Pid) {
        while !self.poll(None) {}
    }

    /// Returns whether the process ends within `timeout`.
    fn poll(&self, timeout: Option<&Timespec>) -> bool {
        /// The pause after the kernel has refused for lack of memory.
        const PAUSE: Duration = Duration::from_millis(50);
        let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
        loop {
            match rustix::event::poll(&mut polled, timeout) {
                Ok(ready) => return ready > 0,
                Err(Errno::INTR) => {},
                Err(_) => {
                    thread::sleep(PAUSE);
                    return false;
                },
            }
        }
    }
}

/// Some fields of `/proc/<pid>/stat`.
pub(super) struct Stat {
    state: char,
    pub(super) parent: u32,
    pub(super) group: u32,
    /// The start time, in clock ticks since boot.
    pub(super) started: u64,
}

impl Stat {
    pub(super) fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, field 2, is in parentheses and may itself contain parentheses.
        let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let started = fields.nth(16)?.parse().ok()?;
        Some(Self { state, parent, group, started })
    }

    pub(super) const fn is_zombie(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

pub(crate) fn started(pid: u32) -> Option<String> {
    let stat = Stat::of(pid).filter(|stat| !stat.is_zombie())?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{}/{}", boot.trim(), stat.started))
}

pub(super) fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn environment_entry(launch_id: &str) -> String {
    format!("{LAUNCH_ID_VAR}={launch_id}")
}

/// Returns whether the process has the launch id of another launch.
///
/// Returns `false` for a process without a launch id: a program may overwrite its environment.
pub(super) fn is_of_other_launch(pid: Pid, launch_id: &str) -> bool {
    let (any, own) = (environment_entry(""), environment_entry(launch_id));
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
        let mut launch_ids =
            environ.split(|byte| *byte == 0).filter(|field| field.starts_with(any.as_bytes()));
        launch_ids.next().is_some_and(|field| field != own.as_bytes())
    })
}

/// Kills every process that has this launch id in its environment, whatever its group.
pub(crate) fn kill_launch(launch_id: &str) -> io::Result<()> {
    /// The most passes.
    ///
    /// A process may start another one between two passes. A process that does so again and again does it on purpose.
    const MAX_PASSES: usize = 8;
    /// The longest time for which a process has no environment during an `exec`.
    const EXEC_TIME: Duration = Duration::from_millis(1);
    /// The passes after which a process without an environment counts as having cleared it.
    const EXEC_PASSES: usize = 3;
    let entry = environment_entry(launch_id);
    let mut result = Ok(());
    for pass in 0..MAX_PASSES {
        let (mut found, mut unsure) = (false, false);
        for pid in pids() {
            match kill_if_of_launch(pid, entry.as_bytes()) {
                Ok(Match::Killed) => found = true,
                Ok(Match::Execing) => unsure = true,
                Ok(Match::Other) => {},
                Err(error) => result = Err(error),
            }
        }
        unsure &= pass < EXEC_PASSES;
        if !found && !unsure {
            break;
        }
        if unsure {
            thread::sleep(EXEC_TIME);
        }
    }
    result
}

/// The result of examining one process.
enum Match {
    Killed,
    Other,
    /// The environment is empty, either in the middle of an `exec` or because the process has cleared it.
    Execing,
}

fn kill_if_of_launch(pid: u32, entry: &[u8]) -> io::Result<Match> {
    let environ = || fs::read(format!("/proc/{pid}/environ"));
    let is_of_launch =
        |environ: &[u8]| environ.split(|byte| *byte == 0).any(|field| field == entry);
    match environ() {
        Ok(environ) if is_of_launch(&environ) => {},
        // A kernel thread has an empty environment too, but it has no program.
        Ok(environ) if environ.is_empty() && fs::read_link(format!("/proc/{pid}/exe")).is_ok() => {
            return Ok(Match::Execing);
        },
        _ => return Ok(Match::Other),
    }
    // The environment is read again after the handle is opened, so the handle cannot refer to a process with a reused
    // id.
    let handle = match rustix::process::pidfd_open(to_pid(pid)?, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(Match::Other),
        handle => handle?,
    };
    match environ() {
        Ok(environ) if is_of_launch(&environ) => {},
        Ok(environ) if environ.is_empty() => return Ok(Match::Execing),
        _ => return Ok(Match::Other),
    }
    match rustix::process::pidfd_send_signal(handle, Signal::KILL) {
        Err(Errno::SRCH) => Ok(Match::Other),
        result => Ok(result.map(|()| Match::Killed)?),
    }
}

pub(crate) fn become_subreaper() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

pub(crate) fn reap_orphans() -> usize {
    // Usually no child has ended, and then there is no need to read all of `/proc`.
    let any = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    if matches!(rustix::process::waitid(WaitId::All, any), Ok(None) | Err(Errno::CHILD)) {
        return 0;
    }
    let own = std::process::id();
    pids()
        .filter(|pid| {
            let ended = Stat::of(*pid).is_some_and(|stat| stat.parent == own && stat.is_zombie());
            // The lock is held until the process is reaped, so that a new leader cannot get its id in the meantime.
            let leaders = lock(&LEADERS);
            let reaped = ended
                && !leaders.contains(pid)
                && to_pid(*pid).is_ok_and(|pid| {
                    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
                    matches!(wait(pid, options), Ok(Some(_)))
                });
            drop(leaders);
            reaped
        })
        .count()
}
