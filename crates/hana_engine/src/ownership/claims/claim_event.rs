use hana_protocol::id::NodeId;
use hana_protocol::message::OwnershipKind;
use hana_protocol::parameter::ParameterName;

/// A notification for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimEvent {
    /// The owner of a parameter changed, or the parameter became free.
    OwnerChanged {
        /// The visualization.
        node: NodeId,
        /// The parameter.
        parameter: ParameterName,
        /// The previous owner.
        before: Option<NodeId>,
        /// The new owner and the kind of ownership.
        now: Option<(NodeId, OwnershipKind)>,
    },
    /// Another controller owns a parameter that this app had claimed.
    Lost {
        /// The visualization.
        node: NodeId,
        /// The parameter.
        parameter: ParameterName,
        /// The new owner.
        by: NodeId,
        /// Whether the two apps claimed the parameter concurrently, and the other claim won.
        apart: bool,
    },
    /// Two apps claimed the parameter concurrently; this app's claim won.
    Retained {
        /// The visualization.
        node: NodeId,
        /// The parameter.
        parameter: ParameterName,
        /// The other claimant.
        from: NodeId,
    },
    /// A visualization does not allow this app to take parameters.
    Refused {
        /// The visualization.
        node: NodeId,
        /// The parameters.
        parameters: Vec<ParameterName>,
        /// The reason given by the visualization.
        reason: String,
    },
    /// An operator wrote or deleted a note.
    NoteChanged {
        /// The app at which the note was written.
        app: NodeId,
        /// The text; empty if the note was deleted.
        text: String,
    },
}
