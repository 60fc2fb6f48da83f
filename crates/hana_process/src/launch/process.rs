use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{io, thread};

use hana_protocol::message::Exit;
use process_wrap::std::CommandWrap;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::launch::launch_spec::{LaunchError, LaunchSpec};
use crate::launch::program_file::ProgramFault;
use crate::os;
use crate::os::fingerprint::PidFingerprint;
use crate::output::output_file;

/// The environment variable that marks every process of one launch, whatever group it moves to.
pub const MARK_VARIABLE: &str = "HANA_LAUNCH";
/// What systemd tells a service in its environment.
const OF_SERVICE_MANAGER: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// A launched process, the leader of its own group, with all that it starts. One that an earlier program
/// launched can be adopted.
///
/// It outlives this value: dropping it, or the end of the program that launched it, leaves it running. Its
/// standard input is empty; its output goes to a file, never through the launching program, so that neither a
/// busy nor a dead daemon can stall it.
///
/// A process that has ended stays a zombie until [`Process::sweep`], which guards its id, and with it its
/// group's, against being given to another. A dropped one is swept when it ends, as long as the launching
/// program lives.
#[derive(Debug)]
pub struct Process {
    leader: os::GroupLeader,
    fingerprint: Option<PidFingerprint>,
    output: ProcessOutput,
    output_file: Option<File>,
}

/// Where the output of a process goes.
#[derive(Debug)]
pub enum ProcessOutput {
    /// To the file that was wished for.
    Wished(PathBuf),
    /// To the spare one.
    Spare {
        /// The file.
        file: PathBuf,
        /// Why not to the one that was wished for.
        problem: OutputError,
    },
    /// Nowhere: a process without a log is better than none.
    Nowhere {
        /// Why not to the file that was wished for.
        problem: OutputError,
    },
}

/// An output file that cannot be written: its directory is missing or read-only, or the disk is full.
#[derive(Debug, Error)]
#[error("its output cannot be written to {}", output.display())]
pub struct OutputError {
    /// The file.
    pub output: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

impl ProcessOutput {
    /// The file, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Wished(file) | Self::Spare { file, .. } => Some(file),
            Self::Nowhere { .. } => None,
        }
    }

    /// Opens the first file that can be written: one for standard output and standard error, so that their
    /// order is kept.
    fn open(spec: &LaunchSpec) -> (Self, Option<File>) {
        let source = match open_in_time(&spec.output) {
            Ok(file) => return (Self::Wished(spec.output.clone()), Some(file)),
            Err(source) => source,
        };
        let problem = OutputError { output: spec.output.clone(), source };
        if let Some(file) = &spec.spare_output
            && let Ok(opened) = open_in_time(file)
        {
            return (Self::Spare { file: file.clone(), problem }, Some(opened));
        }
        (Self::Nowhere { problem }, None)
    }
}

/// Opens the output file of a new run on a thread of its own: a disk that does not answer holds the launch up for a
/// moment, not for ever.
fn open_in_time(file: &Path) -> io::Result<File> {
    /// What any disk that can be worked with takes at most.
    const PATIENCE: Duration = Duration::from_millis(500);
    let (sender, opened) = mpsc::channel();
    let path = file.to_owned();
    thread::Builder::new().name("open output".into()).spawn(move || {
        sender.send(output_file::open_for_new_run(&path)).ok();
    })?;
    opened.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        let ms = PATIENCE.as_millis();
        Err(io::Error::new(ErrorKind::TimedOut, format!("the disk has not answered for {ms} ms")))
    })
}

/// Standard output and standard error in one file, or nowhere.
fn to_stdio(file: Option<&File>) -> io::Result<(Stdio, Stdio)> {
    file.map_or_else(
        || Ok((Stdio::null(), Stdio::null())),
        |file| Ok((file.try_clone()?.into(), file.try_clone()?.into())),
    )
}

/// What to write down of a process, so that a later program can adopt it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// Which process the leader is.
    pub fingerprint: PidFingerprint,
    /// The mark that it, and all that it started, has in its environment ([`MARK_VARIABLE`]).
    pub mark: String,
    /// The file that its output goes to, if it goes anywhere.
    #[serde(default)]
    pub output: Option<PathBuf>,
}

impl ProcessRecord {
    /// Kills what a process that has ended unwatched left behind: on Linux, what carries its mark; elsewhere
    /// nothing. Blocks for a few milliseconds.
    ///
    /// # Errors
    ///
    /// When something of it could not be killed.
    pub fn sweep(&self) -> io::Result<()> {
        sweep_marked(&self.mark)
    }
}

/// Kills what became of the launch with this mark: on Linux, what carries it; elsewhere nothing. Blocks for a few
/// milliseconds.
///
/// # Errors
///
/// When something of it could not be killed.
pub fn sweep_marked(mark: &str) -> io::Result<()> {
    os::kill_marked(mark)
}

/// Why a process could not be adopted.
#[derive(Debug, Error)]
pub enum AdoptError {
    /// It has ended; its id may be another's now, which is left alone.
    #[error("process {pid} has ended")]
    Gone {
        /// The id it had.
        pid: u32,
    },
    /// This platform cannot.
    #[error(
        "process {pid} cannot be taken over on this platform; end it by hand, then start it again"
    )]
    Unsupported {
        /// Its id.
        pid: u32,
    },
    /// The operating system refused.
    #[error("the operating system does not let a running process be watched: {0}")]
    System(#[source] io::Error),
}

