//! The same message on each lane.

use hana_protocol::custom_message;
use hana_protocol::wire::{CustomMessage, Lane};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A numbered message.
pub(crate) trait Counted: CustomMessage {
    /// Creates a message of an instance, which is identified by its start time.
    fn new(run: u64, number: u64) -> Self;
    /// Returns the instance and the number.
    fn run_and_number(&self) -> (u64, u64);
}

macro_rules! counted {
    ($($(#[$doc:meta])* $message:ident on $topic:literal: $lane:expr;)+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
            pub(crate) struct $message {
                /// When the sending instance began, Unix microseconds.
                pub run: u64,
                /// How many it sent before.
                pub number: u64,
            }
            custom_message!($message, topic: $topic, lane: $lane);
            impl Counted for $message {
                fn new(run: u64, number: u64) -> Self {
                    Self { run, number }
                }
                fn run_and_number(&self) -> (u64, u64) {
                    (self.run, self.number)
                }
            }
        )+
    };
}

counted! {
    /// All of them, in order.
    InOrder on "tally-reliable-ordered": Lane::ReliableOrdered;
    /// All of them.
    AsTheyCome on "tally-reliable-unordered": Lane::ReliableUnordered;
    /// The newest.
    Newest on "tally-unreliable-sequenced": Lane::UnreliableSequenced;
    /// Those that arrive.
    AsLuckWill on "tally-unreliable-unordered": Lane::UnreliableUnordered;
}
