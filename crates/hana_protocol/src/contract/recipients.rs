use crate::contract::key::Key;

/// The addressees of a custom message, which follow from its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recipients {
    /// All subscribers of the sender's topic: `hana/<viz>/topic/<name>`.
    Everybody,
    /// All nodes of a kind: `hana/_<kind>/inbox/<name>`.
    Kind,
    /// One node: `hana/<node>/inbox/<name>`.
    Node,
}

impl Recipients {
    /// Derives the recipients from a key; `None` if the key does not carry custom messages.
    #[must_use]
    pub fn of_key(key: &str) -> Option<Self> {
        match Key::parse(key)? {
            Key::Custom { .. } => Some(Self::Everybody),
            Key::KindInbox { .. } => Some(Self::Kind),
            Key::Inbox { .. } => Some(Self::Node),
            _ => None,
        }
    }
}