impl Process {
    /// Takes over a process that another program launched, this one's predecessor, and that still runs.
    /// Never another one that was given its id meanwhile. `on_exit` is called as by [`Process::launch`], on
    /// Linux as soon, elsewhere within 50 ms.
    ///
    /// It is no child of this program, so how it ends is not told: [`Exit::Unknown`]. (After an `exec` of
    /// the same program it is, and is told.) Nor can its id be held once it has ended: what it then leaves
    /// behind is found by its mark alone, on Linux; what has cleared its environment is not.
    ///
    /// Blocks for a few milliseconds.
    ///
    /// # Errors
    ///
    /// When it has ended, or the system refuses. `on_exit` is not called then.
    pub fn adopt(
        record: &ProcessRecord,
        on_exit: impl FnOnce(Exit) + Send + 'static,
    ) -> Result<Self, AdoptError> {
        let leader = os::GroupLeader::adopt(record, on_exit)?;
        let output = record.output.clone().map_or_else(
            || {
                let source = io::Error::other("an earlier daemon found no place for it");
                ProcessOutput::Nowhere { problem: OutputError { output: PathBuf::new(), source } }
            },
            ProcessOutput::Wished,
        );
        let fingerprint = Some(record.fingerprint.clone());
        Ok(Self { leader, fingerprint, output, output_file: None })
    }

    /// What to write down to adopt it later; none where there is no fingerprint.
    #[must_use]
    pub fn record(&self) -> Option<ProcessRecord> {
        let fingerprint = self.fingerprint.clone()?;
        let output = self.output.file().map(Path::to_owned);
        Some(ProcessRecord { fingerprint, mark: self.leader.mark().into(), output })
    }

    /// Launches what `spec` says. `on_exit` is called once, on a thread of its own, within a millisecond or
    /// so of the end of the leader; it shall be quick, sending into a channel for instance. That thread
    /// sleeps until then and costs nothing.
    ///
    /// Blocks for the few milliseconds that a launch takes.
    ///
    /// # Errors
    ///
    /// When the directory or the program is not there, or the system refuses. Nothing runs then, and
    /// `on_exit` is not called. An output file that cannot be written is no error: see [`Process::output`].
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
        let (goes_to, opened) = ProcessOutput::open(spec);
        let (output, errors) = to_stdio(opened.as_ref())
            .map_err(|source| LaunchError::Spawn { program: spec.program.clone(), source })?;
        let mark = spec.mark.clone();
        let mut command = CommandWrap::with_new(&spec.program, |command| {
            // A service manager's words with the launching program are not the launched one's.
            for variable in OF_SERVICE_MANAGER {
                command.env_remove(variable);
            }
            command.args(&spec.args).envs(&spec.env).env(MARK_VARIABLE, &mark);
            command.stdin(Stdio::null()).stdout(output).stderr(errors);
            if let Some(dir) = &spec.dir {
                command.current_dir(dir);
            }
        });
        let leader = os::GroupLeader::launch(&mut command, mark, on_exit).map_err(|source| {
            let program = spec.program.clone();
            match ProgramFault::behind(&source, &program) {
                Some(fault) => LaunchError::Faulty { program, fault },
                None => LaunchError::Spawn { program, source },
            }
        })?;
        let fingerprint = PidFingerprint::of(leader.pid());
        Ok(Self { leader, fingerprint, output: goes_to, output_file: opened })
    }

    /// Where its output goes.
    #[must_use]
    pub const fn output(&self) -> &ProcessOutput {
        &self.output
    }

    /// The handle that its output file was opened with, once: to follow the file whatever becomes of its name. None of
    /// an adopted one.
    pub const fn take_output_file(&mut self) -> Option<File> {
        self.output_file.take()
    }

    /// The process id of the leader, which on Unix is the id of the group too.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.leader.pid()
    }

    /// The leader's fingerprint, taken at its launch; `None` where the platform cannot tell, or where it
    /// had ended already.
    #[must_use]
    pub const fn fingerprint(&self) -> Option<&PidFingerprint> {
        self.fingerprint.as_ref()
    }

    /// How the leader ended, if it has. Does not block, does not reap.
    #[must_use]
    pub fn try_wait(&self) -> Option<Exit> {
        self.leader.try_wait()
    }

    /// Asks the whole group to end: SIGTERM, and SIGCONT so that what is suspended hears it. On Windows,
    /// where there is no such thing, it does nothing; [`Process::kill`] comes next.
    ///
    /// # Errors
    ///
    /// When the system refuses (a process of another user). That nothing is left is no error.
    pub fn terminate(&self) -> io::Result<()> {
        self.leader.terminate()
    }

    /// Ends the whole group at once: SIGKILL, or the end of the job.
    ///
    /// # Errors
    ///
    /// As for [`Process::terminate`].
    pub fn kill(&self) -> io::Result<()> {
        self.leader.kill()
    }

    /// Once the leader has ended: kills what it left behind, in its group or (Linux) with its mark, and
    /// reaps it. Does nothing while the leader lives, and nothing the second time. Blocks for a few
    /// milliseconds.
    ///
    /// # Errors
    ///
    /// When something of it could not be killed; the leader is reaped nevertheless.
    pub fn sweep(&self) -> io::Result<()> {
        self.leader.sweep()
    }
}

/// A text that no other launch on this machine has, to mark one with ([`MARK_VARIABLE`]).
#[must_use]
pub fn new_mark() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    format!("{}-{now}-{count}", std::process::id())
}
