use std::fs::File;
use std::io;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::output::output_file;

/// A size-limited log file, for a program that writes its own log.
///
/// A file that would exceed the limit is moved aside to `<path>.1`, and earlier ones to the next number; three are
/// kept. Writing continues at the end of an existing file. Missing directories are created. A file that is deleted or
/// moved away is created again: [`RotatingFile::check`] detects that, and so does each write that comes half a second
/// or more after the last check. After a failure, the next write opens the file again, so logging resumes once there
/// is room. Writing blocks for as long as the disk takes.
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    /// The size limit, in bytes.
    limit: u64,
    open: Option<Open>,
    /// The number of times the file was moved aside.
    rotations: u64,
}

#[derive(Debug)]
struct Open {
    file: File,
    length: u64,
    /// The time at which the file was last found at its path.
    seen: Instant,
}

/// How long a check is valid before the next write checks again.
const SEEN: Duration = Duration::from_millis(500);

impl RotatingFile {
    /// Creates a log at `path` of at most `limit` bytes. The first write opens the file.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, limit: u64) -> Self {
        Self { path: path.into(), limit, open: None, rotations: 0 }
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends `line`, which includes its line end. Moves the file aside first if it would exceed the limit.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be opened, moved aside or written. Part of the line may have been written.
    pub fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let added = u64::try_from(line.len()).unwrap_or(u64::MAX);
        let mut open = self.open_now()?;
        if open.length > 0 && open.length.saturating_add(added) > self.limit {
            drop(open);
            output_file::move_aside(&self.path)?;
            self.rotations += 1;
            open = self.append_to()?;
        }
        open.file.write_all(line)?;
        open.length = open.length.saturating_add(added);
        self.open = Some(open);
        Ok(())
    }

    /// Creates the file again if it is no longer at its path. Does nothing if no line was written yet.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be created.
    pub fn check(&mut self) -> io::Result<()> {
        if self.open.is_some() {
            self.open = Some(self.open_now()?);
        }
        Ok(())
    }

    /// Returns how often the file was moved aside since it was opened.
    pub(crate) const fn rotations(&self) -> u64 {
        self.rotations
    }

    fn open_now(&mut self) -> io::Result<Open> {
        let Some(mut open) = self.open.take() else { return self.append_to() };
        if open.seen.elapsed() < SEEN {
            return Ok(open);
        }
        let found = open.file.metadata()?;
        if !output_file::is_at(&self.path, &found) {
            return self.append_to();
        }
        // Another program may have emptied the file.
        open.length = found.len();
        open.seen = Instant::now();
        Ok(open)
    }

    fn append_to(&self) -> io::Result<Open> {
        output_file::make_dir_of(&self.path)?;
        let file = File::options().append(true).create(true).open(&self.path)?;
        let length = file.metadata()?.len();
        Ok(Open { file, length, seen: Instant::now() })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn log_stays_within_its_limit_and_keeps_three_backups() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log/hanad.log");
        let mut log = RotatingFile::new(&path, 20);
        for number in 0..10 {
            log.write(format!("line {number:03}\n").as_bytes()).unwrap();
            assert!(fs::metadata(&path).unwrap().len() <= 20);
        }
        assert_eq!(read(&path), "line 008\nline 009\n");
        assert_eq!(read(&dir.path().join("log/hanad.log.1")), "line 006\nline 007\n");
        assert_eq!(read(&dir.path().join("log/hanad.log.3")), "line 002\nline 003\n");
        assert_eq!(fs::read_dir(dir.path().join("log")).unwrap().count(), 4);
    }

    #[test]
    fn log_continues_the_previous_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hanad.log");
        for line in ["one\n", "two\n"] {
            RotatingFile::new(&path, 1000).write(line.as_bytes()).unwrap();
        }
        assert_eq!(read(&path), "one\ntwo\n");
    }

    #[test]
    fn unwritable_log_recovers_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hanad.log");
        fs::create_dir(&path).unwrap();
        let mut log = RotatingFile::new(&path, 1000);
        log.write(b"lost\n").unwrap_err();
        fs::remove_dir(&path).unwrap();
        log.write(b"kept\n").unwrap();
        assert_eq!(read(&path), "kept\n");
    }

    #[cfg(unix)]
    #[test]
    fn deleted_log_is_recreated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log/hanad.log");
        let mut log = RotatingFile::new(&path, 1000);
        log.check().unwrap();
        assert!(!path.exists(), "nothing was written yet");
        log.write(b"before\n").unwrap();
        fs::remove_dir_all(dir.path().join("log")).unwrap();
        std::thread::sleep(SEEN);
        log.check().unwrap();
        assert!(path.exists());
        log.write(b"after\n").unwrap();
        assert_eq!(read(&path), "after\n");
        // Another program moves the file away and owns it from then on.
        fs::rename(&path, dir.path().join("taken")).unwrap();
        std::thread::sleep(SEEN);
        log.write(b"later\n").unwrap();
        assert_eq!(
            (read(&path), read(&dir.path().join("taken"))),
            ("later\n".into(), "after\n".into())
        );
    }
}
