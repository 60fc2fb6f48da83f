use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use hana_protocol::id::NodeId;

use crate::setup::candidates;

#[derive(Args)]
pub(crate) struct NodesArguments {
    /// Refresh continuously.
    #[arg(short, long)]
    pub(crate) watch: bool,
}

#[derive(Args)]
pub(crate) struct LogsArguments {
    /// Node id of a visualization, or of a host for its daemon's log.
    #[arg(add = ArgValueCandidates::new(candidates::processes))]
    pub(crate) node: NodeId,
    /// Continue to print new lines.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Print at most this many stored lines [default: all].
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub(crate) lines: Option<usize>,
}

#[derive(Args)]
pub(crate) struct WatchArguments {
    /// Key expression to subscribe to.
    #[arg(default_value = "hana/**")]
    pub(crate) key_expression: String,
}

#[derive(Args)]
pub(crate) struct PingArguments {
    /// Node id.
    #[arg(add = ArgValueCandidates::new(candidates::nodes))]
    pub(crate) node: NodeId,
    /// Number of pings.
    #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) count: u32,
}
