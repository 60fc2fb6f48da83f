//! Worker processes: this program again, as one end of a measurement.

pub(crate) mod arrival_log;
mod baseline;
pub(crate) mod bench_worker;
pub(crate) mod receive_counter;
pub(crate) mod role;
pub(crate) mod run;
mod serve;
mod subscriber;
mod visualization;
mod watchers;
