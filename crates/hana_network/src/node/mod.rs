//! The node: the handle that a program holds.

pub(crate) mod node;
