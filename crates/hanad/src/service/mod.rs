//! The daemon as a process of its system: service manager, watchdog, replacement.

pub(crate) mod own_program;
pub(crate) mod service_manager;
pub(crate) mod watchdog;
