//! Starts and stops processes through the daemon of their host.

use std::time::{Duration, Instant};

use anyhow::bail;
use hana_network::{CommandError, Node, daemon_is_listening};
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{
    Acknowledge, Kill, Restart, Shutdown, Start, Started, Stop, StopReply, StoppedBy,
};

use crate::arguments::{NodeArgument, StartArguments};
use crate::output::Format;
use crate::show::start_outcome::StartOutcome;
use crate::{mesh, output};

/// Time limit for stopping a process: the daemon's deadlines for the request, SIGTERM and SIGKILL, and a margin.
const STOP_TIMEOUT: Duration = Duration::from_secs(12);
/// How long a process that no daemon launched may take to end after the request.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for a start on a beat, which may be far in the future.
const BEAT_TIMEOUT: Duration = Duration::from_mins(10);
/// How long a new daemon observes the mesh before it accepts commands, and a margin.
const DAEMON_START_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) fn start(arguments: &StartArguments, format: Format) -> anyhow::Result<()> {
    let node = mesh::join()?;
    let host = arguments.host.as_ref().unwrap_or_else(|| node.host());
    let StartArguments { name, id, at, .. } = arguments;
    let started = start_on(&node, host, Start { name: name.clone(), id: id.clone(), at: *at })?;
    print_started(&node, host, &started, format)
}

/// Prints the outcome of a start.
fn print_started(
    node: &Node<role::App>,
    host: &NodeId,
    started: &Started,
    format: Format,
) -> anyhow::Result<()> {
    let outcome = StartOutcome::wait(node, host, started);
    output::print(format, &outcome, || outcome.describe(host))
}

/// Launches a program from `host`'s catalogue.
pub(crate) fn start_on(
    own: &Node<role::App>,
    host: &NodeId,
    start: Start,
) -> anyhow::Result<Started> {
    let timeout = if start.at.is_now() { mesh::COMMAND * 2 } else { BEAT_TIMEOUT };
    // A daemon that has just begun to listen may still be observing the mesh before it accepts commands.
    let deadline = Instant::now() + DAEMON_START_TIMEOUT;
    loop {
        let pending = own.command::<role::Daemon, _>(host, start.clone(), timeout);
        match pending.wait(timeout + mesh::COMMAND)? {
            Ok(started) => return Ok(started),
            Err(CommandError::NoSuchNode { .. })
                if host == own.host() && daemon_is_listening() && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(20));
            },
            Err(CommandError::NoSuchNode { node }) => {
                let hint = mesh::hint(own, &node).unwrap_or_default();
                bail!("no daemon on host '{node}'; start one there with `hanad`{hint}")
            },
            Err(error) => return Err(error.into()),
        }
    }
}

pub(crate) fn stop(argument: &NodeArgument, format: Format) -> anyhow::Result<()> {
    let node = mesh::join()?;
    let report = stop_it(&node, &argument.node)?;
    output::print(format, &report, || stopped(&argument.node, report.by))
}

/// Ends a visualization on any host: through its daemon, or by a direct request if no daemon launched it.
pub(crate) fn stop_it(node: &Node<role::App>, id: &NodeId) -> anyhow::Result<StopReply> {
    // A daemon that hangs does not reply, but the node itself may still exit on request.
    if let Some((host, _)) = mesh::process_of(node, id).unwrap_or_default() {
        let stop = Stop { node: id.clone() };
        return Ok(node
            .command::<role::Daemon, _>(&host, stop, STOP_TIMEOUT)
            .wait(STOP_TIMEOUT * 2)??);
    }
    let pending = node.command::<role::Visualization, _>(id, Shutdown {}, mesh::COMMAND);
    let accepted = pending.wait(mesh::COMMAND * 2)?;
    accepted.map_err(|problem| mesh::explain(node, problem))?;
    // The node has only promised to exit, and no daemon enforces it.
    let deadline = Instant::now() + SHUTDOWN_TIMEOUT;
    loop {
        let is_over = Instant::now() >= deadline;
        match mesh::info_of(node, id) {
            Ok(None) => break,
            Ok(Some(info)) if is_over => bail!(
                "'{id}' still runs after a shutdown request, and no daemon launched it; kill process {} on host '{}'",
                info.pid,
                info.host
            ),
            Err(problem) if is_over => return Err(problem),
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    Ok(StopReply { by: StoppedBy::Shutdown })
}

pub(crate) fn restart(argument: &NodeArgument, format: Format) -> anyhow::Result<()> {
    let node = mesh::join()?;
    let host = launched_on(&node, &argument.node, "restart")?;
    let restart = Restart { node: argument.node.clone() };
    let started =
        node.command::<role::Daemon, _>(&host, restart, STOP_TIMEOUT).wait(STOP_TIMEOUT * 2)??;
    print_started(&node, &host, &started, format)
}

pub(crate) fn kill(argument: &NodeArgument, format: Format) -> anyhow::Result<()> {
    let node = mesh::join()?;
    let host = launched_on(&node, &argument.node, "kill")?;
    let kill = Kill { node: argument.node.clone() };
    let report =
        node.command::<role::Daemon, _>(&host, kill, STOP_TIMEOUT).wait(STOP_TIMEOUT * 2)??;
    output::print(format, &report, || stopped(&argument.node, report.by))
}

pub(crate) fn acknowledge(argument: &NodeArgument, format: Format) -> anyhow::Result<()> {
    let node = mesh::join()?;
    let host = launched_on(&node, &argument.node, "acknowledge a fault of")?;
    let acknowledge = Acknowledge { node: argument.node.clone() };
    let accepted = node.command::<role::Daemon, _>(&host, acknowledge, mesh::COMMAND);
    output::print(format, &accepted.wait(mesh::COMMAND * 2)??, || {
        format!("acknowledged '{}' until its state changes", argument.node)
    })
}

/// Returns the host whose daemon launched the node. If no daemon did, the error names the alternatives.
fn launched_on(node: &Node<role::App>, id: &NodeId, what: &str) -> anyhow::Result<NodeId> {
    if let Some((host, _)) = mesh::process_of(node, id)? {
        return Ok(host);
    }
    match mesh::info_of(node, id)? {
        Some(info) => bail!(
            "cannot {what} '{id}': no daemon launched it; it is process {} on host '{}'",
            info.pid,
            info.host
        ),
        None => Err(mesh::unknown_node(node, id)),
    }
}

fn stopped(id: &NodeId, by: StoppedBy) -> String {
    let how = match by {
        StoppedBy::Already => "had already ended",
        StoppedBy::Shutdown => "shut down cleanly",
        StoppedBy::Terminate => "ended on SIGTERM; it ignored the shutdown request",
        StoppedBy::Kill => "ended on SIGKILL",
    };
    format!("'{id}' {how}")
}
