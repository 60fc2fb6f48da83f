use std::str::FromStr;
use std::{fmt, io};

use serde::Deserialize;
use thiserror::Error;

/// The secret that all nodes of a show share. It never appears in a log, error or message.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Secret(String);

/// The error for a text that is not a valid secret. It does not contain the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a secret must be 1 to 256 bytes of text on one line, without spaces at its ends; make it long and random, for example with `openssl rand -hex 16`"
)]
pub struct SecretError;

impl Secret {
    const MAX_BYTES: usize = 256;
    /// The user name that Zenoh checks with the secret; the same for all nodes.
    pub(crate) const USER: &'static str = "hana";

    /// Creates a secret.
    ///
    /// # Errors
    ///
    /// When the text does not have the form of a secret.
    pub fn new(secret: impl Into<String>) -> Result<Self, SecretError> {
        let secret = secret.into();
        // Zenoh reads the secret from a line and trims it.
        let is_one = (1..=Self::MAX_BYTES).contains(&secret.len())
            && secret.trim() == secret
            && !secret.chars().any(char::is_control);
        if is_one { Ok(Self(secret)) } else { Err(SecretError) }
    }

    /// Returns the text of the secret. For Zenoh only.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Secret {
    type Error = SecretError;

    fn try_from(secret: String) -> Result<Self, SecretError> {
        Self::new(secret)
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(secret: &str) -> Result<Self, SecretError> {
        Self::new(secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(...)")
    }
}

/// The file with the permitted credentials, which Zenoh reads while it opens a session. Removed when dropped.
pub(crate) struct CredentialsFile {
    path: String,
    #[cfg(unix)]
    _pipe: io::PipeReader,
}

#[cfg(unix)]
impl CredentialsFile {
    /// Creates a pipe that can be opened by name.
    ///
    /// The secret is thus never on disk, and this also works while the disk is full or read-only.
    pub(crate) fn of(secret: &Secret) -> io::Result<Self> {
        use std::io::Write;
        use std::os::fd::AsRawFd;

        let (pipe, mut end) = io::pipe()?;
        // The line is shorter than the capacity of any pipe, so this never waits for the reader.
        writeln!(end, "{}:{}", Secret::USER, secret.reveal())?;
        Ok(Self { path: format!("/dev/fd/{}", pipe.as_raw_fd()), _pipe: pipe })
    }
}

#[cfg(not(unix))]
impl CredentialsFile {
    /// Creates a file in the user's temporary directory that exists only while a session opens.
    pub(crate) fn of(secret: &Secret) -> io::Result<Self> {
        use std::io::Write;
        use std::sync::atomic::AtomicU32;
        use std::sync::atomic::Ordering;

        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name =
            format!("hana-{}-{number}-{}", std::process::id(), crate::clock::wall_clock::unix_ms());
        let path = std::env::temp_dir().join(name);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
        let dictionary = Self { path: path.to_string_lossy().into_owned() };
        writeln!(file, "{}:{}", Secret::USER, secret.reveal())?;
        Ok(dictionary)
    }
}

#[cfg(not(unix))]
impl Drop for CredentialsFile {
    fn drop(&mut self) {
        if let Err(problem) = std::fs::remove_file(&self.path) {
            tracing::error!(
                "cannot delete {}, which contains the secret: {problem}; delete it by hand",
                self.path
            );
        }
    }
}

impl CredentialsFile {
    /// Returns the path for Zenoh. The file can be read only once.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_not_printed() {
        let secret = Secret::new("correct horse").unwrap();
        assert!(!format!("{secret:?}").contains("horse"));
        assert!(!Secret::new(" horse").unwrap_err().to_string().contains("horse"));
    }

    #[test]
    fn secret_is_one_trimmed_line() {
        for text in ["", " a", "a ", "a\nb", "a\tb", &"x".repeat(257)] {
            assert!(Secret::new(text).is_err(), "{text:?}");
        }
        for text in ["a", "a:b", "grün und blau", &"x".repeat(256)] {
            assert!(Secret::new(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn zenoh_reads_the_credentials_like_a_file() {
        let dictionary = CredentialsFile::of(&Secret::new("a:b c").unwrap()).unwrap();
        assert_eq!(std::fs::read_to_string(dictionary.path()).unwrap(), "hana:a:b c\n");
    }
}
