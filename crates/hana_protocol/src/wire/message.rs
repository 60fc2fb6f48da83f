use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::id::topic_name::TopicName;
use crate::wire::lane::Lane;

/// A type that is sent as the payload of a message, with one name and one lane.
///
/// On the wire it is a `MessagePack` map with field names.
pub trait Message: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The name in `hana watch` and `keyexprs.md`.
    const NAME: &'static str;
    /// The delivery guarantee.
    const LANE: Lane;
    /// Maximum size of a payload in bytes; a larger payload is rejected without being decoded.
    const MAX_BYTES: usize = 64 * 1024;
    /// Maximum rate per sender and key; the receiver drops and counts messages above it without decoding them.
    ///
    /// A burst of up to this many messages is accepted.
    const MAX_PER_SECOND: u32 = 20_000;
}

/// A message type that a visualization defines itself.
///
/// It is published on `hana/<viz>/topic/<TOPIC>`, addressed to one node on `hana/<node>/inbox/<TOPIC>`, and to all
/// nodes of a kind on `hana/_<kind>/inbox/<TOPIC>`. `info` announces its schema and version, so that programs
/// without the type can show and send it, and a receiver with a different schema can report where they differ.
pub trait CustomMessage: Message + JsonSchema {
    /// The last chunk of the type's keys: `[a-z0-9][a-z0-9_-]{0,62}`.
    const TOPIC: &'static str;
    /// The version, for people only: compatibility is decided by the schema. Change it when the schema changes.
    const VERSION: u32 = 1;
}

impl TopicName {
    /// Returns the topic of a message type; `custom_message!` validated it at compile time.
    #[must_use]
    pub fn of<M: CustomMessage>() -> Self {
        Self::from_valid(M::TOPIC)
    }
}
