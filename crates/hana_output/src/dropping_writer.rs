use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use std::{io, thread};

use crate::stream::Stream;

/// Writes lines on a separate thread, and drops the lines that cannot be written.
///
/// A full disk, a closed pipe or a reader that has stopped reading neither ends nor delays the program. Once the queue
/// has room again, the writer writes the number of lines that did not fit.
#[derive(Debug, Clone)]
pub struct DroppingWriter {
    queue: SyncSender<WriteCommand>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum WriteCommand {
    Write(Vec<u8>),
    Flush(Sender<()>),
}

/// The maximum number of queued writes.
const QUEUE: usize = 1024;

impl DroppingWriter {
    /// Starts the thread, which writes to `stream`.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot start a thread.
    pub fn start(stream: Stream) -> io::Result<Self> {
        Self::start_with(move |bytes| stream.write_all(bytes))
    }

    fn start_with(
        mut write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, commands) = mpsc::sync_channel(QUEUE);
        let writer = Self { queue, dropped: Arc::default() };
        let dropped = Arc::clone(&writer.dropped);
        thread::Builder::new()
            .name("output".into())
            .spawn(move || run(&commands, &dropped, &mut write))?;
        Ok(writer)
    }

    /// Queues a text to be written after the texts before it; drops it if the queue is full. Does not block.
    pub fn push(&self, text: impl Into<Vec<u8>>) {
        if self.queue.try_send(WriteCommand::Write(text.into())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything queued so far is written or dropped, for `timeout` at most.
    ///
    /// Does not wait if the queue is full.
    pub fn flush_within(&self, timeout: Duration) {
        let (done_tx, done_rx) = mpsc::channel();
        if self.queue.try_send(WriteCommand::Flush(done_tx)).is_ok() {
            done_rx.recv_timeout(timeout).ok();
        }
    }
}

fn run(
    commands: &Receiver<WriteCommand>,
    dropped: &AtomicU64,
    write: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) {
    while let Ok(command) = commands.recv() {
        match command {
            WriteCommand::Write(text) => {
                let missing = dropped.swap(0, Ordering::Relaxed);
                if missing > 0 {
                    write(format!("({missing} lines are missing here)\n").as_bytes()).ok();
                }
                write(&text).ok();
            },
            WriteCommand::Flush(done) => {
                done.send(()).ok();
            },
        }
    }
}

/// Each call must pass whole lines, as `tracing_subscriber` does.
impl io::Write for DroppingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::ErrorKind;
    use std::sync::Mutex;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn full_disk_loses_only_what_does_not_fit() {
        let written = Arc::new(Mutex::new(String::new()));
        let disk = Arc::clone(&written);
        let writer = DroppingWriter::start_with(move |text| {
            if text.starts_with(b"lost") {
                return Err(ErrorKind::StorageFull.into());
            }
            disk.lock().unwrap().push_str(std::str::from_utf8(text).unwrap());
            Ok(())
        })
        .unwrap();
        for text in ["one\n", "lost\n", "two\n"] {
            writer.push(text);
        }
        writer.flush_within(SOON);
        assert_eq!(*written.lock().unwrap(), "one\ntwo\n");
    }

    #[test]
    fn stalled_reader_delays_no_line() {
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let written = Arc::new(Mutex::new(vec![]));
        let pipe = Arc::clone(&written);
        let writer = DroppingWriter::start_with(move |text| {
            may_go_on.recv().ok();
            pipe.lock().unwrap().push(String::from_utf8_lossy(text).into_owned());
            Ok(())
        })
        .unwrap();
        for number in 0..QUEUE * 2 {
            writer.push(format!("{number}\n"));
        }
        // Waits no longer than the timeout.
        writer.flush_within(Duration::from_millis(1));
        drop(go_on);
        let is_reported =
            || written.lock().unwrap().iter().any(|line| line.contains("missing here"));
        let began = std::time::Instant::now();
        while !is_reported() && began.elapsed() < SOON {
            writer.push("later\n");
            writer.flush_within(SOON);
        }
        assert!(is_reported(), "how many lines are missing is written");
    }
}
