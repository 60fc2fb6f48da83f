//! Custom messages in Bevy.

pub(crate) mod pending_sends;
pub(crate) mod topics;
