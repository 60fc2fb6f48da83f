//! The synchronization types that the threads of a node share: queues, pending results, timers, change counters.

pub(crate) mod change_counter;
pub(crate) mod inbox;
pub(crate) mod lock;
pub(crate) mod pending;
pub(crate) mod timer;
