//! Handling of events from the mesh, from `hana-link` and from the launched processes.

use std::time::Instant;

use hana_engine::roster::{HealthVerdict, Observation};
use hana_network::Received;
use hana_process::ProcessEvent;
use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::message::{Health, HostTimeline, ProcessState};

use crate::daemon::daemon::Daemon;
use crate::link_process::LinkEvent;

impl Daemon {
    pub(super) fn on_observation(&mut self, observation: Observation) {
        let now = Instant::now();
        match &observation {
            // This is the daemon's own token: its session is being reopened, and it receives nothing in the meantime.
            Observation::TokenRemoved { node, .. } if node == self.table.node.id() => {
                self.is_on_mesh = false;
                return;
            },
            Observation::TokenAdded { node, .. } if node == self.table.node.id() => {
                self.on_rejoined(now);
            },
            Observation::TokenAdded { node, zid, .. } => {
                self.handle(node, ProcessEvent::Joined { session: zid.clone() });
            },
            Observation::TokenRemoved { node, zid } => {
                self.timekeeper.update(&self.table.node, |sync, now| sync.lose(node, now));
                self.handle(node, ProcessEvent::Left { session: zid.clone() });
            },
            Observation::Health(node, health) => {
                self.on_health(node, health, now);
                // Only the presence of other nodes matters here, not their health.
                return;
            },
            Observation::Closed(node) => self.handle(node, ProcessEvent::ClosedByPerson),
            Observation::Info(info) if info.host == *self.table.node.host() => {
                if let Some(process) = self.table.processes.get_mut(&info.node) {
                    process.note_instance(info.instance);
                }
            },
            _ => {},
        }
        self.peers.observe(observation, now);
    }

    /// Handles an event of a process, adding the last output of an ended instance to the reason.
    pub(super) fn on_process_event(&mut self, node: &NodeId, event: ProcessEvent) {
        if let ProcessEvent::Exited { instance, .. } = &event
            && let Some(process) = self.table.processes.get(node)
            && process.supervisor.instance() == *instance
            && let Some(words) = process.last_words()
        {
            self.dispatcher.push(node.clone(), ProcessEvent::LastWords(words));
        }
        self.handle(node, event);
    }

    pub(super) fn on_timeline(&mut self, received: Received<HostTimeline>) {
        if let Some(key) = Key::parse(&received.key) {
            self.timekeeper.update(&self.table.node, |sync, now| {
                sync.hear(key.owner(), received.message, now)
            });
        }
    }

    pub(super) fn on_link_event(&mut self, event: LinkEvent) {
        self.timekeeper.update(&self.table.node, |sync, now| match event {
            LinkEvent::Started => sync.link_began(now),
            LinkEvent::Report(report) => sync.link(report, now),
            LinkEvent::Lost => sync.link_lost(now),
        });
    }

    fn on_health(&mut self, node: &NodeId, health: &Health, now: Instant) {
        let Some(process) = self.table.processes.get_mut(node) else { return };
        let Some(monitor) = &mut process.health else { return };
        monitor.hear(health.clone(), now);
        // A program's remark about itself becomes part of the reason for its state.
        let (remark, supervisor) = (health.remark(), &process.supervisor);
        if supervisor.remark() != remark {
            let instance = supervisor.instance();
            self.handle(node, ProcessEvent::Remark { instance, remark });
        }
        self.judge(node, now);
    }

    /// Ignores the time in which the daemon itself was off the mesh and received nothing from other nodes.
    fn on_rejoined(&mut self, now: Instant) {
        self.is_on_mesh = true;
        self.table.check_at = now;
        for process in self.table.processes.values_mut() {
            if let Some(health) = &mut process.health {
                health.forgive_until(now);
            }
        }
    }

    /// Passes the verdict on a program's health to its supervisor.
    pub(super) fn judge(&mut self, node: &NodeId, now: Instant) {
        if !self.is_on_mesh {
            return;
        }
        let Some(process) = self.table.processes.get(node) else { return };
        let Some(health) = &process.health else { return };
        let (verdict, supervisor) = (health.verdict(now), &process.supervisor);
        if verdict == HealthVerdict::Running && supervisor.state() == ProcessState::Running {
            // This is the usual case, ten times a second for each visualization.
            return;
        }
        let instance = supervisor.instance();
        self.handle(node, ProcessEvent::Verdict { instance, verdict });
    }
}
