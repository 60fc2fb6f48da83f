//! The clocks of this machine.

pub(crate) mod local_clock;
pub(crate) mod steady_clock;
pub(crate) mod wall_clock;
