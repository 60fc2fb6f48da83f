//! The roster of all nodes, and the verdicts on their health.

mod entry;
mod health_monitor;
mod host_loss;
mod node_view;
mod observation;
mod roster;
mod stall_memory;

pub use health_monitor::{HealthLimits, HealthWatch, Verdict};
pub use host_loss::{Knock, LossWatch};
pub use node_view::NodeView;
pub use observation::Sighting;
pub use roster::{Roster, RosterChange, RosterNews};
