use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::message::{
    LossCause, LostHost, LostNode, LostPeers, NodeInfo, OperatorState, ParameterOwners,
};

use crate::roster::entry::{Entry, HostView, ReportedLoss};
use crate::roster::host_loss::HostLossDetector;
use crate::roster::node_view::NodeView;
use crate::roster::observation::Observation;

/// The state of every node, derived from observations of the mesh. Pure: the caller passes in observations and the
/// time.
///
/// A visualization or a daemon that disappears without a clean exit stays listed as unreachable, with the reason, and
/// is the same node when it returns. It is forgotten after a week if its host was lost with it, or after a minute if
/// the node was lost without its host.
#[derive(Debug, Default)]
pub struct Roster {
    nodes: BTreeMap<NodeId, Entry>,
    losses: HostLossDetector,
    /// The losses that each daemon reports.
    told: BTreeMap<NodeId, LostPeers>,
    /// Hosts whose daemon exited cleanly; messages from it that still arrive are outdated.
    left: BTreeSet<NodeId>,
    news: Vec<RosterEvent>,
}

/// A change in the roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RosterChange {
    /// A node was added.
    Added(NodeId),
    /// The state of a node, or another displayed property of it, changed.
    Changed(NodeId),
    /// A node was removed.
    Removed(NodeId),
}

/// A loss or return of a host, or the loss of a visualization that no daemon launched.
///
/// There is one event per incident, however many nodes it affects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RosterEvent {
    /// A host is no longer on the mesh.
    Lost {
        /// The host.
        host: NodeId,
        /// The cause.
        cause: LossCause,
        /// The visualizations lost with it.
        nodes: Vec<NodeId>,
    },
    /// A lost host is back.
    Found {
        /// The host.
        host: NodeId,
        /// The cause that was reported for its loss.
        cause: LossCause,
    },
    /// A visualization that no daemon launched disappeared without a clean exit.
    NodeLost {
        /// The visualization.
        node: NodeId,
        /// Its host.
        host: NodeId,
    },
}

/// Maximum number of daemons whose loss reports are kept; names beyond it are considered forged.
const MAX_REPORTERS: usize = 256;

impl Roster {
    /// Maximum number of nodes; names beyond it are considered forged and not added.
    pub const MAX_NODES: usize = 4096;

    /// Applies an observation made at `now`, which is `unix_ms` by the wall clock.
    pub fn observe(
        &mut self,
        sighting: Observation,
        now: Instant,
        unix_ms: u64,
    ) -> Vec<RosterChange> {
        let node = sighting.node().clone();
        match sighting {
            Observation::Probed(host, knock) => {
                let Some(cause) = self.losses.knocked(&host, knock, now) else { return vec![] };
                let nodes = self.lost_with(&host);
                self.news.push(RosterEvent::Lost { host, cause, nodes });
                self.restate_all(now, unix_ms)
            },
            Observation::Process(host, _) if self.left.contains(&host) => vec![],
            Observation::LostPeers(reporter, lost) => {
                if self.told.len() >= MAX_REPORTERS && !self.told.contains_key(&reporter) {
                    return vec![];
                }
                self.told.insert(reporter, lost);
                self.take_told(now, unix_ms)
            },
            sighting => {
                let about_hosts = self.note_daemons(&sighting, now, unix_ms);
                let mut changes = self.observe_node(&node, sighting, now, unix_ms);
                if about_hosts {
                    for change in self.restate_all(now, unix_ms) {
                        if !changes.contains(&change) {
                            changes.push(change);
                        }
                    }
                }
                changes
            },
        }
    }

