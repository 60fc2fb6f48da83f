use clap::{Parser, Subcommand};

use crate::arguments::inspect::{LogsArguments, NodesArguments, PingArguments, WatchArguments};
use crate::arguments::play::{Bridge, SendArguments, SetArguments, TempoArguments};
use crate::arguments::setup::{CompletionsArguments, ManArguments, ReloadArguments, Service};
use crate::arguments::show::{DemoArguments, NodeArgument, OverrideArguments, StartArguments};
use crate::output::Format;

/// Run and play live visuals on many machines.
#[derive(Parser)]
#[command(name = "hana", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Print JSON (JSON Lines for commands that stream).
    #[arg(long, global = true, conflicts_with = "quiet")]
    json: bool,
    /// Print only errors.
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// Returns the format of what the command prints.
    pub(crate) const fn format(&self) -> Format {
        match (self.json, self.quiet) {
            (true, _) => Format::Json,
            (_, true) => Format::Nothing,
            _ => Format::Text,
        }
    }
}

/// The commands. `help::GROUPS` lists them in groups.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run a whole show on this machine, and clean up afterwards.
    #[command(after_help = "Example: hana demo --seconds 30")]
    Demo(DemoArguments),
    /// Launch a visualization from a host's catalogue.
    #[command(after_help = "Example: hana start ripples -H stage")]
    Start(StartArguments),
    /// Stop a visualization: request it, then terminate it, then kill it.
    #[command(after_help = "Example: hana stop ripples-2")]
    Stop(NodeArgument),
    /// Stop a visualization and start it again with the same look.
    #[command(after_help = "Example: hana restart ripples")]
    Restart(NodeArgument),
    /// Kill a visualization and all its child processes at once.
    #[command(after_help = "Example: hana kill ripples")]
    Kill(NodeArgument),
    /// Acknowledge a fault: suspend its policy and silence its alarm until the state changes.
    #[command(after_help = "Example: hana ack ripples")]
    Ack(NodeArgument),
    /// Freeze the current look until `hana resume`.
    #[command(after_help = "Example: hana freeze --all")]
    Freeze(OverrideArguments),
    /// Draw black until `hana resume`.
    #[command(after_help = "Example: hana blackout -H stage")]
    Blackout(OverrideArguments),
    /// End a freeze or blackout.
    #[command(after_help = "Example: hana resume ripples pulse")]
    Resume(OverrideArguments),
    /// Set parameters of a visualization, or attach modulators to them.
    #[command(
        after_help = "Example: hana set ripples zoom=0.5 hue=lfo:sine:4bars",
        after_long_help = MODULATORS
    )]
    Set(SetArguments),
    /// Show or set the tempo, on all hosts.
    #[command(after_help = "Example: hana tempo 128")]
    Tempo(TempoArguments),
    /// Start the transport of the timeline, on all hosts.
    #[command(after_help = "Example: hana play")]
    Play,
    /// Stop the transport of the timeline, on all hosts; the beat goes on.
    #[command(after_help = "Example: hana pause")]
    Pause,
    /// Send a custom message, or list the messages that a node accepts.
    #[command(after_help = "Example: hana send sparks spark '{\"x\": 0.5, \"y\": 0.5}'")]
    Send(SendArguments),
    /// Bridge another protocol to the mesh.
    #[command(subcommand, after_help = "Example: hana bridge osc --listen 0.0.0.0:9000")]
    Bridge(Bridge),
    /// List nodes: state, reason, process id, frame rate.
    #[command(after_help = "Example: hana nodes --watch")]
    Nodes(NodesArguments),
    /// Interactive monitor: nodes, alarms, logs, one-key actions.
    #[command(after_help = "Example: hana top")]
    Top,
    /// Print the log of a visualization or a daemon.
    #[command(after_help = "Example: hana logs ripples -f -n 20")]
    Logs(LogsArguments),
    /// Print messages as they arrive: key, type, sender, time, value.
    #[command(after_help = "Example: hana watch 'hana/*/event'")]
    Watch(WatchArguments),
    /// Measure the round trip to a node, over the mesh and over a direct link.
    #[command(after_help = "Example: hana ping ripples -n 100")]
    Ping(PingArguments),
    /// Make a daemon read its catalogue and settings again; visualizations keep running.
    #[command(after_help = "Example: hana reload -H stage")]
    Reload(ReloadArguments),
    /// Run the daemon as a service of the operating system.
    #[command(subcommand, after_help = "Example: hana service install")]
    Service(Service),
    /// Print a script that completes commands, nodes and parameters in a shell.
    #[command(after_help = "Example: hana completions bash")]
    Completions(CompletionsArguments),
    /// Print the manual page, or write a page for each command.
    #[command(after_help = "Example: hana man ~/.local/share/man/man1")]
    Man(ManArguments),
}

/// The text about modulators in `hana set --help`.
const MODULATORS: &str = "\
Modulators:
  lfo:WAVE:LENGTH[:phase=P][:depth=D][:offset=O][:seed=N]
      WAVE: sine, triangle, saw, square or sample-and-hold. LENGTH: 1bar, 2beats, 1/2beat, 3s, ...
      Swings around the middle of the parameter's range; depth 1 reaches both ends.
        hana set ripples zoom=lfo:sine:1bar
        hana set ripples hue=lfo:square:2beats:depth=0.5:offset=0.2:phase=0.25
  env:LENGTH|once|at=BEAT[:attack=L][:decay=L][:sustain=S][:hold=L][:release=L][:depth=D][:offset=O]
      An envelope that starts every LENGTH, once, or at a beat.
        hana set ripples intensity=env:1beat:decay=1/2beat

Example: hana set ripples zoom=0.5 hue=lfo:sine:4bars";
