//! The parts of the window.
//!
//! Each part has a view: plain data computed from the model without I/O. A part is spawned again when its
//! view has changed.

mod action_button;
mod details;
mod footer;
mod header;
pub(crate) mod layout;
mod node_list;
mod panel;
mod parameter_row;
mod toast_stack;