    fn observe_node(
        &mut self,
        node: &NodeId,
        sighting: Observation,
        now: Instant,
        unix_ms: u64,
    ) -> Vec<RosterChange> {
        let known = self.nodes.get(node).is_some_and(Entry::is_listed);
        // The departure of an unknown node changes nothing.
        let goes = matches!(sighting, Observation::TokenRemoved { .. } | Observation::Closed(_));
        if !self.nodes.contains_key(node) {
            if goes {
                return vec![];
            }
            if self.nodes.len() >= Self::MAX_NODES {
                // A present node may evict a node that is known only from messages.
                let is_here = matches!(sighting, Observation::TokenAdded { .. });
                let words = self.nodes.iter().find(|(_, entry)| !entry.is_shown());
                let Some(words) = words.map(|(id, _)| id.clone()).filter(|_| is_here) else {
                    return vec![];
                };
                self.nodes.remove(&words);
            }
        }
        let changed = self.nodes.entry(node.clone()).or_default().take(sighting, now, unix_ms);
        let host = self.host_view(node);
        let Some(entry) = self.nodes.get_mut(node) else { return vec![] };
        if entry.is_forgotten(host, now) {
            self.nodes.remove(node);
            return if known { vec![RosterChange::Removed(node.clone())] } else { vec![] };
        }
        entry.list(entry.is_shown());
        if !entry.is_listed() {
            return if known { vec![RosterChange::Removed(node.clone())] } else { vec![] };
        }
        let restated = entry.recompute_state(node, host, now, unix_ms);
        if !known {
            vec![RosterChange::Added(node.clone())]
        } else if changed || restated {
            vec![RosterChange::Changed(node.clone())]
        } else {
            vec![]
        }
    }

    /// Applies what an observation of a daemon implies for its host; returns whether it affects the host's state.
    fn note_daemons(&mut self, sighting: &Observation, now: Instant, unix_ms: u64) -> bool {
        match sighting {
            Observation::TokenAdded { node, role: Role::Daemon, .. } => {
                self.left.remove(node);
                let was_here = self.is_present(node);
                if !was_here {
                    for entry in self.nodes.values_mut() {
                        entry.mark_stale(node, now);
                    }
                }
                if let Some(cause) = self.losses.resolved(node) {
                    self.news.push(RosterEvent::Found { host: node.clone(), cause });
                }
                !was_here
            },
            Observation::TokenRemoved { node, zid } => {
                let Some(entry) = self.nodes.get(node).filter(|entry| entry.is_daemon()) else {
                    return false;
                };
                let goes = entry.is_present_only_as(zid);
                if goes && entry.has_said_goodbye() {
                    self.leaves(node);
                } else if goes && entry.info().is_some() {
                    self.losses.vanished(node, now, unix_ms);
                }
                goes
            },
            Observation::Closed(node) if self.losses.is_missing(node) => {
                self.losses.resolved(node);
                self.leaves(node);
                true
            },
            _ => false,
        }
    }

    /// Handles the clean exit of a daemon: discards its loss reports and the statuses of its processes.
    fn leaves(&mut self, host: &NodeId) {
        self.told.remove(host);
        if self.left.len() < Self::MAX_NODES {
            self.left.insert(host.clone());
        }
        for entry in self.nodes.values_mut() {
            entry.forget_process_of(host);
        }
    }

    /// Recomputes the reported losses of all nodes from the reports of all daemons.
    fn take_told(&mut self, now: Instant, unix_ms: u64) -> Vec<RosterChange> {
        let mut told: BTreeMap<NodeId, ReportedLoss> = BTreeMap::new();
        for lost in self.told.values() {
            for LostHost { host, cause, since_ms, nodes } in &lost.hosts {
                let of = |role| {
                    let (host, cause) = (host.clone(), Some(*cause));
                    ReportedLoss { role, host, cause, since_ms: *since_ms }
                };
                told.entry(host.clone()).or_insert_with(|| of(Role::Daemon));
                for node in nodes {
                    told.entry(node.clone()).or_insert_with(|| of(Role::Visualization));
                }
            }
            for LostNode { node, host, since_ms } in &lost.nodes {
                told.entry(node.clone()).or_insert_with(|| ReportedLoss {
                    role: Role::Visualization,
                    host: host.clone(),
                    cause: None,
                    since_ms: *since_ms,
                });
            }
        }
        let known: Vec<NodeId> = self.nodes.keys().cloned().collect();
        let mut changes = vec![];
        for node in known {
            let Some(entry) = self.nodes.get_mut(&node) else { continue };
            entry.tell(told.remove(&node));
            if entry.is_listed() && !entry.is_shown() {
                self.nodes.remove(&node);
                changes.push(RosterChange::Removed(node));
            }
        }
        for (node, told) in told {
            if self.nodes.len() < Self::MAX_NODES {
                let entry = self.nodes.entry(node.clone()).or_default();
                entry.tell(Some(told));
                entry.list(true);
                changes.push(RosterChange::Added(node));
            }
        }
        for change in self.restate_all(now, unix_ms) {
            let about = match &change {
                RosterChange::Added(node)
                | RosterChange::Changed(node)
                | RosterChange::Removed(node) => node,
            };
            if !changes.contains(&RosterChange::Added(about.clone())) {
                changes.push(change);
            }
        }
        changes
    }

