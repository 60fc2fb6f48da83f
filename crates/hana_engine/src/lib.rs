//! The state machines of a node. Each takes an event and the current time and returns actions.
//!
//! Nothing here does I/O, names Zenoh, reads a clock or spawns a thread: the tests run in virtual time.

pub mod delivery;
pub mod ownership;
pub mod playout;
pub mod roster;
pub mod sync;
