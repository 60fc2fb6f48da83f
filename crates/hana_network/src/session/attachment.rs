use std::sync::Arc;

use crate::sync::lock::Mutex;

use crate::config::node_config::NodeConfig;
use crate::session::connection::ConnectionWatch;
use crate::session::session_worker::{RegistrationGuard, SessionWorker};

/// The attachment of a node to the mesh: its session, its settings and its connection state.
///
/// The threads that maintain the attachment end when it is dropped.
pub(crate) struct Attachment {
    pub(crate) config: Arc<NodeConfig>,
    pub(crate) worker: SessionWorker,
    pub(crate) connection: ConnectionWatch,
    /// The discovery of a node that listens: it finds other nodes and replies to their queries.
    pub(super) scouting: Mutex<Option<RegistrationGuard>>,
}

impl Attachment {
    pub(crate) fn new(
        config: Arc<NodeConfig>,
        worker: SessionWorker,
        connection: ConnectionWatch,
    ) -> Arc<Self> {
        Arc::new(Self { config, worker, connection, scouting: Mutex::default() })
    }
}
