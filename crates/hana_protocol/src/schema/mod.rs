//! Schemas of custom messages: validation, comparison, examples.

pub(crate) mod message_schema;

pub use message_schema::compare::{Difference, Frequency};
pub use message_schema::validate::Misfit;
pub use message_schema::{FieldOutline, Shape};
