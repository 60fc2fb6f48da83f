//! The clocks and timelines of hosts.

pub(crate) mod beat_clock;
pub(crate) mod beat_instant;
pub(crate) mod clock_sync;
mod remote_timeline;
mod timeline_cell;
pub(crate) mod timeline_handle;
