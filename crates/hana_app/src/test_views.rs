use hana_engine::roster::NodeView;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::message::ProcessState;

#[allow(clippy::unwrap_used)]
pub(crate) fn id(id: &str) -> NodeId {
    NodeId::new(id).unwrap()
}

/// Returns a visualization on the host `h1`, which a daemon launched, or the daemon itself if `node` is `h1`.
pub(crate) fn view(node: &str, state: ProcessState) -> NodeView {
    NodeView {
        node: id(node),
        role: if node == "h1" { Role::Daemon } else { Role::Visualization },
        host: Some(id("h1")),
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
