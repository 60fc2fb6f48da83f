//! The node: the handle through which a program uses all subsystems.

mod command_handler;
mod controller;
mod daemon;
mod join;
pub(crate) mod join_error;
mod messages;
pub(crate) mod node;
mod node_shared;
mod second_daemon;
mod visualization;
