use std::time::Duration;

/// The time limit for a worker to be ready or to reply, and for a node to join the mesh.
pub(crate) const REPLY_TIMEOUT: Duration = Duration::from_secs(20);
