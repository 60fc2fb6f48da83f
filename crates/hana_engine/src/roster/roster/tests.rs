use std::time::Duration;

use hana_protocol::message::{Exit, Frames, Health, ProcessState, ProcessStatus};

use super::*;
use crate::roster::host_loss::ProbeOutcome;

fn id(text: &str) -> NodeId {
    NodeId::new(text).unwrap()
}

fn appeared(node: &str, role: Role) -> Observation {
    Observation::TokenAdded { node: id(node), role, zid: format!("z-{node}") }
}

/// Returns the observation of the info that a node publishes.
fn info(node: &str, role: Role, host: &str) -> Observation {
    let info = serde_json::json!({
        "node": node, "role": role, "host": host, "pid": 1, "instance": 1, "started_ms": 0,
        "version": "0.1.0",
    });
    Observation::Info(serde_json::from_value(info).unwrap())
}

fn vanished(node: &str) -> Observation {
    Observation::TokenRemoved { node: id(node), zid: format!("z-{node}") }
}

fn health(node: &str, count: u64) -> Observation {
    let frames = Some(Frames { count, fps: 60.0, max_us: 0 });
    Observation::Health(id(node), Health { frames, ..Health::default() })
}

fn crashed(node: &str) -> Observation {
    Observation::Process(
        id("h1"),
        ProcessStatus {
            node: id(node),
            name: "ripples".into(),
            state: ProcessState::Crashed,
            reason: "signal 9 (SIGKILL)".into(),
            since_ms: 5,
            pid: None,
            exit: Some(Exit::Signal(9)),
            restarts: 0,
            acknowledged: false,
        },
    )
}

fn state(roster: &Roster, node: &str) -> ProcessState {
    roster.view(&id(node), 0).unwrap().state
}

#[test]
fn visualization_stays_listed_when_disconnected_app_does_not() {
    let mut roster = Roster::default();
    let now = Instant::now();
    roster.observe(appeared("ripples", Role::Visualization), now, 0);
    roster.observe(info("ripples", Role::Visualization, "h1"), now, 0);
    roster.observe(appeared("desk", Role::App), now, 0);
    roster.observe(vanished("ripples"), now, 0);
    assert_eq!(roster.observe(vanished("desk"), now, 0), vec![RosterChange::Removed(id("desk"))]);
    assert_eq!(state(&roster, "ripples"), ProcessState::Unreachable);
    roster.observe(appeared("ripples", Role::Visualization), now, 0);
    assert_eq!(state(&roster, "ripples"), ProcessState::Starting);
    roster.observe(health("ripples", 1), now, 0);
    assert_eq!(state(&roster, "ripples"), ProcessState::Running);
    assert_eq!(roster.views(0).len(), 1);
}

#[test]
fn silent_node_turns_unresponsive_by_time_and_recovers() {
    let mut roster = Roster::default();
    let start = Instant::now();
    roster.observe(appeared("ripples", Role::Visualization), start, 0);
    roster.observe(health("ripples", 1), start, 0);
    assert_eq!(roster.tick(start + Duration::from_millis(500), 500), vec![]);
    let changes = roster.tick(start + Duration::from_millis(900), 900);
    assert_eq!(changes, vec![RosterChange::Changed(id("ripples"))]);
    let view = roster.view(&id("ripples"), 900).unwrap();
    assert_eq!((view.state, view.since_ms), (ProcessState::Unresponsive, 900));
    roster.observe(health("ripples", 2), start + Duration::from_secs(1), 1000);
    assert_eq!(state(&roster, "ripples"), ProcessState::Running);
}

#[test]
fn state_published_by_the_daemon_overrides_own_verdict() {
    let mut roster = Roster::default();
    let now = Instant::now();
    roster.observe(appeared("ripples", Role::Visualization), now, 0);
    roster.observe(vanished("ripples"), now, 0);
    roster.observe(crashed("ripples"), now, 7);
    let view = roster.view(&id("ripples"), 7).unwrap();
    assert_eq!((view.state, view.since_ms, view.pid), (ProcessState::Crashed, 5, None));
    assert!(view.reason.contains("SIGKILL"));
}

