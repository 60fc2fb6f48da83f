//! Zenoh sessions: opening, attaching, monitoring and replacing them.

pub(crate) mod attach_mode;
pub(crate) mod attach_monitor;
mod attach_policy;
pub(crate) mod attachment;
pub(crate) mod connect_diagnostics;
pub(crate) mod connection;
pub(crate) mod discovery;
pub(crate) mod first_reply;
mod host_of_daemon;
pub(crate) mod local_addresses;
pub(crate) mod open_session;
pub(crate) mod session_kind;
pub(crate) mod session_worker;
mod socket_linger;
pub(crate) mod zenoh_probe;
