use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};
use hana_protocol::id::{NodeId, TopicName};
use hana_protocol::parameter::ParameterName;
use hana_time::ScheduleAt;
use serde_json::Value;

/// Live visuals on many machines: list nodes, start and stop, set and watch.
#[derive(Parser)]
#[command(name = "hana", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Print JSON: one document, or JSON lines for commands that stream.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run a whole show on this machine, from nothing; clean up afterwards.
    Demo(DemoArguments),
    /// List nodes: state, reason, process id, frames.
    Nodes(NodesArguments),
    /// Interactive monitor: nodes, faults, logs, and one key for each action.
    Top,
    /// Launch a visualization from a host's catalogue.
    Start(StartArguments),
    /// End a visualization, with a polite request first.
    Stop(NodeArgument),
    /// Stop a visualization and start it again.
    Restart(NodeArgument),
    /// Kill a visualization at once, with all its children.
    Kill(NodeArgument),
    /// Acknowledge a fault: take no action and raise no alarm until the visualization's state changes.
    Ack(NodeArgument),
    /// Make a daemon read its catalogue and settings again; running visualizations go on.
    Reload(ReloadArguments),
    /// Freeze the current look, whatever is played, until `hana resume`.
    Freeze(OverrideArguments),
    /// Draw black until `hana resume`.
    Blackout(OverrideArguments),
    /// Show again what is played, after `hana freeze` or `hana blackout`.
    Resume(OverrideArguments),
    /// Set parameters of a visualization, all or none; let modulators move them by the beat.
    #[command(after_long_help = RECIPES)]
    Set(SetArguments),
    /// Show tempo and beat, or set the tempo for all hosts.
    Tempo(TempoArguments),
    /// Start the timeline's transport, on all hosts.
    Play,
    /// Stop the timeline's transport, on all hosts; beats go on.
    Pause,
    /// Send a custom message, checked against its announced schema; without a message, list those that can be sent.
    Send(SendArguments),
    /// Print messages as they arrive: key, type, sender, time, value.
    Watch(WatchArguments),
    /// Print the log of a visualization, or of a host's daemon.
    Logs(LogsArguments),
    /// Measure the round trip to a node, over the mesh and over a direct link.
    Ping(PingArguments),
    /// Bridge the mesh to another protocol.
    #[command(subcommand)]
    Bridge(Bridge),
    /// Run the daemon permanently: from boot or login on, and again after a crash.
    #[command(subcommand)]
    Service(Service),
}

#[derive(Args)]
pub(crate) struct DemoArguments {
    /// Exit after this many seconds.
    #[arg(long)]
    pub(crate) seconds: Option<u64>,
}

#[derive(Args)]
pub(crate) struct NodesArguments {
    /// Refresh continuously, as things change.
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Args)]
pub(crate) struct StartArguments {
    /// Its name in the host's catalogue.
    pub(crate) name: String,
    /// The host to start it on [default: this host].
    #[arg(long)]
    pub(crate) host: Option<NodeId>,
    /// Its node id [default: its name, with a number if the name is taken].
    #[arg(long)]
    pub(crate) id: Option<NodeId>,
    /// Start now, next-beat, next-bar, or at a beat such as beat:128. Its window opens a little later.
    #[arg(long, value_name = "WHEN", default_value_t = ScheduleAt::Now)]
    pub(crate) at: ScheduleAt,
}

#[derive(Args)]
pub(crate) struct NodeArgument {
    /// Its id, as `hana nodes` lists it.
    pub(crate) node: NodeId,
}

