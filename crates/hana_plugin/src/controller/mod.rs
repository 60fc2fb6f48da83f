//! The plugin of a controller: other nodes, commands, claims.

pub(crate) mod controller_plugin;
pub(crate) mod mesh_commands;
pub(crate) mod nodes;
pub(crate) mod operators;
