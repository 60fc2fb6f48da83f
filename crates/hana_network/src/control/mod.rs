//! The controller's side of modulation.

pub(crate) mod batch_stream;
pub(crate) mod ownership_client;
pub(crate) mod play_session;
