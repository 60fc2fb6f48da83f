use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread;

use hana_protocol::Exit;
use process_wrap::std::CommandWrap;
use process_wrap::std::ProcessGroup;
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::WaitId;
use rustix::process::WaitIdOptions;
use rustix::process::WaitIdStatus;

/// The first process of a group.
#[derive(Debug)]
pub(crate) struct Leader {
    pid: u32,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    leader: Pid,
    mark: String,
    stage: Mutex<Stage>,
    /// Told when the watching thread has seen the end.
    ended: Condvar,
}

/// The id of the leader and its group is ours, and no one else's, until it is reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Alive,
    /// Nobody holds the leader any more; the watching thread sweeps it when it ends.
    Abandoned,
    /// A zombie.
    Ended(Exit),
    Reaped(Exit),
}

/// The leaders that are not reaped yet, which [`reap_orphans`] must leave alone.
static LEADERS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

impl Leader {
    pub(crate) fn launch(
        command: &mut CommandWrap,
        mark: String,
        on_exit: impl FnOnce(Exit) + Send + 'static,
    ) -> io::Result<Self> {
        command.wrap(ProcessGroup::leader());
        // Held over the launch, so that an end right after it is not reaped as an orphan's.
        let mut leaders = lock(&LEADERS);
        let pid = command.spawn()?.id();
        leaders.insert(pid);
        drop(leaders);
        let leader = to_pid(pid)?;
        let shared = Arc::new(Shared {
            leader,
            mark,
            stage: Mutex::new(Stage::Alive),
            ended: Condvar::new(),
        });
        let watched = Arc::clone(&shared);
        let watching = thread::Builder::new()
            .name(format!("watch {pid}"))
            .stack_size(128 * 1024)
            .spawn(move || watched.watch(on_exit));
        if let Err(error) = watching {
            // A process whose end nobody would notice is worse than none.
            let _ = signal_group(leader, Signal::KILL);
            let _ = wait(leader, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            let _ = shared.sweep(Exit::Signal(Signal::KILL.as_raw()));
            return Err(error);
        }
        Ok(Self { pid, shared })
    }

    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn try_wait(&self) -> Option<Exit> {
        let stage = *lock(&self.shared.stage);
        match stage {
            Stage::Ended(exit) | Stage::Reaped(exit) => Some(exit),
            Stage::Alive | Stage::Abandoned => peek(self.shared.leader),
        }
    }

    pub(crate) fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::TERM)?;
        self.signal(Signal::CONT)
    }

    pub(crate) fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    pub(crate) fn sweep(&self) -> io::Result<()> {
        if self.try_wait().is_none() {
            return Ok(());
        }
        // It has ended; the watching thread must have seen it before it is reaped from under it.
        let stage = self
            .shared
            .ended
            .wait_while(lock(&self.shared.stage), |stage| *stage == Stage::Alive)
            .unwrap_or_else(PoisonError::into_inner);
        let Stage::Ended(exit) = *stage else { return Ok(()) };
        drop(stage);
        self.shared.sweep(exit)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        // Held while signalling, so that the leader is not reaped, and its id not given away, meanwhile.
        let stage = lock(&self.shared.stage);
        let signalled = match *stage {
            Stage::Reaped(_) => Ok(()),
            Stage::Alive | Stage::Abandoned | Stage::Ended(_) => {
                signal_group(self.shared.leader, signal)
            },
        };
        drop(stage);
        signalled
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let stage = {
            let mut stage = lock(&self.shared.stage);
            if *stage == Stage::Alive {
                *stage = Stage::Abandoned;
            }
            *stage
        };
        if let Stage::Ended(exit) = stage
            && let Err(error) = self.shared.sweep(exit)
        {
            tracing::warn!(pid = self.pid, %error, "a process left something behind that cannot be killed");
        }
    }
}

impl Shared {
    /// Sleeps until the leader ends, without reaping it.
    fn watch(&self, on_exit: impl FnOnce(Exit)) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let exit = loop {
            match wait(self.leader, options) {
                Ok(Some(status)) => break to_exit(&status),
                Ok(None) | Err(Errno::INTR) => {},
                // Somebody reaped it from under us; how it ended is lost.
                Err(_) => break Exit::Code(-1),
            }
        };
        let abandoned = {
            let mut stage = lock(&self.stage);
            let abandoned = *stage == Stage::Abandoned;
            *stage = Stage::Ended(exit);
            abandoned
        };
        self.ended.notify_all();
        on_exit(exit);
        if abandoned && let Err(error) = self.sweep(exit) {
            let pid = self.leader.as_raw_pid();
            tracing::warn!(pid, %error, "a process left something behind that cannot be killed");
        }
    }

    fn sweep(&self, exit: Exit) -> io::Result<()> {
        let mut stage = lock(&self.stage);
        if matches!(*stage, Stage::Reaped(_)) {
            return Ok(());
        }
        let group = signal_group(self.leader, Signal::KILL);
        let marked = kill_marked(&self.mark);
        // A zombie: this does not block.
        let _ = wait(self.leader, WaitIdOptions::EXITED);
        *stage = Stage::Reaped(exit);
        drop(stage);
        lock(&LEADERS).remove(&self.leader.as_raw_nonzero().get().unsigned_abs());
        group.and(marked)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn to_pid(pid: u32) -> io::Result<Pid> {
    i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other(format!("{pid} is no process id")))
}

