//! The measurements, each of hana and of plain Zenoh in alternating rounds.

pub(crate) mod discovery;
pub(crate) mod latency;
pub(crate) mod modulation;
pub(crate) mod recovery;
mod run_at_rate;
pub(crate) mod throughput;
