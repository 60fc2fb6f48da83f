use hana_console::OperatorAction;
use hana_engine::roster::NodeView;
use hana_protocol::id::NodeId;
use hana_protocol::parameter::ParameterName;

/// The effect of a key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AppEffect {
    /// An action on one node.
    Do(OperatorAction, Box<NodeView>),
    /// An action on all visualizations that support it: freeze, blackout, resume.
    ForAll(OperatorAction, Vec<NodeView>),
    /// Claim parameters of a visualization.
    Take(NodeId, Vec<ParameterName>),
    /// Release parameters.
    Release(NodeId, Vec<ParameterName>),
    /// Take over the parameters that these apps left behind.
    TakeOver(Vec<NodeId>),
    /// Publish a note to the other operators.
    Note(String),
}
