use std::fmt;
use std::str::FromStr;

use hana_protocol::contract::Key;
use serde::Deserialize;
use thiserror::Error;

/// The name of a show. Shows with different names on one network are isolated from each other.
///
/// On the wire, every key begins with the name: `club/hana/ripples/info`.
///
/// The name is one chunk of a key: `[a-z0-9][a-z0-9_-]{0,62}`, except `hana`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct ShowName(String);

/// The error for a text that is not a show name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is not a show name; use at most 63 lower-case letters, digits, '-' and '_', beginning with a letter or digit, and not 'hana'"
)]
pub struct ShowNameError(String);

impl ShowName {
    const MAX_LENGTH: usize = 63;

    /// Creates a show name.
    ///
    /// # Errors
    ///
    /// When the text is not a valid show name.
    pub fn new(name: impl Into<String>) -> Result<Self, ShowNameError> {
        let name = name.into();
        let is_plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = name.as_bytes();
        let is_name = bytes.len() <= Self::MAX_LENGTH
            && bytes.first().is_some_and(is_plain)
            && bytes.iter().all(|byte| is_plain(byte) || matches!(byte, b'-' | b'_'))
            // The keys of such a show, `hana/hana/...`, would be parsed as keys without a show name.
            && name != Key::ROOT;
        if is_name { Ok(Self(name)) } else { Err(ShowNameError(name.chars().take(80).collect())) }
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ShowName {
    type Error = ShowNameError;

    fn try_from(name: String) -> Result<Self, ShowNameError> {
        Self::new(name)
    }
}

impl FromStr for ShowName {
    type Err = ShowNameError;

    fn from_str(name: &str) -> Result<Self, ShowNameError> {
        Self::new(name)
    }
}

impl fmt::Display for ShowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn show_name_is_one_chunk_of_a_key() {
        for name in ["club", "a", "2nd-floor_left", &"x".repeat(63)] {
            assert!(ShowName::new(name).is_ok(), "{name}");
        }
        for name in ["", "Club", "-club", "a/b", "a b", "a*", "hana", "ümlaut", &"x".repeat(64)] {
            assert!(ShowName::new(name).is_err(), "{name}");
        }
    }
}
