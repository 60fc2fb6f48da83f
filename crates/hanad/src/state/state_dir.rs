use std::fs::File;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use etcetera::BaseStrategy;
use hana_protocol::id::NodeId;
use thiserror::Error;

use crate::state::run_record::RunRecords;
use crate::state::state_files::{Purpose, StateFiles, in_time};

/// The persistent state of one host's daemon: a directory named after the host id.
///
/// It is inside `HANA_STATE` or the user's state directory, so several daemons on one machine never share one.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    dir: PathBuf,
    host: NodeId,
    files: StateFiles,
}

/// The error for a state directory that cannot be written. The daemon continues with another directory.
#[derive(Debug, Error)]
#[error(
    "cannot use the state directory{} ({problem}); {fallback}; set HANA_STATE to a writable directory",
    .configured.as_ref().map(|dir| format!(" {}", dir.display())).unwrap_or_default()
)]
pub(crate) struct StateDirError {
    /// The requested directory, or `None` if it is unknown.
    configured: Option<PathBuf>,
    problem: String,
    fallback: StateDirFallback,
}

#[derive(Debug)]
enum StateDirFallback {
    Used(PathBuf),
    /// The fallback directory cannot be written either.
    Unusable {
        directory: PathBuf,
        problem: io::Error,
    },
}

impl std::fmt::Display for StateDirFallback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Used(dir) => write!(f, "using {} until hanad restarts", dir.display()),
            Self::Unusable { directory, problem } => {
                write!(
                    f,
                    "cannot use {} either ({problem}), so no log is kept",
                    directory.display()
                )
            },
        }
    }
}

impl StateDir {
    /// Returns the requested directory. If it cannot be used, returns its replacement and the error.
    pub(crate) fn of(host: &NodeId) -> (Self, Option<StateDirError>) {
        Self::first_usable(configured().map(|base| base.join(host.as_str())), host)
    }

    fn first_usable(
        configured: Result<PathBuf, String>,
        host: &NodeId,
    ) -> (Self, Option<StateDirError>) {
        let usable = configured
            .clone()
            .and_then(|dir| check(&dir).map(|()| dir).map_err(|problem| problem.to_string()));
        let of = |dir| Self { dir, host: host.clone(), files: StateFiles::start() };
        let problem = match usable {
            Ok(dir) => return (of(dir), None),
            Err(problem) => problem,
        };
        let directory = fallback_base().join(host.as_str());
        let checked = private_dir(&fallback_base()).and_then(|()| check(&directory));
        let configured = configured.ok();
        let (dir, fallback) = match checked {
            Ok(()) => (directory.clone(), StateDirFallback::Used(directory)),
            Err(problem) => (
                configured.clone().unwrap_or_else(|| directory.clone()),
                StateDirFallback::Unusable { directory, problem },
            ),
        };
        (of(dir), Some(StateDirError { configured, problem, fallback }))
    }

    /// Returns the output file of a process.
    pub(crate) fn output_of(&self, node: &NodeId) -> PathBuf {
        log_of(&self.dir, name_of(node))
    }

    /// Returns the fallback output file, which is used if the usual one cannot be written.
    ///
    /// Returns `None` if there is no directory for the file.
    pub(crate) fn fallback_output_of(&self, node: &NodeId) -> Option<PathBuf> {
        let base = fallback_base();
        private_dir(&base).ok()?;
        Some(log_of(&base.join(self.host.as_str()), name_of(node)))
    }

    /// Returns the records of the running visualizations.
    pub(crate) fn run_records(&self) -> RunRecords {
        RunRecords::new(self.dir.join(RUN), self.files.clone())
    }

    /// Returns the writer of small files.
    pub(crate) const fn files(&self) -> &StateFiles {
        &self.files
    }

    /// Returns the fallback file for a look, which is used if the usual one cannot be written.
    ///
    /// Returns `None` if there is no directory for the file.
    pub(crate) fn fallback_look_of(&self, node: &NodeId) -> Option<PathBuf> {
        let dir = fallback_base().join(self.host.as_str()).join("looks");
        private_dir(&fallback_base()).and_then(|()| fs::create_dir_all(&dir)).ok()?;
        Some(dir.join(format!("{node}.json")))
    }

    /// Returns the file with the last look of a visualization.
    pub(crate) fn look_of(&self, node: &NodeId) -> PathBuf {
        self.dir.join("looks").join(format!("{node}.json"))
    }

    /// Returns the file that a visualization itself writes to save its state.
    pub(crate) fn saved_of(&self, node: &NodeId) -> PathBuf {
        self.dir.join("saved").join(node.as_str())
    }

    /// Returns the file with the timeline to continue from.
    pub(crate) fn timeline(&self) -> PathBuf {
        self.dir.join("timeline.json")
    }

    /// Returns the number of the daemon's last instance on the mesh.
    pub(crate) fn last_instance(&self) -> Option<u64> {
        let file = self.dir.join(INSTANCE);
        let text = in_time(move || fs::read_to_string(file).ok())??;
        text.trim().parse().ok()
    }

