//! `hanad`: the small program on every machine. It is found by all others, launches the visualizations of
//! its catalogue, and watches them.
//!
//! It reads its configuration, joins the mesh as the gateway of its host, and runs one loop: events in,
//! actions out. What is decided is decided by `hana_process::Supervisor`.

mod config;
mod daemon;
mod keeper;
mod neighbours;
mod state_dir;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use hana_network::Node;
use hana_network::NodeConfig;
use hana_network::Unmet;
use hana_network::UnmetLayer;
use hana_protocol::in_full;
use hana_protocol::role;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::DaemonConfig;
use crate::daemon::Daemon;
use crate::daemon::DaemonEvent;
use crate::state_dir::StateDir;

/// The daemon of this machine: finds the others, launches and watches visualizations.
#[derive(Parser)]
#[command(name = "hanad", version, max_term_width = 100)]
struct Arguments {
    /// The configuration; else `HANA_CONFIG`, the user's config directory, config/ here.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Scouting has no part in a daemon's joining, so this is ample.
const JOIN: Duration = Duration::from_secs(15);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("HANA_LOG").unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new("info,zenoh=warn,zenoh::net::routing=error")
    });
    let (quiet, unmet) = UnmetLayer::new();
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    tracing_subscriber::registry().with(log).with(filter).with(quiet).init();
    match run(&arguments, unmet) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hanad: {}", in_full(error.as_ref()));
            ExitCode::FAILURE
        },
    }
}

fn run(arguments: &Arguments, unmet: Unmet) -> anyhow::Result<()> {
    let config = DaemonConfig::find(arguments.config.as_deref())?;
    unmet.watch(&config.network)?;
    let show = config.network.show.clone();
    let identity = NodeConfig::of_host()?.with_network(config.network);
    let state = StateDir::of(identity.host())?;
    if let Err(problem) = hana_process::adopt_orphans() {
        tracing::warn!("what a visualization leaves behind may stay: {problem}");
    }
    let (events, inbox) = mpsc::channel();
    // Before joining, so that a signal during it is not lost.
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("listening to signals")?;
    let of_signals = events.clone();
    thread::Builder::new().name("signals".into()).spawn(move || {
        for _ in signals.forever() {
            of_signals.send(DaemonEvent::End).ok();
        }
    })?;
    let node = Node::<role::Daemon>::join(identity)
        .wait(JOIN)
        .context("joining the mesh")?
        .context("joining the mesh")?;
    let of_show = show.map(|show| format!(", show '{show}'")).unwrap_or_default();
    tracing::info!("'{}' is on the mesh{of_show}; {}", node.id(), config.origin);
    Daemon::new(node, config.catalogue, config.origin, state, events).run(&inbox)
}
