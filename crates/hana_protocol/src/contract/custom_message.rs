/// Declares that a type is a [`CustomMessage`](crate::wire::CustomMessage), which visualizations, apps and bridges
/// send and receive.
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
            "a topic name has lower-case letters, digits, '-' and '_', beginning with a letter or digit, 63 at most"
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
