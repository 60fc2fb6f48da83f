//! The context of a node, which all its subsystems share.

pub(crate) mod node_context;
mod senders;
