//! Handling of a command to a node that is not on the mesh: whether to wait for the node, and why it is absent.

use std::time::{Duration, Instant};

use hana_engine::roster::NodeView;
use hana_network::{CommandError, MeshObserver, Node, daemon_is_listening, unix_ms};
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{LossCause, ProcessState};

use crate::mesh;
use crate::mesh::QUERY_TIMEOUT;

/// How long to wait for an absent node. A node that lost its daemon returns without a daemon after five seconds.
const RETURN_TIMEOUT: Duration = Duration::from_secs(8);
/// How long each retry waits for a complete roster. The first attempt waits [`QUERY_TIMEOUT`].
const ROSTER_TIMEOUT: Duration = Duration::from_millis(500);
/// Interval between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Whether to wait for an absent node.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Absence {
    /// The node may be back within seconds.
    MayComeBack,
    /// The node is away, for this reason.
    Away(String),
    /// The node is unknown.
    Unknown,
}

/// Sends a command to `id` by calling `command`, and retries while the node is absent and may be back within seconds.
///
/// # Errors
///
/// The error of the last attempt; for a node that is away, the reason for its absence.
pub(crate) fn while_absent<T>(
    node: &Node<role::App>,
    id: &NodeId,
    mut command: impl FnMut() -> anyhow::Result<Result<T, CommandError>>,
) -> anyhow::Result<T> {
    let begun = Instant::now();
    let mut watch: Option<MeshObserver> = None;
    loop {
        let problem = match command()? {
            Ok(done) => return Ok(done),
            Err(problem @ CommandError::NoSuchNode { .. }) => problem,
            Err(problem) => return Err(problem.into()),
        };
        let timeout = if watch.is_none() { QUERY_TIMEOUT } else { ROSTER_TIMEOUT };
        let watch = watch.get_or_insert_with(|| node.watch_mesh());
        watch.wait_until_complete(timeout);
        let view = watch.roster().view(id, unix_ms());
        let is_daemon_here = daemon_is_listening();
        let absence = absence(view.as_ref(), is_daemon_here);
        if absence == Absence::MayComeBack && begun.elapsed() < RETURN_TIMEOUT {
            std::thread::sleep(RETRY_INTERVAL);
            continue;
        }
        return Err(match absence {
            Absence::Away(reason) => anyhow::anyhow!("'{id}' cannot be reached: {reason}"),
            Absence::MayComeBack => anyhow::anyhow!(
                "{}",
                gave_up(&problem, begun.elapsed(), view.as_ref(), is_daemon_here)
            ),
            Absence::Unknown => mesh::explain(node, problem),
        });
    }
}

/// Returns the error about a node that did not come back in time.
fn gave_up(
    problem: &CommandError,
    waited: Duration,
    view: Option<&NodeView>,
    is_daemon_here: bool,
) -> String {
    let why = view.map(|view| view.reason.as_str()).filter(|reason| !reason.is_empty());
    let why = why.map(|reason| format!(": {reason}")).unwrap_or_default();
    let daemon = if is_daemon_here { "" } else { ", and no hanad runs on this machine" };
    format!("{problem}; waited {} s{daemon}{why}", waited.as_secs())
}

/// Classifies an absent node by its entry in the roster.
fn absence(view: Option<&NodeView>, is_daemon_here: bool) -> Absence {
    match view {
        // Without a daemon on this machine, a node that lost its daemon may be missing from the roster.
        None if is_daemon_here => Absence::Unknown,
        None => Absence::MayComeBack,
        Some(view) if view.reason.starts_with(LossCause::HostLost.as_str()) => {
            Absence::Away(view.reason.clone())
        },
        Some(view) if view.state.is_alive() || view.state == ProcessState::Restarting => {
            Absence::MayComeBack
        },
        Some(view) if view.reason.is_empty() => Absence::Away(format!("it is {}", view.state)),
        Some(view) => Absence::Away(format!("it is {}: {}", view.state, view.reason)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hana_engine::roster::{Observation, Roster};
    use hana_protocol::id::role::Role;

    use super::*;

    fn view_of(state: ProcessState, reason: &str) -> NodeView {
        let node = NodeId::new("ripples").unwrap();
        let (mut roster, now) = (Roster::default(), Instant::now());
        let appeared = Observation::TokenAdded {
            node: node.clone(),
            role: Role::Visualization,
            zid: "a".into(),
        };
        roster.observe(appeared, now, 0);
        NodeView { state, reason: reason.into(), ..roster.view(&node, 0).unwrap() }
    }

    #[test]
    fn node_without_daemon_or_restarting_is_awaited() {
        let lost = view_of(ProcessState::Unreachable, "daemon_lost: no hanad runs on 'h2'");
        assert_eq!(absence(Some(&lost), true), Absence::MayComeBack);
        let restarting = view_of(ProcessState::Restarting, "");
        assert_eq!(absence(Some(&restarting), true), Absence::MayComeBack);
        assert_eq!(absence(None, false), Absence::MayComeBack);
    }

    #[test]
    fn lost_stopped_or_unknown_node_is_not_awaited() {
        let off = view_of(ProcessState::Unreachable, "host_lost: 'h2' does not answer");
        let reason = "host_lost: 'h2' does not answer".to_owned();
        assert_eq!(absence(Some(&off), true), Absence::Away(reason));
        let stopped = view_of(ProcessState::Stopped, "");
        assert_eq!(absence(Some(&stopped), true), Absence::Away("it is stopped".into()));
        assert_eq!(absence(None, true), Absence::Unknown);
    }
}
