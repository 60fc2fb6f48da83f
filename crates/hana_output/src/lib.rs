//! Standard output and standard error that never end or block a program, whether the disk is full, the pipe or terminal
//! is closed, or the reader has stopped reading.
//!
//! | to | use |
//! |---|---|
//! | print the result of a command, and know whether it was written | [`Stream::write_all`] |
//! | notice that the reader has gone while there is nothing to write | [`Stream::is_closed`] |
//! | print from a program that must continue even if its output is lost | [`DroppingWriter`] |

mod dropping_writer;
mod stream;

pub use dropping_writer::DroppingWriter;
pub use stream::Stream;
