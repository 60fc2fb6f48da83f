use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, io, thread};

use crate::sync::lock::{Condvar, Mutex, MutexGuard};
use hana_protocol::id::NodeId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// State that a visualization saves so that its next instance can continue where this one stopped.
///
/// The state consists of named parts; each part is bytes with a version. The daemon that launches the program names
/// the file in the environment variable [`SavedState::VARIABLE`]; without a daemon, nothing is read or saved. When an
/// operator starts a visualization, it begins without saved state. When the daemon or an operator restarts it, the new
/// instance gets the state that the previous instance saved.
///
/// Saving does not block: a separate thread writes the newest state atomically, at most four times per second. A
/// failed write is retried every second, and a file that was deleted or replaced is written again. Saving therefore
/// resumes after a disk was full or a directory was deleted. If the program crashes, the state saved in the last
/// quarter of a second is lost. The file is not flushed to the disk, so a power failure may lose the last seconds.
#[derive(Debug)]
pub struct SavedState {
    found: BTreeMap<String, SavedPart>,
    damage: Option<CorruptState>,
    writer: Option<StateWriter>,
}

/// A named part of a [`SavedState`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedPart {
    /// The version of the format of the bytes, chosen by the program.
    pub version: u32,
    /// The saved bytes.
    pub bytes: Arc<[u8]>,
}

/// A reason why a state is not saved.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SaveError {
    /// All parts together have too many bytes.
    #[error("cannot save {length} bytes four times a second; the limit is {most}")]
    TooLarge {
        /// The size of all parts together, in bytes.
        length: usize,
        /// The limit, in bytes.
        most: usize,
    },
}

/// The error that the state saved by an earlier instance cannot be used.
#[derive(Debug, Error)]
#[error("{}: ignoring the state that an earlier instance saved: {problem}", .file.display())]
pub struct CorruptState {
    file: PathBuf,
    problem: String,
}

/// The minimum interval between two writes.
const BETWEEN: Duration = Duration::from_millis(250);
/// The interval before a failed write is retried, and between two checks whether the file was changed.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

impl SavedState {
    /// The environment variable with the path of the file.
    pub const VARIABLE: &'static str = "HANA_SAVED";
    /// The maximum size of all parts together, in bytes; a disk can write this size four times per second.
    pub const MOST: usize = 4 * 1024 * 1024;

    /// Reads the state that the previous instance of `node` saved, and saves new state to the same file.
    ///
    /// Reading the file may take a moment, so call this while the program starts.
    #[must_use]
    pub fn of_environment(node: &NodeId) -> Self {
        let file = env::var_os(Self::VARIABLE).filter(|file| !file.is_empty());
        file.map_or_else(Self::nowhere, |file| Self::in_file(file.into(), node))
    }

    /// Uses a file that the program chooses, with or without a daemon.
    #[must_use]
    pub fn in_file(file: PathBuf, node: &NodeId) -> Self {
        Self::at(file, node, BETWEEN)
    }

    const fn nowhere() -> Self {
        Self { found: BTreeMap::new(), damage: None, writer: None }
    }

    fn at(file: PathBuf, node: &NodeId, between: Duration) -> Self {
        let there = FileMark::of(&file);
        let read = match fs::read(&file) {
            Ok(bytes) => decode(&bytes, node),
            Err(problem) if problem.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(problem) => Err(problem.to_string()),
        };
        let (found, damage) = match read {
            Ok(found) => (found, None),
            Err(problem) => (BTreeMap::new(), Some(CorruptState { file: file.clone(), problem })),
        };
        let writer = StateWriter::start((file, there), node.clone(), found.clone(), between);
        Self { found, damage, writer: Some(writer) }
    }

