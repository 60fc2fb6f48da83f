//! The wire format: codec, envelope, lanes, and the message traits.

pub mod codec;
pub(crate) mod envelope;
pub(crate) mod error_chain;
pub(crate) mod lane;
pub(crate) mod message;

pub use envelope::{Envelope, EnvelopeError};
pub use error_chain::error_chain;
pub use lane::Lane;
pub use message::{CustomMessage, Message};
