//! The path of messages from the network to the program's queues.

pub(crate) mod admission;
pub(crate) mod dedup_window;
pub(crate) mod gap_recovery;
pub(crate) mod inbound_stats;
pub(crate) mod payload_dedup;
pub(crate) mod schema_compat;
pub(crate) mod subscribe;
pub(crate) mod subscription;
