use bevy::prelude::Message;
use hana_console::OperatorAction;
use hana_engine::roster::NodeView;
use hana_protocol::id::NodeId;
use hana_protocol::parameter::ParameterName;

/// The effect of the operator's input on the mesh.
#[derive(Message, Debug, Clone, PartialEq)]
pub(crate) enum AppEffect {
    /// An action on one node.
    Act(OperatorAction, Box<NodeView>),
    /// An action on all visualizations that support it: freeze, blackout, resume.
    ActOnAll(OperatorAction, Vec<NodeView>),
    /// Move a parameter of a visualization.
    Play(NodeId, ParameterName, f32),
    /// Claim parameters of a visualization.
    Claim(NodeId, Vec<ParameterName>),
    /// Release parameters.
    Release(NodeId, Vec<ParameterName>),
    /// Take over the parameters that these apps left behind.
    TakeOver(Vec<NodeId>),
    /// Publish a note to the other operators.
    PublishNote(String),
}
