use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::path::PathBuf;

use crate::Line;
use crate::LineSplitter;
use crate::output_file;

/// How much of an output is kept and told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// The most lines of one poll; of more, the last ones are told and the others counted as skipped.
    pub lines_per_poll: usize,
    /// How many of the last lines are remembered for [`LogFollower::tail`].
    pub tail: usize,
    /// A file that has grown beyond this, in bytes, is moved aside at the next poll; the three last are
    /// kept.
    pub file: u64,
}

/// How many bytes are read at a time.
const CHUNK: usize = 64 * 1024;

impl Default for LogLimits {
    /// 200 lines a poll, 200 remembered, files of 10 MiB.
    fn default() -> Self {
        Self { lines_per_poll: 200, tail: 200, file: 10 * 1024 * 1024 }
    }
}

/// Follows the output file of one run of a process.
///
/// Memory is bounded by [`LogLimits`], whatever the process writes. It keeps the file open, so it goes on
/// reading the right one when a later run has moved it aside. Polling blocks for as long as reading takes;
/// it is the caller who decides how often (ten times a second is ample).
#[derive(Debug)]
pub struct LogFollower {
    path: PathBuf,
    limits: LogLimits,
    file: Option<File>,
    /// How far the file has been read.
    position: u64,
    /// Read beyond this, it is moved aside.
    aside_beyond: u64,
    /// The number of the line that the file begins with, or within.
    first_line: u64,
    splitter: LineSplitter,
    tail: VecDeque<Line>,
    skipped: u64,
    buffer: Box<[u8]>,
}

