use hana_protocol::id::NodeId;
use hana_protocol::message::{Claim, Priority};
use hana_protocol::parameter::ParameterName;

/// The key of a claim: the claimant and the claimed parameter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClaimKey {
    pub(super) app: NodeId,
    pub(super) node: NodeId,
    pub(super) parameter: ParameterName,
}

impl ClaimKey {
    pub(super) fn of(wish: &Claim) -> Self {
        let Claim { app, node, parameter, .. } = wish;
        Self { app: app.clone(), node: node.clone(), parameter: parameter.clone() }
    }
}

/// The current value of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClaimState {
    pub(super) priority: Priority,
    pub(super) ended: bool,
    pub(super) to: Option<NodeId>,
}

impl ClaimState {
    pub(super) const fn is_live(&self) -> bool {
        !self.ended
    }
}
