//! Delivery of messages: order, gaps, retries, rate limits.

mod lane_receiver;
mod retry_queue;
pub(crate) mod stale_filter;
pub(crate) mod succession;
mod token_bucket;
mod topic_receiver;

pub use lane_receiver::{LaneAction, LaneCounts, LaneLimits, LaneReceiver};
pub use retry_queue::{RetryAction, RetryLimits, RetryQueue, RetryQueueFull, SendFailure};
pub use stale_filter::{Arrival, StaleFilter};
pub use succession::{Succession, Turn};
pub use token_bucket::{Admission, SenderLimits, TokenBucket};
pub use topic_receiver::{PublisherState, TopicAction, TopicReceiver};
