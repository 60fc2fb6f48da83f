//! States: values that nodes receive even if they join after the publication.

pub(crate) mod log_tail;
pub(crate) mod state_publisher;
pub(crate) mod state_query;
