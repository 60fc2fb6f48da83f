//! Standard output and standard error that end no program: a full disk, a pipe whose reader has gone, a terminal that is
//! closed, a reader that has stopped reading.
//!
//! | to | use |
//! |---|---|
//! | print the result of a command, and know whether it was written | [`Stream::write_all`] |
//! | notice that the reader has gone while there is nothing to write | [`Stream::is_closed`] |
//! | print from a program that must go on, whatever becomes of its output | [`DroppingWriter`] |

mod dropping_writer;
mod stream;

pub use dropping_writer::DroppingWriter;
pub use stream::Stream;
