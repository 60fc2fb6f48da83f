//! Modulation from the controller's batch to the value of a frame.

mod batcher;
mod jitter_buffer;
mod path_selector;
mod receiver;
mod sender_clock;

pub use batcher::{FrameRecorder, FrameSettings};
pub use jitter_buffer::{Curve, Playout, PlayoutSettings};
pub use path_selector::{PlayAction, PlayEvent, PlaySwitch};
pub use receiver::{Player, Taken};
pub use sender_clock::{ClockMap, Reading};