    /// Saves the number of this daemon's instance for the next one.
    pub(crate) fn keep_instance(&self, instance: u64) {
        let purpose = Purpose {
            failure: "cannot save the instance number of this daemon".into(),
            consequence: "the next one has a smaller number if the clock is set back",
        };
        self.files.put(self.dir.join(INSTANCE), instance.to_string().into_bytes(), purpose);
    }

    /// Returns the file of the daemon's own log.
    pub(crate) fn own_log(&self) -> PathBuf {
        log_of(&self.dir, OWN)
    }
}

const OWN: &str = "hanad";
const INSTANCE: &str = "instance";
/// The directory of a host's run records.
pub(crate) const RUN: &str = "run";

/// Returns the directory that contains all state directories of this user: the requested one, or its replacement.
pub(crate) fn usable_base() -> PathBuf {
    configured().ok().filter(|base| check_base(base).is_ok()).unwrap_or_else(|| {
        let fallback = fallback_base();
        private_dir(&fallback).ok();
        fallback
    })
}

fn check_base(base: &Path) -> io::Result<()> {
    fs::create_dir_all(base)?;
    let probe = base.join(format!(".probe-{}", std::process::id()));
    File::create(&probe)?;
    fs::remove_file(&probe)
}

/// Returns the base name of a node's log. A visualization may have the daemon's id, but no id begins with `_`.
fn name_of(node: &NodeId) -> &str {
    if node.as_str() == OWN { "_hanad" } else { node.as_str() }
}

/// Returns the requested parent directory, or the reason why it is unknown.
fn configured() -> Result<PathBuf, String> {
    if let Some(path) = env::var_os("HANA_STATE").filter(|path| !path.is_empty()) {
        // The path is made absolute, since launched programs have other working directories.
        return std::path::absolute(path).map_err(|problem| problem.to_string());
    }
    let base = etcetera::choose_base_strategy().map_err(|problem| problem.to_string())?;
    Ok(base.state_dir().unwrap_or_else(|| base.data_dir()).join("hana"))
}

fn log_of(dir: &Path, name: &str) -> PathBuf {
    dir.join("log").join(format!("{name}.log"))
}

/// Creates the log directory and checks that files can be created in it.
///
/// A full disk passes the check: existing files can be read, and may be writable again later.
fn check(dir: &Path) -> io::Result<()> {
    let log = dir.join("log");
    fs::create_dir_all(&log)?;
    let probe = log.join(format!(".probe-{}", std::process::id()));
    File::create(&probe)?;
    fs::remove_file(&probe)
}

/// Returns a directory in the system's temporary directory, which is the same at each start by the same user.
fn fallback_base() -> PathBuf {
    env::temp_dir().join(fallback_name())
}

#[cfg(unix)]
fn fallback_name() -> String {
    format!("hana-{}", rustix::process::geteuid().as_raw())
}

#[cfg(not(unix))]
fn fallback_name() -> String {
    "hana".into()
}

/// Creates a directory that only this user can access. Fails if another user has created it.
///
/// The check is needed because every user may create entries in the temporary directory.
#[cfg(unix)]
fn private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    use std::os::unix::fs::MetadataExt;

    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(problem) if problem.kind() != io::ErrorKind::AlreadyExists => return Err(problem),
        _ => {},
    }
    let found = fs::symlink_metadata(dir)?;
    if found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() {
        Ok(())
    } else {
        Err(io::Error::other("it belongs to another user"))
    }
}

#[cfg(not(unix))]
fn private_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn host() -> NodeId {
        NodeId::new("h1").unwrap()
    }

    #[test]
    fn writable_directory_is_used() {
        let root = tempfile::tempdir().unwrap();
        let configured = root.path().join("not/there/yet/h1");
        let (state, trouble) = StateDir::first_usable(Ok(configured.clone()), &host());
        assert!(trouble.is_none());
        let output = state.output_of(&NodeId::new("ripples").unwrap());
        assert_eq!(output, configured.join("log/ripples.log"));
        assert_eq!(fs::read_dir(configured.join("log")).unwrap().count(), 0);
    }

    #[test]
    fn unwritable_directory_is_replaced_and_reported_in_one_line() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        let configured = root.path().join("file/h1");
        let (state, trouble) = StateDir::first_usable(Ok(configured.clone()), &host());
        let told = trouble.unwrap().to_string();
        assert!(told.contains(&configured.display().to_string()), "{told}");
        assert!(told.contains(&state.dir.display().to_string()), "{told}");
        assert!(told.contains("HANA_STATE") && !told.contains('\n'), "{told}");
        check(&state.dir).unwrap();

        let (_, trouble) = StateDir::first_usable(Err("there is no home".into()), &host());
        assert!(trouble.unwrap().to_string().starts_with("cannot use the state directory (there"));
    }

    #[cfg(unix)]
    #[test]
    fn fallback_directory_of_another_user_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let link = root.path().join("link");
        std::os::unix::fs::symlink(root.path(), &link).unwrap();
        private_dir(&link).unwrap_err();
        private_dir(&root.path().join("own")).unwrap();
        private_dir(&root.path().join("own")).unwrap();
    }
}
