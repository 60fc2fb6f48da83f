//! Discovery of other nodes by multicast.

mod discovery;
pub(crate) mod meeting;
pub(crate) mod scout_message;
mod scout_socket;
pub(crate) mod scouting;
