//! States: values that late joiners receive too.

pub(crate) mod log_tail;
pub(crate) mod state_publisher;
pub(crate) mod state_query;
