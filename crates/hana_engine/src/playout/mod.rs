//! Modulation from the controller's batch to the value of a frame.

mod batcher;
mod jitter_buffer;
mod path_selector;
mod receiver;
mod sender_clock;

pub use batcher::{Batcher, BatcherSettings};
pub use jitter_buffer::{Curve, JitterBuffer, JitterBufferSettings};
pub use path_selector::{PathAction, PathEvent, PathSelector};
pub use receiver::{ModulationReceiver, ReceiveOutcome};
pub use sender_clock::{ClockObservation, SenderClock};
