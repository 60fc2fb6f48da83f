//! The transport of messages between the program's queues and the network.

pub(crate) mod counters;
pub(crate) mod diagnostic;
pub(crate) mod inbound;
pub(crate) mod outbound;
pub(crate) mod query;
pub(crate) mod raw_message;
pub(crate) mod received;
pub(crate) mod schema_mismatch;
