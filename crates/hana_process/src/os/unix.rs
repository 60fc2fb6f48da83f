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
    /// Told when the watching thread has seen the end.
    ended: Condvar,
}

/// What the leader is to this program.
#[derive(Debug)]
enum ProcessRelation {
    /// Launched by it. The ids of the leader and its group are the leader's, and no one else's, until it is
    /// reaped.
    Child,
    /// Adopted: its id can be given to another as soon as it has ended, so it is asked for before each use.
    Adopted(Holder),
}

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

impl GroupLeader {
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
        let shared = Shared::new(leader, ProcessRelation::Child, mark);
        if let Err(error) = Shared::start_watching(&shared, on_exit) {
            // A process whose end nobody would notice is worse than none.
            let _ = signal_group(leader, Signal::KILL);
            let _ = wait(leader, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            let _ = shared.sweep(Exit::Signal(Signal::KILL.as_raw()));
            return Err(error);
        }
        Ok(Self { pid, shared })
    }

    /// Takes over a process that runs already.
    pub(crate) fn adopt(
        record: &ProcessRecord,
        on_exit: impl FnOnce(Exit) + Send + 'static,
    ) -> Result<Self, AdoptError> {
        let gone = || AdoptError::Gone { pid: record.fingerprint.pid };
        let leader = to_pid(record.fingerprint.pid).map_err(|_| gone())?;
        // Held first, asked for its identity then: so what is held is what was asked for.
        let holder = Holder::of(leader)?.ok_or_else(gone)?;
        if !record.fingerprint.is_alive() || has_other_mark(leader, &record.mark) {
            return Err(gone());
        }
        // After this program has replaced itself by `exec`, what it launched still is its child.
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
            Stage::Alive | Stage::Abandoned | Stage::Ended(_) => match &self.shared.kin {
                // What is left of its group then is found by its mark.
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
            // A zombie: this does not block.
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

/// Never 1: a signal to the group of that number would be one to everybody.
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

/// Blocks until it ends.
fn wait_for_child(pid: Pid) -> Exit {
    loop {
        match wait(pid, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Ok(Some(status)) => return to_exit(&status),
            Ok(None) | Err(Errno::INTR) => {},
            // Somebody reaped it from under us; how it ended is lost.
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
        // macOS says EPERM of a group of zombies.
        Err(Errno::SRCH) => Ok(()),
        Err(Errno::PERM) if cfg!(target_os = "macos") => Ok(()),
        result => Ok(result?),
    }
}

pub(crate) fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

/// Whether the system refused a file because it is no program.
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

    /// A hold on one process, whoever has its id later.
    #[derive(Debug)]
    pub(super) struct Holder(OwnedFd);

    impl Holder {
        /// None where no process has this id.
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

        /// Blocks until it has ended.
        pub(super) fn wait(&self, _pid: Pid) {
            while !self.poll(None) {}
        }

        /// Whether it has ended, at the latest after `timeout`.
        fn poll(&self, timeout: Option<&Timespec>) -> bool {
            /// After a refusal for want of memory.
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

    /// What `/proc/<pid>/stat` says.
    pub(in crate::os) struct Stat {
        state: char,
        pub(in crate::os) parent: u32,
        pub(in crate::os) group: u32,
        /// Clock ticks after the start of the machine.
        pub(in crate::os) started: u64,
    }

    impl Stat {
        pub(in crate::os) fn of(pid: u32) -> Option<Self> {
            let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name, field 2, is in brackets and may hold anything, brackets too.
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

    /// Whether it carries the mark of another launch. A program may write over its environment: none is no
    /// contradiction.
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
        /// Between two passes a process may have started another; more often only if it means to.
        const PASSES: usize = 8;
        /// What is just becoming another program has no environment for less than this.
        const BECOMING: Duration = Duration::from_millis(1);
        /// Whoever has none for longer has cleared it.
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

    /// What a look for marked processes has found one to be.
    enum Seen {
        Killed,
        Other,
        /// In the middle of an `exec`, when it has no environment yet. Or one that has cleared it.
        Becoming,
    }

    fn kill_if_marked(pid: u32, entry: &[u8]) -> io::Result<Seen> {
        let environ = || fs::read(format!("/proc/{pid}/environ"));
        let is_marked =
            |environ: &[u8]| environ.split(|byte| *byte == 0).any(|field| field == entry);
        match environ() {
            Ok(environ) if is_marked(&environ) => {},
            // A thread of the kernel has no environment either, and no program.
            Ok(environ)
                if environ.is_empty() && fs::read_link(format!("/proc/{pid}/exe")).is_ok() =>
            {
                return Ok(Seen::Becoming);
            },
            _ => return Ok(Seen::Other),
        }
        // The handle first, then the question again: so the id cannot have been given to another.
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
        // Mostly nobody has ended, and then there is no need to look at everybody.
        let any = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if matches!(rustix::process::waitid(WaitId::All, any), Ok(None) | Err(Errno::CHILD)) {
            return 0;
        }
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

/// Nothing that holds a process here: its id is looked at again and again, more often than ids come round.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
struct Holder(crate::os::fingerprint::PidFingerprint);

#[cfg(not(target_os = "linux"))]
impl Holder {
    /// How often somebody is looked for at that id.
    const GLANCE: Duration = Duration::from_millis(50);
    /// How often it is asked who it is, which costs a call of `ps`.
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

/// Nobody may read the environment of another process here.
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
