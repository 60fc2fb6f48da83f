//! The model that every operator screen shares: the dashboard and the actions that an operator can take.

mod dashboard;
mod operator_action;

pub use dashboard::{AutoRecovery, Dashboard, DashboardRow, neighbour};
pub use operator_action::OperatorAction;
