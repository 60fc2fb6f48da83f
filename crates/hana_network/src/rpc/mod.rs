//! Commands that a node sends to other nodes or receives from them.

pub(crate) mod command_client;
pub(crate) mod incoming_command;