    /// Returns whether there is a file to save to. A daemon usually names it.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.writer.is_some()
    }

    /// Returns the part with this name that the previous instance saved.
    #[must_use]
    pub fn found(&self, name: &str) -> Option<&SavedPart> {
        self.found.get(name)
    }

    /// Returns the error if a saved state exists but cannot be used.
    #[must_use]
    pub const fn damage(&self) -> Option<&CorruptState> {
        self.damage.as_ref()
    }

    /// Saves a part in place of the previous part with this name. Does not block.
    ///
    /// # Errors
    ///
    /// When all parts together would exceed [`SavedState::MOST`] bytes. The previous part is kept then.
    pub fn save(&self, name: &str, part: SavedPart) -> Result<(), SaveError> {
        self.writer.as_ref().map_or(Ok(()), |writer| writer.save(name, part))
    }

    /// Waits until all saved parts are written, at most for `timeout`; returns whether they are written.
    ///
    /// For a program that is about to exit. Dropping the state writes the parts too, without a time limit but also
    /// without a retry.
    #[must_use]
    pub fn flush(&self, timeout: Duration) -> bool {
        self.writer.as_ref().is_none_or(|writer| writer.flush(timeout))
    }
}

/// The handle of the thread that writes the file.
#[derive(Debug)]
struct StateWriter {
    shared: Arc<WriterShared>,
    thread: Option<JoinHandle<()>>,
}

/// The saved parts and the progress of writing, shared with the thread that writes them.
#[derive(Debug)]
struct WriterShared {
    pending: Mutex<PendingParts>,
    changed: Condvar,
}

#[derive(Debug)]
struct PendingParts {
    parts: BTreeMap<String, SavedPart>,
    /// The number of saves; `written` is the number of those that are written.
    saved: u64,
    written: u64,
    /// Whether a caller of `flush` waits, so that the next write starts at once.
    hurry: bool,
    is_ended: bool,
}

impl WriterShared {
    fn pending(&self) -> MutexGuard<'_, PendingParts> {
        self.pending.lock()
    }

    fn wait<'a>(
        &self,
        pending: MutexGuard<'a, PendingParts>,
        timeout: Duration,
    ) -> MutexGuard<'a, PendingParts> {
        self.changed.wait_timeout(pending, timeout)
    }
}

impl StateWriter {
    fn start(
        (file, there): (PathBuf, Option<FileMark>),
        node: NodeId,
        parts: BTreeMap<String, SavedPart>,
        between: Duration,
    ) -> Self {
        let pending = PendingParts { parts, saved: 0, written: 0, hurry: false, is_ended: false };
        let shared =
            Arc::new(WriterShared { pending: Mutex::new(pending), changed: Condvar::new() });
        let written = Arc::clone(&shared);
        let spawned = thread::Builder::new()
            .name("hana saved state".into())
            .spawn(move || write_on(&written, (&file, there), &node, between));
        if let Err(problem) = &spawned {
            tracing::warn!("state is not saved: cannot start a thread: {problem}");
        }
        Self { shared, thread: spawned.ok() }
    }

    fn save(&self, name: &str, part: SavedPart) -> Result<(), SaveError> {
        let mut pending = self.shared.pending();
        let others = pending.parts.iter().filter(|(other, _)| *other != name);
        let length = others.map(|(_, other)| other.bytes.len()).sum::<usize>() + part.bytes.len();
        if length > SavedState::MOST {
            return Err(SaveError::TooLarge { length, most: SavedState::MOST });
        }
        if pending.parts.get(name) != Some(&part) {
            pending.parts.insert(name.into(), part);
            pending.saved += 1;
            self.shared.changed.notify_all();
        }
        drop(pending);
        Ok(())
    }

    fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut pending = self.shared.pending();
        pending.hurry = true;
        self.shared.changed.notify_all();
        loop {
            let is_written = pending.written == pending.saved;
            let left = deadline.saturating_duration_since(Instant::now());
            if is_written || left.is_zero() {
                drop(pending);
                return is_written;
            }
            pending = self.shared.wait(pending, left);
        }
    }
}

