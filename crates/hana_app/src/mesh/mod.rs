//! The connection of the model with the mesh.

pub(crate) mod effects;
pub(crate) mod logs;
pub(crate) mod nodes;
pub(crate) mod operators;
