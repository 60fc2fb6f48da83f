//! Presence of nodes: health, liveliness tokens, id conflicts.

pub(crate) mod conflict_watch;
pub(crate) mod frame_counter;
pub(crate) mod id_conflict;
pub(crate) mod id_holder;
pub(crate) mod instance;
mod memory;
pub(crate) mod mesh_observer;
pub(crate) mod status_publisher;
mod tcp_probe;
