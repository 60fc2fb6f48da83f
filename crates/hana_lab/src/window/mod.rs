//! A virtual screen, its windows, and the simulated person at it.

pub(crate) mod image;
#[cfg(target_os = "linux")]
pub(crate) mod person;
pub(crate) mod rings;
#[cfg(target_os = "linux")]
pub(crate) mod screen;
#[cfg(target_os = "linux")]
pub(crate) mod stage;
