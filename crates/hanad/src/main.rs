//! `hanad`, the small daemon on every machine. Other nodes discover it; it launches and supervises visualizations.
//!
//! It reads its configuration, joins the mesh as the gateway of its host, and runs one loop that turns events
//! into actions. `hana_process::Supervisor` makes the decisions.

mod arguments;
mod config;
mod config_check;
mod daemon;
mod link_process;
mod log_once;
mod output;
mod reload;
mod service;
mod state;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use hana_network::{ConnectDiagnostics, ConnectFailureLayer, JoinError, Node, NodeConfig};
use hana_output::{DroppingWriter, Stream};
use hana_protocol::id::role;
use hana_protocol::wire::error_chain;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::arguments::Arguments;
use crate::config::DaemonConfig;
use crate::config_check::ConfigCheck;
use crate::daemon::daemon::{Daemon, DaemonOutcome};
use crate::daemon::event::{DaemonEvent, Leave};
use crate::daemon::signals;
use crate::daemon::timekeeper::Timekeeper;
use crate::link_process::LinkProcess;
use crate::output::log::{Log, LogTarget};
use crate::reload::reloader::Reloader;
use crate::service::own_program::{OwnProgram, program_dir};
#[cfg(unix)]
use crate::service::ready_signal::ReadySignal;
use crate::service::service_manager;
use crate::service::watchdog::{Watchdog, WatchdogLimit};
use crate::state::host_id::HostId;
use crate::state::state_dir::StateDir;

/// The time limit for joining the mesh. A daemon joins without scouting, so this is ample.
const JOIN_TIMEOUT: Duration = Duration::from_secs(15);

/// The time limit for writing the last log lines.
const LOG_FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let program = OwnProgram::of_this_process();
    let arguments = Arguments::parse();
    if arguments.check {
        return check(&arguments);
    }
    // This comes first, before the number of the descriptor can be used for another file.
    #[cfg(unix)]
    let ready = match arguments.ready_fd.map(ReadySignal::open).transpose() {
        Ok(ready) => ready,
        Err(problem) => return fail(&error_chain(problem.as_ref())),
    };
    #[cfg(unix)]
    let ready = || {
        if let Some(ready) = ready {
            ready.send();
        }
    };
    #[cfg(not(unix))]
    let ready = || ();
    let started = DroppingWriter::start(Stream::Stderr)
        .and_then(|stderr| Ok((Log::start(stderr.clone())?, stderr)));
    let (log, stderr) = match started {
        Ok(started) => started,
        Err(problem) => return fail(&format!("cannot start a thread: {problem}")),
    };
    let diagnostics = log_to_stderr_and(&log, stderr.clone());
    let outcome = run(&arguments, &log, &stderr, diagnostics, &program, ready);
    let outcome = match outcome {
        Ok(DaemonOutcome::Left(Leave::Replace)) => {
            log.flush(LOG_FLUSH_TIMEOUT);
            stderr.flush_within(LOG_FLUSH_TIMEOUT);
            Err(program.replace_this_process())
        },
        outcome => outcome,
    };
    if let Err(error) = &outcome {
        let line = format!("hanad: {}", error_chain(error.as_ref()));
        stderr.push(format!("{line}\n"));
        log.add(&line, LogTarget::File);
    }
    log.flush(LOG_FLUSH_TIMEOUT);
    stderr.flush_within(LOG_FLUSH_TIMEOUT);
    outcome.map_or(ExitCode::FAILURE, |_| ExitCode::SUCCESS)
}

/// Carries out `hanad --check`.
fn check(arguments: &Arguments) -> ExitCode {
    let check = ConfigCheck::run(arguments.config.as_deref(), &program_dir());
    let is_printed = Stream::Stdout.write_all(check.report().as_bytes()).is_ok();
    if check.has_faults() || !is_printed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Reports the reason and ends a daemon that has no log yet.
fn fail(reason: &str) -> ExitCode {
    Stream::Stderr.write_all(format!("hanad: {reason}\n").as_bytes()).ok();
    ExitCode::FAILURE
}

/// Logs to standard error for a person at a terminal, and to the log for later.
///
/// A target that cannot be written neither delays nor ends the daemon, whether its disk is full or its terminal or
/// pipe accepts no more lines.
fn log_to_stderr_and(log: &Log, stderr: DroppingWriter) -> ConnectDiagnostics {
    let filter = tracing_subscriber::EnvFilter::try_from_env("HANA_LOG").unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new("info,zenoh=warn,zenoh::net::routing=error")
    });
    let (layer, diagnostics) = ConnectFailureLayer::new();
    let lines = || tracing_subscriber::fmt::layer().with_target(false).log_internal_errors(false);
    let to_stderr =
        lines().with_writer(move || stderr.clone()).with_ansi(std::io::stderr().is_terminal());
    let to_log = lines().with_writer(log.clone()).with_ansi(false);
    tracing_subscriber::registry().with(to_stderr.and_then(to_log)).with(filter).with(layer).init();
    diagnostics
}

