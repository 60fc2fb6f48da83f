//! What has a current value, or is kept for who comes late.

pub(crate) mod last_look;
pub(crate) mod log_tail;
pub(crate) mod retained;
pub(crate) mod saved_state;
pub(crate) mod state;