impl LogFollower {
    /// Follows the file at `path` from its beginning; it need not be there yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, limits: LogLimits) -> Self {
        Self {
            path: path.into(),
            limits,
            file: None,
            position: 0,
            aside_beyond: limits.file,
            first_line: 0,
            splitter: LineSplitter::default(),
            tail: VecDeque::new(),
            skipped: 0,
            buffer: vec![0; CHUNK].into(),
        }
    }

    /// Follows nothing: no line ever comes.
    #[must_use]
    pub fn of_nothing() -> Self {
        Self::new(PathBuf::new(), LogLimits::default())
    }

    /// Goes on following the file at `path` where an earlier program stopped, of which only
    /// [`LogFollower::first_line`] is left. What is there already is history: [`LogFollower::tail`] has it, no
    /// poll tells it. Numbers go on. Blocks for as long as reading the file takes (10 MiB by default).
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn resume(
        path: impl Into<PathBuf>,
        limits: LogLimits,
        first_line: u64,
    ) -> io::Result<Self> {
        let mut follower = Self { first_line, ..Self::new(path, limits) };
        let mut history = Batch::new(&limits, first_line);
        follower.splitter = LineSplitter::starting_at(first_line);
        if first_line > 0 {
            // The output went on in this file after the one before was full, perhaps in the middle of a line.
            follower.read_earlier(&mut history)?;
        }
        follower.read(&mut history)?;
        follower.told(history);
        follower.skipped = 0;
        Ok(follower)
    }

    /// Reads the copy that was moved aside last; the lines in it end with the first of the file.
    fn read_earlier(&mut self, history: &mut Batch) -> io::Result<()> {
        let mut copy = match File::open(output_file::earlier(&self.path, 1)) {
            Ok(copy) => copy,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut counted = LineSplitter::default();
        while let Some(bytes) = next(&mut copy, &mut self.buffer)? {
            counted.push(bytes, |_, _| ());
        }
        let before = self.first_line.saturating_sub(counted.next_number());
        self.splitter = LineSplitter::starting_at(before);
        copy.rewind()?;
        while let Some(bytes) = next(&mut copy, &mut self.buffer)? {
            self.splitter.push(bytes, |number, bytes| history.add(number, bytes));
        }
        Ok(())
    }

    /// The number of the line that the file begins with: all that [`LogFollower::resume`] needs. It changes
    /// when the file is moved aside.
    #[must_use]
    pub const fn first_line(&self) -> u64 {
        self.first_line
    }

    /// The lines completed since the last poll, at most [`LogLimits::lines_per_poll`]. A gap in their
    /// numbers is lines that were skipped. For as long as the process lives; then comes
    /// [`LogFollower::finish`].
    ///
    /// # Errors
    ///
    /// When the file cannot be read or moved aside; no line is lost by that. A later poll tries again: to
    /// read at once, to move aside when the file has grown by another tenth of its limit.
    pub fn poll(&mut self) -> io::Result<Vec<Line>> {
        let mut batch = Batch::new(&self.limits, self.splitter.next_number());
        if self.position > self.aside_beyond
            && let Some(file) = &mut self.file
        {
            self.aside_beyond = self.position.saturating_add(self.limits.file / 10);
            let mut copy = output_file::copy_and_empty(&self.path, file)?;
            self.aside_beyond = self.limits.file;
            // What came since it was read, and before it was emptied, is in the copy.
            copy.seek(SeekFrom::Start(self.position))?;
            self.position = 0;
            while let Some(bytes) = next(&mut copy, &mut self.buffer)? {
                self.splitter.push(bytes, |number, bytes| batch.add(number, bytes));
            }
            self.first_line = self.splitter.next_number();
        }
        self.read(&mut batch)?;
        Ok(self.told(batch))
    }

    /// The same once the process has ended, with a last line that has no end.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn finish(&mut self) -> io::Result<Vec<Line>> {
        let mut batch = Batch::new(&self.limits, self.splitter.next_number());
        self.read(&mut batch)?;
        self.splitter.finish(|number, bytes| batch.add(number, bytes));
        Ok(self.told(batch))
    }

    fn read(&mut self, batch: &mut Batch) -> io::Result<()> {
        if self.file.is_none() {
            // To write: it is emptied through the same handle, so that it is never another file.
            self.file = match File::options().read(true).write(true).open(&self.path) {
                Ok(file) => Some(file),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut left = file.metadata()?.len();
        if left < self.position {
            // Somebody else has emptied it.
            self.position = 0;
            self.first_line = self.splitter.next_number();
        }
        left -= self.position;
        if left == 0 {
            return Ok(());
        }
        file.seek(SeekFrom::Start(self.position))?;
        // Not beyond the length it had: a writer that is faster than this shall not hold us here.
        while left > 0
            && let Some(bytes) = next(file, &mut self.buffer)?
        {
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            self.position += length;
            left = left.saturating_sub(length);
            self.splitter.push(bytes, |number, bytes| batch.add(number, bytes));
        }
        Ok(())
    }

    fn told(&mut self, batch: Batch) -> Vec<Line> {
        self.tail.extend(batch.last.iter().cloned());
        let over = self.tail.len().saturating_sub(self.limits.tail);
        self.tail.drain(..over);
        let mut told: Vec<Line> = batch.last.into();
        let told = told.split_off(told.len().saturating_sub(self.limits.lines_per_poll));
        let came = self.splitter.next_number() - batch.first;
        self.skipped += came.saturating_sub(u64::try_from(told.len()).unwrap_or(came));
        told
    }

    /// The last `n` lines seen by polls, oldest first; at most [`LogLimits::tail`].
    #[must_use]
    pub fn tail(&self, n: usize) -> Vec<Line> {
        self.tail.iter().skip(self.tail.len().saturating_sub(n)).cloned().collect()
    }

    /// How many lines have been skipped so far.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }
}

/// The last lines of what one poll reads.
struct Batch {
    /// The number of the first line that it can have.
    first: u64,
    last: VecDeque<Line>,
    most: usize,
}

impl Batch {
    fn new(limits: &LogLimits, first: u64) -> Self {
        Self { first, last: VecDeque::new(), most: limits.lines_per_poll.max(limits.tail) }
    }

    fn add(&mut self, number: u64, bytes: &[u8]) {
        if self.last.len() >= self.most {
            self.last.pop_front();
        }
        self.last.push_back(Line::new(number, bytes));
    }
}

/// The next bytes of `file`; `None` at its end.
fn next<'a>(file: &mut File, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
    let length = file.read(buffer)?;
    Ok((length > 0).then(|| &buffer[..length]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn numbers(lines: &[Line]) -> Vec<u64> {
        lines.iter().map(|line| line.number).collect()
    }

    #[test]
    fn lines_come_once_complete_and_the_last_one_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut follower = LogFollower::new(&path, LogLimits::default());
        assert!(follower.poll().unwrap().is_empty());
        let mut writer = output_file::open_for_new_run(&path).unwrap();
        assert!(follower.poll().unwrap().is_empty());
        writer.write_all(b"one\ntw").unwrap();
        assert_eq!(follower.poll().unwrap(), [Line { number: 0, text: "one".into() }]);
        assert!(follower.poll().unwrap().is_empty());
        writer.write_all(b"o\nthree").unwrap();
        assert_eq!(follower.poll().unwrap(), [Line { number: 1, text: "two".into() }]);
        assert_eq!(follower.finish().unwrap(), [Line { number: 2, text: "three".into() }]);
        assert!(follower.finish().unwrap().is_empty());
        assert_eq!(numbers(&follower.tail(2)), [1, 2]);
        assert_eq!(follower.skipped(), 0);
    }

    #[test]
    fn of_a_flood_the_last_lines_are_told_and_the_others_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flood.log");
        let mut writer = output_file::open_for_new_run(&path).unwrap();
        let limits = LogLimits { lines_per_poll: 10, tail: 4, ..LogLimits::default() };
        let mut follower = LogFollower::new(&path, limits);
        for _ in 0..3 {
            writer.write_all("0123456789abcde\n".repeat(65_536).as_bytes()).unwrap();
            assert_eq!(follower.poll().unwrap().len(), 10);
        }
        assert_eq!(follower.skipped(), 3 * (65_536 - 10));
        let last = 3 * 65_536 - 1;
        assert_eq!(numbers(&follower.tail(100)), [last - 3, last - 2, last - 1, last]);
    }

    #[test]
    fn a_file_over_its_limit_is_moved_aside_and_no_line_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("long.log");
        let mut writer = output_file::open_for_new_run(&path).unwrap();
        let limits = LogLimits { file: 1000, ..LogLimits::default() };
        let mut follower = LogFollower::new(&path, limits);
        let mut seen = vec![];
        for number in 0..500 {
            writeln!(writer, "line {number}").unwrap();
            if number % 7 == 0 {
                seen.extend(follower.poll().unwrap());
            }
        }
        seen.extend(follower.finish().unwrap());
        assert_eq!(seen.len(), 500);
        assert!(seen.iter().all(|line| line.text == format!("line {}", line.number)));
        assert!(fs::metadata(&path).unwrap().len() < 1200);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
    }

    #[test]
    fn a_file_that_cannot_be_moved_aside_is_followed_on_and_tried_again_once_it_has_grown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stuck.log");
        let mut writer = output_file::open_for_new_run(&path).unwrap();
        let limits = LogLimits { file: 100, ..LogLimits::default() };
        let mut follower = LogFollower::new(&path, limits);
        // In the way of the copy, as a full disk would be.
        let in_the_way = dir.path().join("stuck.log.part");
        fs::create_dir(&in_the_way).unwrap();
        let mut seen = vec![];
        let mut write = |count| {
            for _ in 0..count {
                writer.write_all(b"0123456789\n").unwrap();
            }
        };
        write(10);
        seen.extend(follower.poll().unwrap());
        follower.poll().unwrap_err();
        seen.extend(follower.poll().unwrap());
        seen.extend(follower.poll().unwrap());
        write(5);
        seen.extend(follower.poll().unwrap());
        follower.poll().unwrap_err();
        fs::remove_dir(&in_the_way).unwrap();
        write(5);
        seen.extend(follower.poll().unwrap());
        seen.extend(follower.poll().unwrap());
        assert_eq!(numbers(&seen), (0..20).collect::<Vec<_>>());
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    }

    #[test]
    fn a_resumed_follower_has_the_history_and_tells_only_what_is_new() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resumed.log");
        let mut writer = output_file::open_for_new_run(&path).unwrap();
        writer.write_all(b"one\ntwo\nthr").unwrap();
        let limits = LogLimits { tail: 2, ..LogLimits::default() };
        let mut follower = LogFollower::resume(&path, limits, 0).unwrap();
        assert_eq!(numbers(&follower.tail(9)), [0, 1]);
        assert!(follower.poll().unwrap().is_empty());
        writer.write_all(b"ee\nfour\n").unwrap();
        let three = Line { number: 2, text: "three".into() };
        assert_eq!(follower.poll().unwrap(), [three, Line { number: 3, text: "four".into() }]);
        assert_eq!((numbers(&follower.tail(9)), follower.skipped()), (vec![2, 3], 0));

        let nowhere = LogFollower::resume(dir.path().join("none.log"), limits, 7).unwrap();
        assert!(nowhere.tail(9).is_empty());
    }

    #[test]
    fn numbers_and_history_go_on_over_files_that_were_moved_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("long.log");
        let mut writer = output_file::open_for_new_run(&path).unwrap();
        let limits = LogLimits { file: 1000, tail: 50, ..LogLimits::default() };
        let mut follower = LogFollower::new(&path, limits);
        for number in 0..500 {
            write!(writer, "line {number}").unwrap();
            if number % 7 == 0 {
                // In the middle of a line.
                follower.poll().unwrap();
            }
            writeln!(writer).unwrap();
        }
        follower.poll().unwrap();
        let first_line = follower.first_line();
        assert!(first_line > 0);
        let mut resumed = LogFollower::resume(&path, limits, first_line).unwrap();
        assert_eq!(resumed.tail(50), follower.tail(50));
        writeln!(writer, "line 500").unwrap();
        assert_eq!(resumed.poll().unwrap(), [Line { number: 500, text: "line 500".into() }]);
    }

    #[test]
    fn a_follower_reads_its_own_run_to_the_end_after_the_next_one_has_begun() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.log");
        let mut first = output_file::open_for_new_run(&path).unwrap();
        first.write_all(b"first\n").unwrap();
        let mut follower = LogFollower::new(&path, LogLimits::default());
        assert_eq!(follower.poll().unwrap().len(), 1);
        let mut second = output_file::open_for_new_run(&path).unwrap();
        second.write_all(b"second\n").unwrap();
        first.write_all(b"last words\n").unwrap();
        assert_eq!(follower.finish().unwrap()[0].text, "last words");
        let mut follower = LogFollower::new(&path, LogLimits::default());
        assert_eq!(follower.poll().unwrap()[0].text, "second");
    }
}
