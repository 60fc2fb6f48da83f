//! Who is there, how they are, and who has our id.

pub(crate) mod frame_clock;
pub(crate) mod heart;
pub(crate) mod instance;
pub(crate) mod knock;
pub(crate) mod memory;
pub(crate) mod mesh_watch;
pub(crate) mod rival;
