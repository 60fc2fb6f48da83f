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

/// A polite request, then SIGTERM, then SIGKILL: three deadlines of the daemon, and some more.
const STOP: Duration = Duration::from_secs(12);
/// How long a process that no daemon launched may take to end after the request.
const ENDING: Duration = Duration::from_secs(5);
/// How long to wait for a start on a beat, which may be far in the future.
const ON_A_BEAT: Duration = Duration::from_mins(10);
/// How long a new daemon observes the mesh before it takes commands, and some more.
const JUST_STARTED: Duration = Duration::from_secs(2);

pub(crate) fn start(arguments: &StartArguments, format: Format) -> anyhow::Result<()> {
    let node = mesh::join()?;
    let host = arguments.host.as_ref().unwrap_or_else(|| node.host());
    let StartArguments { name, id, at, .. } = arguments;
    let started = start_on(&node, host, Start { name: name.clone(), id: id.clone(), at: *at })?;
    say_started(&node, host, &started, format)
}

/// Prints the outcome of a start.
fn say_started(
    node: &Node<role::App>,
    host: &NodeId,
    started: &Started,
    format: Format,
) -> anyhow::Result<()> {
    let outcome = StartOutcome::wait(node, host, started);
    output::print(format, &outcome, || outcome.in_words(host))
}

/// Launches a program from `host`'s catalogue.
pub(crate) fn start_on(
    node: &Node<role::App>,
    host: &NodeId,
    start: Start,
) -> anyhow::Result<Started> {
    let answer = if start.at.is_now() { mesh::COMMAND * 2 } else { ON_A_BEAT };
    // A daemon that has just begun to listen may still be observing the mesh before it takes commands.
    let patience = Instant::now() + JUST_STARTED;
    loop {
        let pending = node.command::<role::Daemon, _>(host, start.clone(), answer);
        match pending.wait(answer + mesh::COMMAND)? {
            Ok(started) => return Ok(started),
            Err(CommandError::NotThere { .. })
                if host == node.host() && daemon_is_listening() && Instant::now() < patience =>
            {
                std::thread::sleep(Duration::from_millis(20));
            },
            Err(CommandError::NotThere { node }) => {
                bail!("no daemon answers on host '{node}'; start one there with `hanad`")
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
    // A daemon that hangs does not reply; the node itself may still end when asked.
    if let Some((host, _)) = mesh::process_of(node, id).unwrap_or_default() {
        let stop = Stop { node: id.clone() };
        return Ok(node.command::<role::Daemon, _>(&host, stop, STOP).wait(STOP * 2)??);
    }
    let pending = node.command::<role::Visualization, _>(id, Shutdown {}, mesh::COMMAND);
    pending.wait(mesh::COMMAND * 2)??;
    // The node has only promised to end, and no daemon enforces it.
    let deadline = Instant::now() + ENDING;
    loop {
        let is_over = Instant::now() >= deadline;
        match mesh::info_of(node, id) {
            Ok(None) => break,
            Ok(Some(info)) if is_over => bail!(
                "'{id}' was asked to end and is still there; no daemon launched it, so none can end it by force: it is process {} on host '{}'",
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
    let started = node.command::<role::Daemon, _>(&host, restart, STOP).wait(STOP * 2)??;
    say_started(&node, &host, &started, format)
}

pub(crate) fn kill(argument: &NodeArgument, format: Format) -> anyhow::Result<()> {
    let node = mesh::join()?;
    let host = launched_on(&node, &argument.node, "kill")?;
    let kill = Kill { node: argument.node.clone() };
    let report = node.command::<role::Daemon, _>(&host, kill, STOP).wait(STOP * 2)??;
    output::print(format, &report, || stopped(&argument.node, report.by))
}

pub(crate) fn acknowledge(argument: &NodeArgument, format: Format) -> anyhow::Result<()> {
    let node = mesh::join()?;
    let host = launched_on(&node, &argument.node, "watch over")?;
    let ignore = Acknowledge { node: argument.node.clone() };
    let accepted = node.command::<role::Daemon, _>(&host, ignore, mesh::COMMAND);
    output::print(format, &accepted.wait(mesh::COMMAND * 2)??, || {
        format!("'{}' is left as it is until its state changes", argument.node)
    })
}

/// Returns the host whose daemon launched it; if none did, an error that names the alternatives.
fn launched_on(node: &Node<role::App>, id: &NodeId, what: &str) -> anyhow::Result<NodeId> {
    if let Some((host, _)) = mesh::process_of(node, id)? {
        return Ok(host);
    }
    match mesh::info_of(node, id)? {
        Some(info) => bail!(
            "no daemon launched '{id}', so none can {what} it; it is process {} on host '{}'",
            info.pid,
            info.host
        ),
        None => bail!("there is no '{id}' on the mesh; `hana nodes` lists who is there"),
    }
}

fn stopped(id: &NodeId, by: StoppedBy) -> String {
    let how = match by {
        StoppedBy::Already => "had ended already",
        StoppedBy::Shutdown => "has ended in good order",
        StoppedBy::Terminate => "ended on SIGTERM; it did not follow the polite command",
        StoppedBy::Kill => "ended on SIGKILL",
    };
    format!("'{id}' {how}")
}
