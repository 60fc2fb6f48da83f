use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::output::line_splitter::Line;
use crate::output::log_follower::LogFollower;

/// Follows the output of one instance on a separate thread, so that neither a flood nor a slow disk delays the
/// caller.
///
/// The thread polls the file at least twenty times a second, and up to some hundreds of times while the file fills up
/// quickly, so that it never grows far beyond its limit. The thread ends on request ([`OutputReader::finish`]) or
/// when this value is dropped.
#[derive(Debug)]
pub struct OutputReader {
    shared: Arc<ReaderShared>,
}

/// A report of an [`OutputReader`]. Reports come on the reader's thread, in order.
#[derive(Debug)]
pub enum OutputNews {
    /// Lines that an earlier program has already read: for the history only.
    History(Vec<Line>),
    /// New lines: at most [`crate::output::log_follower::LogLimits::lines_per_poll`], at most ten times a second.
    Lines(Vec<Line>),
    /// The number of bytes dropped because the process writes more than is kept.
    Dropped(u64),
    /// The file cannot be read, or its end cannot be copied. The reader tries again.
    Trouble(io::Error),
}

#[derive(Debug, Default)]
struct ReaderShared {
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
    /// Read the rest of the output, since the process has ended.
    Finish,
    /// Stop without reading the rest.
    Stop,
}

/// The least time between two reports of lines.
const REPORT: Duration = Duration::from_millis(100);

impl OutputReader {
    /// Starts following. `report` receives every report.
    ///
    /// `begin` creates the follower. It runs on the new thread, since it may read files.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot start a thread.
    pub fn start(
        begin: impl FnOnce() -> io::Result<LogFollower> + Send + 'static,
        report: impl FnMut(OutputNews) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(ReaderShared::default());
        let shared_with_thread = Arc::clone(&shared);
        thread::Builder::new().name("output".into()).spawn(move || {
            let over = Over(&shared_with_thread);
            read_on(begin, report, over.0);
        })?;
        Ok(Self { shared })
    }

    /// Returns [`LogFollower::first_line`], or `None` until the file has been read once.
    #[must_use]
    pub fn first_line(&self) -> Option<u64> {
        self.shared.state().first_line
    }

    /// Requests, without waiting, that the reader read and report the rest of the output and end.
    ///
    /// Call it when the process has ended.
    pub fn finish(&self) {
        self.shared.ask(Asked::Finish);
    }

    /// Waits, at most for `timeout`, until all output has been read and reported. Returns whether it has.
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

impl ReaderShared {
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

    /// Waits for a request, at most for `pause`.
    fn pause(&self, pause: Duration) -> Asked {
        self.changed
            .wait_timeout_while(self.state(), pause, |state| state.asked == Asked::Follow)
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .asked
    }
}

/// A guard that marks the thread as ended, even after a panic.
struct Over<'a>(&'a ReaderShared);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.state().is_over = true;
        self.0.changed.notify_all();
    }
}

fn read_on(
    begin: impl FnOnce() -> io::Result<LogFollower>,
    mut report: impl FnMut(OutputNews),
    shared: &ReaderShared,
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

/// The lines waiting to be reported. If there are too many, only the last ones are kept.
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

    /// Returns the time until the next report, or `None` if no line is waiting.
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

/// Decides how soon to poll the file again. Pure.
#[derive(Debug)]
struct Pace {
    seen: u64,
    at: Instant,
    grew: Instant,
}

impl Pace {
    /// The pause while nothing is written.
    const IDLE: Duration = Duration::from_millis(50);
    /// The pause while little is written.
    const BUSY: Duration = Duration::from_millis(20);
    /// The shortest pause, used while the file fills up quickly.
    const FLOOD: Duration = Duration::from_millis(2);
    /// The time without a new byte after which the process counts as idle.
    const QUIET: Duration = Duration::from_secs(2);

    const fn new(now: Instant) -> Self {
        Self { seen: 0, at: now, grew: now }
    }

    /// Returns the pause after a poll.
    ///
    /// The poll found `written` bytes in total at the time `now`, and took the time `took`.
    ///
    /// `room` is the number of bytes that may be written before the next poll.
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
        // The time in which half of the room fills up at the latest rate.
        let full = Duration::from_micros((room / 2).saturating_mul(us) / grown);
        // The pause is at least as long as the poll took, so polling uses at most half of a processor.
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
        /// Covers writers of any speed, and readers that take a moment for each poll.
        #[test]
        fn file_is_checked_before_it_far_exceeds_its_limit(
            rates in prop::collection::vec(0_u64..4096, 1..20),
            took in 0_u64..10,
        ) {
            const LIMIT: u64 = 10 * MIB;
            let begin = Instant::now();
            let (mut now, mut written, mut length) = (begin, 0_u64, 0_u64);
            let mut pace = Pace::new(begin);
            for rate in rates {
                // The rate is in MiB/s and holds for half a second.
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
                    // The first poll at a new rate still comes after the pause for the previous rate.
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
    fn lines_are_reported_ten_times_a_second_including_the_last() {
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
    fn last_lines_are_reported_before_a_reader_has_finished() {
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
    fn dropped_reader_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        fs::write(&path, "").unwrap();
        let file = File::options().read(true).append(true).open(&path).unwrap();
        let (reader, news) = follow(&file, &path);
        drop(reader);
        assert!(matches!(news.recv_timeout(SOON), Err(mpsc::RecvTimeoutError::Disconnected)));
    }
}
