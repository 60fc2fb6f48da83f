use hana_protocol::id::role::Daemon;

use crate::context::node_context::NodeContext;
use crate::node::node::Node;
use crate::state::state_query::QueryableGuard;
use crate::time::clock_sync;

impl Node<Daemon> {
    /// Replies to clock queries for this host until the returned guard is dropped.
    #[must_use]
    pub fn reply_to_clock_queries(&self) -> QueryableGuard {
        let NodeContext { session_worker, identity, config, .. } = &*self.shared.context;
        let guard = clock_sync::reply_to_queries(session_worker, identity, &config.host);
        QueryableGuard::new(guard)
    }
}
