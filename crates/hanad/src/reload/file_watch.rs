//! Detection of changed files.
//!
//! An editor may be in the middle of writing a file, so a change counts only once the file is complete.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

/// The state of several files, as far as their metadata shows; `None` for a missing file.
pub(crate) type Fingerprints = Vec<Option<Fingerprint>>;

/// The state of an existing file, as far as its metadata shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    changed: Option<SystemTime>,
    length: u64,
    /// The inode number, which changes when an editor replaces the file.
    number: u64,
}

/// Reads the state of each file. A broken link or an unreadable file counts as missing.
pub(crate) fn fingerprints_of(files: &[PathBuf]) -> Fingerprints {
    let print = |file: &PathBuf| {
        let found = fs::metadata(file).ok()?;
        Some(Fingerprint {
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

/// A detector that reports each change once, after two polls have found the files in the same state.
#[derive(Debug)]
pub(crate) struct FileWatch {
    accepted: Fingerprints,
    before: Fingerprints,
}

impl FileWatch {
    pub(crate) fn new(accepted: Fingerprints) -> Self {
        Self { before: accepted.clone(), accepted }
    }

    /// Returns whether there is a new change, and marks it as accepted.
    pub(crate) fn poll(&mut self, now: Fingerprints) -> bool {
        let is_settled = now == self.before;
        self.before = now;
        let is_due = is_settled && self.before != self.accepted;
        if is_due {
            self.accepted.clone_from(&self.before);
        }
        is_due
    }

    /// Returns whether the files differ from those last accepted.
    pub(crate) fn has_changed(&self, now: &Fingerprints) -> bool {
        self.accepted != *now
    }

    /// Marks this state of the files as accepted.
    pub(crate) fn accept(&mut self, now: Fingerprints) {
        self.before.clone_from(&now);
        self.accepted = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(length: u64) -> Fingerprints {
        vec![Some(Fingerprint { changed: None, length, number: 1 })]
    }

    #[test]
    fn file_being_written_counts_only_once_it_is_stable() {
        let mut watch = FileWatch::new(print(1));
        assert!(!watch.poll(print(1)));
        // The file is missing for a moment, and grows after that.
        for unstable in [vec![None], print(2), print(3)] {
            assert!(!watch.poll(unstable));
        }
        assert!(watch.poll(print(3)));
        assert!(!watch.poll(print(3)));
    }

    #[test]
    fn accepted_change_is_not_reported_again() {
        let mut watch = FileWatch::new(print(1));
        assert!(watch.has_changed(&print(2)));
        watch.accept(print(2));
        assert!(!watch.poll(print(2)) && !watch.has_changed(&print(2)));
    }
}
