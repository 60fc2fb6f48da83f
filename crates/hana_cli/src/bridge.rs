//! Translators between the mesh and something else. Each is a node of the role bridge.

pub(crate) mod osc;
mod osc_message;
