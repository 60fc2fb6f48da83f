//! The mesh for short-lived commands: a command joins without being listed, and leaves.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use hana_network::{CommandError, Node, NodeConfig, Received, unix_ms};
use hana_protocol::contract::routes::ReceivedBy;
use hana_protocol::contract::{Topic, Topics};
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{NodeInfo, ProcessStatus};
use hana_protocol::wire::{Envelope, Message};

use crate::suggest::did_you_mean;

/// Time limit for joining. Joining takes milliseconds through a daemon, and half a second of scouting without a
/// daemon.
const JOIN: Duration = Duration::from_secs(5);
/// The time at which this command joined the mesh.
static JOINED: OnceLock<Instant> = OnceLock::new();
/// Time after joining in which the declarations of other nodes may still arrive, if the machine is busy. Until they
/// do, a query finds no node that could reply, and ends without replies.
const DECLARATION_TIME: Duration = Duration::from_secs(1);
/// Interval between two queries in that time.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// Time limit for a query. A query ends sooner once all matching queryables have replied, so only a node that
/// hangs makes it wait this long.
pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
/// Time limit for one attempt to query all nodes, so that a node that hangs does not delay the replies of the others.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(400);
/// How long to wait for the reply to a command that is carried out within a moment.
pub(crate) const COMMAND: Duration = Duration::from_secs(2);

/// Joins for the duration of one command.
pub(crate) fn join() -> anyhow::Result<Node<role::App>> {
    let name = NodeId::new("hana").context("the command's own name")?;
    let config = NodeConfig::unlisted(&name)?;
    let node = Node::join(config).wait(JOIN).context("joining the mesh")?;
    let node = node.context("joining the mesh")?;
    JOINED.get_or_init(Instant::now);
    Ok(node)
}

/// Queries a stored state. An empty result means that no node keeps this state.
///
/// # Errors
///
/// When no node replied within [`QUERY_TIMEOUT`] although one keeps the state.
pub(crate) fn query<M: Message + ReceivedBy<role::App>>(
    node: &Node<role::App>,
    topics: impl Into<Topics<M>>,
) -> anyhow::Result<Vec<Received<M>>> {
    let topics = topics.into();
    loop {
        let begun = Instant::now();
        let found = node.query(topics.clone(), QUERY_TIMEOUT).wait(QUERY_TIMEOUT * 2)?;
        if found.is_empty() && begun.elapsed() >= QUERY_TIMEOUT {
            bail!(no_reply(topics.pattern()));
        }
        if !found.is_empty() || !has_just_joined() {
            return Ok(found);
        }
        std::thread::sleep(RETRY_INTERVAL);
    }
}

/// Queries the stored state of all nodes, and returns the replies for which `is_wanted` holds.
///
/// Returns after one attempt if a wanted reply arrived or all nodes replied. Otherwise, retries for up to
/// [`QUERY_TIMEOUT`].
///
/// # Errors
///
/// When no wanted reply arrived, and some nodes did not reply in time.
pub(crate) fn query_all<M: Message + ReceivedBy<role::App>>(
    node: &Node<role::App>,
    topics: &Topics<M>,
    is_wanted: impl Fn(&M) -> bool,
) -> anyhow::Result<Vec<Received<M>>> {
    let deadline = Instant::now() + QUERY_TIMEOUT;
    loop {
        let begun = Instant::now();
        let mut found = node.query(topics.clone(), ATTEMPT_TIMEOUT).wait(QUERY_TIMEOUT)?;
        found.retain(|received| is_wanted(&received.message));
        let is_answered = begun.elapsed() < ATTEMPT_TIMEOUT && !has_just_joined();
        if !found.is_empty() || is_answered {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!(no_reply(topics.pattern()));
        }
        std::thread::sleep(RETRY_INTERVAL);
    }
}

fn has_just_joined() -> bool {
    JOINED.get().is_some_and(|joined| joined.elapsed() < DECLARATION_TIME)
}

fn no_reply(pattern: &str) -> String {
    format!(
        "no reply to the query '{pattern}' within {} s; its node or machine hangs or is busy, `hana nodes` shows which",
        QUERY_TIMEOUT.as_secs()
    )
}

/// Returns the error of a command. If the node does not exist, the error suggests the most similar id on the mesh.
pub(crate) fn explain(node: &Node<role::App>, error: CommandError) -> anyhow::Error {
    match error {
        CommandError::NoSuchNode { node: id } => unknown_node(node, &id),
        error => error.into(),
    }
}

/// Returns the error about a node that is not on the mesh.
pub(crate) fn unknown_node(node: &Node<role::App>, id: &NodeId) -> anyhow::Error {
    let hint = hint(node, id).unwrap_or_else(|| "; `hana nodes` lists all nodes".into());
    anyhow!("there is no '{id}' on the mesh{hint}")
}

/// Returns the end of an error about an unknown id: the most similar id on the mesh, if there is one.
pub(crate) fn hint(node: &Node<role::App>, id: &NodeId) -> Option<String> {
    let infos = query_all(node, &Topics::<NodeInfo>::every_info(), |_| true).ok()?;
    did_you_mean(id.as_str(), infos.iter().map(|received| received.message.node.as_str()))
}

/// Returns a node's announcement, if the node is on the mesh.
pub(crate) fn info_of(node: &Node<role::App>, id: &NodeId) -> anyhow::Result<Option<NodeInfo>> {
    let found = query(node, Topic::<NodeInfo>::info(id.clone()))?;
    Ok(found.into_iter().next().map(|received| received.message))
}

/// Returns the status of a process, and the host whose daemon reports it.
pub(crate) fn process_of(
    node: &Node<role::App>,
    id: &NodeId,
) -> anyhow::Result<Option<(NodeId, ProcessStatus)>> {
    let found = query(node, Topics::<ProcessStatus>::process_of(id))?;
    // A host on which the process is alive takes precedence over a host on which it has ended.
    let process = found
        .into_iter()
        .filter_map(|received| {
            let host = hana_protocol::contract::Key::parse(&received.key)?.owner().clone();
            let (status, now_ms) = (received.message, unix_ms());
            let local_ms = |by: &Envelope| by.to_local_ms(status.since_ms, now_ms);
            let since_ms = received.envelope.as_ref().map_or(status.since_ms, local_ms);
            Some((host, ProcessStatus { since_ms, ..status }))
        })
        .max_by_key(|(_, status)| (status.state.is_alive(), status.since_ms));
    Ok(process)
}
