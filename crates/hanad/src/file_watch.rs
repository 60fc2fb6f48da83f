//! Whether files are others than they were, and whole: an editor may be in the middle of writing them.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

/// What files look like from outside.
pub(crate) type Prints = Vec<Option<Print>>;

/// One file that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Print {
    changed: Option<SystemTime>,
    length: u64,
    /// An editor puts a new file in the place of the old one.
    number: u64,
}

/// Looks at files. A broken link or a file that may not be read is none.
pub(crate) fn look_at(files: &[PathBuf]) -> Prints {
    let print = |file: &PathBuf| {
        let found = fs::metadata(file).ok()?;
        Some(Print {
            changed: found.modified().ok(),
            length: found.len(),
            number: number_of(&found),
        })
    };
    files.iter().map(print).collect()
}

#[cfg(unix)]
fn number_of(found: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(found)
}

#[cfg(not(unix))]
const fn number_of(_found: &fs::Metadata) -> u64 {
    0
}

/// Says once for each change that it is there, when the files have looked the same twice.
#[derive(Debug)]
pub(crate) struct FileWatch {
    taken: Prints,
    before: Prints,
}

impl FileWatch {
    pub(crate) fn new(taken: Prints) -> Self {
        Self { before: taken.clone(), taken }
    }

    /// Whether there is a change to be taken. It counts as taken then.
    pub(crate) fn see(&mut self, now: Prints) -> bool {
        let is_settled = now == self.before;
        self.before = now;
        let is_due = is_settled && self.before != self.taken;
        if is_due {
            self.taken.clone_from(&self.before);
        }
        is_due
    }

    /// Whether the files are others than those that were taken.
    pub(crate) fn is_news(&self, now: &Prints) -> bool {
        self.taken != *now
    }

    /// They were taken as they are now.
    pub(crate) fn take(&mut self, now: Prints) {
        self.before.clone_from(&now);
        self.taken = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(length: u64) -> Prints {
        vec![Some(Print { changed: None, length, number: 1 })]
    }

    #[test]
    fn a_file_that_is_being_written_is_not_taken_before_it_is_whole() {
        let mut watch = FileWatch::new(print(1));
        assert!(!watch.see(print(1)));
        // Gone for a moment, then longer and longer.
        for now in [vec![None], print(2), print(3)] {
            assert!(!watch.see(now));
        }
        assert!(watch.see(print(3)));
        assert!(!watch.see(print(3)));
    }

    #[test]
    fn what_was_taken_on_request_is_not_taken_again() {
        let mut watch = FileWatch::new(print(1));
        assert!(watch.is_news(&print(2)));
        watch.take(print(2));
        assert!(!watch.see(print(2)) && !watch.is_news(&print(2)));
    }
}
