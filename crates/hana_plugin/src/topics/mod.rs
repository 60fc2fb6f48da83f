//! Custom messages in Bevy.

pub(crate) mod from_mesh;
pub(crate) mod pending_sends;
pub(crate) mod subscriptions;
pub(crate) mod topic_registry;
pub(crate) mod topic_writer;
