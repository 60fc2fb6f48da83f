//! How messages are carried: queues, judgement of what comes, recovery of what is missing, counting.

pub(crate) mod archive;
pub(crate) mod copy_filter;
pub(crate) mod counters;
pub(crate) mod gate;
pub(crate) mod inbox;
pub(crate) mod outbox;
pub(crate) mod problem;
pub(crate) mod publisher;
pub(crate) mod question;
pub(crate) mod reception;
pub(crate) mod recovery;
pub(crate) mod sender_book;
pub(crate) mod subscription;
pub(crate) mod taken;
pub(crate) mod ticker;