fn run(
    arguments: &Arguments,
    log: &Log,
    stderr: &DroppingWriter,
    diagnostics: ConnectDiagnostics,
    program: &OwnProgram,
    ready: impl FnOnce(),
) -> anyhow::Result<DaemonOutcome> {
    // This comes first, so that no signal is lost during the rest of the start.
    let signals = signals::register().context("registering signal handlers")?;
    let mut host = HostId::find(arguments.host.as_ref())?;
    if arguments.replace {
        host.take_place()?;
    }
    let (state, fallback) = StateDir::of(host.id());
    log.write_to(state.own_log());
    if let Some(fallback) = fallback {
        tracing::warn!("{fallback}");
    }
    let config = DaemonConfig::find(arguments.config.as_deref())?;
    diagnostics.watch(&config.network)?;
    let show = config.network.show.clone();
    let identity = NodeConfig::for_daemon(host.id().clone())?
        .with_network(config.network.clone())
        .with_instance_after(state.last_instance());
    if let Err(problem) = hana_process::become_subreaper() {
        tracing::warn!(
            "cannot adopt orphans, so processes that visualizations leave behind may remain: {problem}"
        );
    }
    // The channel is bounded: senders wait when it is full. Messages from the mesh wait in inboxes, also bounded.
    let (events, event_rx) = mpsc::sync_channel(1024);
    signals::forward(signals, program.clone(), events.clone())?;
    let joined =
        Node::<role::Daemon>::join(identity).wait(JOIN_TIMEOUT).context("joining the mesh")?;
    let node = match joined {
        Err(JoinError::IdTaken(rival)) => {
            anyhow::bail!("joining the mesh: {rival}; {}", host.yield_id())
        },
        joined => joined.context("joining the mesh")?,
    };
    host.hold();
    host.log();
    state.keep_instance(node.instance());
    let _log_queryable = log.publish_on(&node);
    let in_show = show.map(|show| format!(", show '{show}'")).unwrap_or_default();
    tracing::info!("'{}' is on the mesh{in_show}; {}", node.id(), config.origin);
    let watchdog = watch_the_loop(log, stderr)?;
    service_manager::ready(&format!(
        "'{}' is on the mesh; log in {}",
        node.id(),
        state.own_log().display()
    ));
    let link_events = events.clone();
    let on_link_event = move |event| {
        link_events.send(DaemonEvent::Link(event)).ok();
    };
    let link = config.link.then(|| LinkProcess::start(on_link_event)).flatten();
    let to_link = move |command| {
        if let Some(link) = &link {
            link.send(command);
        }
    };
    let files = state.files().clone();
    let timeline = (state.timeline(), files.clone());
    let timekeeper = Timekeeper::new(&node, config.timeline, timeline, to_link);
    let reloads = events.clone();
    let on_reloaded = move |reloaded| reloads.send(DaemonEvent::Reloaded(reloaded)).is_ok();
    let reloader = Reloader::start(arguments.config.clone(), &config, on_reloaded)?;
    let daemon = Daemon::new(node, config, reloader, state, events, timekeeper)?;
    let outcome = daemon.run(&event_rx, &watchdog, ready);
    files.flush(LOG_FLUSH_TIMEOUT);
    match outcome? {
        DaemonOutcome::Displaced(id) => anyhow::bail!(
            "another machine already has the host id '{id}'; {}. The processes launched here keep running",
            host.yield_id()
        ),
        ending => Ok(ending),
    }
}

fn watch_the_loop(log: &Log, stderr: &DroppingWriter) -> anyhow::Result<Watchdog> {
    let (log, stderr) = (log.clone(), stderr.clone());
    Watchdog::start(WatchdogLimit::DAEMON, move |stalled_for| {
        tracing::error!(
            "the daemon's loop has not moved for {} s: aborting, so that the service manager restarts it; launched processes keep running",
            stalled_for.as_secs()
        );
        log.flush(LOG_FLUSH_TIMEOUT);
        stderr.flush_within(LOG_FLUSH_TIMEOUT);
    })
    .context("starting the watchdog")
}
