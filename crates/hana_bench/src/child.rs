use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use crate::BenchError;

/// The time a process may take for a graceful stop, including all processes it started.
const END: Duration = Duration::from_secs(10);

/// A process of the bench, stopped on drop.
pub(crate) struct OwnChild {
    child: Child,
    /// Whether it is stopped gracefully; otherwise it is killed.
    politely: bool,
}

impl OwnChild {
    pub(crate) fn spawn(mut command: Command, politely: bool) -> Result<Self, BenchError> {
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt;
            // Ctrl-C in the terminal reaches only the bench, which stops the others in order.
            command.process_group(0);
        }
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(BenchError::system(format!("starting {program}")))?;
        Ok(Self { child, politely })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for OwnChild {
    fn drop(&mut self) {
        if self.politely && signal(self.pid(), Signal::Terminate).is_ok() {
            let deadline = Instant::now() + END;
            while !self.has_ended() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
            }
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A signal to a process.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Signal {
    /// Kills it.
    Kill,
    /// Requests a graceful stop.
    Terminate,
    /// Suspends it.
    Stop,
    /// Resumes it.
    Continue,
}

/// Signals a process that the bench or one of its daemons started.
#[cfg(unix)]
pub(crate) fn signal(pid: u32, signal: Signal) -> Result<(), BenchError> {
    use rustix::process::Pid;
    let signal = match signal {
        Signal::Kill => rustix::process::Signal::KILL,
        Signal::Terminate => rustix::process::Signal::TERM,
        Signal::Stop => rustix::process::Signal::STOP,
        Signal::Continue => rustix::process::Signal::CONT,
    };
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    rustix::process::kill_process(pid, signal)
        .map_err(|problem| BenchError::system(format!("signalling process {pid}"))(problem.into()))
}

#[cfg(not(unix))]
pub(crate) fn signal(_: u32, _: Signal) -> Result<(), BenchError> {
    Err(BenchError::NoSignals)
}

/// Returns the path of a program next to this one.
pub(crate) fn beside(name: &str) -> Result<PathBuf, BenchError> {
    let this =
        env::current_exe().map_err(BenchError::system("finding this program's own place"))?;
    let program = this.with_file_name(name).with_extension(env::consts::EXE_EXTENSION);
    if program.exists() { Ok(program) } else { Err(BenchError::NoProgram(program)) }
}
