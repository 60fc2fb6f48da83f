//! Agreement of all hosts on one timeline.

mod timeline_sync;

pub use timeline_sync::{Routing, TimelineSync, TimelineSyncAction, TransportRequest};
