//! A virtual screen, its windows, and the person before it.

pub(crate) mod image;
#[cfg(target_os = "linux")]
pub(crate) mod person;
pub(crate) mod rings;
#[cfg(target_os = "linux")]
pub(crate) mod screen;
#[cfg(target_os = "linux")]
pub(crate) mod stage;
