//! The sending side of modulation, in a controller.

pub(crate) mod batch_stream;
mod count_guard;
mod dial_permit;
pub(crate) mod direct_link;
mod link_manager;
pub(crate) mod ownership_client;
pub(crate) mod play_session;
pub(crate) mod play_sessions;
mod value_buffer;
