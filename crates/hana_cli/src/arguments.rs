use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};
use hana_protocol::id::{NodeId, TopicName};
use hana_protocol::parameter::ParameterName;
use hana_time::ScheduleAt;
use serde_json::Value;

/// Live visuals on many machines: see who is there, start and stop, set and watch.
#[derive(Parser)]
#[command(name = "hana", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Print JSON: one document, or one a line for what streams.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// A whole show on this machine, from nothing; cleans up after itself.
    Demo(DemoArguments),
    /// Who is there: state, reason, process id, frames.
    Nodes(NodesArguments),
    /// A screen to run a show by: who is there and how, what went wrong, a key for what can be done.
    Top,
    /// Launch a visualization of a host's catalogue.
    Start(StartArguments),
    /// End a visualization, politely first.
    Stop(NodeArgument),
    /// Stop a visualization and start it again.
    Restart(NodeArgument),
    /// End a visualization at once, with all that it started.
    Kill(NodeArgument),
    /// Do nothing about the trouble a visualization is in, and tell nobody any more, until it changes.
    Ack(NodeArgument),
    /// Have a daemon read its catalogue and settings again; what runs goes on.
    Reload(ReloadArguments),
    /// Let looks stay as they are, whatever is played, until `hana resume`.
    Freeze(OverrideArguments),
    /// Draw black until `hana resume`.
    Blackout(OverrideArguments),
    /// Show again what is played, after `hana freeze` or `hana blackout`.
    Resume(OverrideArguments),
    /// Set parameters of a visualization, all or none; let them move by the beat.
    #[command(after_long_help = RECIPES)]
    Set(SetArguments),
    /// Show tempo and beat, or set the tempo for all hosts.
    Tempo(TempoArguments),
    /// Let the timeline play, on all hosts.
    Play,
    /// Let the timeline stand still, on all hosts; beats go on.
    Pause,
    /// Send a custom message, checked against its announced schema; without one, show what can be sent.
    Send(SendArguments),
    /// Print messages as they pass: key, type, sender, time, value.
    Watch(WatchArguments),
    /// Print what a visualization, or the daemon of a host, wrote.
    Logs(LogsArguments),
    /// Measure the round trip to a node, over the mesh and over a play link.
    Ping(PingArguments),
    /// Measure ours beside plain Zenoh, in one run, with processes of the bench's own.
    #[command(subcommand)]
    Bench(Bench),
    /// Translate between the mesh and something else.
    #[command(subcommand)]
    Bridge(Bridge),
    /// Have the daemon run always: from boot or login on, and again after a crash.
    #[command(subcommand)]
    Service(Service),
}

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// How soon a crash and a hang are noticed, and how soon all is as it was.
    Recovery {
        /// How often each is measured.
        #[arg(long, default_value_t = 20)]
        rounds: usize,
    },
    /// How long messages are under way: what is played, commands, and each lane.
    Latency {
        /// How often each is measured.
        #[arg(long, default_value_t = 10)]
        rounds: usize,
        /// Messages of each kind in a round, a thousand a second.
        #[arg(long, default_value_t = 300)]
        messages: u64,
    },
    /// How many small messages go in a second: values in frames, values one by one, and each lane.
    Throughput {
        /// How often each is measured.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// For how long each time, in milliseconds.
        #[arg(long, default_value_t = 500)]
        ms: u64,
    },
    /// 64 parameters of each of many visualizations, a thousand times a second: what is lost, and whether anything stale is
    /// shown.
    Modulation {
        /// Visualizations that are played at once.
        #[arg(long, default_value_t = 32)]
        visualizations: usize,
        /// For how long, and for as long again by the reference.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// How soon nodes that join are seen by all.
    Discovery {
        /// Hosts, each with a daemon.
        #[arg(long, default_value_t = 10)]
        hosts: usize,
        /// Nodes on all of them together.
        #[arg(long, default_value_t = 100)]
        nodes: usize,
        /// How often it is measured.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// A process of a bench.
    #[command(hide = true)]
    Part {
        /// Which.
        part: hana_bench::WorkerRole,
        /// What it takes.
        arguments: Vec<String>,
    },
    /// A process of the reference.
    #[command(hide = true)]
    Raw {
        /// Which.
        part: hana_bench::RawPart,
        /// Where its hub listens.
        endpoint: String,
    },
}

#[derive(Args)]
pub(crate) struct DemoArguments {
    /// End by itself after this many seconds.
    #[arg(long)]
    pub(crate) seconds: Option<u64>,
}

#[derive(Args)]
pub(crate) struct NodesArguments {
    /// Go on showing, as things change.
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Args)]
pub(crate) struct StartArguments {
    /// Its name in the catalogue of the host.
    pub(crate) name: String,
    /// The host to start it on; this one if left out.
    #[arg(long)]
    pub(crate) host: Option<NodeId>,
    /// The id it shall have; else the name, or the name with a number.
    #[arg(long)]
    pub(crate) id: Option<NodeId>,
    /// When: now, next-beat, next-bar, or a beat such as beat:128. It is seen when it has opened, a little later.
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
    /// The host whose daemon it is; this one if left out.
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
    /// Parameters and their values: `zoom=0.5 lit=on mode=spiral tint=#ff8800`; or recipes, by which they move until they are
    /// played or set: `zoom=lfo:sine:1bar`, `intensity=env:1beat`.
    #[arg(required = true, value_name = "PARAM=VALUE|RECIPE", value_parser = parameter_and_word)]
    pub(crate) values: Vec<(ParameterName, String)>,
    /// When: now, next-beat, next-bar, or a beat such as beat:128. What comes too late for its beat is done at once.
    #[arg(long, value_name = "WHEN", default_value_t = ScheduleAt::Now)]
    pub(crate) at: ScheduleAt,
    /// Also what somebody else holds: it is taken from him.
    #[arg(long)]
    pub(crate) take: bool,
}

