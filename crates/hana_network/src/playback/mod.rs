//! The visualization's side of modulation.

pub(crate) mod automation;
pub(crate) mod direct_link;
pub(crate) mod parameter_store;
