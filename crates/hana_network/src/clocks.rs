//! The clocks of this machine and of others, and the timeline on them.

pub(crate) mod beat_clock;
pub(crate) mod clock_watch;
pub(crate) mod distant_timeline;
pub(crate) mod local_clock;
pub(crate) mod steady_clock;
pub(crate) mod timeline_watch;
pub(crate) mod wall_clock;
