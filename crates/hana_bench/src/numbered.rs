//! A numbered message for each lane.

use hana_protocol::routes;
use hana_protocol::wire::{CustomMessage, Lane, Message};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A message that is one of many.
pub(crate) trait Numbered: CustomMessage {
    /// That one.
    fn new(number: u64) -> Self;
    /// Which one.
    fn number(&self) -> u64;
}

macro_rules! numbered {
    ($($(#[$doc:meta])* $message:ident on $topic:literal: $lane:expr;)+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
            pub(crate) struct $message {
                /// Its number.
                pub number: u64,
            }
            impl Message for $message {
                const LANE: Lane = $lane;
                /// What a bench sends is not limited.
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
    /// The newest.
    Newest on "bench-newest": Lane::UnreliableSequenced;
    /// All of them, in order.
    InOrder on "bench-in-order": Lane::ReliableOrdered;
    /// What comes.
    AsLuckWill on "bench-as-luck-will": Lane::UnreliableUnordered;
    /// All of them.
    AsTheyCome on "bench-as-they-come": Lane::ReliableUnordered;
}
