//! Message transport between the program's queues and the wire.

pub(crate) mod admission;
pub(crate) mod counters;
pub(crate) mod dedup_window;
pub(crate) mod gap_recovery;
pub(crate) mod inbound;
pub(crate) mod inbox;
pub(crate) mod payload_dedup;
pub(crate) mod problem;
pub(crate) mod publisher;
pub(crate) mod query;
pub(crate) mod retransmit_buffer;
pub(crate) mod schema_compat;
pub(crate) mod send_queue;
pub(crate) mod subscription;
pub(crate) mod timer;
