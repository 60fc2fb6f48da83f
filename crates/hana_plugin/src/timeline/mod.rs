//! The timeline and the time of frames.

pub(crate) mod frame_clock;
mod frame_timing;
#[cfg(feature = "ui")]
mod presentation;
pub(crate) mod timeline;
