//! The parts of the window.
//!
//! Each part has a view: plain data computed from the model without I/O. A part is spawned again when its
//! view has changed.

mod action_button;
pub(crate) mod details;
pub(crate) mod footer;
pub(crate) mod header;
pub(crate) mod layout;
pub(crate) mod node_list;
pub(crate) mod panel;
mod parameter_row;
pub(crate) mod toast_stack;
