//! The contract of `keyexprs.md`: keys, topics, routes, recipients.

mod custom_message;
pub(crate) mod key;
pub(crate) mod key_kind;
pub(crate) mod recipients;
pub mod routes;
pub(crate) mod topics;

pub use key::Key;
pub use key_kind::{KeyKind, TopicHistory};
pub use recipients::Recipients;
pub use topics::{Topic, Topics};
