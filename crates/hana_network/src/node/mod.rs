//! The node: the handle that a program holds, composed of all subsystems.

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
