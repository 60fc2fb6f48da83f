//! Nodes for tests.

use hana_engine::roster::NodeView;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::message::ProcessState;

/// Returns a node that started at time 0. The node is a daemon if `node` equals `host`.
pub(super) fn view(node: &str, host: &str, state: ProcessState) -> NodeView {
    NodeView {
        node: NodeId::new(node).unwrap(),
        role: if node == host { Role::Daemon } else { Role::Visualization },
        host: Some(NodeId::new(host).unwrap()),
        state,
        reason: "because".into(),
        since_ms: 0,
        pid: Some(1),
        uptime_s: 0,
        frame: Some(1),
        fps: Some(60.0),
        frame_max_us: Some(17_000),
        restarts: 0,
        launched: true,
        acknowledged: false,
        in_force: None,
        owners: vec![],
        mixed: [].into(),
        note: None,
        plays: [].into(),
        played_by: [].into(),
        counters: None,
        lanes: [].into(),
        troubles: vec![],
        parameters: None,
        playing: vec![],
    }
}

/// Returns two hosts with three visualizations, of which one hangs.
pub(super) fn show() -> Vec<NodeView> {
    let running = ProcessState::Running;
    vec![
        view("h1", "h1", running),
        view("a", "h1", running),
        view("h2", "h2", running),
        view("b", "h2", running),
        view("c", "h2", ProcessState::Unresponsive),
    ]
}