impl Drop for StateWriter {
    fn drop(&mut self) {
        self.shared.pending().is_ended = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Writes changes at the given interval until the state is dropped, and rewrites a file that another program changed.
// The lock is held except while the thread waits or writes.
#[allow(clippy::significant_drop_tightening)]
fn write_on(
    shared: &WriterShared,
    (file, mut there): (&Path, Option<FileMark>),
    node: &NodeId,
    between: Duration,
) {
    let mut tried: Option<Instant> = None;
    let mut reported: Option<ErrorKind> = None;
    let mut pending = shared.pending();
    loop {
        let between = if reported.is_some() { RETRY_INTERVAL } else { between };
        let pause = tried.map_or(Duration::ZERO, |at| between.saturating_sub(at.elapsed()));
        let is_due = pause.is_zero() || pending.hurry || pending.is_ended;
        let has_changes = pending.saved != pending.written;
        if !has_changes || !is_due {
            if pending.is_ended {
                return;
            }
            pending.hurry = false;
            pending = shared.wait(pending, if has_changes { pause } else { RETRY_INTERVAL });
            if pending.saved == pending.written && !pending.parts.is_empty() {
                // Without the lock, because reading the disk may be slow.
                drop(pending);
                let is_there = FileMark::of(file) == there;
                pending = shared.pending();
                pending.saved += u64::from(!is_there);
            }
            continue;
        }
        let (parts, saved, is_last) = (pending.parts.clone(), pending.saved, pending.is_ended);
        pending.hurry = false;
        drop(pending);
        let outcome = write(file, &encode(node, &parts));
        tried = Some(Instant::now());
        pending = shared.pending();
        match outcome {
            Ok(written) => {
                reported = None;
                there = Some(written);
                pending.written = saved;
            },
            Err(problem) => {
                if reported.replace(problem.kind()) != Some(problem.kind()) {
                    tracing::warn!("{}: cannot save the state: {problem}", file.display());
                }
                if is_last {
                    return;
                }
            },
        }
        shared.changed.notify_all();
    }
}

/// Properties of a file that change when another program replaces or modifies it.
#[derive(Debug, PartialEq, Eq)]
struct FileMark {
    length: u64,
    modified: Option<SystemTime>,
}

impl FileMark {
    fn of(file: &Path) -> Option<Self> {
        let metadata = fs::metadata(file).ok()?;
        Some(Self { length: metadata.len(), modified: metadata.modified().ok() })
    }
}

/// Writes the file atomically: a process killed while writing leaves the previous file intact.
fn write(file: &Path, bytes: &[u8]) -> io::Result<FileMark> {
    let new = file.with_extension("new");
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let written = fs::write(&new, bytes).and_then(|()| {
        let mark = FileMark::of(&new).ok_or(ErrorKind::NotFound)?;
        fs::rename(&new, file).map(|()| mark)
    });
    written.inspect_err(|_| {
        fs::remove_file(&new).ok();
    })
}

/// The first line of the file, in JSON: describes the bytes that follow.
#[derive(Serialize, Deserialize)]
struct Head {
    /// The visualization that the state belongs to; its child processes inherit the environment variable too.
    node: NodeId,
    /// CRC-32 of everything after this line.
    crc32: u32,
    parts: Vec<PartHead>,
}

#[derive(Serialize, Deserialize)]
struct PartHead {
    name: String,
    version: u32,
    /// The length in bytes. The bytes of the parts follow one another in this order.
    length: usize,
}

fn encode(node: &NodeId, parts: &BTreeMap<String, SavedPart>) -> Vec<u8> {
    let mut body = vec![];
    let mut heads = vec![];
    for (name, SavedPart { version, bytes }) in parts {
        body.extend_from_slice(bytes);
        heads.push(PartHead { name: name.clone(), version: *version, length: bytes.len() });
    }
    let head = Head { node: node.clone(), crc32: crc32fast::hash(&body), parts: heads };
    // A head of names and numbers can always be serialized.
    let mut file = serde_json::to_vec(&head).unwrap_or_default();
    file.push(b'\n');
    file.extend_from_slice(&body);
    file
}

/// Decodes the parts that `node` saved; returns no parts if another node saved them.
fn decode(file: &[u8], node: &NodeId) -> Result<BTreeMap<String, SavedPart>, String> {
    let end = file.iter().position(|byte| *byte == b'\n').ok_or("the first line has no end")?;
    let (head, body) = file.split_at(end);
    let head: Head = serde_json::from_slice(head).map_err(|problem| problem.to_string())?;
    let mut body = &body[1..];
    if crc32fast::hash(body) != head.crc32 {
        return Err("the checksum does not match".into());
    }
    if head.node != *node {
        return Ok(BTreeMap::new());
    }
    let mut parts = BTreeMap::new();
    for PartHead { name, version, length } in head.parts {
        let (bytes, rest) = body.split_at_checked(length).ok_or("the file is truncated")?;
        body = rest;
        parts.insert(name, SavedPart { version, bytes: bytes.into() });
    }
    Ok(parts)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::Command;

    use super::*;

    fn id() -> NodeId {
        NodeId::new("ripples").unwrap()
    }

    fn part(version: u32, bytes: &[u8]) -> SavedPart {
        SavedPart { version, bytes: bytes.into() }
    }

    fn at(file: &Path) -> SavedState {
        SavedState::in_file(file.into(), &id())
    }

    #[test]
    fn saved_state_is_found_by_the_next_instance() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("deep").join("ripples");
        let first = at(&file);
        assert_eq!(first.found("rings"), None);
        first.save("rings", part(1, b"old")).unwrap();
        first.save("rings", part(3, b"one\ntwo")).unwrap();
        first.save("seed", part(1, b"")).unwrap();
        drop(first);
        let second = at(&file);
        assert_eq!(second.found("rings"), Some(&part(3, b"one\ntwo")));
        // A part that this instance does not save is kept.
        second.save("seed", part(2, b"7")).unwrap();
        assert!(second.flush(Duration::from_secs(10)));
        let third = at(&file);
        assert_eq!(third.found("rings"), Some(&part(3, b"one\ntwo")));
        assert_eq!(third.found("seed"), Some(&part(2, b"7")));
        assert_eq!(
            fs::read_dir(file.parent().unwrap()).unwrap().count(),
            1,
            "nothing else is left"
        );
        let of_another = SavedState::in_file(file, &NodeId::new("other").unwrap());
        assert_eq!(of_another.found("rings"), None);
    }

    #[test]
    fn damaged_state_is_reported_and_discarded() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ripples");
        let saved = at(&file);
        saved.save("rings", part(1, &[7; 1000])).unwrap();
        drop(saved);
        let whole = fs::read(&file).unwrap();
        for cut in 0..whole.len() {
            decode(&whole[..cut], &id()).unwrap_err();
        }
        let mut flipped = whole;
        *flipped.last_mut().unwrap() ^= 1;
        fs::write(&file, &flipped).unwrap();
        let next = at(&file);
        assert_eq!(next.found("rings"), None);
        assert!(next.damage().unwrap().to_string().contains("ignoring the state"));
        // A new save replaces the damaged file.
        next.save("rings", part(2, b"new")).unwrap();
        drop(next);
        assert_eq!(at(&file).found("rings"), Some(&part(2, b"new")));
    }

