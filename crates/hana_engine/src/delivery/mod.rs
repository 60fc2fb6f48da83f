//! Delivery of messages: order, gaps, retries, rate limits.

mod lane_receiver;
mod retry_queue;
pub(crate) mod stale_filter;
pub(crate) mod succession;
mod token_bucket;
mod topic_receiver;

pub use lane_receiver::{LaneAction, LaneCounts, LaneLimits, LaneReceiver};
pub use retry_queue::{Dispatch, DispatchAction, DispatchFull, DispatchLimits, Failure};
pub use stale_filter::{Arrival, SequenceFilter};
pub use succession::{Succession, Turn};
pub use token_bucket::{Admission, RateLimit, SenderLimits};
pub use topic_receiver::{Source, TopicAction, TopicReceiver};
