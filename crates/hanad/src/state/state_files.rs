use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, SystemTime};
use std::{fs, io, thread};

use crate::log_once::LogOnce;

/// Writes small files on a separate thread and restores them when they change.
///
/// The daemon's loop only sets the content of a file, so a disk that is slow, full, read-only or missing does not
/// delay the loop. A file that was deleted, replaced or could not be written is written again, with its newest
/// content, within a second. At most one content per file is queued.
#[derive(Debug, Clone)]
pub(crate) struct StateFiles {
    shared: Arc<StateFilesShared>,
}

/// The purpose of a file, worded for a log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Purpose {
    /// The failure, such as "the look of 'ripples' is not kept".
    pub(crate) failure: String,
    /// The consequence of the failure.
    pub(crate) consequence: &'static str,
}

#[derive(Debug, Default)]
struct StateFilesShared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<PathBuf, ManagedFile>,
    /// The files to check now.
    due: BTreeSet<PathBuf>,
    /// The number of rounds requested from the thread, and the number completed.
    requested: u64,
    done: u64,
    /// The round for which a wait timed out.
    overdue: Option<u64>,
}

#[derive(Debug)]
struct ManagedFile {
    /// The content, or `None` if the file must not exist.
    content: Option<Arc<[u8]>>,
    purpose: Purpose,
    /// The version of the file that this thread wrote, or `None` if the latest content is not on disk.
    written: Option<FileVersion>,
    log_once: LogOnce,
}

/// Properties of a file that change when another program replaces or modifies it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FileVersion {
    length: u64,
    modified: Option<SystemTime>,
    number: u64,
}

/// How often each file is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The longest time for which the loop waits for a file. A usable disk takes about a thousandth of it.
pub(crate) const FLUSH_TIMEOUT: Duration = Duration::from_millis(250);

impl StateFiles {
    /// Starts the thread.
    pub(crate) fn start() -> Self {
        let shared = Arc::new(StateFilesShared::default());
        let shared_with_thread = Arc::clone(&shared);
        let spawned = thread::Builder::new()
            .name("state files".into())
            .spawn(move || shared_with_thread.keep_files());
        if let Err(problem) = spawned {
            tracing::error!(
                "cannot save any state, because no thread can be started ({problem}); end other programs and restart hanad"
            );
        }
        Self { shared }
    }

