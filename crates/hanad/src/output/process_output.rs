use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hana_network::Publisher;
use hana_process::{Line, LogFollower, OutputNews, OutputReader, in_megabytes};
use hana_protocol::id::NodeId;
use hana_protocol::message::{LogLine, Stream};

use crate::log_once::LogOnce;
use crate::output::last_words::{error_words, last_words};
use crate::state::state_files::FLUSH_TIMEOUT;

/// The output of one instance, read on a separate thread, buffered for later readers, and published.
pub(crate) struct Output {
    reader: Option<OutputReader>,
    budget: LineBudget,
}

/// A feed of one visualization's output lines, which publishes them and buffers the last ones for later readers.
#[derive(Clone)]
pub(crate) struct LogFeed {
    pub(crate) node: NodeId,
    pub(crate) publisher: Publisher<LogLine>,
    pub(crate) last_lines: Arc<Mutex<VecDeque<LogLine>>>,
    pub(crate) budget: LineBudget,
}

/// The number of last lines in the buffer.
const LAST_LINES: usize = 200;
/// The least time between two log lines about dropped output.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

impl Output {
    /// Creates the output of a process whose output is discarded.
    pub(crate) const fn none(budget: LineBudget) -> Self {
        Self { reader: None, budget }
    }

    /// Follows the output with the follower that `begin` creates. `begin` may read files.
    pub(crate) fn follow(
        feed: LogFeed,
        begin: impl FnOnce() -> io::Result<LogFollower> + Send + 'static,
    ) -> Self {
        let budget = feed.budget.clone();
        let node = feed.node.clone();
        let mut publisher_state = OutputPublisher::new(feed);
        match OutputReader::start(begin, move |event| publisher_state.take(event, Instant::now())) {
            Ok(reader) => Self { reader: Some(reader), budget },
            Err(problem) => {
                tracing::warn!(
                    "cannot follow the output of '{node}', so its file may grow: cannot start a thread: {problem}"
                );
                Self::none(budget)
            },
        }
    }

    /// Reads the last output of a process that ended while no daemon ran, without publishing it.
    pub(crate) fn read_history(
        feed: &LogFeed,
        begin: impl FnOnce() -> io::Result<LogFollower> + Send + 'static,
    ) {
        let (feed, budget) = (feed.clone(), feed.budget.clone());
        let reader = OutputReader::start(begin, move |event| match event {
            OutputNews::History(lines) | OutputNews::Lines(lines) => feed.remember(lines),
            OutputNews::Dropped(_) => {},
            OutputNews::Trouble(problem) => {
                tracing::warn!("cannot read the last output of '{}': {problem}", feed.node);
            },
        });
        let output = Self { reader: reader.ok(), budget };
        output.finish();
    }

    /// Returns the number of the first line in the output file, or `None` if it is not known yet.
    pub(crate) fn first_line(&self) -> Option<u64> {
        self.reader.as_ref().and_then(OutputReader::first_line)
    }

    /// Waits briefly until the reader has read the last lines of an ended process.
    pub(crate) fn finish(&self) {
        if let Some(reader) = &self.reader {
            reader.finish();
            self.budget.wait_for(reader);
        }
    }
}

impl LogFeed {
    /// Adds lines to the buffer without publishing them.
    pub(crate) fn remember(&self, lines: Vec<Line>) {
        lines.into_iter().map(log_line).for_each(|line| self.keep(line));
    }

    /// Clears the buffer for a new instance, whose line numbers start again.
    pub(crate) fn clear(&self) {
        self.lines().clear();
    }

    /// Returns the last words of a crashed instance: the message of a panic, an error, or else the last line.
    pub(crate) fn last_words(&self) -> Option<String> {
        last_words(self.lines().iter().map(|line| line.text.as_str()))
    }

    /// Returns the error in the last lines, or `None` if none of them reports an error.
    pub(crate) fn error_words(&self) -> Option<String> {
        error_words(self.lines().iter().map(|line| line.text.as_str()))
    }

    fn publish(&self, lines: Vec<Line>) {
        for line in lines {
            let line = log_line(line);
            // A line beyond the budget is not published, but is in the file and in the buffer.
            if self.budget.allows(line.text.len(), Instant::now())
                && let Err(problem) = self.publisher.publish(&line)
            {
                tracing::debug!("{problem}");
            }
            self.keep(line);
        }
    }

