use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::setup::service::error::ServiceError;
use crate::setup::service::manager::Change;

/// The file that describes a service to its manager.
#[derive(Debug)]
pub(crate) struct InstalledFile(PathBuf);

impl InstalledFile {
    pub(crate) const fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the content; `None` if the file cannot be read, for example because it does not exist.
    pub(crate) fn read(&self) -> Option<String> {
        fs::read_to_string(&self.0).ok()
    }

    /// Replaces the content by `text` atomically, and returns what that changed.
    pub(crate) fn write(&self, text: &str) -> Result<Change, ServiceError> {
        let before = self.read();
        if before.as_deref() == Some(text) {
            return Ok(Change::Unchanged);
        }
        let part = self.0.with_extension("part");
        self.0
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&part, text))
            .and_then(|()| fs::rename(&part, &self.0))
            .map_err(|problem| self.error(problem))?;
        Ok(if before.is_some() { Change::Updated } else { Change::Installed })
    }

    /// Removes the file; returns `false` if it does not exist.
    pub(crate) fn remove(&self) -> Result<bool, ServiceError> {
        match fs::remove_file(&self.0) {
            Ok(()) => Ok(true),
            Err(problem) if problem.kind() == ErrorKind::NotFound => Ok(false),
            Err(problem) => Err(self.error(problem)),
        }
    }

    fn error(&self, source: io::Error) -> ServiceError {
        let file = self.0.clone();
        if source.kind() == ErrorKind::PermissionDenied {
            ServiceError::NoPermission { file }
        } else {
            ServiceError::File { file, source }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn second_write_updates_or_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = InstalledFile::at(dir.path().join("systemd/user/hanad.service"));
        assert_eq!(file.write("one").unwrap(), Change::Installed);
        assert_eq!(file.write("one").unwrap(), Change::Unchanged);
        assert_eq!(file.write("two").unwrap(), Change::Updated);
        assert_eq!(file.read().unwrap(), "two");
        assert!(file.remove().unwrap());
        assert!(!file.remove().unwrap());
    }

    #[test]
    fn unwritable_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("systemd"), "no directory").unwrap();
        let file = InstalledFile::at(dir.path().join("systemd/user/hanad.service"));
        let problem = file.write("one").unwrap_err().to_string();
        assert!(problem.starts_with("cannot change "), "{problem}");
        assert!(problem.contains("systemd/user/hanad.service"), "{problem}");
    }
}
