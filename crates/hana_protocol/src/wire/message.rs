use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire::lane::Lane;

/// Something that travels as a payload of its own: one type, one name, one lane.
///
/// On the wire it is a `MessagePack` map with field names.
pub trait Message: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What `hana watch` and `keyexprs.md` call it.
    const NAME: &'static str;
    /// How it is delivered.
    const LANE: Lane;
    /// A payload larger than this many bytes is refused, unread.
    const MAX_BYTES: usize = 64 * 1024;
    /// More messages than this in a second, of one sender on one key, are dropped unread by who receives them,
    /// and counted. A burst of a second's worth is taken.
    const MAX_PER_SECOND: u32 = 20_000;
}

/// A message type that a visualization brings along: published on `hana/<viz>/topic/<TOPIC>`, addressed to one
/// node on `hana/<node>/inbox/<TOPIC>`, to all of a kind on `hana/_<kind>/inbox/<TOPIC>`.
///
/// Its schema and its version are announced in `info`, so that programs without the type can show and send
/// it, and a receiver with another shape of it can say where they differ.
pub trait CustomMessage: Message + JsonSchema {
    /// The last chunk of its keys: `[a-z0-9][a-z0-9_-]{0,62}`.
    const TOPIC: &'static str;
    /// Its version, for people: what fits is decided by the shape. A new shape should have a new one.
    const VERSION: u32 = 1;
}

/// Declares that a type is a [`CustomMessage`], sent and received by visualizations, apps and bridges.
///
/// ```
/// use hana_protocol::custom_message;
/// use hana_protocol::wire::Lane;
/// use schemars::JsonSchema;
/// use serde::{Deserialize, Serialize};
///
/// /// A spark flew off.
/// #[derive(Debug, Serialize, Deserialize, JsonSchema)]
/// struct Spark { x: f32, y: f32 }
/// custom_message!(Spark, topic: "spark", lane: Lane::UnreliableUnordered, version: 2);
/// ```
#[macro_export]
macro_rules! custom_message {
    ($message:ty, topic: $topic:literal, lane: $lane:expr $(, version: $version:literal)? $(,)?) => {
        impl $crate::wire::Message for $message {
            const LANE: $crate::wire::Lane = $lane;
            const NAME: &'static str = ::core::stringify!($message);
        }
        const _: () = ::core::assert!(
            $crate::id::TopicName::is_valid($topic),
            "the name of a topic has lower-case letters, digits, '-' and '_', beginning with a letter or digit, 63 at most"
        );
        impl $crate::wire::CustomMessage for $message {
            const TOPIC: &'static str = $topic;
            $(const VERSION: u32 = $version;)?
        }
        $crate::routes! {
            $message: Visualization, App, Bridge => Visualization, App, Bridge;
        }
    };
}
