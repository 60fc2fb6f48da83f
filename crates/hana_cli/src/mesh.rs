//! The mesh for short-lived commands: a command joins without being listed, and leaves.

use std::time::Duration;

use anyhow::Context;
use hana_network::{Node, NodeConfig, unix_ms};
use hana_protocol::contract::Topics;
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::ProcessStatus;
use hana_protocol::wire::Envelope;

/// Joining through a daemon takes milliseconds; without one, half a second of scouting.
const JOIN: Duration = Duration::from_secs(5);
/// How long to wait for the stored state of other nodes.
pub(crate) const ASK: Duration = Duration::from_millis(400);
/// How long to wait for the reply to a command that takes a moment.
pub(crate) const COMMAND: Duration = Duration::from_secs(2);

/// Joins for the duration of one command.
pub(crate) fn join() -> anyhow::Result<Node<role::App>> {
    let name = NodeId::new("hana").context("the command's own name")?;
    let config = NodeConfig::passing(&name)?;
    Node::join(config).wait(JOIN).context("joining the mesh")?.context("joining the mesh")
}

/// Returns the daemons' status of a process, and the host whose daemon reports it.
pub(crate) fn process_of(node: &Node<role::App>, id: &NodeId) -> Option<(NodeId, ProcessStatus)> {
    let found = node.ask(Topics::<ProcessStatus>::process_of(id), ASK).wait(ASK * 2).ok()?;
    // A host where the process is alive takes precedence over one where it has ended.
    found
        .into_iter()
        .filter_map(|received| {
            let host = hana_protocol::contract::Key::parse(&received.key)?.owner().clone();
            let (status, now_ms) = (received.message, unix_ms());
            let of = |by: &Envelope| by.to_local_ms(status.since_ms, now_ms);
            let since_ms = received.envelope.as_ref().map_or(status.since_ms, of);
            Some((host, ProcessStatus { since_ms, ..status }))
        })
        .max_by_key(|(_, status)| (status.state.is_alive(), status.since_ms))
}
