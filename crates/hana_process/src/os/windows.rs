use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};

use hana_protocol::message::Exit;
use process_wrap::std::{ChildWrapper, CommandWrap, JobObject};

use crate::launch::process::{AdoptError, ProcessRecord};

/// How often the end of a process is polled. Waiting would lock its handle, which a kill needs.
const GLANCE: Duration = Duration::from_millis(10);

/// The first process of a job.
#[derive(Debug)]
pub(crate) struct GroupLeader {
    pid: u32,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    /// The job with all its processes.
    child: Box<dyn ChildWrapper>,
    exit: Option<Exit>,
}

impl GroupLeader {
    pub(crate) fn launch(
        command: &mut CommandWrap,
        _mark: String,
        on_exit: impl FnOnce(Exit) + Send + 'static,
    ) -> io::Result<Self> {
        command.wrap(JobObject);
        let child = command.spawn()?;
        let pid = child.id();
        let shared = Arc::new(Mutex::new(Shared { child, exit: None }));
        let watched = Arc::clone(&shared);
        thread::Builder::new().name(format!("watch {pid}")).spawn(move || {
            loop {
                if let Some(exit) = lock(&watched).look() {
                    on_exit(exit);
                    return;
                }
                thread::sleep(GLANCE);
            }
        })?;
        Ok(Self { pid, shared })
    }

    /// Fails: a job belongs to the program that created it.
    pub(crate) fn adopt(
        record: &ProcessRecord,
        _on_exit: impl FnOnce(Exit) + Send + 'static,
    ) -> Result<Self, AdoptError> {
        Err(AdoptError::Unsupported { pid: record.fingerprint.pid })
    }

    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) const fn mark(&self) -> &str {
        ""
    }

    pub(crate) fn try_wait(&self) -> Option<Exit> {
        lock(&self.shared).look()
    }

    #[allow(clippy::unused_self, clippy::unnecessary_wraps)]
    pub(crate) const fn terminate(&self) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn kill(&self) -> io::Result<()> {
        lock(&self.shared).child.start_kill()
    }

    pub(crate) fn sweep(&self) -> io::Result<()> {
        let mut shared = lock(&self.shared);
        if shared.look().is_none() { Ok(()) } else { shared.child.start_kill() }
    }
}

impl Shared {
    fn look(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            // The status of the first process, not of the job, which may have processes left.
            let status = self.child.inner_mut().try_wait().ok().flatten()?;
            self.exit = Some(Exit::Code(status.code().unwrap_or(-1)));
        }
        self.exit
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn is_executable(_file: &Path) -> bool {
    true
}

/// `ERROR_BAD_EXE_FORMAT`.
pub(crate) fn is_no_program(problem: &io::Error) -> bool {
    problem.raw_os_error() == Some(193)
}

pub(crate) const fn started(_pid: u32) -> Option<String> {
    None
}

#[allow(clippy::unnecessary_wraps)]
pub(crate) const fn adopt_orphans() -> io::Result<()> {
    Ok(())
}

pub(crate) const fn reap_orphans() -> usize {
    0
}

/// Does nothing: jobs contain the launched processes, so there are no marks.
#[allow(clippy::unnecessary_wraps)]
pub(crate) const fn kill_marked(_mark: &str) -> io::Result<()> {
    Ok(())
}
