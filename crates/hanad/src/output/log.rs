use std::collections::VecDeque;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;
use std::{io, thread};

use hana_network::{Node, Publisher, QueryableGuard};
use hana_output::DroppingWriter;
use hana_process::{Line, RotatingFile};
use hana_protocol::contract::Topic;
use hana_protocol::id::role;
use hana_protocol::message::{LogLine, Stream};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::log_once::LogOnce;

/// The daemon's own log: a rotating file, and `hana/<host>/log/<host>` for `hana logs`.
///
/// Logging only puts the line into a bounded queue, from which a thread writes it, so a disk that is slow, full or
/// missing does not delay the caller. Lines that do not fit into the queue are counted, and their number is written
/// to the log once there is room.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    queue: SyncSender<LogCommand>,
    lost: Arc<AtomicU64>,
    last_lines: Arc<Mutex<VecDeque<LogLine>>>,
}

enum LogCommand {
    Write(Vec<u8>, LogTarget),
    /// Write all lines, including earlier ones, to this file.
    Into(PathBuf),
    Onto(Publisher<LogLine>),
    Flush(Sender<()>),
}

/// The destination of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogTarget {
    /// The file only, for details that help to debug this host.
    ///
    /// It is also the target for messages about publishing, which would otherwise cause more messages.
    File,
    /// The file and the mesh.
    All,
}

/// The size, in bytes, at which a file is moved aside. Three such files are kept.
const MAX_FILE_BYTES: u64 = 10 * 1024 * 1024;
/// How often the log checks that its file still exists.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The most lines that can wait for the disk.
const QUEUE: usize = 4096;
/// The number of recent lines kept for later readers.
const LAST_LINES: usize = 200;

impl Log {
    /// Starts a log that buffers its first lines until it has a file. Write errors go to standard error.
    pub(crate) fn start(stderr: DroppingWriter) -> io::Result<Self> {
        let (queue, commands) = mpsc::sync_channel(QUEUE);
        let log = Self { queue, lost: Arc::default(), last_lines: Arc::default() };
        let mut writer = LogWriter {
            file: None,
            early: vec![],
            log_once: LogOnce::default(),
            stderr,
            lost: Arc::clone(&log.lost),
            missing: 0,
            publisher: None,
            last_lines: Arc::clone(&log.last_lines),
            number: 0,
        };
        thread::Builder::new().name("log".into()).spawn(move || writer.run(&commands))?;
        Ok(log)
    }

    /// Sends the log to the file at `path`.
    pub(crate) fn write_to(&self, path: PathBuf) {
        self.queue.send(LogCommand::Into(path)).ok();
    }

    /// Makes the log available over the mesh for as long as the returned guard is kept.
    pub(crate) fn publish_on(&self, node: &Node<role::Daemon>) -> QueryableGuard {
        let topic = Topic::<LogLine>::log(node.host().clone(), node.host().clone());
        self.queue.send(LogCommand::Onto(node.publisher(&topic))).ok();
        let last_lines = Arc::clone(&self.last_lines);
        node.reply_to(&topic, move || {
            last_lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
        })
    }

    /// Adds a line, given without its end. Does not block.
    pub(crate) fn add(&self, line: &str, target: LogTarget) {
        self.push(format!("{line}\n").into_bytes(), target);
    }

    /// Waits, at most for `deadline`, until all lines added so far are written.
    pub(crate) fn flush(&self, deadline: Duration) {
        let (done_tx, done_rx) = mpsc::channel();
        if self.queue.try_send(LogCommand::Flush(done_tx)).is_ok() {
            done_rx.recv_timeout(deadline).ok();
        }
    }

