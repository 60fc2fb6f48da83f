//! `hanad`, the small daemon on every machine. Other nodes discover it; it launches and watches visualizations.
//!
//! It reads its configuration, joins the mesh as the gateway of its host, and runs one loop that turns events
//! into actions. `hana_process::Supervisor` makes the decisions.

mod config;
mod daemon;
mod link_process;
mod log_once;
mod output;
mod reload;
mod service;
mod state;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use hana_network::{ConnectDiagnostics, ConnectFailureLayer, JoinError, Node, NodeConfig};
use hana_output::{DroppingWriter, Stream};
use hana_protocol::id::{NodeId, role};
use hana_protocol::wire::error_chain;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::DaemonConfig;
use crate::daemon::daemon::{Daemon, Outcome};
use crate::daemon::event::{DaemonEvent, Leave};
use crate::daemon::signals;
use crate::daemon::timekeeper::Timekeeper;
use crate::link_process::LinkProcess;
use crate::output::log::{Log, LogTarget};
use crate::reload::reloader::Reloader;
use crate::service::own_program::OwnProgram;
use crate::service::service_manager;
use crate::service::watchdog::{Watchdog, WatchdogLimit};
use crate::state::host_id::HostId;
use crate::state::state_dir::StateDir;

/// The daemon of this machine: finds the others, launches and watches visualizations.
#[derive(Parser)]
#[command(name = "hanad", version, max_term_width = 100)]
struct Arguments {
    /// The configuration; else `HANA_CONFIG`, the user's config directory, config/ here.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The id of this machine from now on, remembered; else `HANA_HOST`, the one it had, its hostname.
    #[arg(long, value_name = "ID")]
    host: Option<NodeId>,
    /// Take the place of the daemon that runs here; what that launched goes on.
    #[arg(long)]
    replace: bool,
}

/// The time limit for joining. A daemon joins without scouting, so this is ample.
const JOIN: Duration = Duration::from_secs(15);

/// How long the last log lines may take to be written.
const LAST_LINES: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let program = OwnProgram::of_this_process();
    let arguments = Arguments::parse();
    let started = DroppingWriter::start(Stream::Stderr)
        .and_then(|stderr| Ok((Log::start(stderr.clone())?, stderr)));
    let (log, stderr) = match started {
        Ok(started) => started,
        Err(problem) => {
            let line = format!("hanad: the system gives it no thread: {problem}\n");
            Stream::Stderr.write_all(line.as_bytes()).ok();
            return ExitCode::FAILURE;
        },
    };
    let unmet = log_to_stderr_and(&log, stderr.clone());
    let outcome = run(&arguments, &log, &stderr, unmet, &program);
    let outcome = match outcome {
        Ok(Outcome::Left(Leave::Replace)) => {
            log.flush(LAST_LINES);
            stderr.flush_within(LAST_LINES);
            Err(program.become_it())
        },
        outcome => outcome,
    };
    if let Err(error) = &outcome {
        let line = format!("hanad: {}", error_chain(error.as_ref()));
        stderr.push(format!("{line}\n"));
        log.add(&line, LogTarget::File);
    }
    log.flush(LAST_LINES);
    stderr.flush_within(LAST_LINES);
    outcome.map_or(ExitCode::FAILURE, |_| ExitCode::SUCCESS)
}

/// Logs to standard error for a person at a terminal, and to the log for later.
///
/// Neither delays or ends the daemon when it cannot be written, be it because of a full disk or because a
/// terminal or a pipe accepts no more lines.
fn log_to_stderr_and(log: &Log, stderr: DroppingWriter) -> ConnectDiagnostics {
    let filter = tracing_subscriber::EnvFilter::try_from_env("HANA_LOG").unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new("info,zenoh=warn,zenoh::net::routing=error")
    });
    let (quiet, unmet) = ConnectFailureLayer::new();
    let lines = || tracing_subscriber::fmt::layer().with_target(false).log_internal_errors(false);
    let to_stderr =
        lines().with_writer(move || stderr.clone()).with_ansi(std::io::stderr().is_terminal());
    let to_log = lines().with_writer(log.clone()).with_ansi(false);
    tracing_subscriber::registry().with(to_stderr.and_then(to_log)).with(filter).with(quiet).init();
    unmet
}

