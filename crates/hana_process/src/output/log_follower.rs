use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::output::copy_budget::CopyBudget;
use crate::output::line_splitter::{Line, LineSplitter};
use crate::output::output_file;
use crate::output::rotating_file::RotatingFile;

/// Limits on how much output is kept and published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// The most lines that one poll returns. If there are more, the last ones are returned and the rest are skipped.
    pub lines_per_poll: usize,
    /// The number of recent lines kept for [`LogFollower::tail`].
    pub tail: usize,
    /// The largest file, in bytes.
    ///
    /// A file that has grown beyond nine tenths of this is emptied at the next poll. Three copies of its end are
    /// kept, each with at most this many bytes.
    pub file: u64,
}

/// The number of bytes per read.
const CHUNK: usize = 64 * 1024;
/// The most bytes that one poll reads. If there are more, the last ones are read.
const READ_MOST: u64 = 1024 * 1024;
/// How often the follower checks whether the file is still at its path.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// The size, in bytes, beyond which a deleted file is emptied once it has been read completely.
const NAMELESS: u64 = 64 * 1024;

impl Default for LogLimits {
    /// Returns limits of 200 lines per poll, 200 lines kept, and files of 10 MiB.
    fn default() -> Self {
        Self { lines_per_poll: 200, tail: 200, file: output_file::LIMIT }
    }
}

/// Follows the output file of one instance of a program and limits its size.
///
/// [`LogLimits`] bounds memory and disk whatever the process writes. Each poll reads and copies a bounded amount;
/// the excess is dropped and counted. A file exceeds its limit only by the amount written between two polls.
///
/// The follower keeps the file open, so it continues with the same file after a later instance has moved it aside. If
/// the file is deleted or moved away while the process runs, the follower creates a new file at the path, with the
/// content of the old one and everything that the process continues to write to it.
///
/// Polling blocks for as long as the disk takes; [`crate::output::output_reader::OutputReader`] polls on a
/// separate thread.
#[derive(Debug)]
pub struct LogFollower {
    path: PathBuf,
    limits: LogLimits,
    file: Option<File>,
    /// The offset up to which the file has been read.
    position: u64,
    /// The number of bytes written before the file was last emptied.
    before: u64,
    /// The length beyond which the file is emptied.
    aside_beyond: u64,
    /// The number of the first line in the file, which may be the rest of a line that began in an earlier file.
    first_line: u64,
    lines: LineReader,
    tail: VecDeque<Line>,
    skipped: u64,
    dropped: u64,
    /// The number of bytes dropped since the last copy.
    lost: u64,
    copies: CopyBudget,
    /// The file at the original path, once the process writes into a file that no longer has this name.
    mirror: Option<RotatingFile>,
    looked: Option<Instant>,
}

