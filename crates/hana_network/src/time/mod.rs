//! Clocks and timelines of hosts.

pub(crate) mod beat_clock;
pub(crate) mod clock_sync;
pub(crate) mod local_clock;
mod remote_timeline;
pub(crate) mod steady_clock;
pub(crate) mod timeline_handle;
pub(crate) mod wall_clock;
