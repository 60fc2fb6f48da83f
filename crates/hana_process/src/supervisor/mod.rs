//! Supervision of one process: policy, events, actions.

pub(crate) mod backoff;
pub(crate) mod policy;
pub(crate) mod supervisor;
