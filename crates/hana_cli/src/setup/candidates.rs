//! The names on the mesh that a shell completes.
//!
//! A shell waits for these names, so a completion takes at most [`TIMEOUT`]. Without a daemon on this machine, or if
//! the daemon does not reply in time, there are no names and no error.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clap_complete::engine::CompletionCandidate;
use hana_network::{Node, NodeConfig, daemon_is_listening};
use hana_protocol::contract::Topics;
use hana_protocol::id::role::Role;
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{NodeInfo, ProcessStatus};

/// Time limit for one completion.
const TIMEOUT: Duration = Duration::from_millis(300);
/// Time kept for leaving the mesh.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(50);

/// The nodes on the mesh, and the processes that daemons launched.
#[derive(Debug, Default)]
struct MeshNames {
    infos: Vec<NodeInfo>,
    processes: Vec<ProcessStatus>,
}

impl MeshNames {
    /// Queries the mesh; empty if it does not reply in time.
    fn query() -> Self {
        if !daemon_is_listening() {
            return Self::default();
        }
        let deadline = Instant::now() + TIMEOUT;
        let (names_tx, names_rx) = mpsc::channel();
        let (left_tx, left_rx) = mpsc::channel();
        let worker = thread::Builder::new().spawn(move || {
            let Some(node) = join(deadline) else { return };
            names_tx.send(Self::from_mesh(&node, deadline)).ok();
            node.leave().wait(remaining(deadline)).ok();
            left_tx.send(()).ok();
        });
        if worker.is_err() {
            return Self::default();
        }
        let names = names_rx.recv_timeout(remaining(deadline)).unwrap_or_default();
        // Waits for the session to close before the process exits, since a daemon logs a session that is cut off.
        left_rx.recv_timeout(remaining(deadline)).ok();
        names
    }

    fn from_mesh(node: &Node<role::App>, deadline: Instant) -> Self {
        let limit = remaining(deadline).saturating_sub(LEAVE_TIMEOUT);
        let infos = node.query(Topics::<NodeInfo>::every_info(), limit);
        let processes = node.query(Topics::<ProcessStatus>::every_process(), limit);
        let infos = infos.wait(remaining(deadline)).unwrap_or_default();
        let processes = processes.wait(remaining(deadline)).unwrap_or_default();
        Self {
            infos: infos.into_iter().map(|received| received.message).collect(),
            processes: processes.into_iter().map(|received| received.message).collect(),
        }
    }
}

fn join(deadline: Instant) -> Option<Node<role::App>> {
    let config = NodeConfig::unlisted(&NodeId::new("hana").ok()?).ok()?;
    Node::join(config).wait(remaining(deadline)).ok()?.ok()
}

fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Returns the candidates in alphabetical order, each once.
fn candidates<T: Into<String>>(names: impl IntoIterator<Item = T>) -> Vec<CompletionCandidate> {
    let mut names: Vec<String> = names.into_iter().map(Into::into).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(CompletionCandidate::new).collect()
}

fn ids_with_role(infos: &[NodeInfo], role: Role) -> impl Iterator<Item = &str> {
    infos.iter().filter(move |info| info.role == role).map(|info| info.node.as_str())
}

/// Returns the ids of all nodes on the mesh.
pub(crate) fn nodes() -> Vec<CompletionCandidate> {
    candidates(MeshNames::query().infos.iter().map(|info| info.node.as_str()))
}

/// Returns the ids of all hosts with a daemon.
pub(crate) fn hosts() -> Vec<CompletionCandidate> {
    candidates(ids_with_role(&MeshNames::query().infos, Role::Daemon))
}

/// Returns the ids of all visualizations, including launched visualizations that have ended.
pub(crate) fn visualizations() -> Vec<CompletionCandidate> {
    let names = MeshNames::query();
    let launched = names.processes.iter().map(|process| process.node.as_str());
    candidates(ids_with_role(&names.infos, Role::Visualization).chain(launched))
}

/// Returns the ids of all nodes that have a log: daemons and the processes that they launched.
pub(crate) fn processes() -> Vec<CompletionCandidate> {
    let names = MeshNames::query();
    let launched = names.processes.iter().map(|process| process.node.as_str());
    candidates(ids_with_role(&names.infos, Role::Daemon).chain(launched))
}

/// Returns the catalogue names of all programs that daemons have launched.
pub(crate) fn programs() -> Vec<CompletionCandidate> {
    candidates(MeshNames::query().processes.into_iter().map(|process| process.name))
}

/// Returns the parameters of the visualization on the command line, each with `=`.
pub(crate) fn parameters() -> Vec<CompletionCandidate> {
    let words: Vec<String> = std::env::args().collect();
    let names = MeshNames::query();
    let is_target = |info: &&NodeInfo| words.iter().any(|word| word == info.node.as_str());
    let declared = names.infos.iter().filter(is_target).flat_map(|info| &info.parameters);
    candidates(declared.map(|parameter| format!("{}=", parameter.name)))
}
