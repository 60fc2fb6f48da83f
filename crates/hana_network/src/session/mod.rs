//! Zenoh sessions: opening, attaching, watching and replacing them.

pub(crate) mod attach_monitor;
pub(crate) mod connect_diagnostics;
pub(crate) mod connection;
mod discovery;
mod host_of_daemon;
pub(crate) mod local_addresses;
pub(crate) mod open;
mod scout_message;
pub(crate) mod scouting;
pub(crate) mod session_worker;
mod socket_linger;
pub(crate) mod zenoh_probe;
