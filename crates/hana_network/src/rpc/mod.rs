//! Commands sent to other nodes and received from them.

pub(crate) mod command_client;
pub(crate) mod incoming_command;