fn wait(pid: Pid, options: WaitIdOptions) -> rustix::io::Result<Option<WaitIdStatus>> {
    rustix::process::waitid(WaitId::Pid(pid), options)
}

fn peek(pid: Pid) -> Option<Exit> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    wait(pid, options).ok().flatten().as_ref().map(to_exit)
}

fn to_exit(status: &WaitIdStatus) -> Exit {
    status
        .terminating_signal()
        .map_or_else(|| Exit::Code(status.exit_status().unwrap_or(-1)), Exit::Signal)
}

fn signal_group(leader: Pid, signal: Signal) -> io::Result<()> {
    match rustix::process::kill_process_group(leader, signal) {
        // macOS says EPERM of a group of zombies.
        Err(Errno::SRCH) => Ok(()),
        Err(Errno::PERM) if cfg!(target_os = "macos") => Ok(()),
        result => Ok(result?),
    }
}

pub(crate) fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(target_os = "linux")]
pub(crate) use linux::adopt_orphans;
#[cfg(target_os = "linux")]
use linux::kill_marked;
#[cfg(target_os = "linux")]
pub(crate) use linux::reap_orphans;
#[cfg(target_os = "linux")]
pub(crate) use linux::started;

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::io;

    use rustix::io::Errno;
    use rustix::process::PidfdFlags;
    use rustix::process::Signal;
    use rustix::process::WaitIdOptions;

    use super::LEADERS;
    use super::lock;
    use super::to_pid;
    use super::wait;
    use crate::MARK_VARIABLE;

    /// What `/proc/<pid>/stat` says.
    struct Stat {
        state: char,
        parent: u32,
        /// Clock ticks after the start of the machine.
        started: u64,
    }

    impl Stat {
        fn of(pid: u32) -> Option<Self> {
            let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name, field 2, is in brackets and may hold anything, brackets too.
            let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
            let state = fields.next()?.chars().next()?;
            let parent = fields.next()?.parse().ok()?;
            let started = fields.nth(17)?.parse().ok()?;
            Some(Self { state, parent, started })
        }

        const fn is_zombie(&self) -> bool {
            matches!(self.state, 'Z' | 'X')
        }
    }

    pub(crate) fn started(pid: u32) -> Option<String> {
        let stat = Stat::of(pid).filter(|stat| !stat.is_zombie())?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(format!("{}/{}", boot.trim(), stat.started))
    }

    fn pids() -> impl Iterator<Item = u32> {
        fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
    }

    /// Kills every process that has the mark in its environment, whatever its group.
    pub(super) fn kill_marked(mark: &str) -> io::Result<()> {
        /// Between two passes a process may have started another; more often only if it means to.
        const PASSES: usize = 8;
        let entry = format!("{MARK_VARIABLE}={mark}");
        let mut result = Ok(());
        for _ in 0..PASSES {
            let mut found = false;
            for pid in pids() {
                match kill_if_marked(pid, entry.as_bytes()) {
                    Ok(killed) => found |= killed,
                    Err(error) => result = Err(error),
                }
            }
            if !found {
                break;
            }
        }
        result
    }

    fn kill_if_marked(pid: u32, entry: &[u8]) -> io::Result<bool> {
        let is_marked = || {
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|field| field == entry))
        };
        if !is_marked() {
            return Ok(false);
        }
        // The handle first, then the question again: so the id cannot have been given to another.
        let handle = match rustix::process::pidfd_open(to_pid(pid)?, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(false),
            handle => handle?,
        };
        if !is_marked() {
            return Ok(false);
        }
        match rustix::process::pidfd_send_signal(handle, Signal::KILL) {
            Err(Errno::SRCH) => Ok(false),
            result => Ok(result.map(|()| true)?),
        }
    }

    pub(crate) fn adopt_orphans() -> io::Result<()> {
        Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
    }

    pub(crate) fn reap_orphans() -> usize {
        let own = std::process::id();
        pids()
            .filter(|pid| {
                let ended =
                    Stat::of(*pid).is_some_and(|stat| stat.parent == own && stat.is_zombie());
                // Held until it is reaped: its id cannot become a leader's in between.
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
}

/// Nobody may read the environment of another process here.
#[cfg(not(target_os = "linux"))]
const fn kill_marked(_mark: &str) -> io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn adopt_orphans() -> io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(crate) const fn reap_orphans() -> usize {
    0
}

/// By `ps`, to the second.
#[cfg(not(target_os = "linux"))]
pub(crate) fn started(pid: u32) -> Option<String> {
    let output = std::process::Command::new("ps")
        .args(["-o", "stat=,lstart=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (state, started) = text.trim().split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| started.trim().to_owned())
}
