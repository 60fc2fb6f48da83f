//! Launching a program and its process.

pub(crate) mod launch_queue;
pub(crate) mod launch_spec;
pub(crate) mod process;
pub(crate) mod program_file;
pub(crate) mod running_launch;