    #[test]
    fn oversized_state_is_refused_and_the_earlier_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ripples");
        let saved = at(&file);
        saved.save("a", part(1, b"small")).unwrap();
        let refused = saved.save("b", part(1, &vec![0; SavedState::MOST]));
        assert_eq!(
            refused,
            Err(SaveError::TooLarge { length: SavedState::MOST + 5, most: SavedState::MOST })
        );
        drop(saved);
        assert_eq!(at(&file).found("a"), Some(&part(1, b"small")));
    }

    #[test]
    fn only_the_newest_state_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ripples");
        let saved = SavedState::at(file.clone(), &id(), Duration::from_hours(1));
        saved.save("n", part(0, b"")).unwrap();
        for number in 1..1000 {
            saved.save("n", part(number, b"")).unwrap();
        }
        // The next write is due in an hour, but dropping the state writes at once.
        drop(saved);
        assert_eq!(at(&file).found("n"), Some(&part(999, b"")));
    }

    #[track_caller]
    fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn deleted_file_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("saved/ripples");
        let saved = at(&file);
        saved.save("n", part(7, b"x")).unwrap();
        assert!(saved.flush(Duration::from_secs(20)));
        fs::remove_dir_all(dir.path().join("saved")).unwrap();
        eventually("the file is written again", || file.exists());
        drop(saved);
        // The state of the previous instance is available before this one saves anything.
        let next = at(&file);
        fs::remove_dir_all(dir.path().join("saved")).unwrap();
        eventually("the file is written again", || file.exists());
        drop(next);
        assert_eq!(at(&file).found("n"), Some(&part(7, b"x")));
        // Nothing was saved, so there is no file.
        let other = dir.path().join("other");
        let nothing = at(&other);
        thread::sleep(RETRY_INTERVAL + RETRY_INTERVAL / 2);
        drop(nothing);
        assert!(!other.exists());
    }

    #[test]
    fn failed_write_is_retried() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ripples");
        // Blocks the path of the file, as a full disk would.
        let in_the_way = file.with_extension("new");
        fs::create_dir(&in_the_way).unwrap();
        let saved = at(&file);
        saved.save("n", part(7, b"x")).unwrap();
        assert!(!saved.flush(Duration::from_millis(100)), "it is not written");
        fs::remove_dir(&in_the_way).unwrap();
        eventually("the file to be written", || file.exists());
        assert!(saved.flush(Duration::from_secs(20)));
    }

    #[test]
    fn nothing_is_saved_without_a_daemon() {
        let saved = SavedState::nowhere();
        assert!(!saved.is_kept());
        saved.save("n", part(1, b"x")).unwrap();
        assert!(saved.flush(Duration::ZERO));
    }

    const STATE: &str = "HANA_TEST_STATE";

    /// Saves one megabyte of the same number again and again; the number changes with each save.
    #[test]
    #[ignore = "run by the test below, in a process of its own that is killed"]
    fn save_until_killed() {
        let file = env::var_os(STATE).unwrap();
        let saved = SavedState::at(file.into(), &id(), Duration::ZERO);
        for number in 0_u32.. {
            saved.save("state", part(number, &number.to_le_bytes().repeat(256 * 1024))).unwrap();
        }
    }

    #[test]
    fn kill_during_a_save_leaves_a_complete_state() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ripples");
        let mut seen = vec![];
        for round in 0..30_u64 {
            let (_, module) = module_path!().split_once("::").unwrap();
            let test = format!("{module}::save_until_killed");
            let mut child = Command::new(env::current_exe().unwrap())
                .args(["--exact", "--ignored", &test])
                .env(STATE, &file)
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap();
            let deadline = Instant::now() + Duration::from_secs(20);
            let before = fs::metadata(&file).and_then(|file| file.modified()).ok();
            while fs::metadata(&file).and_then(|file| file.modified()).ok() == before {
                assert!(Instant::now() < deadline, "nothing was saved");
                thread::sleep(Duration::from_millis(1));
            }
            // The child is killed at a different moment in each round.
            thread::sleep(Duration::from_micros(round * 700));
            child.kill().unwrap();
            child.wait().unwrap();
            let state = at(&file);
            assert!(state.damage().is_none(), "{:?}", state.damage());
            let SavedPart { version, bytes } = state.found("state").unwrap();
            assert_eq!(**bytes, version.to_le_bytes().repeat(256 * 1024));
            seen.push(*version);
        }
        assert!(seen.iter().any(|version| *version > 1), "it was killed too early: {seen:?}");
    }
}
