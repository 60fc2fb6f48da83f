//! Custom messages: published, sent to one node, or sent to all nodes of a kind.
//!
//! Programs that have the message type send and receive typed messages; other programs use JSON.

pub(crate) mod confirmed_send;
pub(crate) mod custom_subscription;
pub(crate) mod early_subscriptions;
pub(crate) mod json_message;
pub(crate) mod message_sender;
