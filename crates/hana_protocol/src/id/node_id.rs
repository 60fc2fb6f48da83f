use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::impl_name::impl_name;

/// The name of a node on the mesh: one chunk of a key, `[a-z0-9][a-z0-9_-]{0,62}`.
///
/// A host is named by the id of its daemon, so host ids are node ids. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId(Arc<str>);

/// The reason why a string is not a node id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NodeIdError {
    /// The string is empty.
    #[error("a node id must not be empty; use lower-case letters, digits, '-' and '_'")]
    Empty,
    /// The string has more than [`NodeId::MAX_LEN`] characters.
    #[error("the node id '{id}' has {length} characters; {max} are allowed", max = NodeId::MAX_LEN)]
    TooLong {
        /// The string, cut to the maximum length.
        id: String,
        /// The length in characters.
        length: usize,
    },
    /// The string has a character that is not allowed.
    #[error(
        "the node id '{id}' has the character '{character}' at position {position}; use lower-case letters, digits, '-' and '_', beginning with a letter or digit"
    )]
    Character {
        /// The string, cut to the maximum length.
        id: String,
        /// The offending character.
        character: char,
        /// The character's position, from 0.
        position: usize,
    },
}

impl NodeId {
    /// Maximum length of an id in characters.
    pub const MAX_LEN: usize = 63;

    /// Validates `id` without changing it.
    ///
    /// # Errors
    ///
    /// When `id` is empty or too long, begins with `-` or `_`, or has a character outside `[a-z0-9_-]`.
    pub fn new(id: &str) -> Result<Self, NodeIdError> {
        if id.is_empty() {
            return Err(NodeIdError::Empty);
        }
        for (position, character) in id.chars().enumerate() {
            let allowed = character.is_ascii_lowercase()
                || character.is_ascii_digit()
                || (position > 0 && matches!(character, '-' | '_'));
            if !allowed {
                let id = id.chars().take(Self::MAX_LEN).collect();
                return Err(NodeIdError::Character { id, character, position });
            }
        }
        if id.len() > Self::MAX_LEN {
            return Err(NodeIdError::TooLong { id: id[..Self::MAX_LEN].into(), length: id.len() });
        }
        Ok(Self(id.into()))
    }

    /// Derives an id from a hostname: its first label in lower case, with every invalid character replaced by `-`.
    ///
    /// Returns `host` if the label has no letter or digit.
    #[must_use]
    pub fn from_hostname(hostname: &str) -> Self {
        let label = hostname.split('.').next().unwrap_or_default();
        let cleaned: String = label
            .chars()
            .map(|c| c.to_ascii_lowercase())
            .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' { c } else { '-' })
            .skip_while(|c| matches!(c, '-' | '_'))
            .take(Self::MAX_LEN)
            .collect();
        let cleaned = cleaned.trim_end_matches('-');
        if cleaned.is_empty() { Self("host".into()) } else { Self(cleaned.into()) }
    }

    /// Returns this id with a number, to try when the id is taken: `ripples-2`. A long id is truncated to fit.
    #[must_use]
    pub fn numbered(&self, number: u32) -> Self {
        let suffix = format!("-{number}");
        let kept = self.0.len().min(Self::MAX_LEN - suffix.len());
        Self(format!("{}{suffix}", &self.0[..kept]).into())
    }

    /// Returns the id as a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl_name!(NodeId, NodeIdError);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn node_id_is_one_chunk_of_a_key() {
        assert!(NodeId::new("ripples-2_b").is_ok());
        assert_eq!(NodeId::new(""), Err(NodeIdError::Empty));
        for bad in ["Ripples", "a/b", "a*", "-a", "_a", "ä", "a b", "@a", "a$"] {
            assert!(NodeId::new(bad).is_err(), "{bad}");
        }
        assert!(NodeId::new(&"a".repeat(63)).is_ok());
        assert!(matches!(
            NodeId::new(&"a".repeat(64)),
            Err(NodeIdError::TooLong { length: 64, .. })
        ));
    }

    #[test]
    fn hostname_becomes_an_id() {
        assert_eq!(NodeId::from_hostname("Stage-Left.local").as_str(), "stage-left");
        assert_eq!(NodeId::from_hostname("VJ's MacBook").as_str(), "vj-s-macbook");
        assert_eq!(NodeId::from_hostname("___").as_str(), "host");
        assert_eq!(NodeId::from_hostname("").as_str(), "host");
        assert!(NodeId::new(NodeId::from_hostname(&"x".repeat(300)).as_str()).is_ok());
    }

    #[test]
    fn taken_id_is_numbered() {
        assert_eq!(NodeId::new("ripples").unwrap().numbered(2).as_str(), "ripples-2");
        let long = NodeId::new(&"a".repeat(63)).unwrap().numbered(12);
        assert_eq!(long.as_str().len(), 63);
        assert!(NodeId::new(long.as_str()).is_ok());
    }
}
