//! The path of messages from the program's queues to the network.

pub(crate) mod lane_qos;
pub(crate) mod publisher;
pub(crate) mod retransmit_buffer;
pub(crate) mod send_queue;
pub(crate) mod sender_identity;
mod topic_buffer;
