use std::io::Write;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

/// Lines that wait to be printed.
const LINES: usize = 256;
/// How long the last lines may take when the bridge ends.
const LAST_LINES: Duration = Duration::from_millis(200);

/// Prints lines on standard error by a thread of its own: a pipe that is full, or a disk, holds up no value.
pub(super) struct Printer {
    lines: Option<SyncSender<String>>,
    thread: Option<JoinHandle<()>>,
    unprinted: u64,
}

impl Printer {
    /// # Errors
    ///
    /// When no thread can be started.
    pub(super) fn start() -> std::io::Result<Self> {
        let (lines, printed) = mpsc::sync_channel(LINES);
        let thread = thread::Builder::new().name("hana print".into());
        let thread = thread.spawn(move || print(&printed))?;
        Ok(Self { lines: Some(lines), thread: Some(thread), unprinted: 0 })
    }

    /// Hands a line over; one that finds no room is counted.
    pub(super) fn print(&mut self, line: &str) {
        let Some(lines) = &self.lines else { return };
        let line = match self.unprinted {
            0 => format!("hana: {line}"),
            unprinted => format!("hana: {line} ({unprinted} lines before were not printed)"),
        };
        if lines.try_send(line).is_ok() {
            self.unprinted = 0;
        } else {
            self.unprinted += 1;
        }
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        self.lines = None;
        let deadline = Instant::now() + LAST_LINES;
        let is_printing = |thread: &JoinHandle<()>| !thread.is_finished();
        while self.thread.as_ref().is_some_and(is_printing) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn print(lines: &Receiver<String>) {
    for line in lines {
        // `eprintln` panics where it cannot write.
        writeln!(std::io::stderr(), "{line}").ok();
    }
}
