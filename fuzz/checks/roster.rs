//! Applies any sequence of observations, of a few nodes that come and go or of very many: a node with a token is
//! present, a node reported as added is listed, and the list stays bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use hana_engine::roster::{Observation, ProbeOutcome, Roster, RosterChange};
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::message::{
    Frames, Health, Look, LossCause, LostHost, LostNode, LostPeers, NodeInfo, ProcessState,
    ProcessStatus,
};
use hana_protocol::parameter::ParameterName;

/// The first byte decides whether a new node means very many. Each following group of three bytes is one observation:
/// its kind, its node and its details.
pub(crate) fn check(bytes: &[u8]) {
    let Some((crowd, bytes)) = bytes.split_first() else { return };
    let is_crowded = *crowd == u8::MAX;
    let mut roster = Roster::default();
    let mut listed: BTreeSet<NodeId> = BTreeSet::new();
    let mut sessions: BTreeMap<NodeId, BTreeSet<String>> = BTreeMap::new();
    let mut now = Instant::now();
    let mut unix_ms = 1_760_000_000_000;
    for (place, sighting) in bytes.chunks_exact(3).enumerate() {
        let [kind, who, how] = sighting else { continue };
        let node = node(*who);
        let zid = format!("z{}", how % 4);
        let role = Role::ALL[usize::from(how % 4)];
        let sighting = match kind % 11 {
            0 => {
                sessions.entry(node.clone()).or_default().insert(zid.clone());
                Observation::TokenAdded { node, role, zid }
            },
            1 => {
                if let Some(of_node) = sessions.get_mut(&node) {
                    of_node.remove(&zid);
                }
                Observation::TokenRemoved { node, zid }
            },
            2 => Observation::Info(info(&node, role, u64::from(*how))),
            3 => {
                let frames = Frames { count: u64::from(*how), fps: f32::from(*how), max_us: 0 };
                let frames = (how % 3 > 0).then_some(frames);
                Observation::Health(node, Health { frames, ..Health::default() })
            },
            4 => {
                let zoom = ParameterName::new("zoom").expect("it is a name");
                Observation::Look(
                    node,
                    Look { parameters: [(zoom, f32::from(*how))].into(), ..Look::default() },
                )
            },
            8 => Observation::Closed(node),
            9 => {
                let knock = [ProbeOutcome::Refused, ProbeOutcome::Timeout, ProbeOutcome::Connected]
                    [usize::from(how % 3)];
                Observation::Probed(node, knock)
            },
            10 => Observation::LostPeers(node, lost(*how)),
            5 => Observation::Process(self::node(how % 8), status(node, *how)),
            6 => {
                now += Duration::from_millis(u64::from(*how) * 10);
                unix_ms += u64::from(*how) * 10;
                follow(roster.tick(now, unix_ms), &mut listed);
                continue;
            },
            // New nodes; many of them fill the list.
            _ => {
                for n in 0..=if is_crowded { *how } else { 0 } {
                    let made_up = NodeId::new(&format!("m{place}-{n}")).expect("it is an id");
                    let sighting = Observation::Info(info(&made_up, Role::Visualization, 0));
                    follow(roster.observe(sighting, now, unix_ms), &mut listed);
                }
                continue;
            },
        };
        follow(roster.observe(sighting, now, unix_ms), &mut listed);
    }
    let views = roster.views(unix_ms);
    assert!(views.len() <= Roster::MAX_NODES);
    let shown: Vec<&NodeId> = views.iter().map(|view| &view.node).collect();
    assert_eq!(shown, listed.iter().collect::<Vec<_>>(), "the changes add up to the list");
    assert!(!roster.is_empty() || views.is_empty());
    let _ = (roster.take_news(), roster.to_knock(now), roster.next_knock(), roster.lost(now));
    for (node, of_node) in &sessions {
        assert_eq!(roster.is_present(node), !of_node.is_empty(), "{node}");
    }
    for view in views {
        assert_eq!(roster.view(&view.node, unix_ms), Some(view));
    }
    let _ = roster.is_complete();
}

fn follow(changes: Vec<RosterChange>, listed: &mut BTreeSet<NodeId>) {
    for change in changes {
        match change {
            RosterChange::Added(node) => assert!(listed.insert(node)),
            RosterChange::Changed(node) => assert!(listed.contains(&node)),
            RosterChange::Removed(node) => assert!(listed.remove(&node)),
        }
    }
}

fn node(who: u8) -> NodeId {
    NodeId::new(&format!("n{}", who % 8)).expect("it is an id")
}

fn info(node: &NodeId, role: Role, instance: u64) -> NodeInfo {
    // Written as JSON, so that a new field of the struct needs no change here.
    let info = serde_json::json!({
        "node": node, "role": role, "host": node, "pid": 1, "instance": instance, "started_ms": instance,
        "version": "",
    });
    serde_json::from_value(info).expect("it is an info")
}

fn lost(how: u8) -> LostPeers {
    let causes = [LossCause::HostLost, LossCause::DaemonLost, LossCause::OffMesh];
    let (host, node) = (node(how), node(how / 8));
    let cause = causes[usize::from(how) % causes.len()];
    let of_host = LostHost { host: host.clone(), cause, since_ms: 1, nodes: vec![node.clone()] };
    LostPeers {
        hosts: if how.is_multiple_of(2) { vec![of_host] } else { vec![] },
        nodes: if how.is_multiple_of(3) {
            vec![LostNode { node, host, since_ms: 1 }]
        } else {
            vec![]
        },
    }
}

fn status(node: NodeId, how: u8) -> ProcessStatus {
    use ProcessState as S;
    let states = [S::Starting, S::Running, S::Unresponsive, S::Stopped, S::Crashed, S::Restarting];
    ProcessStatus {
        name: node.to_string(),
        node,
        state: states[usize::from(how) % states.len()],
        reason: String::new(),
        since_ms: u64::from(how),
        pid: None,
        exit: None,
        restarts: 0,
        acknowledged: false,
    }
}
