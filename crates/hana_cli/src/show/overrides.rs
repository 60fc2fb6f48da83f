//! Freeze, blackout and resume: for one visualization, for a host, for all, without an app.

use std::collections::BTreeMap;

use anyhow::bail;
use hana_network::{Node, unix_ms};
use hana_protocol::contract::routes::Route;
use hana_protocol::id::role::Role;
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{Accepted, Blackout, Command, Freeze, Resume};
use hana_protocol::wire::error_chain;
use serde::Serialize;

use crate::arguments::OverrideArguments;
use crate::output::Format;
use crate::{mesh, output};

/// A command that sets or clears an override.
pub(crate) trait Overriding:
    Command<Reply = Accepted> + Route<role::App, role::Visualization> + Copy + Default
{
    /// The text about a visualization that has carried out the command.
    const DONE: &'static str;
}

impl Overriding for Freeze {
    const DONE: &'static str = "is frozen";
}

impl Overriding for Blackout {
    const DONE: &'static str = "is black";
}

impl Overriding for Resume {
    const DONE: &'static str = "is resumed";
}

/// The reply of each visualization.
#[derive(Serialize)]
struct OverrideOutcome {
    node: NodeId,
    done: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
}

pub(crate) fn run<C: Overriding>(
    arguments: &OverrideArguments,
    format: Format,
) -> anyhow::Result<()> {
    let own = mesh::join()?;
    // Sends the command to each node as soon as it is found, so that a node that hangs does not delay the others.
    let mut pending = BTreeMap::new();
    let mut send = |id: &NodeId| {
        pending.entry(id.clone()).or_insert_with(|| {
            own.command::<role::Visualization, _>(id, C::default(), mesh::COMMAND)
        });
    };
    arguments.nodes.iter().for_each(&mut send);
    if arguments.all || arguments.host.is_some() {
        find(&own, arguments.host.as_ref(), send);
    }
    if pending.is_empty() {
        let place = arguments.host.as_ref().map(|host| format!(" on host '{host}'"));
        bail!("no visualization{}; `hana nodes` lists all nodes", place.unwrap_or_default());
    }
    let outcomes: Vec<OverrideOutcome> = pending
        .into_iter()
        .map(|(node, reply)| {
            let problem = match reply.wait(mesh::COMMAND * 2) {
                Ok(Ok(_)) => None,
                Ok(Err(problem)) => Some(error_chain(mesh::explain(&own, problem).as_ref())),
                Err(problem) => Some(problem.to_string()),
            };
            OverrideOutcome { node, done: problem.is_none(), reason: problem.unwrap_or_default() }
        })
        .collect();
    output::print(format, &outcomes, || describe::<C>(&outcomes))?;
    let failed = outcomes.iter().filter(|outcome| !outcome.done).count();
    if failed > 0 {
        bail!("{failed} of {} visualizations did not respond; run `hana nodes`", outcomes.len());
    }
    Ok(())
}

/// Finds the visualizations on one host or on all.
fn find(node: &Node<role::App>, host: Option<&NodeId>, mut found: impl FnMut(&NodeId)) {
    node.watch_mesh().wait_with(mesh::QUERY_TIMEOUT, |roster| {
        roster
            .views(unix_ms())
            .iter()
            .filter(|view| view.role == Role::Visualization && view.state.is_alive())
            .filter(|view| host.is_none() || view.host.as_ref() == host)
            .for_each(|view| found(&view.node));
    });
}

fn describe<C: Overriding>(outcomes: &[OverrideOutcome]) -> String {
    let lines: Vec<String> = outcomes
        .iter()
        .map(|outcome| {
            if outcome.done {
                format!("'{}' {}", outcome.node, C::DONE)
            } else {
                format!("'{}': {}", outcome.node, outcome.reason)
            }
        })
        .collect();
    lines.join("\n")
}
