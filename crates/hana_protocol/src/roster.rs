use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use crate::Health;
use crate::HealthLimits;
use crate::HealthWatch;
use crate::Look;
use crate::NodeId;
use crate::NodeInfo;
use crate::ParameterName;
use crate::ProcessState;
use crate::ProcessStatus;
use crate::Verdict;
use crate::role::Role;

/// Everything known of every node, put together from what is seen on the mesh. Pure: it is told what was
/// seen and what time it is.
///
/// A node is kept when it vanishes, as long as it is a visualization or a daemon that somebody may wait
/// for; it is the same node when it comes back.
#[derive(Debug, Default)]
pub struct Roster {
    nodes: BTreeMap<NodeId, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    /// Zenoh ids under which it is present, with its role.
    present: BTreeMap<String, Role>,
    /// The role it was last present with.
    was: Option<Role>,
    info: Option<NodeInfo>,
    health: Option<HealthWatch>,
    process: Option<(NodeId, ProcessStatus)>,
    look: Look,
    said: Option<Said>,
}

/// The state as it was last said.
#[derive(Debug, Clone)]
struct Said {
    state: ProcessState,
    reason: String,
    /// When it was first said, Unix milliseconds.
    at_ms: u64,
    /// Whether another state was said before: it was we who saw the change.
    change_seen: bool,
}

/// Something seen on the mesh.
#[derive(Debug, Clone, PartialEq)]
pub enum Sighting {
    /// A liveliness token came.
    Appeared {
        /// The node.
        node: NodeId,
        /// Its role.
        role: Role,
        /// The Zenoh id of its session.
        zid: String,
    },
    /// A liveliness token went.
    Vanished {
        /// The node.
        node: NodeId,
        /// The Zenoh id of its session.
        zid: String,
    },
    /// A node said what it is.
    Info(NodeInfo),
    /// A node said how it is.
    Health(NodeId, Health),
    /// A visualization said what it shows.
    Look(NodeId, Look),
    /// The daemon of the host said what it knows of a process.
    Process(NodeId, ProcessStatus),
}

/// What changed in the roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RosterChange {
    /// A node that was not known.
    Added(NodeId),
    /// Its state, or another thing that is shown of it, is another.
    Changed(NodeId),
    /// It is forgotten.
    Removed(NodeId),
}

/// One node as it is shown: by `hana nodes`, in the app.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeView {
    /// The node.
    pub node: NodeId,
    /// Its role.
    pub role: Role,
    /// The host it is on; empty while it has not said so.
    pub host: Option<NodeId>,
    /// Its state.
    pub state: ProcessState,
    /// Why, in plain words; empty when all is well.
    pub reason: String,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Its process id on its host.
    pub pid: Option<u32>,
    /// Seconds since it joined.
    pub uptime_s: u64,
    /// Frames drawn since it joined.
    pub frame: Option<u64>,
    /// Frames per second.
    pub fps: Option<f32>,
    /// How often its daemon restarted it.
    pub restarts: u32,
    /// Parameter names with their current values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<BTreeMap<ParameterName, f32>>,
}

impl Roster {
    /// Takes in what was seen at `now`, which is `unix_ms` by the wall clock.
    pub fn observe(&mut self, sighting: Sighting, now: Instant, unix_ms: u64) -> Vec<RosterChange> {
        let node = sighting.node().clone();
        let known = self.nodes.contains_key(&node);
        // Health and looks of what nobody knows are echoes of something that has gone.
        if !known && matches!(sighting, Sighting::Vanished { .. }) {
            return vec![];
        }
        let entry = self.nodes.entry(node.clone()).or_default();
        let changed = entry.take(sighting, now);
        if entry.is_forgotten() {
            self.nodes.remove(&node);
            return if known { vec![RosterChange::Removed(node)] } else { vec![] };
        }
        let restated = entry.restate(now, unix_ms);
        if !known {
            vec![RosterChange::Added(node)]
        } else if changed || restated {
            vec![RosterChange::Changed(node)]
        } else {
            vec![]
        }
    }

    /// Lets time pass: a node that has been silent for too long is said to be unresponsive.
    pub fn tick(&mut self, now: Instant, unix_ms: u64) -> Vec<RosterChange> {
        self.nodes
            .iter_mut()
            .filter_map(|(node, entry)| {
                entry.restate(now, unix_ms).then(|| RosterChange::Changed(node.clone()))
            })
            .collect()
    }

    /// How `node` is shown at `now`.
    #[must_use]
    pub fn view(&self, node: &NodeId, unix_ms: u64) -> Option<NodeView> {
        self.nodes.get(node).map(|entry| entry.view(node, unix_ms))
    }

