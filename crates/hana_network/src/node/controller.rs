//! The methods of nodes that play visualizations: apps and bridges.

use std::collections::BTreeMap;

use hana_engine::playout::BatcherSettings;
use hana_protocol::contract::Key;
use hana_protocol::contract::routes::{Publishable, Route};
use hana_protocol::id::NodeId;
use hana_protocol::id::role::{NodeRole, Visualization};
use hana_protocol::message::{
    Modulation, ModulationBatch, NodeInfo, OperatorState, PlayStatus, Take,
};
use hana_protocol::wire::Message;
use zenoh::sample::Locality;

use crate::control::batch_stream::BatchStream;
use crate::control::direct_link::{DirectLink, DirectLinkError};
use crate::control::ownership_client::OwnershipClient;
use crate::control::play_session::PlaySession;
use crate::node::node::Node;
use crate::sync::pending::Pending;

impl<R: NodeRole> Node<R> {
    /// Plays many parameters of a visualization over the mesh, in modulation batches.
    ///
    /// [`DirectLink::batch_stream`] does the same over a direct link.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn batch_stream(
        &self,
        info: &NodeInfo,
        settings: BatcherSettings,
    ) -> std::io::Result<BatchStream>
    where
        ModulationBatch: Route<R, Visualization>,
    {
        let key = Key::ModulationBatch(info.node.clone());
        let context = &self.shared.context;
        let topic = context.outgoing_topic(&key, ModulationBatch::LANE, Locality::Any);
        BatchStream::start(info, topic, settings)
    }

    /// Returns the client with which this node shares parameters with other controllers.
    ///
    /// Its priority is `HANA_PRIORITY`, or 0 if the variable is not set. A node must have only one client.
    #[must_use]
    pub fn ownership_client(&self) -> OwnershipClient
    where
        OperatorState: Publishable<R>,
        Take: Route<R, Visualization>,
    {
        OwnershipClient::new(&self.shared.context)
    }

    /// Plays a visualization for as long as the session lives.
    ///
    /// The session uses a direct link, uses the mesh while no link is open, and continues when the visualization
    /// restarts. All calls for the same visualization return the same session.
    #[must_use]
    pub fn play_session(&self, node: &NodeId) -> PlaySession
    where
        ModulationBatch: Route<R, Visualization>,
    {
        self.play_session_with(node, BatcherSettings::default())
    }

    /// Plays a visualization whose info is known.
    ///
    /// Every value is checked against the declared parameters from the start, and the session does not need the mesh
    /// to find the visualization.
    #[must_use]
    pub fn play_session_with_info(&self, info: &NodeInfo) -> PlaySession
    where
        ModulationBatch: Route<R, Visualization>,
    {
        let (node, settings) = (&info.node, BatcherSettings::default());
        self.shared.sessions.with(&self.shared.context, node, settings, Some(info.clone()))
    }

    /// Plays a visualization with other batch settings than the default.
    ///
    /// If this node already has a session with the visualization, `settings` is ignored.
    #[must_use]
    pub fn play_session_with(&self, node: &NodeId, settings: BatcherSettings) -> PlaySession
    where
        ModulationBatch: Route<R, Visualization>,
    {
        self.shared.sessions.with(&self.shared.context, node, settings, None)
    }

    /// Returns the status of each visualization that this node plays in a session.
    #[must_use]
    pub fn play_sessions(&self) -> BTreeMap<NodeId, PlayStatus> {
        self.shared.sessions.statuses()
    }

    /// Opens a direct link to play a visualization.
    ///
    /// A [`play_session`](Self::play_session) opens its direct link automatically.
    #[must_use]
    pub fn open_direct_link(&self, info: &NodeInfo) -> Pending<Result<DirectLink, DirectLinkError>>
    where
        Modulation: Route<R, Visualization>,
    {
        DirectLink::open(&self.shared.context, info)
    }
}
