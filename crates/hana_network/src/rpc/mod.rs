//! Commands to other nodes and from them.

pub(crate) mod command_client;
pub(crate) mod incoming_command;
pub(crate) mod pending;
