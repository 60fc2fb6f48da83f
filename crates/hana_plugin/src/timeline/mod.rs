//! The timeline and the time of frames.

mod frame_timing;
pub(crate) mod timeline;