#[test]
fn late_loss_of_an_old_token_does_not_remove_the_node() {
    let mut roster = Roster::default();
    let now = Instant::now();
    let token =
        |zid: &str| Observation::TokenAdded { node: id("desk"), role: Role::App, zid: zid.into() };
    roster.observe(token("old"), now, 0);
    roster.observe(token("new"), now, 0);
    roster.observe(Observation::TokenRemoved { node: id("desk"), zid: "old".into() }, now, 0);
    assert!(roster.is_present(&id("desk")));
}

/// Returns a roster of two hosts with their daemons; the first daemon has launched a visualization.
fn two_hosts(now: Instant) -> Roster {
    let mut roster = Roster::default();
    for daemon in ["h1", "h2"] {
        roster.observe(appeared(daemon, Role::Daemon), now, 0);
        roster.observe(info(daemon, Role::Daemon, daemon), now, 0);
    }
    roster.observe(appeared("ripples", Role::Visualization), now, 0);
    roster.observe(info("ripples", Role::Visualization, "h1"), now, 0);
    roster.observe(health("ripples", 1), now, 0);
    roster.observe(running("ripples"), now, 0);
    roster.take_news();
    roster
}

fn running(node: &str) -> Observation {
    let Observation::Process(host, status) = crashed(node) else { unreachable!() };
    let state = ProcessState::Running;
    Observation::Process(host, ProcessStatus { state, reason: String::new(), ..status })
}

/// Removes host h1 and all its nodes.
fn goes(roster: &mut Roster, now: Instant) {
    roster.observe(vanished("ripples"), now, 10);
    roster.observe(vanished("h1"), now, 10);
}

#[test]
fn lost_host_is_one_event_with_all_its_nodes() {
    let start = Instant::now();
    let mut roster = two_hosts(start);
    goes(&mut roster, start);
    assert_eq!(state(&roster, "ripples"), ProcessState::Unreachable);
    assert_eq!(roster.take_news(), vec![], "it is not known yet what it is");
    let at = roster.next_knock().unwrap();
    assert_eq!(roster.to_knock(at), vec![(id("h1"), vec![])]);
    let changes = roster.observe(Observation::Probed(id("h1"), ProbeOutcome::Timeout), at, 60);
    assert_eq!(
        changes,
        vec![RosterChange::Changed(id("h1")), RosterChange::Changed(id("ripples"))]
    );
    let cause = LossCause::HostLost;
    let news = RosterEvent::Lost { host: id("h1"), cause, nodes: vec![id("ripples")] };
    assert_eq!(roster.take_news(), vec![news]);
    for node in ["h1", "ripples"] {
        let view = roster.view(&id(node), 99).unwrap();
        assert_eq!((view.state, view.since_ms), (ProcessState::Unreachable, 10));
        assert!(view.reason.starts_with("host_lost: the machine 'h1'"), "{}", view.reason);
    }

    roster.observe(appeared("h1", Role::Daemon), at, 100);
    roster.observe(appeared("ripples", Role::Visualization), at, 100);
    roster.observe(running("ripples"), at, 100);
    assert_eq!(roster.take_news(), vec![RosterEvent::Found { host: id("h1"), cause }]);
    assert_eq!(state(&roster, "ripples"), ProcessState::Running);
    assert_eq!(roster.views(0).len(), 3);
}

#[test]
fn without_a_daemon_a_visualization_is_judged_by_its_health() {
    let start = Instant::now();
    let mut roster = two_hosts(start);
    goes(&mut roster, start);
    roster.observe(Observation::Probed(id("h1"), ProbeOutcome::Refused), start, 0);
    let view = roster.view(&id("ripples"), 0).unwrap();
    assert!(view.reason.starts_with("daemon_lost"), "{}", view.reason);
    // The node joins before its info arrives.
    roster.observe(appeared("ripples", Role::Visualization), start, 0);
    roster.observe(health("ripples", 9), start, 0);
    let view = roster.view(&id("ripples"), 0).unwrap();
    assert_eq!(view.state, ProcessState::Running);
    assert!(view.reason.contains("it is not restarted"), "{}", view.reason);
}

