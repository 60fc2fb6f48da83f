//! What `hana bench` measures: ours and the reference in one run, round by round in turns, on this machine alone.
//!
//! Everything that is measured are real processes: a daemon of the bench's own, what it launches, and beside them
//! plain Zenoh with the same topology. All of it ends with the bench, also when that is interrupted.

mod child;
mod error;
mod figure;
mod own_show;
mod raw_token;
mod recovery;

pub use error::BenchError;
pub use figure::Comparison;
pub use figure::Report;
pub use figure::Times;
pub use raw_token::RawPart;
pub use recovery::recovery;
