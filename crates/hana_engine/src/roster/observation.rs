use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::message::{
    Event, EventKind, Health, Look, LostPeers, NodeInfo, OperatorState, ParameterOwners,
    ProcessStatus,
};

use crate::roster::host_loss::ProbeOutcome;

/// An observation on the mesh.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// A liveliness token was added.
    TokenAdded {
        /// The node.
        node: NodeId,
        /// The role of the node.
        role: Role,
        /// The Zenoh id of the node's session.
        zid: String,
    },
    /// A liveliness token was removed.
    TokenRemoved {
        /// The node.
        node: NodeId,
        /// The Zenoh id of the node's session.
        zid: String,
    },
    /// A node announced its clean exit.
    Closed(NodeId),
    /// A node published its info.
    Info(NodeInfo),
    /// A node published its health.
    Health(NodeId, Health),
    /// A visualization published its look.
    Look(NodeId, Look),
    /// A visualization published its parameter owners.
    Owners(NodeId, ParameterOwners),
    /// An app or a bridge published its operator state.
    Operator(NodeId, OperatorState),
    /// A host's daemon published the status of a process.
    Process(NodeId, ProcessStatus),
    /// A host's daemon published its lost peers.
    LostPeers(NodeId, LostPeers),
    /// The result of a probe of a host's daemon port.
    Probed(NodeId, ProbeOutcome),
}

impl Observation {
    /// Returns the observation that an event implies: a node that reports itself as closed exits cleanly.
    #[must_use]
    pub fn of_event(from: &NodeId, event: &Event) -> Option<Self> {
        let is_goodbye = event.kind == EventKind::Closed && event.about == *from;
        is_goodbye.then(|| Self::Closed(from.clone()))
    }

    /// Returns the node that the observation concerns.
    #[must_use]
    pub const fn node(&self) -> &NodeId {
        match self {
            Self::TokenAdded { node, .. }
            | Self::TokenRemoved { node, .. }
            | Self::Closed(node)
            | Self::Health(node, _)
            | Self::Look(node, _)
            | Self::Owners(node, _)
            | Self::Operator(node, _)
            | Self::LostPeers(node, _)
            | Self::Probed(node, _) => node,
            Self::Info(info) => &info.node,
            Self::Process(_, status) => &status.node,
        }
    }
}