#[test]
fn restarted_daemon_republishes_or_its_data_expires() {
    let start = Instant::now();
    let mut roster = two_hosts(start);
    goes(&mut roster, start);
    roster.observe(Observation::Probed(id("h1"), ProbeOutcome::Timeout), start, 0);
    roster.observe(appeared("h1", Role::Daemon), start, 0);
    let later = start + Duration::from_secs(4);
    roster.tick(later, 4000);
    let view = roster.view(&id("ripples"), 4000).unwrap();
    assert!(view.reason.starts_with("node_lost"), "the machine was restarted: {}", view.reason);
    let much_later = start + Duration::from_secs(61);
    assert!(roster.tick(much_later, 61_000).contains(&RosterChange::Removed(id("ripples"))));
}

#[test]
fn daemon_with_an_orderly_end_is_not_lost() {
    let start = Instant::now();
    for word_first in [true, false] {
        let mut roster = two_hosts(start);
        let mut sightings = [vanished("h1"), Observation::Closed(id("h1"))];
        if word_first {
            sightings.reverse();
        }
        roster.observe(vanished("ripples"), start, 0);
        for sighting in sightings {
            roster.observe(sighting, start, 0);
        }
        // This message was in flight.
        roster.observe(crashed("ripples"), start, 0);
        roster.tick(start, 0);
        assert_eq!(roster.next_knock(), None);
        assert_eq!(roster.take_news(), vec![]);
        let left: Vec<NodeId> = roster.views(0).into_iter().map(|view| view.node).collect();
        assert_eq!(left, vec![id("h2")], "its word first: {word_first}");
    }
}

#[test]
fn late_joiner_learns_of_lost_peers_until_they_return() {
    let start = Instant::now();
    let mut roster = two_hosts(start);
    goes(&mut roster, start);
    roster.observe(Observation::Probed(id("h1"), ProbeOutcome::Timeout), start, 0);
    let lost = roster.lost(start);
    assert_eq!(lost.hosts.len(), 1);
    assert_eq!(lost.hosts[0].nodes, vec![id("ripples")]);

    let mut newcomer = Roster::default();
    newcomer.observe(appeared("h2", Role::Daemon), start, 50);
    newcomer.observe(Observation::LostPeers(id("h2"), lost), start, 50);
    for node in ["h1", "ripples"] {
        let view = newcomer.view(&id(node), 99).unwrap();
        assert_eq!((view.state, view.since_ms), (ProcessState::Unreachable, 10));
        assert_eq!(view.host, Some(id("h1")));
        assert!(view.reason.starts_with("host_lost"), "{}", view.reason);
    }
    let changes =
        newcomer.observe(Observation::LostPeers(id("h2"), LostPeers::default()), start, 50);
    assert_eq!(changes.len(), 2);
    assert_eq!(newcomer.views(0).len(), 1, "it is back, or given up");
}

#[test]
fn unlaunched_visualization_is_lost_alone_and_expires() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut roster = Roster::default();
    roster.observe(appeared("h2", Role::Daemon), start, 0);
    roster.observe(appeared("ripples", Role::Visualization), start, 0);
    roster.observe(info("ripples", Role::Visualization, "h2"), start, 0);
    roster.observe(vanished("ripples"), start, 0);
    roster.tick(at(500), 500);
    assert_eq!(roster.take_news(), vec![], "it may be on its way back");
    roster.tick(at(1100), 1100);
    roster.tick(at(1200), 1200);
    let news = RosterEvent::NodeLost { node: id("ripples"), host: id("h2") };
    assert_eq!(roster.take_news(), vec![news]);
    assert_eq!(roster.lost(at(1200)).nodes.len(), 1);
    roster.tick(at(61_000), 61_000);
    assert_eq!(roster.views(0).len(), 1);
    assert_eq!(roster.lost(at(61_000)), LostPeers::default());
}

#[test]
fn one_present_daemon_is_the_reporter() {
    let now = Instant::now();
    let mut roster = two_hosts(now);
    assert!(roster.is_reporter(&id("h1")) && !roster.is_reporter(&id("h2")));
    roster.observe(vanished("h1"), now, 0);
    assert!(roster.is_reporter(&id("h2")));
}

