//! The persistent state of a host's daemon.

pub(crate) mod clock_anchor;
pub(crate) mod host_id;
pub(crate) mod look_store;
pub(crate) mod run_record;
pub(crate) mod state_dir;
pub(crate) mod state_files;
