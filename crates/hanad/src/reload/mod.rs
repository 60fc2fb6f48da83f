//! Reading the catalogue and the settings again when they change.

pub(crate) mod reloader;

mod file_watch;
