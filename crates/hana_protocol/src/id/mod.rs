//! Identifiers of nodes, roles and topics, and stamps that order writes.

pub(crate) mod impl_name;
pub(crate) mod node_id;
pub mod role;
pub(crate) mod stamp;
pub(crate) mod topic_name;

pub use node_id::{NodeId, NodeIdError};
pub use stamp::Stamp;
pub use topic_name::{TopicName, TopicNameError};
