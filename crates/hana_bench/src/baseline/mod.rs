//! Plain Zenoh with the same topology, as the reference.

pub(crate) mod gateways;
pub(crate) mod messages;
pub(crate) mod session;
pub(crate) mod token;
