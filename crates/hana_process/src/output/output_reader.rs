use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::output::line_splitter::Line;
use crate::output::log_follower::LogFollower;

/// Follows the output of one run on a thread of its own: neither a flood nor a slow disk holds the caller up.
///
/// The thread looks at the file at least twenty times a second, and up to some hundreds of times while it fills up, so
/// that it never grows far beyond its limit. It ends when it is asked to ([`OutputReader::finish`]) or when this value
/// is dropped.
#[derive(Debug)]
pub struct OutputReader {
    shared: Arc<Shared>,
}

/// A report of a reader. Reports come on the reader's thread, in order.
#[derive(Debug)]
pub enum OutputNews {
    /// Lines that an earlier program has seen before: for history only.
    History(Vec<Line>),
    /// New lines: at most [`crate::output::log_follower::LogLimits::lines_per_poll`], at most ten times a second.
    Lines(Vec<Line>),
    /// So many bytes of output are dropped: the process writes more than is kept.
    Dropped(u64),
    /// The file cannot be read, or its end not be kept; it is tried again.
    Trouble(io::Error),
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    first_line: Option<u64>,
    asked: Asked,
    is_over: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Asked {
    #[default]
    Follow,
    /// The process has ended: what is left is read.
    Finish,
    /// Whatever is left is for another.
    Stop,
}

/// How often lines are reported.
const REPORT: Duration = Duration::from_millis(100);

impl OutputReader {
    /// Begins to follow; `begin` makes the follower, on the thread, since that may read files. All that it reports goes
    /// to `report`.
    ///
    /// # Errors
    ///
    /// When the system has no thread for it.
    pub fn start(
        begin: impl FnOnce() -> io::Result<LogFollower> + Send + 'static,
        report: impl FnMut(OutputNews) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().name("output".into()).spawn(move || {
            let over = Over(&of_thread);
            read_on(begin, report, over.0);
        })?;
        Ok(Self { shared })
    }

    /// See [`LogFollower::first_line`]; none until the file was read for the first time.
    #[must_use]
    pub fn first_line(&self) -> Option<u64> {
        self.shared.state().first_line
    }

    /// The process has ended: what is left of its output is read, reported, and the thread ends. Does not wait.
    pub fn finish(&self) {
        self.shared.ask(Asked::Finish);
    }

    /// Whether everything has been read and reported, at the latest after `timeout`.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> bool {
        self.shared
            .changed
            .wait_timeout_while(self.shared.state(), timeout, |state| !state.is_over)
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .is_over
    }
}

impl Drop for OutputReader {
    fn drop(&mut self) {
        self.shared.ask(Asked::Stop);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, asked: Asked) {
        let mut state = self.state();
        if state.asked == Asked::Follow {
            state.asked = asked;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until something is asked for, at most for so long.
    fn pause(&self, pause: Duration) -> Asked {
        self.changed
            .wait_timeout_while(self.state(), pause, |state| state.asked == Asked::Follow)
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .asked
    }
}

/// Marks the thread as ended, however it ends.
struct Over<'a>(&'a Shared);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.state().is_over = true;
        self.0.changed.notify_all();
    }
}

fn read_on(
    begin: impl FnOnce() -> io::Result<LogFollower>,
    mut report: impl FnMut(OutputNews),
    shared: &Shared,
) {
    let mut follower = match begin() {
        Ok(follower) => follower,
        Err(problem) => {
            report(OutputNews::Trouble(problem));
            return;
        },
    };
    let history = follower.tail(usize::MAX);
    if !history.is_empty() {
        report(OutputNews::History(history));
    }
    let mut pace = Pace::new(Instant::now());
    let mut pile = Pile::default();
    let mut dropped = 0;
    loop {
        let now = Instant::now();
        let asked = shared.pause(Duration::ZERO);
        if asked == Asked::Stop {
            return;
        }
        let is_last = asked == Asked::Finish;
        let read = if is_last { follower.finish() } else { follower.poll_at(now) };
        shared.state().first_line = Some(follower.first_line());
        match read {
            Ok(lines) => pile.add(lines, follower.limits().lines_per_poll),
            Err(problem) => report(OutputNews::Trouble(problem)),
        }
        let more = follower.dropped() - dropped;
        dropped += more;
        if more > 0 {
            report(OutputNews::Dropped(more));
        }
        if let Some(lines) = pile.take(Instant::now(), is_last) {
            report(OutputNews::Lines(lines));
        }
        if is_last {
            return;
        }
        let pause = pace.pause(follower.came(), follower.limits().file, now, now.elapsed());
        shared.pause(pile.due(Instant::now()).map_or(pause, |due| due.min(pause)));
    }
}

/// Lines that wait to be reported; of too many, the last ones.
#[derive(Debug, Default)]
struct Pile {
    lines: Vec<Line>,
    reported: Option<Instant>,
}

impl Pile {
    fn add(&mut self, lines: Vec<Line>, most: usize) {
        self.lines.extend(lines);
        let over = self.lines.len().saturating_sub(most);
        self.lines.drain(..over);
    }

    /// In how long something is to be reported.
    fn due(&self, now: Instant) -> Option<Duration> {
        let since = |at| REPORT.saturating_sub(now.saturating_duration_since(at));
        (!self.lines.is_empty()).then(|| self.reported.map_or(Duration::ZERO, since))
    }

    fn take(&mut self, now: Instant, is_last: bool) -> Option<Vec<Line>> {
        let due = self.due(now)?;
        (is_last || due.is_zero()).then(|| {
            self.reported = Some(now);
            std::mem::take(&mut self.lines)
        })
    }
}

