use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::impl_name::impl_name;
use crate::id::node_id::NodeId;

/// The name of a custom topic: `[a-z0-9][a-z0-9_-]{0,62}`, one chunk of a key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicName(Arc<str>);

/// The error that a string is not a valid topic name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "'{name}' is not a topic name; use lower-case letters, digits, '-' and '_', beginning with a letter or digit, 63 at most"
)]
pub struct TopicNameError {
    /// The string, cut to 80 characters.
    pub name: String,
}

impl TopicName {
    /// Validates `name` without changing it.
    ///
    /// # Errors
    ///
    /// When `name` is empty or longer than 63 characters, begins with `-` or `_`, or has a character outside
    /// `[a-z0-9_-]`.
    pub fn new(name: &str) -> Result<Self, TopicNameError> {
        // Topic names follow the rule of node ids: both are one chunk of a key.
        NodeId::new(name)
            .map(|_| Self(name.into()))
            .map_err(|_| TopicNameError { name: name.chars().take(80).collect() })
    }

    /// Wraps a name that is known to be valid.
    pub(crate) fn from_valid(name: &str) -> Self {
        Self(name.into())
    }

    /// Returns the name as a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name` follows the rule of topic names; usable at compile time, for `custom_message!`.
    #[doc(hidden)]
    #[must_use]
    pub const fn is_valid(name: &str) -> bool {
        let name = name.as_bytes();
        let mut place = 0;
        while place < name.len() {
            let allowed = name[place].is_ascii_lowercase()
                || name[place].is_ascii_digit()
                || (place > 0 && matches!(name[place], b'-' | b'_'));
            if !allowed {
                return false;
            }
            place += 1;
        }
        !name.is_empty() && name.len() <= NodeId::MAX_LEN
    }
}

impl_name!(TopicName, TopicNameError);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn both_validity_checks_agree(name in "[a-zA-Z0-9_/* -]{0,66}") {
            prop_assert_eq!(TopicName::is_valid(&name), TopicName::new(&name).is_ok());
        }
    }
}