    /// Recomputes all states at `now`: silent nodes become unresponsive, and nodes lost for too long are removed.
    pub fn tick(&mut self, now: Instant, unix_ms: u64) -> Vec<RosterChange> {
        for entry in self.nodes.values_mut() {
            entry.age(now);
        }
        self.restate_all(now, unix_ms)
    }

    /// Shifts all wall-clock times after this machine's clock was set forward by `set_ms` (back if negative).
    ///
    /// Durations are not affected.
    pub fn wall_clock_was_set(&mut self, set_ms: i64) {
        for entry in self.nodes.values_mut() {
            entry.wall_clock_was_set(set_ms);
        }
        self.losses.wall_clock_was_set(set_ms);
        for lost in self.told.values_mut() {
            *lost = std::mem::take(lost).with_times(|ms| ms.saturating_add_signed(set_ms));
        }
    }

    fn restate_all(&mut self, now: Instant, unix_ms: u64) -> Vec<RosterChange> {
        let nodes: Vec<NodeId> = self.nodes.keys().cloned().collect();
        let mut changes = vec![];
        for node in nodes {
            let host = self.host_view(&node);
            let Some(entry) = self.nodes.get_mut(&node) else { continue };
            let was_lost = entry.is_said_lost_alone();
            if entry.is_forgotten(host, now) {
                if entry.is_listed() {
                    changes.push(RosterChange::Removed(node.clone()));
                }
                self.nodes.remove(&node);
                continue;
            }
            let was_listed = entry.is_listed();
            entry.list(entry.is_shown());
            if !entry.is_listed() {
                if was_listed {
                    changes.push(RosterChange::Removed(node));
                }
                continue;
            }
            let is_lost = entry.lost_alone_since(host, now).is_some();
            entry.set_reported_lost(is_lost);
            if is_lost
                && !was_lost
                && let Some(host) = entry.host().cloned()
            {
                self.news.push(RosterEvent::NodeLost { node: node.clone(), host });
            }
            let restated = entry.recompute_state(&node, host, now, unix_ms);
            if !was_listed {
                changes.push(RosterChange::Added(node));
            } else if restated {
                changes.push(RosterChange::Changed(node));
            }
        }
        changes
    }

    /// Returns the state of the host of `node`; a daemon is its own host.
    fn host_view(&self, node: &NodeId) -> HostView {
        let Some(entry) = self.nodes.get(node) else { return HostView::There };
        let host = if entry.is_daemon() { Some(node) } else { entry.host() };
        match host {
            Some(host) if self.losses.is_missing(host) => {
                HostView::Missing(self.losses.cause(host))
            },
            _ => HostView::There,
        }
    }

    /// Returns the visualizations that were lost with `host`.
    fn lost_with(&self, host: &NodeId) -> Vec<NodeId> {
        let is_lost = |entry: &Entry| {
            entry.is_visualization() && !entry.is_present() && entry.host() == Some(host)
        };
        self.nodes
            .iter()
            .filter(|(_, entry)| is_lost(entry))
            .map(|(node, _)| node.clone())
            .collect()
    }

    /// Returns the events since the last call.
    pub fn take_news(&mut self) -> Vec<RosterEvent> {
        std::mem::take(&mut self.news)
    }

    /// Returns the hosts to probe now, with the addresses at which their daemons listened.
    ///
    /// Report the result of each probe as [`Observation::Probed`].
    pub fn to_knock(&mut self, now: Instant) -> Vec<(NodeId, Vec<String>)> {
        let due = self.losses.due(now);
        due.into_iter()
            .map(|host| {
                let info = self.info(&host);
                let listen = info.map(|info| info.listen.clone()).unwrap_or_default();
                (host, listen)
            })
            .collect()
    }

