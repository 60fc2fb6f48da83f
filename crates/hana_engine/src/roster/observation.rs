use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::message::{
    Event, EventKind, Health, Look, LostPeers, NodeInfo, OperatorState, ParameterOwners,
    ProcessStatus,
};

use crate::roster::host_loss::ProbeOutcome;

/// Something seen on the mesh.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// A liveliness token came.
    Appeared {
        /// The node.
        node: NodeId,
        /// Its role.
        role: Role,
        /// The Zenoh id of its session.
        zid: String,
    },
    /// A liveliness token went.
    Vanished {
        /// The node.
        node: NodeId,
        /// The Zenoh id of its session.
        zid: String,
    },
    /// A node has said that it goes, in good order.
    Goodbye(NodeId),
    /// A node said what it is.
    Info(NodeInfo),
    /// A node said how it is.
    Health(NodeId, Health),
    /// A visualization said what it shows.
    Look(NodeId, Look),
    /// A visualization said who holds what.
    Holders(NodeId, ParameterOwners),
    /// An app or a bridge said how it plays.
    Session(NodeId, OperatorState),
    /// The daemon of the host said what it knows of a process.
    Process(NodeId, ProcessStatus),
    /// The daemon of the host said whom it has lost.
    Lost(NodeId, LostPeers),
    /// Somebody knocked at the port of the daemon of a host.
    Knocked(NodeId, ProbeOutcome),
}

impl Observation {
    /// What an event says of who is there: a node that says of itself that it is closed says goodbye.
    #[must_use]
    pub fn of_event(from: &NodeId, event: &Event) -> Option<Self> {
        let is_goodbye = event.kind == EventKind::Closed && event.about == *from;
        is_goodbye.then(|| Self::Goodbye(from.clone()))
    }

    /// Whom it is about.
    #[must_use]
    pub const fn node(&self) -> &NodeId {
        match self {
            Self::Appeared { node, .. }
            | Self::Vanished { node, .. }
            | Self::Goodbye(node)
            | Self::Health(node, _)
            | Self::Look(node, _)
            | Self::Holders(node, _)
            | Self::Session(node, _)
            | Self::Lost(node, _)
            | Self::Knocked(node, _) => node,
            Self::Info(info) => &info.node,
            Self::Process(_, status) => &status.node,
        }
    }
}
