use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::{fs, io, thread};

use hana_protocol::message::Exit;
use process_wrap::std::{CommandWrap, ProcessGroup};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitIdOptions};

use crate::os::adopt_error::AdoptError;
use crate::os::children::{
    LEADERS, is_child, lock, peek, signal_group, to_pid, wait, wait_for_child,
};
use crate::os::fingerprint::PidFingerprint;
use crate::os::{PidHandle, is_of_other_launch, kill_launch};

/// The first process of a group.
#[derive(Debug)]
pub(crate) struct GroupLeader {
    pid: u32,
    shared: Arc<GroupShared>,
}

#[derive(Debug)]
struct GroupShared {
    leader: Pid,
    relation: ProcessRelation,
    launch_id: String,
    state: Mutex<LeaderState>,
    /// A condition that is notified when the watching thread has seen the leader end.
    ended: Condvar,
}

/// The relation of the leader to this program.
#[derive(Debug)]
enum ProcessRelation {
    /// Launched by this program: the leader's process id and group id stay reserved until the leader is reaped.
    Child,
    /// Adopted: the process id can be reused as soon as the leader has ended, so it is checked before each use.
    Adopted(PidHandle),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LeaderState {
    Alive,
    /// The [`GroupLeader`] was dropped. When the process ends, the watching thread reaps it and kills the rest.
    Abandoned,
    /// The leader has ended and is a zombie.
    Ended(Exit),
    Reaped(Exit),
}

impl GroupLeader {
    pub(crate) fn launch(
        command: &mut CommandWrap,
        launch_id: String,
        on_exit: impl FnOnce(Exit) + Send + 'static,
    ) -> io::Result<Self> {
        command.wrap(ProcessGroup::leader());
        // The lock is held during the launch, so that a process that ends right away is not reaped as an orphan.
        let mut leaders = lock(&LEADERS);
        let pid = command.spawn()?.id();
        leaders.insert(pid);
        drop(leaders);
        let leader = to_pid(pid)?;
        let shared = GroupShared::new(leader, ProcessRelation::Child, launch_id);
        if let Err(error) = GroupShared::start_watching(&shared, on_exit) {
            // The process is killed, since its end would go unnoticed.
            let _ = signal_group(leader, Signal::KILL);
            let _ = wait(leader, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            let _ = shared.kill_remaining(Exit::Signal(Signal::KILL.as_raw()));
            return Err(error);
        }
        Ok(Self { pid, shared })
    }

    /// Adopts a process that is already running.
    pub(crate) fn adopt(
        fingerprint: &PidFingerprint,
        launch_id: &str,
        on_exit: impl FnOnce(Exit) + Send + 'static,
    ) -> Result<Self, AdoptError> {
        let gone = || AdoptError::Gone { pid: fingerprint.pid };
        let leader = to_pid(fingerprint.pid).map_err(|_| gone())?;
        // The handle is opened before the identity is checked, so that both refer to the same process.
        let handle = PidHandle::open(leader).map_err(AdoptError::System)?.ok_or_else(gone)?;
        if !fingerprint.is_alive() || is_of_other_launch(leader, launch_id) {
            return Err(gone());
        }
        // After an `exec` of this program, the processes that it launched are still its children.
        let relation = if is_child(leader) {
            lock(&LEADERS).insert(fingerprint.pid);
            ProcessRelation::Child
        } else {
            ProcessRelation::Adopted(handle)
        };
        let shared = GroupShared::new(leader, relation, launch_id.to_owned());
        GroupShared::start_watching(&shared, on_exit).map_err(AdoptError::System)?;
        Ok(Self { pid: fingerprint.pid, shared })
    }

    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn launch_id(&self) -> &str {
        &self.shared.launch_id
    }

    pub(crate) fn try_wait(&self) -> Option<Exit> {
        let state = *lock(&self.shared.state);
        match (state, &self.shared.relation) {
            (LeaderState::Ended(exit) | LeaderState::Reaped(exit), _) => Some(exit),
            (LeaderState::Alive | LeaderState::Abandoned, ProcessRelation::Child) => {
                peek(self.shared.leader)
            },
            (LeaderState::Alive | LeaderState::Abandoned, ProcessRelation::Adopted(handle)) => {
                handle.has_ended(self.shared.leader).then_some(Exit::Unknown)
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

    pub(crate) fn kill_remaining(&self) -> io::Result<()> {
        if self.try_wait().is_none() {
            return Ok(());
        }
        // The leader has ended. The watching thread must notice this before the leader is reaped.
        let state = self
            .shared
            .ended
            .wait_while(lock(&self.shared.state), |state| *state == LeaderState::Alive)
            .unwrap_or_else(PoisonError::into_inner);
        let LeaderState::Ended(exit) = *state else { return Ok(()) };
        drop(state);
        self.shared.kill_remaining(exit)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        // The lock is held while signalling, so that the leader is not reaped and its id not reused in the meantime.
        let state = lock(&self.shared.state);
        let signalled = match *state {
            LeaderState::Reaped(_) => Ok(()),
            LeaderState::Alive | LeaderState::Abandoned | LeaderState::Ended(_) => match &self
                .shared
                .relation
            {
                // An adopted leader has ended, so its id may be reused. The rest of its group is found by its launch
                // id.
                ProcessRelation::Adopted(handle) if handle.has_ended(self.shared.leader) => Ok(()),
                ProcessRelation::Child | ProcessRelation::Adopted(_) => {
                    signal_group(self.shared.leader, signal)
                },
            },
        };
        drop(state);
        signalled
    }
}

impl Drop for GroupLeader {
    fn drop(&mut self) {
        let state = {
            let mut state = lock(&self.shared.state);
            if *state == LeaderState::Alive {
                *state = LeaderState::Abandoned;
            }
            *state
        };
        if let LeaderState::Ended(exit) = state
            && let Err(error) = self.shared.kill_remaining(exit)
        {
            tracing::warn!(pid = self.pid, %error, "a process left something behind that cannot be killed");
        }
    }
}

impl GroupShared {
    fn new(leader: Pid, relation: ProcessRelation, launch_id: String) -> Arc<Self> {
        let state = Mutex::new(LeaderState::Alive);
        Arc::new(Self { leader, relation, launch_id, state, ended: Condvar::new() })
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
        let exit = match &self.relation {
            ProcessRelation::Child => wait_for_child(self.leader),
            ProcessRelation::Adopted(handle) => {
                handle.wait(self.leader);
                Exit::Unknown
            },
        };
        let abandoned = {
            let mut state = lock(&self.state);
            let abandoned = *state == LeaderState::Abandoned;
            *state = LeaderState::Ended(exit);
            abandoned
        };
        self.ended.notify_all();
        on_exit(exit);
        if abandoned && let Err(error) = self.kill_remaining(exit) {
            let pid = self.leader.as_raw_pid();
            tracing::warn!(pid, %error, "a process left something behind that cannot be killed");
        }
    }

    fn kill_remaining(&self, exit: Exit) -> io::Result<()> {
        let mut state = lock(&self.state);
        if matches!(*state, LeaderState::Reaped(_)) {
            return Ok(());
        }
        let group = match &self.relation {
            ProcessRelation::Child => signal_group(self.leader, Signal::KILL),
            ProcessRelation::Adopted(_) => Ok(()),
        };
        let others = kill_launch(&self.launch_id);
        if matches!(self.relation, ProcessRelation::Child) {
            // The leader is a zombie, so this does not block.
            let _ = wait(self.leader, WaitIdOptions::EXITED);
            lock(&LEADERS).remove(&self.leader.as_raw_nonzero().get().unsigned_abs());
        }
        *state = LeaderState::Reaped(exit);
        drop(state);
        group.and(others)
    }
}

pub(crate) fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

/// Returns whether the system refused to execute a file because it is not a program.
pub(crate) fn is_no_program(problem: &io::Error) -> bool {
    problem.raw_os_error() == Some(Errno::NOEXEC.raw_os_error())
}
