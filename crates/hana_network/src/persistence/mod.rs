//! The saved state and the last look of a visualization.

pub(crate) mod last_look;
pub(crate) mod saved_state;
