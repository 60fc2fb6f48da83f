//! The operator's input.

pub(crate) mod keyboard;
pub(crate) mod mouse;
pub(crate) mod slider;