#[test]
fn early_messages_are_kept_and_echoes_are_hidden() {
    let now = Instant::now();
    let mut roster = Roster::default();
    assert_eq!(roster.observe(health("ripples", 1), now, 0), vec![]);
    assert!(roster.views(0).is_empty());
    let changes = roster.observe(appeared("ripples", Role::Visualization), now, 0);
    assert_eq!(changes, vec![RosterChange::Added(id("ripples"))]);
    roster.observe(health("echo", 1), now, 0);
    roster.tick(now + Duration::from_secs(3), 3000);
    assert!(!roster.nodes.contains_key(&id("echo")));
}

#[test]
fn all_observers_show_the_same_of_two_processes_with_one_id() {
    let now = Instant::now();
    let of = |host: &str, state: ProcessState, since_ms| {
        let Observation::Process(_, status) = crashed("pulse") else { unreachable!() };
        Observation::Process(id(host), ProcessStatus { state, since_ms, ..status })
    };
    let sightings = [
        of("h1", ProcessState::Stopped, 3),
        of("h2", ProcessState::Stopped, 4),
        of("h3", ProcessState::Running, 1),
    ];
    for first in 0..3 {
        let mut roster = Roster::default();
        for n in 0..3 {
            roster.observe(sightings[(first + n) % 3].clone(), now, 0);
        }
        let view = roster.view(&id("pulse"), 0).unwrap();
        assert_eq!((view.host, view.state), (Some(id("h3")), ProcessState::Running));
        roster.observe(of("h3", ProcessState::Stopped, 4), now, 0);
        assert_eq!(roster.view(&id("pulse"), 0).unwrap().host, Some(id("h3")));
        roster.observe(of("h1", ProcessState::Crashed, 5), now, 0);
        assert_eq!(roster.view(&id("pulse"), 0).unwrap().host, Some(id("h1")));
    }
}

#[test]
fn token_without_info_is_not_missed() {
    let now = Instant::now();
    let mut roster = Roster::default();
    for (node, role) in [("h1", Role::Daemon), ("ripples", Role::Visualization)] {
        roster.observe(appeared(node, role), now, 0);
        assert_eq!(roster.observe(vanished(node), now, 0), vec![RosterChange::Removed(id(node))]);
    }
    assert_eq!(roster.next_knock(), None);
    assert!(roster.views(0).is_empty());
}

#[test]
fn instance_with_a_smaller_number_is_shown() {
    let now = Instant::now();
    let mut roster = Roster::default();
    let of = |instance, pid| {
        let Observation::Info(info) = info("ripples", Role::Visualization, "h1") else {
            unreachable!()
        };
        Observation::Info(NodeInfo { pid, instance, ..info })
    };
    let pid = |roster: &Roster| roster.info(&id("ripples")).map(|info| info.pid);
    roster.observe(appeared("ripples", Role::Visualization), now, 0);
    roster.observe(of(9, 90), now, 0);
    // The node crashed and restarts with a clock that was set back.
    let later = now + crate::delivery::succession::Succession::GRACE;
    roster.observe(of(3, 30), later, 0);
    assert_eq!(pid(&roster), Some(30));
    roster.observe(of(9, 90), later, 0);
    assert_eq!(pid(&roster), Some(30), "an answer that was under way");
}

#[test]
fn durations_survive_a_step_of_the_wall_clock() {
    let now = Instant::now();
    let mut roster = two_hosts(now);
    goes(&mut roster, now);
    let hours = 7_200_000;
    let since = |roster: &Roster| roster.view(&id("ripples"), 0).map(|view| view.since_ms);
    let before = since(&roster).unwrap();
    roster.wall_clock_was_set(hours);
    assert_eq!(since(&roster), Some(before.saturating_add_signed(hours)));
    roster.wall_clock_was_set(-hours);
    assert_eq!(since(&roster), Some(before));
}

#[test]
fn uptime_is_the_nodes_own_count_at_any_wall_clock() {
    let now = Instant::now();
    let mut roster = Roster::default();
    roster.observe(appeared("desk", Role::App), now, 0);
    roster.observe(info("desk", Role::App, "h1"), now, 0);
    let said = Health { uptime_ms: 61_000, ..Health::default() };
    roster.observe(Observation::Health(id("desk"), said), now, 0);
    let years = 60 * 365 * 86_400_000;
    assert_eq!(roster.view(&id("desk"), years).map(|view| view.uptime_s), Some(61));
}
