use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::sync::lock::Mutex;
use hana_engine::playout::BatcherSettings;
use hana_protocol::id::NodeId;
use hana_protocol::message::{NodeInfo, PlayStatus};

use crate::context::node_context::NodeContext;
use crate::control::count_guard::CountGuard;
use crate::control::dial_permit::DialPermits;
use crate::control::play_session::{PlaySession, WeakSession};

/// The play sessions of a node.
#[derive(Default)]
pub(crate) struct PlaySessions {
    count: Arc<AtomicUsize>,
    permits: DialPermits,
    sessions: Mutex<BTreeMap<NodeId, WeakSession>>,
}

impl PlaySessions {
    /// Returns the session with a visualization. There is only one session for each visualization.
    pub(crate) fn with(
        &self,
        context: &Arc<NodeContext>,
        node: &NodeId,
        settings: BatcherSettings,
        info: Option<NodeInfo>,
    ) -> PlaySession {
        let mut sessions = self.sessions.lock();
        sessions.retain(|_, session| session.upgrade().is_some());
        if let Some(session) = sessions.get(node).and_then(WeakSession::upgrade) {
            if let Some(info) = info {
                session.set_target_info(info);
            }
            return session;
        }
        let shared = (CountGuard::among(&self.count), self.permits.clone());
        let session = PlaySession::begin(context, shared, node, settings, info);
        sessions.insert(node.clone(), session.downgrade());
        session
    }

    /// Returns the status of each visualization that the node plays.
    pub(crate) fn statuses(&self) -> BTreeMap<NodeId, PlayStatus> {
        let status = |(node, session): (&NodeId, &WeakSession)| {
            Some((node.clone(), session.upgrade()?.status()))
        };
        self.sessions.lock().iter().filter_map(status).collect()
    }
}
