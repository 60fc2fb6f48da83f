use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use hana_protocol::id::NodeId;
use hana_time::ScheduleAt;

use crate::setup::candidates;

#[derive(Args)]
pub(crate) struct DemoArguments {
    /// Exit after this many seconds.
    #[arg(long)]
    pub(crate) seconds: Option<u64>,
}

#[derive(Args)]
pub(crate) struct StartArguments {
    /// Name in the host's catalogue.
    #[arg(add = ArgValueCandidates::new(candidates::programs))]
    pub(crate) name: String,
    /// Host to start it on [default: this host].
    #[arg(short = 'H', long, add = ArgValueCandidates::new(candidates::hosts))]
    pub(crate) host: Option<NodeId>,
    /// Node id [default: NAME, or NAME-2, ... if taken].
    #[arg(long)]
    pub(crate) id: Option<NodeId>,
    /// Start now, next-beat, next-bar, or at a beat such as beat:128. The window opens a little later.
    #[arg(long, value_name = "WHEN", default_value_t = ScheduleAt::Now)]
    pub(crate) at: ScheduleAt,
}

#[derive(Args)]
pub(crate) struct NodeArgument {
    /// Node id, as `hana nodes` lists it.
    #[arg(add = ArgValueCandidates::new(candidates::visualizations))]
    pub(crate) node: NodeId,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
pub(crate) struct OverrideArguments {
    /// Visualizations, by node id.
    #[arg(value_name = "NODE", add = ArgValueCandidates::new(candidates::visualizations))]
    pub(crate) nodes: Vec<NodeId>,
    /// All visualizations on this host.
    #[arg(short = 'H', long, value_name = "HOST", add = ArgValueCandidates::new(candidates::hosts))]
    pub(crate) host: Option<NodeId>,
    /// All visualizations.
    #[arg(short, long, conflicts_with_all = ["nodes", "host"])]
    pub(crate) all: bool,
}
