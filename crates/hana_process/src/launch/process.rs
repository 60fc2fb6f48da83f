use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;
use std::{io, thread};

use hana_protocol::message::Exit;
use process_wrap::std::CommandWrap;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::launch::launch_spec::{LaunchError, LaunchSpec};
use crate::launch::program_file::ProgramFault;
use crate::os;
use crate::os::adopt_error::AdoptError;
use crate::os::fingerprint::PidFingerprint;
use crate::os::launch_id::LAUNCH_ID_VAR;
use crate::output::output_file;

/// The variables that systemd sets for a service.
const SERVICE_MANAGER_VARS: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// The leader of a process group: a launched or adopted process, together with everything that it starts.
///
/// The process outlives this value: it keeps running when the value is dropped or the launching program ends. Its
/// standard input is empty. Its output goes to a file, never through the launching program, so that neither a
/// busy nor a dead daemon can stall it.
///
/// A process that has ended stays a zombie until [`Process::kill_remaining`], which keeps its process id and group id
/// from being reused. If this value has been dropped, the remaining processes are killed when the leader ends,
/// provided that the launching program still runs.
#[derive(Debug)]
pub struct Process {
    leader: os::GroupLeader,
    fingerprint: Option<PidFingerprint>,
    output: ProcessOutput,
    output_file: Option<File>,
}

/// The destination of a process's output.
#[derive(Debug)]
pub enum ProcessOutput {
    /// The requested file.
    Primary(PathBuf),
    /// The fallback file.
    Fallback {
        /// The file.
        file: PathBuf,
        /// The reason why the requested file could not be used.
        problem: OutputError,
    },
    /// No file: a process without a log is better than no process.
    Discarded {
        /// The reason why the requested file could not be used.
        problem: OutputError,
    },
}

/// The error for an output file that cannot be written.
///
/// Its directory is missing or read-only, or the disk is full.
#[derive(Debug, Error)]
#[error("cannot write its output to {}", output.display())]
pub struct OutputError {
    /// The file.
    pub output: PathBuf,
    /// The operating system's error.
    pub source: io::Error,
}

impl ProcessOutput {
    /// Returns the file, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Primary(file) | Self::Fallback { file, .. } => Some(file),
            Self::Discarded { .. } => None,
        }
    }

    /// Opens the requested file, or the fallback if that cannot be written.
    ///
    /// Standard output and standard error share the file, which keeps their order.
    fn open(spec: &LaunchSpec) -> (Self, Option<File>) {
        let source = match open_in_time(&spec.output) {
            Ok(file) => return (Self::Primary(spec.output.clone()), Some(file)),
            Err(source) => source,
        };
        let problem = OutputError { output: spec.output.clone(), source };
        if let Some(file) = &spec.fallback_output
            && let Ok(opened) = open_in_time(file)
        {
            return (Self::Fallback { file: file.clone(), problem }, Some(opened));
        }
        (Self::Discarded { problem }, None)
    }
}

/// Opens the output file of a new instance on a separate thread, so that a stuck disk delays the launch only
/// briefly.
fn open_in_time(file: &Path) -> io::Result<File> {
    /// How long opening may take. A usable disk is faster.
    const OPEN_TIMEOUT: Duration = Duration::from_millis(500);
    let (file_tx, file_rx) = mpsc::channel();
    let path = file.to_owned();
    thread::Builder::new().name("open output".into()).spawn(move || {
        file_tx.send(output_file::open_for_new_run(&path)).ok();
    })?;
    file_rx.recv_timeout(OPEN_TIMEOUT).unwrap_or_else(|_| {
        let ms = OPEN_TIMEOUT.as_millis();
        Err(io::Error::new(ErrorKind::TimedOut, format!("the disk did not respond within {ms} ms")))
    })
}

/// Returns the handles for standard output and standard error, which write to `file`, or discard without a file.
fn to_stdio(file: Option<&File>) -> io::Result<(Stdio, Stdio)> {
    file.map_or_else(
        || Ok((Stdio::null(), Stdio::null())),
        |file| Ok((file.try_clone()?.into(), file.try_clone()?.into())),
    )
}

/// The persistent record of a process, from which a later program can adopt it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// The fingerprint of the leader.
    pub fingerprint: PidFingerprint,
    /// The launch id of the process and of everything that it started ([`LAUNCH_ID_VAR`]).
    pub launch_id: String,
    /// The output file, if there is one.
    #[serde(default)]
    pub output: Option<PathBuf>,
}

impl ProcessRecord {
    /// Kills the processes that remain after a process ended unwatched. Blocks for a few milliseconds.
    ///
    /// On Linux, these are all processes with its launch id; on other platforms this does nothing.
    ///
    /// # Errors
    ///
    /// Fails if a process could not be killed.
    pub fn kill_remaining(&self) -> io::Result<()> {
        kill_remaining(&self.launch_id)
    }
}

/// Kills every process of the launch with this id. Blocks for a few milliseconds.
///
/// Does nothing on platforms other than Linux.
///
/// # Errors
///
/// Fails if a process could not be killed.
pub fn kill_remaining(launch_id: &str) -> io::Result<()> {
    os::kill_launch(launch_id)
}

