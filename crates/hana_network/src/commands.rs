//! Commands, asked and answered.

pub(crate) mod command;
pub(crate) mod pending;
pub(crate) mod requests;
