//! Numbered messages, one type for each lane.

use hana_protocol::routes;
use hana_protocol::wire::{CustomMessage, Lane, Message};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A message with a number.
pub(crate) trait Numbered: CustomMessage {
    /// Creates the message with this number.
    fn new(number: u64) -> Self;
    /// Returns its number.
    fn number(&self) -> u64;
}

macro_rules! numbered {
    ($($(#[$doc:meta])* $message:ident on $topic:literal: $lane:expr;)+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
            pub(crate) struct $message {
                /// The number.
                pub number: u64,
            }
            impl Message for $message {
                const LANE: Lane = $lane;
                /// The bench must not be rate-limited.
                const MAX_PER_SECOND: u32 = u32::MAX;
                const NAME: &'static str = stringify!($message);
            }
            impl CustomMessage for $message {
                const TOPIC: &'static str = $topic;
            }
            routes! { $message: App => App; }
            impl Numbered for $message {
                fn new(number: u64) -> Self {
                    Self { number }
                }
                fn number(&self) -> u64 {
                    self.number
                }
            }
        )+
    };
}

numbered! {
    /// Delivers the newest message.
    Newest on "bench-newest": Lane::UnreliableSequenced;
    /// Delivers all messages in order.
    InOrder on "bench-in-order": Lane::ReliableOrdered;
    /// Delivers messages without any guarantee.
    AsLuckWill on "bench-as-luck-will": Lane::UnreliableUnordered;
    /// Delivers all messages in any order.
    AsTheyCome on "bench-as-they-come": Lane::ReliableUnordered;
}
