//! The program at this daemon's path, which an update may have replaced since the daemon started.

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

/// The time limit for the program to print its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(5);

impl OwnProgram {
    /// Returns the path and arguments. Must be called at the start, before the file may be replaced or removed.
    pub(crate) fn of_this_process() -> Self {
        let mut arguments = env::args_os();
        let called = arguments.next().map(PathBuf::from);
        let path = called.as_deref().and_then(at).or_else(|| env::current_exe().ok());
        Self {
            path: path.unwrap_or_else(|| "hanad".into()),
            arguments: without_once_only(arguments),
        }
    }

    /// Checks that the file at the path is now a daemon that can run on this machine.
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
            .map_err(|problem| format!("cannot run {path}: {problem}"))?;
        let until = Instant::now() + VERSION_TIMEOUT;
        // An error means that the process was reaped with the orphans.
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() >= until {
                child.kill().ok();
                child.wait().ok();
                return Err(format!("{path} does not print its version"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        let mut output = String::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(256).read_to_string(&mut output).ok();
        }
        let version = output.strip_prefix("hanad ").map(str::trim);
        let version = version.ok_or_else(|| format!("{path} is not hanad"))?;
        tracing::info!("replaced by {path}, version {version}; launched processes keep running");
        Ok(())
    }

    /// Replaces this process with the program. Returns only if that fails.
    #[cfg(unix)]
    pub(crate) fn replace_this_process(&self) -> anyhow::Error {
        use std::os::unix::process::CommandExt;

        let problem = Command::new(&self.path).args(&self.arguments).exec();
        anyhow::Error::new(problem).context(format!(
            "cannot run {}; launched processes keep running; start hanad again",
            self.path.display()
        ))
    }

    #[cfg(not(unix))]
    pub(crate) fn replace_this_process(&self) -> anyhow::Error {
        anyhow::anyhow!("{} cannot replace the daemon on this platform", self.path.display())
    }
}

/// Removes the arguments that apply only to the first start.
///
/// The earlier daemon has already exited, and the descriptor for readiness is closed.
fn without_once_only(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut kept = vec![];
    let mut is_value = false;
    for argument in arguments {
        let is_dropped = is_value
            || argument == "--replace"
            || argument == "--ready-fd"
            || argument.to_string_lossy().starts_with("--ready-fd=");
        is_value = argument == "--ready-fd" && !is_value;
        if !is_dropped {
            kept.push(argument);
        }
    }
    kept
}

/// Returns the directory of this program, which is searched first for programs without a path.
pub(crate) fn program_dir() -> PathBuf {
    env::current_exe().ok().and_then(|path| Some(path.parent()?.into())).unwrap_or_default()
}

/// Finds the file with which the program was called, by the given path or in `PATH`.
///
/// Symbolic links are not resolved, so that a link to a new version is followed.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacement_does_not_get_arguments_of_the_first_start() {
        let given =
            ["--replace", "--ready-fd", "3", "--host", "a", "--ready-fd=4", "--config", "c"];
        let kept = without_once_only(given.into_iter().map(OsString::from));
        assert_eq!(kept, ["--host", "a", "--config", "c"]);
    }
}
