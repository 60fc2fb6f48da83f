//! Processes on macOS and the BSDs, where `ps` identifies them and their environments cannot be read.

use std::time::{Duration, Instant};
use std::{io, thread};

use rustix::process::Pid;

/// A substitute for a process handle, which polls the process id more often than ids are reused.
#[derive(Debug)]
pub(super) struct PidHandle {
    /// The start time of the process.
    started: String,
}

impl PidHandle {
    /// How often the handle checks that a process with this id exists.
    const POLL_INTERVAL: Duration = Duration::from_millis(50);
    /// How often the identity of the process is checked, which runs `ps`.
    const IDENTITY_INTERVAL: Duration = Duration::from_secs(1);

    #[allow(clippy::unnecessary_wraps)]
    pub(super) fn open(pid: Pid) -> io::Result<Option<Self>> {
        Ok(started(number_of(pid)).map(|started| Self { started }))
    }

    pub(super) fn has_ended(&self, pid: Pid) -> bool {
        rustix::process::test_kill_process(pid).is_err() || !self.is_same(pid)
    }

    fn is_same(&self, pid: Pid) -> bool {
        started(number_of(pid)).is_some_and(|started| started == self.started)
    }

    pub(super) fn wait(&self, pid: Pid) {
        let mut checked_at = Instant::now();
        while rustix::process::test_kill_process(pid).is_ok() {
            if checked_at.elapsed() >= Self::IDENTITY_INTERVAL {
                checked_at = Instant::now();
                if !self.is_same(pid) {
                    return;
                }
            }
            thread::sleep(Self::POLL_INTERVAL);
        }
    }
}

fn number_of(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}

pub(super) const fn is_of_other_launch(_pid: Pid, _launch_id: &str) -> bool {
    false
}

/// Does nothing: this platform does not let the environment of another process be read.
#[allow(clippy::unnecessary_wraps)]
pub(crate) const fn kill_launch(_launch_id: &str) -> io::Result<()> {
    Ok(())
}

pub(crate) fn become_subreaper() -> io::Result<()> {
    Ok(())
}

pub(crate) const fn reap_orphans() -> usize {
    0
}

/// Returns the start time reported by `ps`, to the second.
pub(crate) fn started(pid: u32) -> Option<String> {
    let output = std::process::Command::new("ps")
        .args(["-o", "stat=,lstart=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (state, started) = text.trim().split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| started.trim().to_owned())
}
