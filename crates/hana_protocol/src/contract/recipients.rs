use crate::contract::keys::Key;

/// Whom a custom message is meant for, which its key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recipients {
    /// Whoever hears the sender's topic: `hana/<viz>/topic/<name>`.
    Everybody,
    /// All nodes of a kind: `hana/_<kind>/inbox/<name>`.
    Kind,
    /// One node: `hana/<node>/inbox/<name>`.
    Node,
}

impl Recipients {
    /// Reads it off a key; `None` when the key is none of a custom message.
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
