//! The program at this daemon's path, which an update may have replaced since the start.

use std::ffi::OsString;
use std::io::Read;
use std::path::{MAIN_SEPARATOR, Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use hana_process::ProgramFault;

/// The path and arguments with which this daemon was started.
#[derive(Debug, Clone)]
pub(crate) struct OwnProgram {
    path: PathBuf,
    arguments: Vec<OsString>,
}

/// How long a program may take to print its version.
const VERSION: Duration = Duration::from_secs(5);

impl OwnProgram {
    /// Records the path and arguments. Must be called at the start, before the file may be replaced or removed.
    pub(crate) fn of_this_process() -> Self {
        let mut arguments = env::args_os();
        let called = arguments.next().map(PathBuf::from);
        let path = called.as_deref().and_then(at).or_else(|| env::current_exe().ok());
        // The old daemon has already made room.
        let arguments = arguments.filter(|argument| argument != "--replace").collect();
        Self { path: path.unwrap_or_else(|| "hanad".into()), arguments }
    }

    /// Checks that the program now at the path is a daemon that runs on this machine.
    pub(crate) fn check(&self) -> Result<(), String> {
        let path = self.path.display();
        if let Some(fault) = ProgramFault::of(&self.path) {
            return Err(format!("{path} {fault}"));
        }
        let mut child = Command::new(&self.path)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|problem| format!("{path} cannot be run: {problem}"))?;
        let until = Instant::now() + VERSION;
        // An error means that the process was reaped with the orphans.
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() >= until {
                child.kill().ok();
                child.wait().ok();
                return Err(format!("{path} does not say its version"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        let mut said = String::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(256).read_to_string(&mut said).ok();
        }
        let version = said.strip_prefix("hanad ").map(str::trim);
        let version = version.ok_or_else(|| format!("{path} is no hanad"))?;
        tracing::info!("replaced by {path}, version {version}; what was launched goes on");
        Ok(())
    }

    /// Replaces this process by the program. Returns only if that fails.
    #[cfg(unix)]
    pub(crate) fn become_it(&self) -> anyhow::Error {
        use std::os::unix::process::CommandExt;

        let problem = Command::new(&self.path).args(&self.arguments).exec();
        anyhow::Error::new(problem).context(format!(
            "{} cannot be run; what was launched goes on, start hanad again",
            self.path.display()
        ))
    }

    #[cfg(not(unix))]
    pub(crate) fn become_it(&self) -> anyhow::Error {
        anyhow::anyhow!("{} cannot take over on this platform", self.path.display())
    }
}

/// Finds the file with which the program was called, by the given path or in `PATH`.
///
/// The path is not resolved, so that a link is followed to a new version.
fn at(called: &Path) -> Option<PathBuf> {
    let by_path = called.as_os_str().to_string_lossy().contains(MAIN_SEPARATOR);
    let path = if by_path {
        std::path::absolute(called).ok()?
    } else {
        let paths = env::var_os("PATH")?;
        env::split_paths(&paths)
            .map(|directory| directory.join(called))
            .find(|file| file.is_file())?
    };
    path.is_file().then_some(path)
}
