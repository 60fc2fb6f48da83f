use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use std::{io, thread};

use crate::Stream;

/// Writes lines from a thread of its own, and drops what cannot be written.
///
/// Neither a disk that is full nor a reader that has gone or has stopped reading ends the program or holds it up. A line that cannot be written is dropped; how many were dropped for want
/// of room is written once there is room again.
#[derive(Debug, Clone)]
pub struct DroppingWriter {
    queue: SyncSender<Order>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Order {
    Write(Vec<u8>),
    Flush(Sender<()>),
}

/// How many writes may wait.
const QUEUE: usize = 1024;

impl DroppingWriter {
    /// Begins to write to a stream.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(stream: Stream) -> io::Result<Self> {
        Self::start_with(move |bytes| stream.write_all(bytes))
    }

    fn start_with(
        mut write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, orders) = mpsc::sync_channel(QUEUE);
        let writer = Self { queue, dropped: Arc::default() };
        let dropped = Arc::clone(&writer.dropped);
        thread::Builder::new()
            .name("output".into())
            .spawn(move || carry_out(&orders, &dropped, &mut write))?;
        Ok(writer)
    }

    /// Writes a text as soon as those before it are written. Does not wait.
    pub fn push(&self, text: impl Into<Vec<u8>>) {
        if self.queue.try_send(Order::Write(text.into())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was pushed is written or dropped, at most for `deadline`.
    pub fn flush_within(&self, deadline: Duration) {
        let (done, is_done) = mpsc::channel();
        if self.queue.try_send(Order::Flush(done)).is_ok() {
            is_done.recv_timeout(deadline).ok();
        }
    }
}

fn carry_out(
    orders: &Receiver<Order>,
    dropped: &AtomicU64,
    write: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) {
    while let Ok(order) = orders.recv() {
        match order {
            Order::Write(text) => {
                let missing = dropped.swap(0, Ordering::Relaxed);
                if missing > 0 {
                    write(format!("({missing} lines are missing here)\n").as_bytes()).ok();
                }
                write(&text).ok();
            },
            Order::Flush(done) => {
                done.send(()).ok();
            },
        }
    }
}

/// Each call is one line or more: what `tracing_subscriber` does.
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
    fn a_disk_that_is_full_costs_only_what_it_has_no_room_for() {
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
    fn a_reader_that_has_stopped_reading_delays_no_line() {
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
        // It waits no longer than it is given.
        writer.flush_within(Duration::from_millis(1));
        drop(go_on);
        let is_told = || written.lock().unwrap().iter().any(|line| line.contains("missing here"));
        let began = std::time::Instant::now();
        while !is_told() && began.elapsed() < SOON {
            writer.push("later\n");
            writer.flush_within(SOON);
        }
        assert!(is_told(), "how many lines are missing is written");
    }
}
