//! The output of a program: its files and its lines.

mod copy_budget;
pub(crate) mod line_splitter;
pub(crate) mod log_follower;
pub(crate) mod output_file;
pub(crate) mod output_reader;
pub(crate) mod rotating_file;