#[derive(Args)]
pub(crate) struct ReloadArguments {
    /// The host of the daemon [default: this host].
    #[arg(long)]
    pub(crate) host: Option<NodeId>,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
pub(crate) struct OverrideArguments {
    /// The visualizations' ids, as `hana nodes` lists them.
    #[arg(value_name = "NODE")]
    pub(crate) nodes: Vec<NodeId>,
    /// All visualizations on this host.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<NodeId>,
    /// All visualizations.
    #[arg(long, conflicts_with_all = ["nodes", "host"])]
    pub(crate) all: bool,
}

#[derive(Args)]
pub(crate) struct SetArguments {
    /// The visualization's id.
    pub(crate) node: NodeId,
    /// Parameters and their values: `zoom=0.5 lit=on mode=spiral tint=#ff8800`; or modulators, which move
    /// them until they are played or set: `zoom=lfo:sine:1bar`, `intensity=env:1beat`.
    #[arg(required = true, value_name = "PARAM=VALUE|RECIPE", value_parser = parameter_and_word)]
    pub(crate) values: Vec<(ParameterName, String)>,
    /// Apply now, next-beat, next-bar, or at a beat such as beat:128. A change that is too late for its beat
    /// is applied at once.
    #[arg(long, value_name = "WHEN", default_value_t = ScheduleAt::Now)]
    pub(crate) at: ScheduleAt,
    /// Also set parameters that another controller owns, and preempt it.
    #[arg(long)]
    pub(crate) take: bool,
}

/// The text about modulators in `hana set --help`.
const RECIPES: &str = "\
Modulators:
  lfo:WAVE:LENGTH[:phase=P][:depth=D][:offset=O][:seed=N]
      WAVE is sine, triangle, saw, square or sample-and-hold; LENGTH is 1bar, 2beats, 1/2beat, 3s, ...
      It moves around the middle of the parameter's range: depth 1 reaches its ends.
        hana set ripples zoom=lfo:sine:1bar
        hana set ripples hue=lfo:square:2beats:depth=0.5:offset=0.2:phase=0.25
  env:LENGTH|once|at=BEAT[:attack=L][:decay=L][:sustain=S][:hold=L][:release=L][:depth=D][:offset=O]
      Goes off every LENGTH, once, or at a beat, up from rest.
        hana set ripples intensity=env:1beat:decay=1/2beat";

fn parameter_and_word(text: &str) -> Result<(ParameterName, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("'{text}' is not of the form PARAM=VALUE, such as zoom=0.5"))?;
    let name = ParameterName::new(name).map_err(|problem| problem.to_string())?;
    Ok((name, value.into()))
}

#[derive(Args)]
pub(crate) struct TempoArguments {
    /// Beats a minute, 20 to 999; without it, show the current tempo.
    pub(crate) bpm: Option<f64>,
}

#[derive(Args)]
pub(crate) struct SendArguments {
    /// The node's id; with `--kind`, the id that all nodes of the kind were given.
    pub(crate) node: NodeId,
    /// The topic; without it, list all topics that can be sent to.
    pub(crate) topic: Option<TopicName>,
    /// The message; without it, show an example.
    #[arg(value_name = "JSON", value_parser = json)]
    pub(crate) message: Option<Value>,
    /// Send to all nodes of the kind: to `ripples`, `ripples-2` and so on.
    #[arg(long)]
    pub(crate) kind: bool,
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|problem| {
        format!(
            "this is no JSON: {problem}; in most shells it needs quotes around it: '{{\"x\": 1}}'"
        )
    })
}

#[derive(Args)]
pub(crate) struct WatchArguments {
    /// Key expression to subscribe to.
    #[arg(default_value = "hana/**")]
    pub(crate) key_expression: String,
}

#[derive(Args)]
pub(crate) struct LogsArguments {
    /// The visualization's id, or the host's.
    pub(crate) node: NodeId,
    /// Continue to print new lines.
    #[arg(long)]
    pub(crate) follow: bool,
}

#[derive(Args)]
pub(crate) struct PingArguments {
    /// The node's id.
    pub(crate) node: NodeId,
    /// Number of pings.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) count: u32,
}

#[derive(Subcommand)]
pub(crate) enum Bridge {
    /// Play by OSC: `/hana/<visualization>/<parameter> value`.
    Osc(OscArguments),
}

#[derive(Args)]
pub(crate) struct OscArguments {
    /// Address to listen on for OSC over UDP, such as 0.0.0.0:9000.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// The id of the bridge; `osc-<host>` by default.
    #[arg(long)]
    pub(crate) id: Option<NodeId>,
}

#[derive(Subcommand, Clone, Copy)]
pub(crate) enum Service {
    /// Install the daemon beside this program as a service and start it; repeat this to update it.
    Install(ServiceArguments),
    /// Stop the service and everything it launched, and remove it.
    Remove(ServiceArguments),
    /// Restart the daemon, as after an update; the visualizations it launched go on.
    Restart(ServiceArguments),
    /// Show whether it is installed and runs, since when, and where its log is.
    Status(ServiceArguments),
}

#[derive(Args, Clone, Copy)]
pub(crate) struct ServiceArguments {
    /// From boot on, for the whole machine; needs root. Without it: from login on, for this user.
    #[arg(long)]
    pub(crate) system: bool,
}
