//! The daemon as a process of its system: service manager, watchdog, readiness, replacement.

pub(crate) mod own_program;
#[cfg(unix)]
pub(crate) mod ready_signal;
pub(crate) mod service_manager;
pub(crate) mod watchdog;