/// How soon the file is looked at again. Pure.
#[derive(Debug)]
struct Pace {
    seen: u64,
    at: Instant,
    grew: Instant,
}

impl Pace {
    /// While nothing is written.
    const IDLE: Duration = Duration::from_millis(50);
    /// While little is.
    const BUSY: Duration = Duration::from_millis(20);
    /// While the file would be full before that.
    const FLOOD: Duration = Duration::from_millis(2);
    /// After so long without a byte nothing is written.
    const QUIET: Duration = Duration::from_secs(2);

    const fn new(now: Instant) -> Self {
        Self { seen: 0, at: now, grew: now }
    }

    /// The pause after a look that found `written` bytes in all, at `now`, and took that long. `room` is what may be
    /// written before the file is to be looked at.
    fn pause(&mut self, written: u64, room: u64, now: Instant, took: Duration) -> Duration {
        let grown = written.saturating_sub(self.seen);
        let since = now.saturating_duration_since(self.at).max(Duration::from_millis(1));
        self.seen = written;
        self.at = now;
        if grown == 0 {
            let quiet = now.saturating_duration_since(self.grew) >= Self::QUIET;
            return if quiet { Self::IDLE } else { Self::BUSY };
        }
        self.grew = now;
        let us = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        // Half of the room, at the rate at which it was filled.
        let full = Duration::from_micros((room / 2).saturating_mul(us) / grown);
        // And never more than half of a processor.
        full.clamp(Self::FLOOD, Self::BUSY).max(took.min(Self::BUSY))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::fs::File;
    use std::io::Write;
    use std::sync::mpsc;

    use proptest::prelude::*;

    use super::*;
    use crate::output::log_follower::LogLimits;

    const SOON: Duration = Duration::from_secs(20);
    const MIB: u64 = 1024 * 1024;

    proptest! {
        #![proptest_config(hana_random::cases(256))]
        /// A writer of any speed, and a reader that takes a moment for each look.
        #[test]
        fn a_file_is_looked_at_before_it_grows_far_beyond_its_limit(
            rates in prop::collection::vec(0_u64..4096, 1..20),
            took in 0_u64..10,
        ) {
            const LIMIT: u64 = 10 * MIB;
            let begin = Instant::now();
            let (mut now, mut written, mut length) = (begin, 0_u64, 0_u64);
            let mut pace = Pace::new(begin);
            for rate in rates {
                // In MiB a second, for half a second.
                let until = now + Duration::from_millis(500);
                let mut first = true;
                while now < until {
                    let took = Duration::from_millis(took);
                    let pause = pace.pause(written, LIMIT, now, took) + took;
                    let grown = rate * MIB * u64::try_from(pause.as_micros()).unwrap() / 1_000_000;
                    prop_assert!(pause <= Pace::IDLE + took);
                    length += grown;
                    written += grown;
                    now += pause;
                    // The first look at another speed comes as late as at the one before.
                    let most = if first { rate * MIB / 16 } else { rate * MIB / 50 + LIMIT };
                    prop_assert!(length <= LIMIT + most, "{length} at {rate} MiB/s");
                    first = false;
                    if length > LIMIT {
                        length = 0;
                    }
                }
            }
        }
    }

    #[test]
    fn lines_are_reported_at_most_ten_times_a_second_and_the_last_ones() {
        let begin = Instant::now();
        let mut pile = Pile::default();
        let mut reports = vec![];
        for ms in 0..1000 {
            let now = begin + Duration::from_millis(ms);
            pile.add(vec![Line { number: ms, text: String::new() }], 5);
            reports.extend(pile.take(now, false));
        }
        reports.extend(pile.take(begin + Duration::from_secs(1), true));
        assert!((10..=11).contains(&reports.len()), "{}", reports.len());
        assert!(reports.iter().all(|lines| lines.len() <= 5));
        assert_eq!(reports.last().unwrap().last().unwrap().number, 999);
    }

    fn follow(file: &File, path: &std::path::Path) -> (OutputReader, mpsc::Receiver<OutputNews>) {
        let (sender, news) = mpsc::channel();
        let (path, file) = (path.to_owned(), file.try_clone().unwrap());
        let limits = LogLimits { file: MIB, ..LogLimits::default() };
        let reader = OutputReader::start(
            move || Ok(LogFollower::of_file(path, file, limits)),
            move |news| {
                sender.send(news).ok();
            },
        );
        (reader.unwrap(), news)
    }

    #[test]
    fn the_last_words_are_reported_before_a_reader_has_finished() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut file = File::options().read(true).append(true).create(true).open(&path).unwrap();
        let (reader, news) = follow(&file, &path);
        file.write_all(b"one\ntwo").unwrap();
        assert!(!reader.wait(Duration::from_millis(1)));
        reader.finish();
        assert!(reader.wait(SOON));
        let texts: Vec<String> = news
            .try_iter()
            .flat_map(|news| match news {
                OutputNews::Lines(lines) => lines,
                other => unreachable!("{other:?}"),
            })
            .map(|line| line.text)
            .collect();
        assert_eq!(texts, ["one", "two"]);
    }

    #[test]
    fn a_reader_that_is_dropped_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        fs::write(&path, "").unwrap();
        let file = File::options().read(true).append(true).open(&path).unwrap();
        let (reader, news) = follow(&file, &path);
        drop(reader);
        assert!(matches!(news.recv_timeout(SOON), Err(mpsc::RecvTimeoutError::Disconnected)));
    }
}