fn run(
    arguments: &Arguments,
    log: &Log,
    stderr: &DroppingWriter,
    unmet: ConnectDiagnostics,
    program: &OwnProgram,
) -> anyhow::Result<Outcome> {
    // First of all, so that no signal is lost during the rest of the start.
    let signals = signals::register().context("listening to signals")?;
    let mut host = HostId::find(arguments.host.as_ref())?;
    if arguments.replace {
        host.take_place()?;
    }
    let (state, trouble) = StateDir::of(host.id());
    log.write_to(state.own_log());
    if let Some(trouble) = trouble {
        tracing::warn!("{trouble}");
    }
    let config = DaemonConfig::find(arguments.config.as_deref())?;
    unmet.watch(&config.network)?;
    let show = config.network.show.clone();
    let identity = NodeConfig::of_daemon(host.id().clone())?
        .with_network(config.network.clone())
        .with_instance_after(state.last_instance());
    if let Err(problem) = hana_process::become_subreaper() {
        tracing::warn!("what a visualization leaves behind may stay: {problem}");
    }
    // Bounded, so senders wait when it is full. Messages from the mesh wait in inboxes, which are bounded too.
    let (events, inbox) = mpsc::sync_channel(1024);
    signals::forward(signals, program.clone(), events.clone())?;
    let joined = Node::<role::Daemon>::join(identity).wait(JOIN).context("joining the mesh")?;
    let node = match joined {
        Err(JoinError::IdTaken(rival)) => {
            anyhow::bail!("joining the mesh: {rival}; {}", host.give_way())
        },
        joined => joined.context("joining the mesh")?,
    };
    host.hold();
    host.log();
    state.keep_instance(node.instance());
    let _answering = log.publish_on(&node);
    let of_show = show.map(|show| format!(", show '{show}'")).unwrap_or_default();
    tracing::info!("'{}' is on the mesh{of_show}; {}", node.id(), config.origin);
    let watchdog = watch_the_loop(log, stderr)?;
    service_manager::ready(&format!(
        "'{}' is on the mesh; log in {}",
        node.id(),
        state.own_log().display()
    ));
    let of_link = events.clone();
    let tell = move |event| {
        of_link.send(DaemonEvent::Link(event)).ok();
    };
    let link = config.link.then(|| LinkProcess::start(tell)).flatten();
    let order = move |order| {
        if let Some(link) = &link {
            link.order(order);
        }
    };
    let files = state.files().clone();
    let timeline = (state.timeline(), files.clone());
    let timekeeper = Timekeeper::new(&node, config.timeline, timeline, order);
    let reloads = events.clone();
    let on_reloaded = move |reloaded| reloads.send(DaemonEvent::Reloaded(reloaded)).is_ok();
    let reloader = Reloader::start(arguments.config.clone(), &config, on_reloaded)?;
    let daemon = Daemon::new(node, config, reloader, state, events, timekeeper)?;
    let outcome = daemon.run(&inbox, &watchdog, || ());
    files.flush(LAST_LINES);
    match outcome? {
        Outcome::Displaced(id) => anyhow::bail!(
            "another machine is called '{id}' too, and was there first; {}. What this one launched goes on",
            host.give_way()
        ),
        ending => Ok(ending),
    }
}

fn watch_the_loop(log: &Log, stderr: &DroppingWriter) -> anyhow::Result<Watchdog> {
    let (log, stderr) = (log.clone(), stderr.clone());
    Watchdog::start(WatchdogLimit::DAEMON, move |hung_for| {
        tracing::error!(
            "the daemon's loop has not moved for {} s; ending it, so that it is started again; what it launched goes on",
            hung_for.as_secs()
        );
        log.flush(LAST_LINES);
        stderr.flush_within(LAST_LINES);
    })
    .context("starting the watchdog")
}
