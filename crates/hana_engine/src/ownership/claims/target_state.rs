use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hana_protocol::id::Stamp;
use hana_protocol::message::ParameterOwners;
use hana_protocol::parameter::ParameterName;

/// The state of a present visualization, as this app knows it.
#[derive(Debug, Default)]
pub(super) struct TargetState {
    pub(super) instance: u64,
    pub(super) owners: ParameterOwners,
    /// The time of the last request; `wait` is how long to wait for a reply or a new state.
    pub(super) asked: Option<Instant>,
    pub(super) wait: Duration,
    /// Whether the visualization's published state matched this app's claims at the last check, with no change since.
    pub(super) is_settled: bool,
    /// The claims that the visualization has granted in a reply but may not have published yet.
    pub(super) granted: BTreeMap<ParameterName, Stamp>,
}