    /// How every node is shown at `now`, by id.
    #[must_use]
    pub fn views(&self, unix_ms: u64) -> Vec<NodeView> {
        self.nodes.iter().map(|(node, entry)| entry.view(node, unix_ms)).collect()
    }

    /// What `node` said of itself.
    #[must_use]
    pub fn info(&self, node: &NodeId) -> Option<&NodeInfo> {
        self.nodes.get(node)?.info.as_ref()
    }

    /// The host whose daemon launched `node`.
    #[must_use]
    pub fn launched_by(&self, node: &NodeId) -> Option<&NodeId> {
        self.nodes.get(node)?.process.as_ref().map(|(host, _)| host)
    }

    /// Whether `node` has a token on the mesh.
    #[must_use]
    pub fn is_present(&self, node: &NodeId) -> bool {
        self.nodes.get(node).is_some_and(|entry| !entry.present.is_empty())
    }

    /// Whether nobody is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether everything that is present has said what it is, and whatever has a loop how it is.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.nodes.values().filter(|entry| !entry.present.is_empty()).all(|entry| {
            entry.info.is_some()
                && entry.health.as_ref().is_some_and(|watch| watch.last().is_some())
        })
    }
}

impl Sighting {
    const fn node(&self) -> &NodeId {
        match self {
            Self::Appeared { node, .. }
            | Self::Vanished { node, .. }
            | Self::Health(node, _)
            | Self::Look(node, _) => node,
            Self::Info(info) => &info.node,
            Self::Process(_, status) => &status.node,
        }
    }
}

impl Entry {
    /// Whether anything but the health figures changed.
    fn take(&mut self, sighting: Sighting, now: Instant) -> bool {
        match sighting {
            Sighting::Appeared { role, zid, .. } => {
                if self.present.is_empty() {
                    // Present, so its health is due: one that is silent from now on is not well.
                    self.health = Some(HealthWatch::of_present(HealthLimits::default(), now));
                }
                self.was = Some(role);
                self.present.insert(zid, role).is_none()
            },
            Sighting::Vanished { zid, .. } => {
                let went = self.present.remove(&zid).is_some();
                if self.present.is_empty() {
                    self.health = None;
                }
                went
            },
            Sighting::Info(info) => {
                // An older run's words do not replace a newer one's.
                if self.info.as_ref().is_some_and(|known| known.instance > info.instance) {
                    return false;
                }
                self.info.replace(info.clone()).as_ref() != Some(&info)
            },
            Sighting::Health(_, health) => {
                let limits = HealthLimits::default();
                self.health.get_or_insert_with(|| HealthWatch::new(limits, now)).hear(health, now);
                false
            },
            Sighting::Look(_, look) => {
                let changed = self.look != look;
                self.look = look;
                changed
            },
            Sighting::Process(host, status) => {
                let status = (host, status);
                self.process.replace(status.clone()).as_ref() != Some(&status)
            },
        }
    }

    fn role(&self) -> Option<Role> {
        let of_info = self.info.as_ref().map(|info| info.role);
        let of_process = self.process.as_ref().map(|_| Role::Visualization);
        self.was.or(of_info).or(of_process)
    }

    /// Nothing of it is left, or what is left is of no interest: an app that has gone.
    fn is_forgotten(&self) -> bool {
        let gone = self.present.is_empty() && self.process.is_none();
        match self.role() {
            None | Some(Role::App | Role::Bridge) => gone,
            Some(Role::Visualization | Role::Daemon) => false,
        }
    }

    fn state(&self, now: Instant) -> (ProcessState, String) {
        let of_daemon = self.process.as_ref().map(|(_, status)| status);
        if let Some(status) = of_daemon {
            // The daemon sees the process itself, and judges its health where it lives.
            return (status.state, status.reason.clone());
        }
        if self.present.is_empty() {
            return (ProcessState::Unreachable, "it is gone from the mesh".into());
        }
        let Some(watch) = &self.health else {
            return (ProcessState::Running, String::new());
        };
        let verdict = watch.verdict(now);
        let state = match verdict {
            Verdict::Starting => ProcessState::Starting,
            Verdict::Running => ProcessState::Running,
            Verdict::Slow { .. } => ProcessState::Slow,
            Verdict::Frozen { .. } | Verdict::Silent { .. } => ProcessState::Unresponsive,
        };
        (state, verdict.reason())
    }

    /// Says the state anew; whether it is another. A reason alone that counts seconds is no change.
    fn restate(&mut self, now: Instant, unix_ms: u64) -> bool {
        let (state, reason) = self.state(now);
        match &mut self.said {
            Some(said) if said.state == state => {
                said.reason = reason;
                false
            },
            said => {
                let change_seen = said.is_some();
                *said = Some(Said { state, reason, at_ms: unix_ms, change_seen });
                true
            },
        }
    }

