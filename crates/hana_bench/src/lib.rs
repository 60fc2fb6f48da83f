//! The measurements of `hana bench`: hana and the reference, in alternating rounds of one run, on this machine alone.
//!
//! All measured parties are real processes: a daemon of the bench, the programs it launches, and plain Zenoh with the
//! same topology. All of them stop with the bench, even if it is interrupted.

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
