//! What `hana bench` measures: ours and the reference in one run, round by round in turns, on this machine alone.
//!
//! Everything that is measured are real processes: a daemon of the bench's own, what it launches, and beside them
//! plain Zenoh with the same topology. All of it ends with the bench, also when that is interrupted.

mod assistant;
mod child;
mod discovery;
mod error;
mod figure;
mod latency;
mod modulation;
mod numbered;
mod own_host;
mod own_show;
mod pace;
mod part;
mod raw;
mod raw_mesh;
mod raw_token;
mod recovery;
mod stamps;
mod throughput;

pub use discovery::discovery;
pub use error::BenchError;
pub use figure::{Comparison, Latency, Measured, Rate, Report, Times};
pub use latency::latency;
pub use modulation::modulation;
pub use part::WorkerRole;
pub use raw_token::RawPart;
pub use recovery::recovery;
pub use throughput::throughput;
