//! Play visualizations: parameters, tempo, messages, bridges.

mod absent;
pub(crate) mod bridge;
mod parameter_list;
pub(crate) mod send;
pub(crate) mod set;
pub(crate) mod tempo;