impl Process {
    /// Adopts a running process that an earlier program launched.
    ///
    /// A process that merely reuses the id is never adopted. `on_exit` is called as by [`Process::launch`]: on Linux
    /// as promptly, on other platforms within 50 ms.
    ///
    /// An adopted process is not a child of this program, so its exit status is not available: [`Exit::Unknown`].
    /// (After an `exec` of the same program it still is a child, and the status is available.) Its id is not reserved
    /// once it has ended, so the processes it leaves behind can be found only on Linux, by their launch id. Processes
    /// that have cleared their environment are not found.
    ///
    /// Blocks for a few milliseconds.
    ///
    /// # Errors
    ///
    /// Fails if the process has ended or the system refuses. `on_exit` is not called in that case.
    pub fn adopt(
        record: &ProcessRecord,
        on_exit: impl FnOnce(Exit) + Send + 'static,
    ) -> Result<Self, AdoptError> {
        let leader = os::GroupLeader::adopt(&record.fingerprint, &record.launch_id, on_exit)?;
        let output = record.output.clone().map_or_else(
            || {
                let source = io::Error::other("an earlier daemon could not write it");
                ProcessOutput::Discarded { problem: OutputError { output: PathBuf::new(), source } }
            },
            ProcessOutput::Primary,
        );
        let fingerprint = Some(record.fingerprint.clone());
        Ok(Self { leader, fingerprint, output, output_file: None })
    }

    /// Returns the record from which the process can be adopted later, or `None` if it has no fingerprint.
    #[must_use]
    pub fn record(&self) -> Option<ProcessRecord> {
        let fingerprint = self.fingerprint.clone()?;
        let output = self.output.file().map(Path::to_owned);
        Some(ProcessRecord { fingerprint, launch_id: self.leader.launch_id().into(), output })
    }

    /// Launches a program. Blocks for the few milliseconds that a launch takes.
    ///
    /// `on_exit` is called once, on a separate thread, within a millisecond or so after the leader ends. It must
    /// return quickly, for instance after sending into a channel. The thread sleeps until then and costs nothing.
    ///
    /// # Errors
    ///
    /// Fails if the directory or the program is missing, or the system refuses. In that case no process runs, and
    /// `on_exit` is not called. An output file that cannot be written is not an error: see [`Process::output`].
    pub fn launch(
        spec: &LaunchSpec,
        on_exit: impl FnOnce(Exit) + Send + 'static,
    ) -> Result<Self, LaunchError> {
        if let Some(dir) = spec.dir.as_ref().filter(|dir| !dir.is_dir()) {
            return Err(LaunchError::DirNotFound {
                program: spec.program.clone(),
                dir: dir.clone(),
            });
        }
        if !spec.program.is_file() {
            return Err(LaunchError::ProgramNotFound {
                program: spec.program.display().to_string(),
                looked_in: vec![spec.program.clone()],
            });
        }
        let (destination, opened) = ProcessOutput::open(spec);
        let (output, errors) = to_stdio(opened.as_ref())
            .map_err(|source| LaunchError::Spawn { program: spec.program.clone(), source })?;
        let launch_id = spec.launch_id.clone();
        let mut command = CommandWrap::with_new(&spec.program, |command| {
            // These variables are meant for the launching program and must not reach the launched one.
            for variable in SERVICE_MANAGER_VARS {
                command.env_remove(variable);
            }
            command.args(&spec.args).envs(&spec.env).env(LAUNCH_ID_VAR, &launch_id);
            command.stdin(Stdio::null()).stdout(output).stderr(errors);
            if let Some(dir) = &spec.dir {
                command.current_dir(dir);
            }
        });
        let leader =
            os::GroupLeader::launch(&mut command, launch_id, on_exit).map_err(|source| {
                let program = spec.program.clone();
                match ProgramFault::behind(&source, &program) {
                    Some(fault) => LaunchError::Faulty { program, fault },
                    None => LaunchError::Spawn { program, source },
                }
            })?;
        let fingerprint = PidFingerprint::of(leader.pid());
        Ok(Self { leader, fingerprint, output: destination, output_file: opened })
    }

    /// Returns the destination of the output.
    #[must_use]
    pub const fn output(&self) -> &ProcessOutput {
        &self.output
    }

    /// Takes the handle with which the output file was opened, to follow the file even if its name changes.
    ///
    /// Returns `None` from the second call on, and for an adopted process.
    pub const fn take_output_file(&mut self) -> Option<File> {
        self.output_file.take()
    }

    /// Returns the process id of the leader, which on Unix is also the group id.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.leader.pid()
    }

    /// Returns the leader's fingerprint, taken at its launch.
    ///
    /// Returns `None` if the platform has no fingerprints, or if the leader had already ended.
    #[must_use]
    pub const fn fingerprint(&self) -> Option<&PidFingerprint> {
        self.fingerprint.as_ref()
    }

    /// Returns the exit status of the leader if it has ended. Neither blocks nor reaps.
    #[must_use]
    pub fn try_wait(&self) -> Option<Exit> {
        self.leader.try_wait()
    }

    /// Requests that the whole group end: sends SIGTERM, then SIGCONT so that suspended processes receive it.
    ///
    /// Does nothing on Windows, which has no such request; use [`Process::kill`] there.
    ///
    /// # Errors
    ///
    /// Fails if the system refuses, as for a process of another user. An empty group is not an error.
    pub fn terminate(&self) -> io::Result<()> {
        self.leader.terminate()
    }

    /// Kills the whole group at once: with SIGKILL, or on Windows by ending the job.
    ///
    /// # Errors
    ///
    /// Fails as [`Process::terminate`] does.
    pub fn kill(&self) -> io::Result<()> {
        self.leader.kill()
    }

    /// Kills the processes that an ended leader left in its group or (on Linux) with its launch id. Reaps the leader.
    ///
    /// Does nothing while the leader lives, or if called again. Blocks for a few milliseconds.
    ///
    /// # Errors
    ///
    /// Fails if a process could not be killed. The leader is reaped nevertheless.
    pub fn kill_remaining(&self) -> io::Result<()> {
        self.leader.kill_remaining()
    }
}
