//! Set up a machine: the daemon's settings, the service, the shell.

pub(crate) mod candidates;
pub(crate) mod completions;
pub(crate) mod man;
pub(crate) mod reload;
pub(crate) mod service;
