//! The roster of all nodes, and the verdicts on their health.

mod entry;
mod health_monitor;
mod health_verdict;
mod host_loss;
mod node_view;
mod observation;
mod roster;
mod stall_memory;

pub use health_monitor::{HealthLimits, HealthMonitor};
pub use health_verdict::HealthVerdict;
pub use host_loss::{HostLossDetector, ProbeOutcome};
pub use node_view::NodeView;
pub use observation::Observation;
pub use roster::{Roster, RosterChange, RosterEvent};
