use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
#[cfg(not(target_os = "linux"))]
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use hana_protocol::message::Exit;
use process_wrap::std::{CommandWrap, ProcessGroup};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus};

use crate::launch::process::{AdoptError, ProcessRecord};

/// The first process of a group.
#[derive(Debug)]
pub(crate) struct GroupLeader {
    pid: u32,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    leader: Pid,
    kin: ProcessRelation,
    mark: String,
    stage: Mutex<Stage>,
    /// Notified when the watching thread has seen the leader end.
    ended: Condvar,
}

/// The relation of the leader to this program.
#[derive(Debug)]
enum ProcessRelation {
    /// Launched by this program: the leader's process id and group id stay reserved until the leader is reaped.
    Child,
    /// Adopted: the process id can be reused as soon as the leader has ended, so it is checked before each use.
    Adopted(Holder),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Alive,
    /// The [`GroupLeader`] was dropped. The watching thread sweeps the process when it ends.
    Abandoned,
    /// A zombie.
    Ended(Exit),
    Reaped(Exit),
}

/// The leaders that are not reaped yet, which [`reap_orphans`] must leave alone.
static LEADERS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

impl GroupLeader {
    pub(crate) fn launch(
        command: &mut CommandWrap,
        mark: String,
        on_exit: impl FnOnce(Exit) + Send + 'static,
    ) -> io::Result<Self> {
        command.wrap(ProcessGroup::leader());
        // Locked during the launch, so that a process that ends right away is not reaped as an orphan.
        let mut leaders = lock(&LEADERS);
        let pid = command.spawn()?.id();
        leaders.insert(pid);
        drop(leaders);
        let leader = to_pid(pid)?;
        let shared = Shared::new(leader, ProcessRelation::Child, mark);
        if let Err(error) = Shared::start_watching(&shared, on_exit) {
            // A process whose end goes unnoticed is worse than none.
            let _ = signal_group(leader, Signal::KILL);
            let _ = wait(leader, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            let _ = shared.sweep(Exit::Signal(Signal::KILL.as_raw()));
            return Err(error);
        }
        Ok(Self { pid, shared })
    }

    /// Adopts a process that is already running.
    pub(crate) fn adopt(
        record: &ProcessRecord,
        on_exit: impl FnOnce(Exit) + Send + 'static,
    ) -> Result<Self, AdoptError> {
        let gone = || AdoptError::Gone { pid: record.fingerprint.pid };
        let leader = to_pid(record.fingerprint.pid).map_err(|_| gone())?;
        // The handle is opened before the identity is checked, so that both refer to the same process.
        let holder = Holder::of(leader)?.ok_or_else(gone)?;
        if !record.fingerprint.is_alive() || has_other_mark(leader, &record.mark) {
            return Err(gone());
        }
        // After an `exec` of this program, the processes it launched are still its children.
        let kin = if is_child(leader) {
            lock(&LEADERS).insert(record.fingerprint.pid);
            ProcessRelation::Child
        } else {
            ProcessRelation::Adopted(holder)
        };
        let shared = Shared::new(leader, kin, record.mark.clone());
        Shared::start_watching(&shared, on_exit).map_err(AdoptError::System)?;
        Ok(Self { pid: record.fingerprint.pid, shared })
    }

    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn mark(&self) -> &str {
        &self.shared.mark
    }

    pub(crate) fn try_wait(&self) -> Option<Exit> {
        let stage = *lock(&self.shared.stage);
        match (stage, &self.shared.kin) {
            (Stage::Ended(exit) | Stage::Reaped(exit), _) => Some(exit),
            (Stage::Alive | Stage::Abandoned, ProcessRelation::Child) => peek(self.shared.leader),
            (Stage::Alive | Stage::Abandoned, ProcessRelation::Adopted(holder)) => {
                holder.has_ended(self.shared.leader).then_some(Exit::Unknown)
            },
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
        // The leader has ended. The watching thread must see that before the leader is reaped.
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
        // Locked while signalling, so that the leader is not reaped, and its id not reused, meanwhile.
        let stage = lock(&self.shared.stage);
        let signalled = match *stage {
            Stage::Reaped(_) => Ok(()),
            Stage::Alive | Stage::Abandoned | Stage::Ended(_) => match &self.shared.kin {
                // The rest of its group is then found by its mark.
                ProcessRelation::Adopted(holder) if holder.has_ended(self.shared.leader) => Ok(()),
                ProcessRelation::Child | ProcessRelation::Adopted(_) => {
                    signal_group(self.shared.leader, signal)
                },
            },
        };
        drop(stage);
        signalled
    }
}

impl Drop for GroupLeader {
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
    fn new(leader: Pid, kin: ProcessRelation, mark: String) -> Arc<Self> {
        let stage = Mutex::new(Stage::Alive);
        Arc::new(Self { leader, kin, mark, stage, ended: Condvar::new() })
    }

    fn start_watching(
        shared: &Arc<Self>,
        on_exit: impl FnOnce(Exit) + Send + 'static,
    ) -> io::Result<()> {
        let watched = Arc::clone(shared);
        thread::Builder::new()
            .name(format!("watch {}", shared.leader))
            .stack_size(128 * 1024)
            .spawn(move || watched.watch(on_exit))
            .map(drop)
    }

    /// Sleeps until the leader ends, without reaping it.
    fn watch(&self, on_exit: impl FnOnce(Exit)) {
        let exit = match &self.kin {
            ProcessRelation::Child => wait_for_child(self.leader),
            ProcessRelation::Adopted(holder) => {
                holder.wait(self.leader);
                Exit::Unknown
            },
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
        let group = match &self.kin {
            ProcessRelation::Child => signal_group(self.leader, Signal::KILL),
            ProcessRelation::Adopted(_) => Ok(()),
        };
        let marked = kill_marked(&self.mark);
        if matches!(self.kin, ProcessRelation::Child) {
            // The leader is a zombie, so this does not block.
            let _ = wait(self.leader, WaitIdOptions::EXITED);
            lock(&LEADERS).remove(&self.leader.as_raw_nonzero().get().unsigned_abs());
        }
        *stage = Stage::Reaped(exit);
        drop(stage);
        group.and(marked)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Converts a process id. Refuses 1: a signal to group 1 would reach every process.
fn to_pid(pid: u32) -> io::Result<Pid> {
    i32::try_from(pid)
        .ok()
        .filter(|&pid| pid > 1)
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other(format!("{pid} is no process id")))
}

fn wait(pid: Pid, options: WaitIdOptions) -> rustix::io::Result<Option<WaitIdStatus>> {
    rustix::process::waitid(WaitId::Pid(pid), options)
}

/// Blocks until the process ends.
fn wait_for_child(pid: Pid) -> Exit {
    loop {
        match wait(pid, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Ok(Some(status)) => return to_exit(&status),
            Ok(None) | Err(Errno::INTR) => {},
            // Another caller has reaped it, so its exit status is lost.
            Err(_) => return Exit::Unknown,
        }
    }
}

fn is_child(pid: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    !matches!(wait(pid, options), Err(Errno::CHILD))
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
        // macOS returns EPERM for a group of zombies.
        Err(Errno::SRCH) => Ok(()),
        Err(Errno::PERM) if cfg!(target_os = "macos") => Ok(()),
        result => Ok(result?),
    }
}

pub(crate) fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

/// Returns whether the system refused a file because it is not a program.
pub(crate) fn is_no_program(problem: &io::Error) -> bool {
    problem.raw_os_error() == Some(Errno::NOEXEC.raw_os_error())
}

#[cfg(target_os = "linux")]
use crate::os::unix::linux::{Holder, has_other_mark};
#[cfg(target_os = "linux")]
pub(super) use linux::{Stat, pids};
#[cfg(target_os = "linux")]
pub(crate) use linux::{adopt_orphans, kill_marked, reap_orphans, started};

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::OwnedFd;
    use std::time::Duration;
    use std::{fs, io, thread};

    use rustix::event::{PollFd, PollFlags, Timespec};
    use rustix::io::Errno;
    use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

    use crate::launch::process::{AdoptError, MARK_VARIABLE};
    use crate::os::unix::{LEADERS, lock, to_pid, wait};

    /// A handle that keeps referring to one process even if its id is reused.
    #[derive(Debug)]
    pub(super) struct Holder(OwnedFd);

    impl Holder {
        /// Returns `None` if no process has this id.
        pub(super) fn of(pid: Pid) -> Result<Option<Self>, AdoptError> {
            match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
                Ok(handle) => Ok(Some(Self(handle))),
                Err(Errno::SRCH) => Ok(None),
                Err(error) => Err(AdoptError::System(error.into())),
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
            /// The pause after the kernel refused for lack of memory.
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

    /// Fields of `/proc/<pid>/stat`.
    pub(in crate::os) struct Stat {
        state: char,
        pub(in crate::os) parent: u32,
        pub(in crate::os) group: u32,
        /// The start time, in clock ticks since boot.
        pub(in crate::os) started: u64,
    }

    impl Stat {
        pub(in crate::os) fn of(pid: u32) -> Option<Self> {
            let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name, field 2, is in parentheses and may itself contain parentheses.
            let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
            let state = fields.next()?.chars().next()?;
            let parent = fields.next()?.parse().ok()?;
            let group = fields.next()?.parse().ok()?;
            let started = fields.nth(16)?.parse().ok()?;
            Some(Self { state, parent, group, started })
        }

        pub(in crate::os) const fn is_zombie(&self) -> bool {
            matches!(self.state, 'Z' | 'X')
        }
    }

    pub(crate) fn started(pid: u32) -> Option<String> {
        let stat = Stat::of(pid).filter(|stat| !stat.is_zombie())?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(format!("{}/{}", boot.trim(), stat.started))
    }

    pub(in crate::os) fn pids() -> impl Iterator<Item = u32> {
        fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
    }

    fn mark_entry(mark: &str) -> String {
        format!("{MARK_VARIABLE}={mark}")
    }

    /// Returns whether the process carries the mark of another launch.
    ///
    /// A process without a mark does not: a program may overwrite its environment.
    pub(super) fn has_other_mark(pid: Pid, mark: &str) -> bool {
        let (any, own) = (mark_entry(""), mark_entry(mark));
        fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
            let mut marks =
                environ.split(|byte| *byte == 0).filter(|field| field.starts_with(any.as_bytes()));
            marks.next().is_some_and(|field| field != own.as_bytes())
        })
    }

    /// Kills every process that has the mark in its environment, whatever its group.
    pub(crate) fn kill_marked(mark: &str) -> io::Result<()> {
        /// The most passes. A process may start another between two passes; more often, it does so on purpose.
        const PASSES: usize = 8;
        /// The longest time for which a process has no environment during an `exec`.
        const BECOMING: Duration = Duration::from_millis(1);
        /// The passes after which a process without an environment counts as having cleared it.
        const PASSES_FOR_IT: usize = 3;
        let entry = mark_entry(mark);
        let mut result = Ok(());
        for pass in 0..PASSES {
            let (mut found, mut unsure) = (false, false);
            for pid in pids() {
                match kill_if_marked(pid, entry.as_bytes()) {
                    Ok(Seen::Killed) => found = true,
                    Ok(Seen::Becoming) => unsure = true,
                    Ok(Seen::Other) => {},
                    Err(error) => result = Err(error),
                }
            }
            unsure &= pass < PASSES_FOR_IT;
            if !found && !unsure {
                break;
            }
            if unsure {
                thread::sleep(BECOMING);
            }
        }
        result
    }

    /// The result of examining one process.
    enum Seen {
        Killed,
        Other,
        /// In the middle of an `exec`, when it has no environment yet, or with a cleared environment.
        Becoming,
    }

    fn kill_if_marked(pid: u32, entry: &[u8]) -> io::Result<Seen> {
        let environ = || fs::read(format!("/proc/{pid}/environ"));
        let is_marked =
            |environ: &[u8]| environ.split(|byte| *byte == 0).any(|field| field == entry);
        match environ() {
            Ok(environ) if is_marked(&environ) => {},
            // A kernel thread has no environment either, but it has no program.
            Ok(environ)
                if environ.is_empty() && fs::read_link(format!("/proc/{pid}/exe")).is_ok() =>
            {
                return Ok(Seen::Becoming);
            },
            _ => return Ok(Seen::Other),
        }
        // The environment is read again after opening the handle, so the handle cannot refer to a process with a reused
        // id.
        let handle = match rustix::process::pidfd_open(to_pid(pid)?, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(Seen::Other),
            handle => handle?,
        };
        match environ() {
            Ok(environ) if is_marked(&environ) => {},
            Ok(environ) if environ.is_empty() => return Ok(Seen::Becoming),
            _ => return Ok(Seen::Other),
        }
        match rustix::process::pidfd_send_signal(handle, Signal::KILL) {
            Err(Errno::SRCH) => Ok(Seen::Other),
            result => Ok(result.map(|()| Seen::Killed)?),
        }
    }

    pub(crate) fn adopt_orphans() -> io::Result<()> {
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
                let ended =
                    Stat::of(*pid).is_some_and(|stat| stat.parent == own && stat.is_zombie());
                // Locked until the process is reaped, so that a new leader cannot get its id in between.
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

/// A substitute for a process handle: polls the process id, more often than ids are reused.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
struct Holder(crate::os::fingerprint::PidFingerprint);

#[cfg(not(target_os = "linux"))]
impl Holder {
    /// How often the id is checked for any process.
    const GLANCE: Duration = Duration::from_millis(50);
    /// How often the identity of the process is checked, which costs a call of `ps`.
    const LOOK: Duration = Duration::from_secs(1);

    #[allow(clippy::unnecessary_wraps)]
    fn of(pid: Pid) -> Result<Option<Self>, AdoptError> {
        let pid = pid.as_raw_nonzero().get().unsigned_abs();
        Ok(crate::os::fingerprint::PidFingerprint::of(pid).map(Self))
    }

    fn has_ended(&self, pid: Pid) -> bool {
        rustix::process::test_kill_process(pid).is_err() || !self.0.is_alive()
    }

    fn wait(&self, pid: Pid) {
        let mut looked = Instant::now();
        while rustix::process::test_kill_process(pid).is_ok() {
            if looked.elapsed() >= Self::LOOK {
                looked = Instant::now();
                if !self.0.is_alive() {
                    return;
                }
            }
            thread::sleep(Self::GLANCE);
        }
    }
}

#[cfg(not(target_os = "linux"))]
const fn has_other_mark(_pid: Pid, _mark: &str) -> bool {
    false
}

/// Does nothing: this platform does not let the environment of another process be read.
#[cfg(not(target_os = "linux"))]
#[allow(clippy::unnecessary_wraps)]
pub(crate) const fn kill_marked(_mark: &str) -> io::Result<()> {
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

/// Returns the start time reported by `ps`, to the second.
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
