use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCandidates;
use hana_protocol::id::NodeId;

use crate::setup::candidates;

#[derive(Args)]
pub(crate) struct ReloadArguments {
    /// Host of the daemon [default: this host].
    #[arg(short = 'H', long, add = ArgValueCandidates::new(candidates::hosts))]
    pub(crate) host: Option<NodeId>,
}

#[derive(Subcommand, Clone, Copy)]
pub(crate) enum Service {
    /// Install the daemon as a service and start it; repeat this to update it.
    #[command(after_help = "Example: hana service install")]
    Install(ServiceArguments),
    /// Stop the service and everything it launched, and remove it.
    #[command(after_help = "Example: hana service remove")]
    Remove(ServiceArguments),
    /// Restart the daemon, as after an update; visualizations keep running.
    #[command(after_help = "Example: hana service restart")]
    Restart(ServiceArguments),
    /// Show whether the service is installed and runs, since when, and where its log is.
    #[command(after_help = "Example: hana service status --system")]
    Status(ServiceArguments),
}

#[derive(Args, Clone, Copy)]
pub(crate) struct ServiceArguments {
    /// For the whole machine, from boot on; needs root [default: for this user, from login on].
    #[arg(long)]
    pub(crate) system: bool,
}

#[derive(Args)]
pub(crate) struct CompletionsArguments {
    /// The shell that reads the script.
    pub(crate) shell: Shell,
}

/// A shell that completes commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

#[derive(Args)]
pub(crate) struct ManArguments {
    /// Write a page for each command into this directory [default: print the page of hana].
    pub(crate) directory: Option<PathBuf>,
}
