//! Set up a machine: the daemon's settings, the service.

pub(crate) mod reload;
pub(crate) mod service;
