use hana_engine::roster::NodeView;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::message::ProcessState;

/// Returns a visualization that a daemon launched, or a daemon if `node` equals `host`.
#[allow(clippy::unwrap_used)]
pub(crate) fn view(node: &str, host: &str, state: ProcessState) -> NodeView {
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
