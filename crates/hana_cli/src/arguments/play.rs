use std::net::SocketAddr;

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;
use hana_protocol::id::{NodeId, TopicName};
use hana_protocol::parameter::ParameterName;
use hana_time::ScheduleAt;
use serde_json::Value;

use crate::setup::candidates;

#[derive(Args)]
pub(crate) struct SetArguments {
    /// Node id of the visualization.
    #[arg(add = ArgValueCandidates::new(candidates::visualizations))]
    pub(crate) node: NodeId,
    /// Parameters and their values: `zoom=0.5 lit=on mode=spiral tint=#ff8800`. A modulator moves the
    /// parameter until it is set or played: `zoom=lfo:sine:1bar`, `intensity=env:1beat`. Without any, lists the
    /// parameters.
    #[arg(
        value_name = "PARAM=VALUE|MODULATOR",
        value_parser = assignment,
        add = ArgValueCandidates::new(candidates::parameters)
    )]
    pub(crate) values: Vec<(ParameterName, String)>,
    /// Apply now, next-beat, next-bar, or at a beat such as beat:128. A late change applies at once.
    #[arg(long, value_name = "WHEN", default_value_t = ScheduleAt::Now)]
    pub(crate) at: ScheduleAt,
    /// Override parameters owned by another controller.
    #[arg(long)]
    pub(crate) take: bool,
}

fn assignment(text: &str) -> Result<(ParameterName, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("'{text}' is not of the form PARAM=VALUE, such as zoom=0.5"))?;
    let name = ParameterName::new(name).map_err(|problem| problem.to_string())?;
    Ok((name, value.into()))
}

#[derive(Args)]
pub(crate) struct TempoArguments {
    /// Beats per minute, 20 to 999 [default: show the current tempo].
    pub(crate) bpm: Option<f64>,
}

#[derive(Args)]
pub(crate) struct SendArguments {
    /// Node id; with `--kind`, the id that all nodes of the kind share, without a number.
    #[arg(add = ArgValueCandidates::new(candidates::nodes))]
    pub(crate) node: NodeId,
    /// Topic [default: list the topics of the node].
    pub(crate) topic: Option<TopicName>,
    /// Message [default: show an example].
    #[arg(value_name = "JSON", value_parser = json)]
    pub(crate) message: Option<Value>,
    /// Send to all nodes of the kind: to `ripples`, `ripples-2` and so on.
    #[arg(long)]
    pub(crate) kind: bool,
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|problem| {
        format!("invalid JSON: {problem}; in most shells, put it in quotes: '{{\"x\": 1}}'")
    })
}

#[derive(Subcommand)]
pub(crate) enum Bridge {
    /// Play parameters by OSC: `/hana/<visualization>/<parameter> value`.
    #[command(after_help = "Example: hana bridge osc --listen 0.0.0.0:9000")]
    Osc(OscArguments),
}

#[derive(Args)]
pub(crate) struct OscArguments {
    /// UDP address to listen on, such as 0.0.0.0:9000.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// Node id of the bridge [default: osc-<host>].
    #[arg(long)]
    pub(crate) id: Option<NodeId>,
}
