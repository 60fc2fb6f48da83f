//! Launching programs: the spec, the queue and the process.

pub(crate) mod launch_queue;
pub(crate) mod launch_spec;
pub(crate) mod process;
pub(crate) mod program_file;
pub(crate) mod running_launch;
