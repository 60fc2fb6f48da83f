//! Supervision of one process: policy, events, actions.

pub(crate) mod backoff;
pub(crate) mod event;
pub(crate) mod instance;
pub(crate) mod policy;
pub(crate) mod snapshot;
pub(crate) mod supervisor;

mod health;
mod lifecycle;
mod phase;
mod requests;
mod restart;
mod restore;
mod stop;
mod wording;
