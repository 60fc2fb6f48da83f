use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};

use hana_protocol::message::Exit;
use process_wrap::std::{ChildWrapper, CommandWrap, JobObject};

use crate::os::adopt_error::AdoptError;
use crate::os::fingerprint::PidFingerprint;

/// The interval at which the process is checked for its end. Waiting would lock its handle, which a kill needs.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The first process of a job.
#[derive(Debug)]
pub(crate) struct GroupLeader {
    pid: u32,
    shared: Arc<Mutex<GroupShared>>,
}

#[derive(Debug)]
struct GroupShared {
    /// The job with all its processes.
    child: Box<dyn ChildWrapper>,
    exit: Option<Exit>,
}

impl GroupLeader {
    pub(crate) fn launch(
        command: &mut CommandWrap,
        _launch_id: String,
        on_exit: impl FnOnce(Exit) + Send + 'static,
    ) -> io::Result<Self> {
        command.wrap(JobObject);
        let child = command.spawn()?;
        let pid = child.id();
        let shared = Arc::new(Mutex::new(GroupShared { child, exit: None }));
        let watched = Arc::clone(&shared);
        thread::Builder::new().name(format!("watch {pid}")).spawn(move || {
            loop {
                if let Some(exit) = lock(&watched).poll() {
                    on_exit(exit);
                    return;
                }
                thread::sleep(POLL_INTERVAL);
            }
        })?;
        Ok(Self { pid, shared })
    }

    /// Always fails: a job belongs to the program that created it.
    pub(crate) fn adopt(
        fingerprint: &PidFingerprint,
        _launch_id: &str,
        _on_exit: impl FnOnce(Exit) + Send + 'static,
    ) -> Result<Self, AdoptError> {
        Err(AdoptError::Unsupported { pid: fingerprint.pid })
    }

    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) const fn launch_id(&self) -> &str {
        ""
    }

    pub(crate) fn try_wait(&self) -> Option<Exit> {
        lock(&self.shared).poll()
    }

    #[allow(clippy::unused_self, clippy::unnecessary_wraps)]
    pub(crate) const fn terminate(&self) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn kill(&self) -> io::Result<()> {
        lock(&self.shared).child.start_kill()
    }

    pub(crate) fn kill_remaining(&self) -> io::Result<()> {
        let mut shared = lock(&self.shared);
        if shared.poll().is_none() { Ok(()) } else { shared.child.start_kill() }
    }
}

impl GroupShared {
    fn poll(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            // This is the status of the first process, not of the job, in which other processes may still run.
            let status = self.child.inner_mut().try_wait().ok().flatten()?;
            self.exit = Some(Exit::Code(status.code().unwrap_or(-1)));
        }
        self.exit
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
