use std::path::PathBuf;

use clap::Parser;
use hana_protocol::id::NodeId;

/// The daemon of this machine. Other nodes discover it; it launches and supervises visualizations.
#[derive(Debug, Parser)]
#[command(name = "hanad", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Settings file or directory [default: `HANA_CONFIG`, the user's config directory, ./config].
    #[arg(long, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// Host id of this machine from now on [default: `HANA_HOST`, the previous id, the hostname].
    #[arg(long, value_name = "ID")]
    pub(crate) host: Option<NodeId>,
    /// Replace the daemon that runs on this machine; the processes it launched keep running.
    #[arg(long)]
    pub(crate) replace: bool,
    /// Check settings and catalogue, print one line for each fault, and exit with 1 if there is any.
    #[arg(long, conflicts_with_all = ["host", "replace"])]
    pub(crate) check: bool,
    /// Write the line READY to this open file descriptor once the daemon is on the mesh and answers, then close it.
    #[cfg(unix)]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(3..), conflicts_with = "check")]
    pub(crate) ready_fd: Option<i32>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
