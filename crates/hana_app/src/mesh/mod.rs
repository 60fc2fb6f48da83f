//! The systems between the mesh and the model.

pub(crate) mod effects;
pub(crate) mod logs;
pub(crate) mod nodes;
pub(crate) mod operators;
pub(crate) mod status;
