//! Schemas of custom messages: parsing, validation, comparison, examples.

pub(crate) mod message_schema;

pub use message_schema::compare::{Incompatibility, Severity};
pub use message_schema::validate::ValidationError;
pub use message_schema::{FieldOutline, MessageSchema};
