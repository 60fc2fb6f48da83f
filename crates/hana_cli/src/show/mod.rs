//! Run a show: launch, stop, freeze, and the demo.

pub(crate) mod demo;
pub(crate) mod overrides;
pub(crate) mod process;
mod start_outcome;