    /// Returns the time of the next call of [`Roster::to_knock`].
    #[must_use]
    pub fn next_knock(&self) -> Option<Instant> {
        self.losses.next_deadline()
    }

    /// Returns all losses that this roster detected, for nodes that join later.
    #[must_use]
    pub fn lost(&self, now: Instant) -> LostPeers {
        let hosts = self
            .losses
            .lost()
            .map(|(host, cause, since_ms)| LostHost {
                host: host.clone(),
                cause,
                since_ms,
                nodes: self.lost_with(host),
            })
            .collect();
        let alone = |(node, entry): (&NodeId, &Entry)| {
            let since_ms = entry.lost_alone_since(self.host_view(node), now)?;
            Some(LostNode { node: node.clone(), host: entry.host()?.clone(), since_ms })
        };
        LostPeers { hosts, nodes: self.nodes.iter().filter_map(alone).collect() }
    }

    /// Returns whether the daemon `own` publishes the host events.
    ///
    /// Only the present daemon with the smallest id publishes, so each event is published once.
    #[must_use]
    pub fn is_reporter(&self, own: &NodeId) -> bool {
        let daemons = self.nodes.iter().filter(|(_, entry)| entry.is_daemon());
        let mut here = daemons.filter(|(_, entry)| entry.is_present()).map(|(node, _)| node);
        here.next().is_none_or(|first| first >= own)
    }

    /// Returns whether `node` runs, or may run, on another host than `own`, even if the node is not present.
    #[must_use]
    pub fn is_held_elsewhere(&self, node: &NodeId, own: &NodeId) -> bool {
        let Some(entry) = self.nodes.get(node) else { return false };
        entry.host() != Some(own) && entry.reserves_id(self.host_view(node))
    }

    /// Returns the view of `node` at `unix_ms`.
    #[must_use]
    pub fn view(&self, node: &NodeId, unix_ms: u64) -> Option<NodeView> {
        let entry = self.nodes.get(node).filter(|entry| entry.is_shown())?;
        Some(self.with_players(entry.view(node, unix_ms)))
    }

    /// Adds the play sessions of the controllers that play this visualization.
    fn with_players(&self, mut view: NodeView) -> NodeView {
        if view.role == Role::Visualization && view.state.is_alive() {
            let of = |(app, entry): (&NodeId, &Entry)| {
                let status = entry.plays(&view.node)?;
                Some((app.clone(), status))
            };
            view.played_by = self.nodes.iter().filter_map(of).collect();
        }
        view
    }

    /// Returns the views of all nodes at `unix_ms`, sorted by id.
    #[must_use]
    pub fn views(&self, unix_ms: u64) -> Vec<NodeView> {
        let shown = self.nodes.iter().filter(|(_, entry)| entry.is_shown());
        shown.map(|(node, entry)| self.with_players(entry.view(node, unix_ms))).collect()
    }

    /// Returns the info that `node` published.
    #[must_use]
    pub fn info(&self, node: &NodeId) -> Option<&NodeInfo> {
        self.nodes.get(node)?.info()
    }

    /// Returns the parameter owners that `node` published.
    #[must_use]
    pub fn owners(&self, node: &NodeId) -> Option<&ParameterOwners> {
        Some(self.nodes.get(node)?.owners())
    }

    /// Returns the operator state that `node`, an app or a bridge, published.
    ///
    /// The `Arc` is replaced only if the content changes.
    #[must_use]
    pub fn session(&self, node: &NodeId) -> Option<&Arc<OperatorState>> {
        Some(self.nodes.get(node)?.session())
    }

    /// Returns the nodes that have a token on the mesh, with their roles.
    pub fn present(&self) -> impl Iterator<Item = (&NodeId, Role)> {
        let present = self.nodes.iter().filter(|(_, entry)| entry.is_present());
        present.filter_map(|(node, entry)| Some((node, entry.role()?)))
    }

    /// Returns whether `node` has a token on the mesh.
    #[must_use]
    pub fn is_present(&self, node: &NodeId) -> bool {
        self.nodes.get(node).is_some_and(Entry::is_present)
    }

    /// Returns whether the roster is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Returns whether every present node has published its info and its health.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.nodes.values().filter(|entry| entry.is_present()).all(Entry::has_said_all)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
