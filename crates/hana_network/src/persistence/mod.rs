//! Saved state and the last look.

pub(crate) mod last_look;
pub(crate) mod saved_state;
