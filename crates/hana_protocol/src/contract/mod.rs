//! The contract of `keyexprs.md`: keys, topics, routes, recipients.

pub(crate) mod keys;
pub(crate) mod recipients;
pub mod routes;
pub(crate) mod topics;

pub use keys::{Key, KeyKind, TopicHistory};
pub use recipients::Recipients;
pub use topics::{Topic, Topics};
