use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Lane;

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
}

/// A message type that a visualization brings along, published on `hana/<viz>/topic/<TOPIC>`.
///
/// A new version is a new shape. It is announced in `info`; a receiver does not compare it yet, but refuses
/// what does not fit, field by field.
pub trait CustomMessage: Message {
    /// The last chunk of its key: `[a-z0-9][a-z0-9_-]{0,62}`.
    const TOPIC: &'static str;
    /// Its version, announced in `info`.
    const VERSION: u32 = 1;
}

/// Declares that a type is a [`CustomMessage`], sent and received by visualizations, apps and bridges.
///
/// ```
/// use hana_protocol::{Lane, custom_message};
/// use serde::{Deserialize, Serialize};
///
/// /// A spark flew off.
/// #[derive(Debug, Serialize, Deserialize)]
/// struct Spark { x: f32, y: f32 }
/// custom_message!(Spark, topic: "spark", lane: Lane::UnreliableUnordered);
/// ```
#[macro_export]
macro_rules! custom_message {
    ($message:ty, topic: $topic:literal, lane: $lane:expr $(, version: $version:literal)? $(,)?) => {
        impl $crate::Message for $message {
            const LANE: $crate::Lane = $lane;
            const NAME: &'static str = ::core::stringify!($message);
        }
        impl $crate::CustomMessage for $message {
            const TOPIC: &'static str = $topic;
            $(const VERSION: u32 = $version;)?
        }
        $crate::routes! {
            $message: Visualization, App, Bridge => Visualization, App, Bridge;
        }
    };
}