    fn keep(&self, line: LogLine) {
        let mut last = self.lines();
        if last.len() >= LAST_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<LogLine>> {
        self.last_lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log_line(line: Line) -> LogLine {
    LogLine { number: line.number, stream: Stream::Output, text: line.text }
}

/// The state of the reader's thread.
struct OutputPublisher {
    feed: LogFeed,
    log_once: LogOnce,
    dropped: DroppedBytes,
}

impl OutputPublisher {
    fn new(feed: LogFeed) -> Self {
        Self { feed, log_once: LogOnce::default(), dropped: DroppedBytes::default() }
    }

    fn take(&mut self, event: OutputNews, now: Instant) {
        let mut dropped = 0;
        match event {
            OutputNews::History(lines) => self.feed.remember(lines),
            OutputNews::Lines(lines) => self.feed.publish(lines),
            OutputNews::Dropped(bytes) => dropped = bytes,
            OutputNews::Trouble(problem) if self.log_once.should_log(&problem) => {
                tracing::warn!("the output of '{}': {problem}", self.feed.node);
            },
            OutputNews::Trouble(_) => {},
        }
        if let Some(bytes) = self.dropped.add(dropped, now) {
            log_dropped(&self.feed.node, bytes);
        }
    }
}

impl Drop for OutputPublisher {
    fn drop(&mut self) {
        if self.dropped.bytes > 0 {
            log_dropped(&self.feed.node, self.dropped.bytes);
        }
    }
}

fn log_dropped(node: &NodeId, bytes: u64) {
    tracing::warn!(
        "dropped {} of the output of '{node}': it exceeds the limit",
        in_megabytes(bytes)
    );
}

/// A counter of dropped bytes, which limits how often they are logged. Pure.
#[derive(Debug, Default)]
struct DroppedBytes {
    bytes: u64,
    logged: Option<Instant>,
}

impl DroppedBytes {
    /// Adds dropped bytes. Returns the number to log now, or `None` if a log line is not due.
    fn add(&mut self, bytes: u64, now: Instant) -> Option<u64> {
        self.bytes += bytes;
        let is_due = self.logged.is_none_or(|at| now.saturating_duration_since(at) >= LOG_INTERVAL);
        (is_due && self.bytes > 0).then(|| {
            self.logged = Some(now);
            std::mem::take(&mut self.bytes)
        })
    }
}

/// A limit on the output that all visualizations of a daemon publish together.
///
/// It keeps them from filling the connections of the mesh.
#[derive(Debug, Clone)]
pub(crate) struct LineBudget(Arc<Mutex<BudgetState>>);

#[derive(Debug)]
struct BudgetState {
    lines: f64,
    bytes: f64,
    at: Instant,
    /// The time until which the daemon does not wait for the disk, because the disk has not responded in time.
    slow_until: Option<Instant>,
}

/// The number of lines per second: twice the limit of one visualization.
const LINES_PER_SECOND: f64 = 4000.0;
const BYTES_PER_SECOND: f64 = 2_000_000.0;
/// How long the daemon does not wait for a disk after the disk has not responded in time.
const SLOW_DISK_TIME: Duration = Duration::from_secs(5);

impl LineBudget {
    pub(crate) fn new() -> Self {
        let (lines, bytes) = (LINES_PER_SECOND, BYTES_PER_SECOND);
        Self(Arc::new(Mutex::new(BudgetState {
            lines,
            bytes,
            at: Instant::now(),
            slow_until: None,
        })))
    }

    /// Returns whether a line of `bytes` bytes may be published now.
    fn allows(&self, bytes: usize, now: Instant) -> bool {
        self.budget().allows(bytes, now)
    }

    /// Waits for a reader to finish. After one timeout, it does not wait for further readers for a while.
    fn wait_for(&self, reader: &OutputReader) {
        let now = Instant::now();
        let is_slow = self.budget().slow_until.is_some_and(|until| now < until);
        let timeout = if is_slow { Duration::ZERO } else { FLUSH_TIMEOUT };
        if !reader.wait(timeout) {
            self.budget().slow_until = Some(now + SLOW_DISK_TIME);
        }
    }

    fn budget(&self) -> MutexGuard<'_, BudgetState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BudgetState {
    fn allows(&mut self, bytes: usize, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.lines = seconds.mul_add(LINES_PER_SECOND, self.lines).min(LINES_PER_SECOND);
        self.bytes = seconds.mul_add(BYTES_PER_SECOND, self.bytes).min(BYTES_PER_SECOND);
        let bytes = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        let allows = self.lines >= 1.0 && self.bytes >= bytes;
        if allows {
            self.lines -= 1.0;
            self.bytes -= bytes;
        }
        allows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_output_is_logged_at_once_and_every_ten_seconds() {
        let begin = Instant::now();
        let mut dropped = DroppedBytes::default();
        assert_eq!(dropped.add(0, begin), None);
        let logged: Vec<u64> = (0..3000)
            .filter_map(|tick| dropped.add(1000, begin + Duration::from_millis(tick * 10)))
            .collect();
        assert_eq!(logged, [1000, 1_000_000, 1_000_000]);
        assert_eq!(dropped.bytes, 999_000);
    }

    #[test]
    fn flooding_programs_publish_within_the_shared_budget() {
        let budget = LineBudget::new();
        let begin = Instant::now();
        let published = |length: usize, from: Duration| {
            let lines = (0..100_000_u64).filter(|line| {
                budget.allows(length, begin + from + Duration::from_micros(line * 100))
            });
            lines.count()
        };
        let short = published(100, Duration::ZERO);
        assert!((40_000..=45_000).contains(&short), "{short}");
        let long = published(4096, Duration::from_secs(20));
        assert!((4000..=6000).contains(&long), "{long}");
        let gone = published(usize::MAX, Duration::from_secs(40));
        assert_eq!(gone, 0);
    }
}