/// What `hana set --help` says of recipes.
const RECIPES: &str = "\
Recipes:
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
    /// Beats a minute, 20 to 999; left out, what it is now is shown.
    pub(crate) bpm: Option<f64>,
}

#[derive(Args)]
pub(crate) struct SendArguments {
    /// The id of the node; with `--kind`, of all that give themselves that id.
    pub(crate) node: NodeId,
    /// The topic; left out, all are listed that can be sent to.
    pub(crate) topic: Option<TopicName>,
    /// The message; left out, an example is shown.
    #[arg(value_name = "JSON", value_parser = json)]
    pub(crate) message: Option<Value>,
    /// Send it to all nodes of the kind: to `ripples`, `ripples-2` and so on.
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
    /// Which keys.
    #[arg(default_value = "hana/**")]
    pub(crate) key_expression: String,
}

#[derive(Args)]
pub(crate) struct LogsArguments {
    /// The visualization's id, or the host's.
    pub(crate) node: NodeId,
    /// Go on printing what it writes.
    #[arg(long)]
    pub(crate) follow: bool,
}

#[derive(Args)]
pub(crate) struct PingArguments {
    /// The node's id.
    pub(crate) node: NodeId,
    /// How many times.
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
    /// Where to listen for OSC over UDP, such as 0.0.0.0:9000.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// The id of the bridge; `osc-<host>` if left out.
    #[arg(long)]
    pub(crate) id: Option<NodeId>,
}

#[derive(Subcommand, Clone, Copy)]
pub(crate) enum Service {
    /// Make the daemon beside this program a service and start it; again, to update it.
    Install(ServiceArguments),
    /// Stop the service, with what it launched, and remove it.
    Remove(ServiceArguments),
    /// Start the daemon again, as after an update; what it launched goes on.
    Restart(ServiceArguments),
    /// Whether it is installed and runs, since when, and where its log is.
    Status(ServiceArguments),
}

#[derive(Args, Clone, Copy)]
pub(crate) struct ServiceArguments {
    /// From boot on, for the whole machine; needs root. Without it: from login on, for this user.
    #[arg(long)]
    pub(crate) system: bool,
}
