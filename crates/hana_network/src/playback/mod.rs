//! The receiving side of modulation, in a visualization.

mod automation;
mod controller_watch;
pub(crate) mod direct_listener;
mod mesh_echo;
pub(crate) mod modulation_input;
mod ownership_error;
pub(crate) mod parameter_publisher;
pub(crate) mod parameter_store;
mod playback_state;
pub(crate) mod set_error;