    /// Sets the content that the file must have from now on.
    pub(crate) fn put(&self, file: PathBuf, content: Vec<u8>, purpose: Purpose) {
        let mut state = self.shared.state();
        let known = state.files.get(&file);
        if known.is_some_and(|known| {
            known.written.is_some() && known.content.as_deref() == Some(content.as_slice())
        }) {
            return;
        }
        state.want(file, Some(content.into()), purpose);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Removes the file and retries until that succeeds. `failure` is the log message for a failed attempt.
    pub(crate) fn remove(&self, file: PathBuf, failure: String) {
        let purpose = Purpose { failure, consequence: "it may be used although it is outdated" };
        self.shared.state().want(file, None, purpose);
        self.shared.changed.notify_all();
    }

    /// Stops managing the file and leaves it as it is.
    pub(crate) fn release(&self, file: &Path) {
        self.shared.state().files.remove(file);
    }

    /// Makes the thread check the file now.
    pub(crate) fn check(&self, file: &Path) {
        let mut state = self.shared.state();
        state.due.insert(file.to_owned());
        state.requested += 1;
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Waits, at most for `timeout`, until all requested writes have been attempted. Returns whether they have.
    ///
    /// After a timeout, later calls return at once until the thread has made progress, since its disk does not
    /// respond.
    #[allow(clippy::significant_drop_tightening)] // The condition variable takes the lock and gives it back.
    pub(crate) fn flush(&self, timeout: Duration) -> bool {
        let state = self.shared.state();
        let round = state.requested;
        if state.overdue.is_some_and(|overdue| state.done < overdue) {
            return false;
        }
        let (mut state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, timeout, |state| state.done < round)
            .unwrap_or_else(PoisonError::into_inner);
        let is_done = state.done >= round;
        state.overdue = (!is_done).then_some(round);
        drop(state);
        is_done
    }

    /// Returns the content that the file should have, if it could not be written.
    pub(crate) fn unwritten(&self, file: &Path) -> Option<Arc<[u8]>> {
        let files = &self.shared.state().files;
        files.get(file).filter(|wanted| wanted.written.is_none())?.content.clone()
    }
}

impl State {
    fn want(&mut self, file: PathBuf, content: Option<Arc<[u8]>>, purpose: Purpose) {
        let log_once = self.files.remove(&file).map(|known| known.log_once).unwrap_or_default();
        self.files.insert(file.clone(), ManagedFile { content, purpose, written: None, log_once });
        self.due.insert(file);
        self.requested += 1;
    }
}

impl StateFilesShared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the thread, which ends with the process.
    fn keep_files(&self) {
        loop {
            let (due, round) = self.wait();
            for file in due {
                self.see_to(&file);
            }
            let mut state = self.state();
            state.done = state.done.max(round);
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Waits for and returns the files to check, with the number of the requested round.
    ///
    /// These are the requested files, and all files once a second.
    fn wait(&self) -> (BTreeSet<PathBuf>, u64) {
        let (mut state, timeout) = self
            .changed
            .wait_timeout_while(self.state(), CHECK_INTERVAL, |state| state.due.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        let mut due = std::mem::take(&mut state.due);
        if timeout.timed_out() {
            due.extend(state.files.keys().cloned());
        }
        (due, state.requested)
    }

    // The entry borrows from the lock until the end of the function.
    #[allow(clippy::significant_drop_tightening)]
    fn see_to(&self, file: &Path) {
        let (content, written) = match self.state().files.get(file) {
            Some(wanted) => (wanted.content.clone(), wanted.written.clone()),
            None => return,
        };
        if written.is_some() && written == fs::metadata(file).ok().as_ref().map(FileVersion::of) {
            return;
        }
        let outcome = content
            .as_ref()
            .map_or_else(|| remove(file).map(|()| None), |content| write(file, content).map(Some));
        let mut state = self.state();
        let Some(wanted) = state.files.get_mut(file) else { return };
        let is_same = match (&wanted.content, &content) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        match outcome {
            // New content was set in the meantime. Writing it is already due.
            Ok(_) if !is_same => {},
            Ok(None) => {
                state.files.remove(file);
            },
            Ok(seen) => {
                wanted.written = seen;
                wanted.log_once.clear();
            },
            Err(problem) => {
                wanted.written = None;
                if wanted.log_once.should_log(&problem) {
                    let Purpose { failure, consequence } = &wanted.purpose;
                    tracing::warn!(
                        "{failure} ({problem}): {consequence}; retrying every second; repair the state directory, or set HANA_STATE to another"
                    );
                }
            },
        }
    }
}

impl FileVersion {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Self {
        let number = std::os::unix::fs::MetadataExt::ino(metadata);
        Self { length: metadata.len(), modified: metadata.modified().ok(), number }
    }

    #[cfg(not(unix))]
    fn of(metadata: &Metadata) -> Self {
        Self { length: metadata.len(), modified: metadata.modified().ok(), number: 0 }
    }
}

/// Writes the file atomically.
fn write(file: &Path, content: &[u8]) -> io::Result<FileVersion> {
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    file.parent().map_or(Ok(()), fs::create_dir_all)?;
    let written = fs::write(&new, content)
        .and_then(|()| fs::metadata(&new))
        .and_then(|metadata| fs::rename(&new, file).map(|()| FileVersion::of(&metadata)));
    written.inspect_err(|_| {
        fs::remove_file(&new).ok();
    })
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(problem) if problem.kind() != ErrorKind::NotFound => Err(problem),
        _ => Ok(()),
    }
}

/// Runs a disk operation on a separate thread. Returns `None` if it takes too long.
pub(crate) fn in_time<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, done) = mpsc::channel();
    thread::Builder::new()
        .name("disk".into())
        .spawn(move || {
            sender.send(job()).ok();
        })
        .ok()?;
    done.recv_timeout(FLUSH_TIMEOUT * 2).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn purpose() -> Purpose {
        Purpose { failure: "a look is not kept".into(), consequence: "it begins anew" }
    }

    #[track_caller]
    fn eventually_holds(file: &Path, content: &str) {
        let begun = Instant::now();
        while fs::read_to_string(file).unwrap_or_default() != content {
            assert!(begun.elapsed() < SOON, "{}: {:?}", file.display(), fs::read_to_string(file));
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn newest_content_is_written_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("looks/a.json");
        let files = StateFiles::start();
        for number in 0..100 {
            files.put(file.clone(), number.to_string().into(), purpose());
        }
        assert!(files.flush(SOON));
        assert_eq!(fs::read_to_string(&file).unwrap(), "99");
        assert_eq!(fs::read_dir(dir.path().join("looks")).unwrap().count(), 1);
        files.remove(file.clone(), "it stays".into());
        assert!(files.flush(SOON));
        assert!(!file.exists());
    }

    #[test]
    fn deleted_replaced_or_blocked_file_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let (file, other) = (dir.path().join("run/a.json"), dir.path().join("run/b.json"));
        let files = StateFiles::start();
        files.put(file.clone(), "a".into(), purpose());
        files.put(other.clone(), "b".into(), purpose());
        assert!(files.flush(SOON));
        fs::remove_dir_all(dir.path().join("run")).unwrap();
        eventually_holds(&file, "a");
        eventually_holds(&other, "b");
        fs::write(&file, "x").unwrap();
        eventually_holds(&file, "a");
        // A directory at the path of the file has the same effect as a disk that cannot be written.
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        fs::write(file.join("full"), "").unwrap();
        files.check(&file);
        assert!(files.flush(SOON));
        assert_eq!(files.unwritten(&file).as_deref(), Some(b"a".as_slice()));
        fs::remove_dir_all(&file).unwrap();
        eventually_holds(&file, "a");
        assert_eq!(files.unwritten(&file), None);
        // A removed file is not created again.
        files.remove(file.clone(), "it stays".into());
        assert!(files.flush(SOON));
        fs::remove_file(&other).unwrap();
        eventually_holds(&other, "b");
        assert!(!file.exists());
    }

    /// Uses a pipe as the file, since opening it for writing blocks until a program reads it.
    #[cfg(target_os = "linux")]
    #[test]
    fn unresponsive_disk_delays_only_the_first_flush() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("a.json.new");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let files = StateFiles::start();
        files.put(dir.path().join("a.json"), "a".into(), purpose());
        let begun = Instant::now();
        for _ in 0..100 {
            assert!(!files.flush(Duration::from_millis(100)));
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        // Reading the pipe unblocks the thread, as if the disk responded again.
        thread::spawn(move || fs::read(pipe));
        let begun = Instant::now();
        while !files.flush(Duration::from_millis(100)) {
            assert!(begun.elapsed() < SOON);
            thread::sleep(Duration::from_millis(10));
        }
        assert!(dir.path().join("a.json").exists());
    }
}