    /// Since when it is in its state: as its daemon says, or since it joined, if it was there before us.
    const fn since_ms(&self, said: &Said) -> u64 {
        match (&self.process, &self.info) {
            (Some((_, status)), _) => status.since_ms,
            (None, Some(info)) if !said.change_seen => info.started_ms,
            _ => said.at_ms,
        }
    }

    fn view(&self, node: &NodeId, unix_ms: u64) -> NodeView {
        let info = self.info.as_ref();
        let process = self.process.as_ref();
        let health = self.health.as_ref().and_then(HealthWatch::last);
        let frames = health.and_then(|health| health.frames);
        let (state, reason, since_ms) = self.said.as_ref().map_or_else(
            || (ProcessState::Starting, String::new(), unix_ms),
            |said| (said.state, said.reason.clone(), self.since_ms(said)),
        );
        let role = self.role().unwrap_or(Role::Visualization);
        let alive = !self.present.is_empty();
        NodeView {
            node: node.clone(),
            role,
            host: info
                .map(|info| info.host.clone())
                .or_else(|| process.map(|(host, _)| host.clone())),
            state,
            reason,
            since_ms,
            pid: match process {
                Some((_, status)) => status.pid,
                None => info.filter(|_| alive).map(|info| info.pid),
            },
            uptime_s: if alive {
                info.map_or(0, |info| unix_ms.saturating_sub(info.started_ms) / 1000)
            } else {
                0
            },
            frame: frames.map(|frames| frames.count),
            fps: frames.map(|frames| frames.fps),
            restarts: process.map_or(0, |(_, status)| status.restarts),
            parameters: (role == Role::Visualization).then(|| self.parameters()),
        }
    }

    /// The values shown, and the defaults of those not yet heard of.
    fn parameters(&self) -> BTreeMap<ParameterName, f32> {
        let mut values: BTreeMap<_, _> = self
            .info
            .iter()
            .flat_map(|info| &info.parameters)
            .map(|parameter| (parameter.name.clone(), parameter.default))
            .collect();
        values.extend(self.look.parameters.iter().map(|(name, value)| (name.clone(), *value)));
        values
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Exit;
    use crate::Frames;

    fn id(text: &str) -> NodeId {
        NodeId::new(text).unwrap()
    }

    fn appeared(node: &str, role: Role) -> Sighting {
        Sighting::Appeared { node: id(node), role, zid: format!("z-{node}") }
    }

    fn vanished(node: &str) -> Sighting {
        Sighting::Vanished { node: id(node), zid: format!("z-{node}") }
    }

    fn health(node: &str, count: u64) -> Sighting {
        let frames = Some(Frames { count, fps: 60.0, max_us: 0 });
        Sighting::Health(id(node), Health { frames, ..Health::default() })
    }

    fn crashed(node: &str) -> Sighting {
        Sighting::Process(
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
            },
        )
    }

    fn state(roster: &Roster, node: &str) -> ProcessState {
        roster.view(&id(node), 0).unwrap().state
    }

    #[test]
    fn a_visualization_stays_in_the_list_across_a_disconnect_and_an_app_does_not() {
        let mut roster = Roster::default();
        let now = Instant::now();
        roster.observe(appeared("ripples", Role::Visualization), now, 0);
        roster.observe(appeared("desk", Role::App), now, 0);
        roster.observe(vanished("ripples"), now, 0);
        assert_eq!(
            roster.observe(vanished("desk"), now, 0),
            vec![RosterChange::Removed(id("desk"))]
        );
        assert_eq!(state(&roster, "ripples"), ProcessState::Unreachable);
        roster.observe(appeared("ripples", Role::Visualization), now, 0);
        assert_eq!(state(&roster, "ripples"), ProcessState::Starting);
        roster.observe(health("ripples", 1), now, 0);
        assert_eq!(state(&roster, "ripples"), ProcessState::Running);
        assert_eq!(roster.views(0).len(), 1);
    }

    #[test]
    fn a_silent_node_becomes_unresponsive_by_time_alone_and_comes_back() {
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
    fn what_the_daemon_says_of_its_process_goes_before_our_own_judgement() {
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
    fn a_token_of_an_older_session_that_goes_late_does_not_take_the_node_away() {
        let mut roster = Roster::default();
        let now = Instant::now();
        let token =
            |zid: &str| Sighting::Appeared { node: id("desk"), role: Role::App, zid: zid.into() };
        roster.observe(token("old"), now, 0);
        roster.observe(token("new"), now, 0);
        roster.observe(Sighting::Vanished { node: id("desk"), zid: "old".into() }, now, 0);
        assert!(roster.is_present(&id("desk")));
    }
}
