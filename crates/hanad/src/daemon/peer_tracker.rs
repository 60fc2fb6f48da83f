use std::time::{Duration, Instant};

use hana_engine::roster::{Observation, Roster, RosterEvent};
use hana_network::{Node, PresenceObserver, StatePublisher, WallClockSteps, unix_ms};
use hana_protocol::contract::Topic;
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{Event, EventKind, LossCause, LostPeers};

/// The daemon's view of the other hosts: the ids in use, and the lost hosts.
///
/// It publishes the lost hosts for later subscribers. All daemons track hosts, and one of them publishes the events.
pub(crate) struct PeerTracker {
    roster: Roster,
    steps: WallClockSteps,
    lost: StatePublisher<LostPeers>,
    own: NodeId,
    /// The time of the next check if no node is observed before.
    check_at: Instant,
}

/// The interval of checks that depend only on time: which hosts to forget, and which nodes vanished without their
/// host.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

impl PeerTracker {
    pub(crate) fn new(node: &Node<role::Daemon>) -> Self {
        let own = node.host().clone();
        let lost = node.state_publisher(&Topic::<LostPeers>::lost_peers(own.clone()));
        let (roster, steps) = (Roster::default(), WallClockSteps::default());
        Self { roster, steps, lost, own, check_at: Instant::now() }
    }

    pub(crate) fn observe(&mut self, observation: Observation, now: Instant) {
        self.roster.observe(observation, now, unix_ms());
        self.check_at = now;
    }

    /// Advances time: probes missing hosts and publishes what has happened.
    pub(crate) fn tick(
        &mut self,
        node: &Node<role::Daemon>,
        presence: &PresenceObserver,
        now: Instant,
    ) {
        if now < self.next_deadline() {
            return;
        }
        self.check_at = now + CHECK_INTERVAL;
        if let Some(set_ms) = self.steps.take() {
            self.roster.wall_clock_was_set(set_ms);
        }
        self.roster.tick(now, unix_ms());
        for (host, endpoints) in self.roster.to_knock(now) {
            presence.probe(host, endpoints);
        }
        for event in self.roster.take_news() {
            let event = describe(event);
            tracing::info!("{}", event.text);
            if self.roster.is_reporter(&self.own)
                && let Err(problem) = node.events().publish(&event)
            {
                tracing::warn!("cannot publish an event of '{}': {problem}", event.about);
            }
        }
        if let Err(problem) = self.lost.set(&self.roster.lost(now)) {
            tracing::warn!("cannot publish the list of lost hosts: {problem}");
        }
    }

    pub(crate) fn next_deadline(&self) -> Instant {
        self.roster.next_knock().map_or(self.check_at, |at| at.min(self.check_at))
    }

    /// Returns whether the id is in use: its node is on the mesh or belongs to another host.
    pub(crate) fn is_taken(&self, id: &NodeId) -> bool {
        self.roster.is_present(id) || self.roster.is_held_elsewhere(id, &self.own)
    }
}

fn describe(event: RosterEvent) -> Event {
    match event {
        RosterEvent::Lost { host, cause, nodes } => {
            let kind = match cause {
                LossCause::HostLost => EventKind::HostLost,
                LossCause::DaemonLost | LossCause::OffMesh => EventKind::DaemonLost,
            };
            let with_it = match nodes.as_slice() {
                [] => "no visualization ran there".into(),
                nodes => {
                    let names: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
                    format!("with it: {}", names.join(", "))
                },
            };
            Event { kind, text: format!("{}; {with_it}", cause.in_words(&host)), about: host }
        },
        RosterEvent::Found { host, cause } => {
            let text = format!("'{host}' is back on the mesh; it was {cause}");
            Event { kind: EventKind::HostFound, about: host, text }
        },
        RosterEvent::NodeLost { node, host } => {
            let text = format!(
                "node_lost: '{node}' on '{host}' disappeared; no daemon launched it, so none restarts it"
            );
            Event { kind: EventKind::NodeLost, about: node, text }
        },
    }
}