impl LogFollower {
    /// Follows the file at `path` from its beginning. The file need not exist yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, limits: LogLimits) -> Self {
        Self {
            path: path.into(),
            limits,
            file: None,
            position: 0,
            before: 0,
            aside_beyond: nine_tenths(limits.file),
            first_line: 0,
            lines: LineReader::default(),
            tail: VecDeque::new(),
            skipped: 0,
            dropped: 0,
            lost: 0,
            copies: CopyBudget::new(),
            mirror: None,
            looked: None,
        }
    }

    /// Follows a file through a handle that can read and write, even if the name of the file changes.
    #[must_use]
    pub fn of_file(path: impl Into<PathBuf>, file: File, limits: LogLimits) -> Self {
        Self { file: Some(file), ..Self::new(path, limits) }
    }

    /// Continues to follow the file at `path` where an earlier program stopped.
    ///
    /// The only saved state that it needs is [`LogFollower::first_line`].
    ///
    /// The existing content is history: [`LogFollower::tail`] returns it, but polls do not. Line numbers continue.
    /// Blocks while the file is read (some 20 MiB at most).
    ///
    /// `nameless` is a path to the file that the process really writes to, if that file was deleted
    /// ([`crate::launch::running_launch::deleted_output_of`]).
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read.
    pub fn resume(
        path: impl Into<PathBuf>,
        nameless: Option<&Path>,
        limits: LogLimits,
        first_line: u64,
    ) -> io::Result<Self> {
        let mut follower = Self { first_line, ..Self::new(path, limits) };
        let mut history = LineBatch::new(&limits, first_line);
        follower.lines.splitter = LineSplitter::starting_at(first_line);
        if first_line > 0 {
            // This file continues the latest copy, perhaps in the middle of a line.
            follower.read_earlier(&mut history)?;
        }
        follower.open()?;
        if let Some(mut file) = follower.file.take() {
            let length = file.metadata()?.len();
            let most = 2 * limits.file;
            follower.position = follower.lines.read(&mut file, 0, length, most, &mut history)?.to;
            follower.file = Some(file);
        }
        if let Some(nameless) = nameless {
            follower.go_on_with(nameless)?;
        }
        follower.finish_batch(history);
        follower.skipped = 0;
        Ok(follower)
    }

    /// Continues with the deleted file. The file at the path contains what an earlier program copied from it.
    fn go_on_with(&mut self, nameless: &Path) -> io::Result<()> {
        /// How many of the last copied bytes are searched for in the deleted file.
        const SAMPLE: u64 = 512;
        let mut file = File::options().read(true).write(true).open(nameless)?;
        let mut sample = vec![];
        if let Some(copied) = &mut self.file {
            copied.seek(SeekFrom::Start(self.position.saturating_sub(SAMPLE)))?;
            copied.take(SAMPLE).read_to_end(&mut sample)?;
        }
        let mut begin = vec![];
        (&mut file).take(READ_MOST).read_to_end(&mut begin)?;
        let place = (!sample.is_empty() && sample.len() <= begin.len())
            .then(|| begin.windows(sample.len()).rposition(|bytes| bytes == sample))
            .flatten();
        let read = place.map_or(0, |place| place + sample.len());
        self.position = u64::try_from(read).unwrap_or(0);
        self.file = Some(file);
        self.mirror = Some(RotatingFile::new(&self.path, self.limits.file));
        Ok(())
    }

    /// Reads the latest copy, which ends where the file begins.
    fn read_earlier(&mut self, history: &mut LineBatch) -> io::Result<()> {
        let mut copy = match File::open(output_file::backup_path(&self.path, 1)) {
            Ok(copy) => copy,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let (length, most) = (copy.metadata()?.len(), 2 * self.limits.file);
        let mut counted = LineReader::default();
        let mut nowhere = LineBatch::new(&LogLimits { lines_per_poll: 0, tail: 0, file: 0 }, 0);
        counted.read(&mut copy, 0, length, most, &mut nowhere)?;
        let before = self.first_line.saturating_sub(counted.splitter.next_number());
        self.lines.splitter = LineSplitter::starting_at(before);
        self.lines.read(&mut copy, 0, length, most, history)?;
        Ok(())
    }

    /// Returns the number of the first line in the file, the only state that [`LogFollower::resume`] needs.
    ///
    /// It changes when the file is emptied.
    #[must_use]
    pub const fn first_line(&self) -> u64 {
        self.first_line
    }

    /// Returns the lines completed since the last poll, at most [`LogLimits::lines_per_poll`].
    ///
    /// A gap in their numbers means that lines were skipped. Call this function while the process lives, then
    /// [`LogFollower::finish`].
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read or its end cannot be copied. No line is lost then: the next poll reads the
    /// file again, and copying is retried once the file has grown by another tenth of its limit. A file of twice its
    /// limit is emptied without a copy.
    pub fn poll(&mut self) -> io::Result<Vec<Line>> {
        self.poll_at(Instant::now())
    }

    /// Polls at a given time.
    pub(crate) fn poll_at(&mut self, now: Instant) -> io::Result<Vec<Line>> {
        let mut batch = LineBatch::new(&self.limits, self.lines.splitter.next_number());
        self.open()?;
        if self.looked.is_none_or(|at| now.saturating_duration_since(at) >= CHECK_INTERVAL) {
            self.looked = Some(now);
            self.look_for_its_name()?;
        }
        self.read(now, &mut batch)?;
        Ok(self.finish_batch(batch))
    }

    /// Returns the remaining lines after the process has ended, including a last line without a line end.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read.
    pub fn finish(&mut self) -> io::Result<Vec<Line>> {
        let mut batch = LineBatch::new(&self.limits, self.lines.splitter.next_number());
        self.open()?;
        let read = self.read(Instant::now(), &mut batch);
        self.lines.splitter.finish(|number, bytes| batch.add(number, bytes));
        let lines = self.finish_batch(batch);
        read.map(|()| lines)
    }

    fn open(&mut self) -> io::Result<()> {
        if self.file.is_none() && !self.path.as_os_str().is_empty() {
            // The file is opened for writing too, since it is emptied through this handle, which always refers to the
            // same file.
            self.file = match File::options().read(true).write(true).open(&self.path) {
                Ok(file) => Some(file),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }

    fn read(&mut self, now: Instant, batch: &mut LineBatch) -> io::Result<()> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let read = self.read_file(&mut file, now, batch);
        self.file = Some(file);
        read
    }

    fn read_file(
        &mut self,
        file: &mut File,
        now: Instant,
        batch: &mut LineBatch,
    ) -> io::Result<()> {
        let mut length = file.metadata()?.len();
        if length < self.position {
            // Another program has emptied the file.
            self.position = 0;
            self.first_line = self.lines.splitter.next_number();
        }
        if self.mirror.is_some() {
            return self.read_nameless(file, length, batch);
        }
        if length > self.aside_beyond {
            self.empty(file, length, now, batch)?;
            length = file.metadata()?.len();
        }
        self.position = self.lines.read(file, self.position, length, READ_MOST, batch)?.to;
        Ok(())
    }

    /// Copies as much of the end of the file as the budget allows, then empties the file.
    fn empty(
        &mut self,
        file: &mut File,
        length: u64,
        now: Instant,
        batch: &mut LineBatch,
    ) -> io::Result<()> {
        let limit = self.limits.file;
        let most = self.copies.take(length.min(limit), now);
        let rotates = self.copies.rotates(most >= length, now);
        let last = output_file::backup_path(&self.path, 1);
        let replaced =
            if rotates { 0 } else { last.metadata().map_or(0, |metadata| metadata.len()) };
        let copy = match output_file::copy_end(&self.path, file, most, self.lost + replaced) {
            Err(problem) if length < limit.saturating_mul(2) => {
                self.aside_beyond = length.saturating_add(limit / 10);
                return Err(problem);
            },
            // The file has reached twice its limit, so it is emptied even if the copy failed.
            copy => copy,
        };
        let end = file.metadata()?.len();
        file.set_len(0)?;
        self.before += end;
        self.aside_beyond = nine_tenths(limit);
        let result = match copy {
            Ok(mut copy) => {
                self.lost = end.saturating_sub(copy.to);
                self.dropped += copy.from + self.lost + replaced;
                let path = &self.path;
                let named = if rotates {
                    output_file::rotate(path)
                } else {
                    output_file::replace_last(path)
                };
                // The copy also contains the bytes written after the last read and before the copy ended.
                let unread = self.position.max(copy.from);
                if unread > self.position {
                    self.lines.splitter.gap();
                }
                let offset = |at: u64| copy.note + (at - copy.from);
                let (from, to) = (offset(unread), offset(copy.to.max(unread)));
                self.lines.read(&mut copy.file, from, to, READ_MOST, batch)?;
                named
            },
            Err(problem) => {
                self.lost += end;
                self.dropped += end;
                self.lines.splitter.gap();
                Err(problem)
            },
        };
        if self.lost > 0 {
            self.lines.splitter.gap();
        }
        self.position = 0;
        self.first_line = self.lines.splitter.next_number();
        result
    }

    /// Reads a file that is no longer at its path, copies the bytes to a new file at the path, and empties the old
    /// one.
    fn read_nameless(
        &mut self,
        file: &mut File,
        length: u64,
        batch: &mut LineBatch,
    ) -> io::Result<()> {
        let Some(mirror) = &mut self.mirror else { return Ok(()) };
        let mut result = Ok(());
        let before = mirror.rotations();
        let read = self.lines.read_and(file, self.position, length, READ_MOST, batch, |bytes| {
            if let Err(problem) = mirror.write(bytes) {
                result = Err(problem);
            }
        })?;
        if mirror.rotations() != before {
            self.first_line = self.lines.splitter.next_number();
        }
        self.dropped += read.from.saturating_sub(self.position);
        self.position = read.to;
        if self.position > NAMELESS {
            let end = file.metadata()?.len();
            file.set_len(0)?;
            self.before += end;
            if end > self.position {
                self.dropped += end - self.position;
                self.lines.splitter.gap();
            }
            self.position = 0;
        }
        result
    }

    /// Creates a new file at the path if the old one is no longer there.
    fn look_for_its_name(&mut self) -> io::Result<()> {
        if let Some(mirror) = &mut self.mirror {
            return mirror.check();
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let opened = file.metadata()?;
        if output_file::is_at(&self.path, &opened) {
            return Ok(());
        }
        let mut mirror = RotatingFile::new(&self.path, self.limits.file);
        mirror.write(&[])?;
        if output_file::is_deleted(&opened) && self.path.metadata()?.len() == 0 {
            let from = self.position.saturating_sub(self.limits.file);
            file.seek(SeekFrom::Start(from))?;
            let mut left = file.take(self.position - from);
            while let Some(bytes) = next(&mut left, &mut self.lines.buffer)? {
                mirror.write(bytes)?;
            }
        } else {
            self.first_line = self.lines.splitter.next_number();
        }
        self.mirror = Some(mirror);
        Ok(())
    }

    fn finish_batch(&mut self, batch: LineBatch) -> Vec<Line> {
        self.tail.extend(batch.last.iter().cloned());
        let over = self.tail.len().saturating_sub(self.limits.tail);
        self.tail.drain(..over);
        let mut lines: Vec<Line> = batch.last.into();
        let lines = lines.split_off(lines.len().saturating_sub(self.limits.lines_per_poll));
        let came = self.lines.splitter.next_number() - batch.first;
        self.skipped += came.saturating_sub(u64::try_from(lines.len()).unwrap_or(came));
        lines
    }

    /// Returns the last `n` polled lines, oldest first, at most [`LogLimits::tail`].
    #[must_use]
    pub fn tail(&self, n: usize) -> Vec<Line> {
        self.tail.iter().skip(self.tail.len().saturating_sub(n)).cloned().collect()
    }

    /// Returns the number of skipped lines, as far as they were counted.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Returns the number of dropped bytes, which are in no file.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Returns the number of bytes that polls skipped because too many came at once. The files may contain them.
    #[must_use]
    pub const fn unread(&self) -> u64 {
        self.lines.unread
    }

    /// Returns the number of bytes written so far, read or not.
    pub(crate) const fn came(&self) -> u64 {
        self.before + self.position
    }

    pub(crate) const fn limits(&self) -> LogLimits {
        self.limits
    }
}

/// Returns the length beyond which a file is emptied.
///
/// The rest of the limit is room for the output that comes before the next poll, so that the copy includes it.
const fn nine_tenths(limit: u64) -> u64 {
    limit - limit / 10
}

/// Reads files and splits them into lines.
#[derive(Debug)]
struct LineReader {
    splitter: LineSplitter,
    unread: u64,
    buffer: Box<[u8]>,
}

impl Default for LineReader {
    fn default() -> Self {
        Self { splitter: LineSplitter::default(), unread: 0, buffer: vec![0; CHUNK].into() }
    }
}

/// The range of bytes that was read.
struct Range {
    from: u64,
    to: u64,
}

impl LineReader {
    /// Reads the bytes from `from` to `to`. If there are more than `most`, only the last ones are read.
    ///
    /// Never reads beyond `to`, so that a faster writer cannot keep this function from returning.
    fn read(
        &mut self,
        file: &mut File,
        from: u64,
        to: u64,
        most: u64,
        batch: &mut LineBatch,
    ) -> io::Result<Range> {
        self.read_and(file, from, to, most, batch, |_| ())
    }

    fn read_and(
        &mut self,
        file: &mut File,
        mut from: u64,
        to: u64,
        most: u64,
        batch: &mut LineBatch,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<Range> {
        if to.saturating_sub(from) > most {
            self.unread += to - most - from;
            from = to - most;
            self.splitter.gap();
        }
        file.seek(SeekFrom::Start(from))?;
        let mut range = Range { from, to: from };
        let mut left = file.take(to.saturating_sub(from));
        while let Some(bytes) = next(&mut left, &mut self.buffer)? {
            range.to += u64::try_from(bytes.len()).unwrap_or(0);
            self.splitter.push(bytes, |number, bytes| batch.add(number, bytes));
            each(bytes);
        }
        Ok(range)
    }
}

/// The last lines of one poll.
struct LineBatch {
    /// The lowest line number of this poll.
    first: u64,
    last: VecDeque<Line>,
    most: usize,
}

impl LineBatch {
    fn new(limits: &LogLimits, first: u64) -> Self {
        Self { first, last: VecDeque::new(), most: limits.lines_per_poll.max(limits.tail) }
    }

    fn add(&mut self, number: u64, bytes: &[u8]) {
        if self.most == 0 {
            return;
        }
        if self.last.len() >= self.most {
            self.last.pop_front();
        }
        self.last.push_back(Line::new(number, bytes));
    }
}

/// Returns the next bytes of `file`, or `None` at its end.
fn next<'a>(file: &mut impl Read, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
    let length = file.read(buffer)?;
    Ok((length > 0).then(|| &buffer[..length]))
}

#[cfg(test)]
mod tests;