    fn push(&self, line: Vec<u8>, target: LogTarget) {
        if self.queue.try_send(LogCommand::Write(line, target)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A writer that adds one `tracing` message to the log.
pub(crate) struct LogEntry<'a> {
    log: &'a Log,
    target: LogTarget,
}

impl Write for LogEntry<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.log.push(line.into(), self.target);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = LogEntry<'a>;

    fn make_writer(&'a self) -> LogEntry<'a> {
        LogEntry { log: self, target: LogTarget::File }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> LogEntry<'a> {
        let is_ours = meta.target().starts_with("hana");
        let target =
            if is_ours && *meta.level() <= Level::INFO { LogTarget::All } else { LogTarget::File };
        LogEntry { log: self, target }
    }
}

/// The state of the log's thread.
struct LogWriter {
    file: Option<RotatingFile>,
    /// The lines that were logged before the file was known.
    early: Vec<Vec<u8>>,
    log_once: LogOnce,
    stderr: DroppingWriter,
    lost: Arc<AtomicU64>,
    /// The number of lines that are missing from the file. It is written to the file once there is room.
    missing: u64,
    publisher: Option<Publisher<LogLine>>,
    last_lines: Arc<Mutex<VecDeque<LogLine>>>,
    number: u64,
}

impl LogWriter {
    fn run(&mut self, commands: &Receiver<LogCommand>) {
        loop {
            let command = match commands.recv_timeout(CHECK_INTERVAL) {
                Ok(command) => command,
                Err(RecvTimeoutError::Timeout) => {
                    self.check_file();
                    continue;
                },
                Err(RecvTimeoutError::Disconnected) => return,
            };
            match command {
                LogCommand::Write(line, target) => {
                    if target == LogTarget::All {
                        self.publish(&line);
                    }
                    self.write(line);
                },
                LogCommand::Into(path) => {
                    self.file = Some(RotatingFile::new(path, MAX_FILE_BYTES));
                    for line in std::mem::take(&mut self.early) {
                        self.write(line);
                    }
                },
                LogCommand::Onto(publisher) => self.publisher = Some(publisher),
                LogCommand::Flush(done) => {
                    done.send(()).ok();
                },
            }
        }
    }

    /// Creates the file again if it was deleted, even while no lines are logged. The next line reports a failure.
    fn check_file(&mut self) {
        if let Some(file) = &mut self.file {
            file.check().ok();
        }
    }

    fn write(&mut self, line: Vec<u8>) {
        self.missing += self.lost.swap(0, Ordering::Relaxed);
        let Some(file) = &mut self.file else {
            if self.early.len() < LAST_LINES {
                self.early.push(line);
            }
            return;
        };
        let counted = if self.missing > 0 {
            file.write(format!("({} lines are missing here)\n", self.missing).as_bytes())
        } else {
            Ok(())
        };
        match counted.inspect(|()| self.missing = 0).and_then(|()| file.write(&line)) {
            Ok(()) => {
                self.log_once.clear();
            },
            Err(problem) => {
                self.missing += 1;
                if self.log_once.should_log(&problem) {
                    let path = file.path().display();
                    // `tracing` would log this message here again. This call cannot fail either.
                    self.stderr.push(format!(
                        "hanad: cannot write its log {path}: {problem}; continuing without it, and retrying with every line\n"
                    ));
                }
            },
        }
    }

    fn publish(&mut self, line: &[u8]) {
        let Line { number, text } = Line::new(self.number, line.trim_ascii_end());
        self.number += 1;
        let line = LogLine { number, stream: Stream::Daemon, text };
        if let Some(publisher) = &self.publisher {
            // If the queue is full, subscribers miss the line, but the file contains it.
            publisher.publish(&line).ok();
        }
        let mut last = self.last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= LAST_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn started() -> Log {
        Log::start(DroppingWriter::start(hana_output::Stream::Stderr).unwrap()).unwrap()
    }

    #[test]
    fn lines_logged_before_the_file_is_known_are_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log/hanad.log");
        let log = started();
        log.add("early", LogTarget::All);
        log.write_to(path.clone());
        log.add("late", LogTarget::File);
        log.flush(DEADLINE);
        assert_eq!(fs::read_to_string(&path).unwrap(), "early\nlate\n");
        let kept: Vec<_> =
            log.last_lines.lock().unwrap().iter().map(|line| line.text.clone()).collect();
        assert_eq!(kept, ["early"]);
    }

    #[test]
    fn lost_log_lines_are_counted_once_the_file_is_writable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hanad.log");
        fs::create_dir(&path).unwrap();
        let log = started();
        log.write_to(path.clone());
        for _ in 0..3 {
            log.add("lost", LogTarget::File);
        }
        log.flush(DEADLINE);
        fs::remove_dir(&path).unwrap();
        log.add("kept", LogTarget::File);
        log.flush(DEADLINE);
        assert_eq!(fs::read_to_string(&path).unwrap(), "(3 lines are missing here)\nkept\n");
    }

    #[test]
    fn deleted_log_file_is_recreated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log/hanad.log");
        let log = started();
        log.write_to(path.clone());
        log.add("before", LogTarget::File);
        log.flush(DEADLINE);
        fs::remove_dir_all(dir.path().join("log")).unwrap();
        let begun = std::time::Instant::now();
        while !path.exists() {
            assert!(begun.elapsed() < DEADLINE);
            thread::sleep(Duration::from_millis(10));
        }
        log.add("after", LogTarget::File);
        log.flush(DEADLINE);
        assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
    }

    /// Leaves the queue unread, as if the disk blocked forever.
    #[test]
    fn log_on_a_stuck_disk_delays_no_caller() {
        let (queue, _orders) = mpsc::sync_channel(2);
        let log = Log { queue, lost: Arc::default(), last_lines: Arc::default() };
        for _ in 0..10 {
            log.add("line", LogTarget::File);
        }
        assert_eq!(log.lost.load(Ordering::Relaxed), 8);
        log.flush(DEADLINE);
    }
}
