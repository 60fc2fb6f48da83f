//! The catalogue of programs that a daemon can launch.

pub(crate) mod catalogue;
pub(crate) mod catalogue_changes;

mod config;
mod ranges;
