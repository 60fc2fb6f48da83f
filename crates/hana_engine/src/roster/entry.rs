use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::message::{
    Health, Look, LossCause, NodeInfo, OperatorState, ParameterOwners, PlayStatus, ProcessState,
    ProcessStatus,
};
use hana_protocol::parameter::format::words_of_values;
use hana_protocol::parameter::{Parameter, ParameterName};

use crate::delivery::succession::Succession;
use crate::roster::health_monitor::{HealthLimits, HealthMonitor};
use crate::roster::health_verdict::HealthVerdict;
use crate::roster::node_view::NodeView;
use crate::roster::observation::Observation;

/// The known state of one node.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// The node's current Zenoh sessions, by Zenoh id, each with the role of the node.
    present: BTreeMap<String, Role>,
    /// The role of the node's last token.
    was: Option<Role>,
    info: Option<NodeInfo>,
    /// The instance that published `info`, and the former ones.
    instances: Option<Succession>,
    health: Option<HealthMonitor>,
    /// Reports of the daemons that launched the node, usually of one daemon.
    ///
    /// On the two sides of a network partition, two daemons may each have launched a node of the same name.
    claims: BTreeMap<NodeId, DaemonReport>,
    look: Look,
    owners: ParameterOwners,
    session: Arc<OperatorState>,
    /// Time of the first observation of the node.
    heard_of: Option<Instant>,
    /// Time at which the node left the mesh, also in Unix milliseconds; `None` while it is present, or if it never was.
    gone: Option<(Instant, u64)>,
    said_goodbye: bool,
    /// The loss of the node as other daemons report it.
    told: Option<ReportedLoss>,
    /// Whether the roster has reported that the node is lost without its host.
    said_lost_alone: bool,
    said: Option<PublishedState>,
    /// Whether the roster has reported the node as added.
    listed: bool,
}

/// A process status that the daemon of a host published.
#[derive(Debug)]
struct DaemonReport {
    status: ProcessStatus,
    /// Time at which a new instance of the daemon started that has not published this status again.
    stale_since: Option<Instant>,
}

/// A loss of a node that other daemons report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReportedLoss {
    pub(super) role: Role,
    pub(super) host: NodeId,
    /// Cause of the loss of the host; `None` if the node is lost without its host.
    pub(super) cause: Option<LossCause>,
    pub(super) since_ms: u64,
}

/// The state that was last reported.
#[derive(Debug, Clone)]
struct PublishedState {
    state: ProcessState,
    cause: Option<LossCause>,
    reason: String,
    /// Time at which the state was first reported, in Unix milliseconds.
    at_ms: u64,
    /// Whether another state preceded it, so that `at_ms` is the time of an observed change.
    change_seen: bool,
}

/// The state of a node's host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostView {
    /// The daemon of the host is present, exited cleanly, or was never observed.
    There,
    /// The daemon of the host disappeared without a clean exit, for this cause, once it is known.
    Missing(Option<LossCause>),
}

/// Maximum number of sessions to track per node. A node has one, or two while it changes its attach mode.
const MAX_SESSIONS: usize = 16;
/// Time within which a daemon that returned must publish the status of a process again.
const CONFIRM: Duration = Duration::from_secs(3);
/// How long the messages of a node may precede its token.
const ORPHAN_DATA_TTL: Duration = Duration::from_secs(2);
/// Time within which a node that left, while its host is present, may still return over another session.
const COMING_BACK: Duration = Duration::from_secs(1);
/// How long a node that is lost without its host stays listed.
const LOST_NODE_TTL: Duration = Duration::from_mins(1);
/// How long the nodes of a lost host stay listed.
const LOST_WITH_HOST: Duration = Duration::from_hours(7 * 24);

impl Entry {
    pub(super) const fn info(&self) -> Option<&NodeInfo> {
        self.info.as_ref()
    }

    pub(super) const fn owners(&self) -> &ParameterOwners {
        &self.owners
    }

    pub(super) const fn session(&self) -> &Arc<OperatorState> {
        &self.session
    }

    pub(super) fn is_present(&self) -> bool {
        !self.present.is_empty()
    }

    /// Returns whether `zid` is the node's only current session.
    pub(super) fn is_present_only_as(&self, zid: &str) -> bool {
        self.present.len() == 1 && self.present.contains_key(zid)
    }

    pub(super) const fn is_said_lost_alone(&self) -> bool {
        self.said_lost_alone
    }

    pub(super) const fn set_reported_lost(&mut self, lost: bool) {
        self.said_lost_alone = lost;
    }

    pub(super) const fn is_listed(&self) -> bool {
        self.listed
    }

    pub(super) const fn list(&mut self, listed: bool) {
        self.listed = listed;
    }

    pub(super) fn is_daemon(&self) -> bool {
        self.role() == Some(Role::Daemon)
    }

    pub(super) fn is_visualization(&self) -> bool {
        self.role() == Some(Role::Visualization)
    }

    pub(super) const fn has_said_goodbye(&self) -> bool {
        self.said_goodbye
    }

    /// Returns the host whose daemon launched the node, and the status which that daemon published.
    ///
    /// Among the statuses of several daemons, a live process wins, then the most recent status; the result is the same
    /// on all hosts.
    fn process(&self) -> Option<(&NodeId, &ProcessStatus)> {
        let rank = |status: &ProcessStatus| (status.state.is_alive(), status.since_ms);
        self.claims
            .iter()
            .map(|(host, claim)| (host, &claim.status))
            .max_by_key(|(host, status)| (rank(status), *host))
    }

    /// Returns the current or last host of the node.
    pub(super) fn host(&self) -> Option<&NodeId> {
        let of_process = self.process().map(|(host, _)| host);
        let of_told = self.told.as_ref().map(|told| &told.host);
        let of_info = self.info.as_ref().map(|info| &info.host);
        // While the node is present, its own info takes precedence.
        if self.is_present() { of_info.or(of_process) } else { of_process.or(of_info) }.or(of_told)
    }

    pub(super) fn has_said_all(&self) -> bool {
        self.info.is_some() && self.health.as_ref().is_some_and(|watch| watch.last().is_some())
    }

    /// Applies an observation of this node; returns whether it changed anything that is shown, except for the health.
    pub(super) fn take(&mut self, sighting: Observation, now: Instant, unix_ms: u64) -> bool {
        self.heard_of.get_or_insert(now);
        match sighting {
            Observation::TokenAdded { role, zid, .. } => {
                if self.present.is_empty() {
                    // A present node must publish its health, so silence counts from now on.
                    self.health = Some(HealthMonitor::of_present(HealthLimits::default(), now));
                }
                self.was = Some(role);
                self.gone = None;
                self.said_goodbye = false;
                if self.present.len() >= MAX_SESSIONS && !self.present.contains_key(&zid) {
                    self.present.pop_first();
                }
                self.present.insert(zid, role).is_none()
            },
            Observation::TokenRemoved { zid, .. } => {
                let went = self.present.remove(&zid).is_some();
                if self.present.is_empty() {
                    self.health = None;
                    self.gone.get_or_insert((now, unix_ms));
                }
                went
            },
            Observation::Closed(_) => {
                self.said_goodbye = true;
                false
            },
            Observation::Info(info) => {
                // Late info of a former instance must not replace that of the current one.
                let of_first = || Succession::new(info.instance, now);
                if !self.instances.get_or_insert_with(of_first).admit(info.instance, now) {
                    return false;
                }
                self.info.replace(info.clone()).as_ref() != Some(&info)
            },
            Observation::Health(_, health) => {
                let limits = HealthLimits::default();
                self.health
                    .get_or_insert_with(|| HealthMonitor::new(limits, now))
                    .hear(health, now);
                false
            },
            Observation::Look(_, look) => {
                let changed = self.look != look;
                self.look = look;
                changed
            },
            Observation::Owners(_, owners) => {
                let changed = self.owners != owners;
                self.owners = owners;
                changed
            },
            Observation::Operator(_, session) => {
                let changed = *self.session != session;
                if changed {
                    self.session = Arc::new(session);
                }
                changed
            },
            Observation::Process(host, status) => {
                let is_news = self.claims.get(&host).is_none_or(|claim| claim.status != status);
                self.claims.insert(host, DaemonReport { status, stale_since: None });
                is_news
            },
            Observation::LostPeers(..) | Observation::Probed(..) => false,
        }
    }

    /// Returns whether the node's id is in use: the node is present, its process runs or restarts, or it was lost with
    /// its host.
    pub(super) fn reserves_id(&self, host: HostView) -> bool {
        let state = self.process().map(|(_, status)| status.state);
        let is_kept =
            state.is_some_and(|state| state.is_alive() || state == ProcessState::Restarting);
        let is_lost = self.gone.is_some() && host != HostView::There;
        self.is_present() || is_kept || (is_lost && !self.said_goodbye)
    }

    pub(super) fn tell(&mut self, told: Option<ReportedLoss>) {
        self.told = told;
    }

    /// Marks the status from `host` as stale: the daemon there was replaced and must publish the status again.
    pub(super) fn mark_stale(&mut self, host: &NodeId, now: Instant) {
        if let Some(claim) = self.claims.get_mut(host) {
            claim.stale_since = Some(now);
        }
    }

    /// Drops the status from `host`: the daemon there exited cleanly, after it stopped the processes it launched.
    pub(super) fn forget_process_of(&mut self, host: &NodeId) {
        if self.claims.remove(host).is_some() {
            self.said_goodbye = true;
        }
    }

    /// Shifts all wall-clock times after this machine's clock was set forward by `set_ms` (back if negative).
    pub(super) fn wall_clock_was_set(&mut self, set_ms: i64) {
        let of_claims = self.claims.values_mut().map(|claim| &mut claim.status.since_ms);
        let of_info = self.info.as_mut().map(|info| &mut info.started_ms);
        let of_gone = self.gone.as_mut().map(|(_, ms)| ms);
        let of_told = self.told.as_mut().map(|told| &mut told.since_ms);
        let of_said = self.said.as_mut().map(|said| &mut said.at_ms);
        let others = [of_info, of_gone, of_told, of_said].into_iter().flatten();
        for ms in of_claims.chain(others) {
            *ms = ms.saturating_add_signed(set_ms);
        }
    }

    /// Drops the statuses that have been stale for [`CONFIRM`].
    pub(super) fn age(&mut self, now: Instant) {
        let is_stale = |claim: &DaemonReport| {
            claim.stale_since.is_some_and(|at| now.saturating_duration_since(at) >= CONFIRM)
        };
        self.claims.retain(|_, claim| !is_stale(claim));
    }

    pub(super) fn role(&self) -> Option<Role> {
        let of_info = self.info.as_ref().map(|info| info.role);
        let of_process = self.process().map(|_| Role::Visualization);
        let of_told = self.told.as_ref().map(|told| told.role);
        self.was.or(of_info).or(of_process).or(of_told)
    }

    /// Returns whether the node is shown: it was present at some time, or a daemon reports its process or its loss.
    ///
    /// Messages alone do not suffice: they may precede the token or come from a node that has left.
    pub(super) fn is_shown(&self) -> bool {
        self.was.is_some() || !self.claims.is_empty() || self.told.is_some()
    }

    /// Returns whether the node is no longer worth listing, for example an app that has left.
    pub(super) fn is_forgotten(&self, host: HostView, now: Instant) -> bool {
        if self.is_present() || !self.claims.is_empty() || self.told.is_some() {
            return false;
        }
        let Some((gone, _)) = self.gone else {
            // Messages without a token either preceded it or came late, from a node that has left.
            let is_echo = |at| now.saturating_duration_since(at) >= ORPHAN_DATA_TTL;
            return self.was.is_some() || self.heard_of.is_none_or(is_echo);
        };
        let gone_for = now.saturating_duration_since(gone);
        match self.role() {
            None | Some(Role::App | Role::Bridge) => true,
            // A node that never published its info is not worth reporting: tokens are easily forged.
            Some(Role::Visualization | Role::Daemon)
                if self.said_goodbye || self.info.is_none() =>
            {
                true
            },
            Some(Role::Daemon) => gone_for >= LOST_WITH_HOST,
            Some(Role::Visualization) => match host {
                HostView::There => gone_for >= LOST_NODE_TTL,
                HostView::Missing(_) => gone_for >= LOST_WITH_HOST,
            },
        }
    }

    /// Returns the time at which the node was lost without its host, in Unix milliseconds.
    ///
    /// This applies to a visualization that left without a clean exit at least [`COMING_BACK`] ago, whose host is not
    /// missing, and that no daemon launched.
    pub(super) fn lost_alone_since(&self, host: HostView, now: Instant) -> Option<u64> {
        let (gone, since_ms) = self.gone?;
        let alone = self.is_visualization()
            && self.claims.is_empty()
            && !self.said_goodbye
            && host == HostView::There;
        let gone_for = now.saturating_duration_since(gone);
        (alone && gone_for >= COMING_BACK).then_some(since_ms)
    }

    fn state(
        &self,
        node: &NodeId,
        host: HostView,
        now: Instant,
    ) -> (ProcessState, Option<LossCause>, String) {
        if let (HostView::There, Some((_, status))) = (host, self.process()) {
            // The daemon observes the process directly and judges its health locally.
            return (status.state, None, status.reason.clone());
        }
        if self.is_present() {
            let (state, reason) = self.state_by_health(now);
            let unwatched = !self.claims.is_empty() && reason.is_empty();
            let reason = if unwatched {
                "its daemon is gone: it is not restarted until hanad is back".into()
            } else {
                reason
            };
            let remark = self.health.as_ref().and_then(HealthMonitor::last).map(Health::remark);
            let words = [reason, remark.unwrap_or_default()];
            let words: Vec<String> = words.into_iter().filter(|words| !words.is_empty()).collect();
            return (state, None, words.join("; "));
        }
        let cause = match host {
            HostView::Missing(cause) => Some(cause),
            HostView::There => self.told.as_ref().map(|told| told.cause).filter(Option::is_some),
        };
        let reason = match cause {
            // A daemon is its own host.
            Some(Some(cause)) => cause.in_words(self.host().unwrap_or(node)),
            Some(None) => "gone from the mesh a moment ago; checking why".into(),
            None => "node_lost: it left the mesh without a `closed` event, and no daemon launched it; start it again where it was started".into(),
        };
        (ProcessState::Unreachable, cause.flatten(), reason)
    }

    fn state_by_health(&self, now: Instant) -> (ProcessState, String) {
        let Some(watch) = &self.health else {
            return (ProcessState::Running, String::new());
        };
        let verdict = watch.verdict(now);
        let state = match verdict {
            HealthVerdict::Starting => ProcessState::Starting,
            HealthVerdict::Running => ProcessState::Running,
            HealthVerdict::Slow { .. }
            | HealthVerdict::Stalling
            | HealthVerdict::Throttled { .. } => ProcessState::Slow,
            HealthVerdict::Frozen { .. } | HealthVerdict::Silent { .. } => {
                ProcessState::Unresponsive
            },
        };
        (state, verdict.reason())
    }

    /// Recomputes the state; returns whether the state or its cause changed.
    ///
    /// A new reason alone does not count as a change, because the reason may contain a number of seconds.
    pub(super) fn recompute_state(
        &mut self,
        node: &NodeId,
        host: HostView,
        now: Instant,
        unix_ms: u64,
    ) -> bool {
        let (state, cause, reason) = self.state(node, host, now);
        match &mut self.said {
            Some(said) if said.state == state => {
                said.reason = reason;
                std::mem::replace(&mut said.cause, cause) != cause
            },
            said => {
                let change_seen = said.is_some();
                *said = Some(PublishedState { state, cause, reason, at_ms: unix_ms, change_seen });
                true
            },
        }
    }

    /// Returns the start of the node's current state, in Unix milliseconds.
    ///
    /// For an unreachable node, this is the time at which it left, or else the time of the reported loss. For any other
    /// node, it is the time in the status from its daemon, or else the start of the node if no change was observed
    /// here. If none of these is known, it is the time at which the state was first reported.
    fn since_ms(&self, said: &PublishedState) -> u64 {
        if said.state == ProcessState::Unreachable {
            let of_gone = self.gone.map(|(_, unix_ms)| unix_ms);
            return of_gone
                .or_else(|| self.told.as_ref().map(|told| told.since_ms))
                .unwrap_or(said.at_ms);
        }
        match (self.process(), &self.info) {
            (Some((_, status)), _) => status.since_ms,
            (None, Some(info)) if !said.change_seen => info.started_ms,
            _ => said.at_ms,
        }
    }

    pub(super) fn view(&self, node: &NodeId, unix_ms: u64) -> NodeView {
        let info = self.info.as_ref();
        let process = self.process().map(|(_, status)| status);
        let health = self.health.as_ref().and_then(HealthMonitor::last);
        let frames = health.and_then(|health| health.frames);
        let troubled =
            health.filter(|health| health.counters.has_errors() || health.counters.overdue > 0);
        let (state, reason, since_ms) = self.said.as_ref().map_or_else(
            || (ProcessState::Starting, String::new(), unix_ms),
            |said| (said.state, said.reason.clone(), self.since_ms(said)),
        );
        let role = self.role().unwrap_or(Role::Visualization);
        let alive = self.is_present();
        let parameters = (role == Role::Visualization).then(|| self.parameters());
        NodeView {
            node: node.clone(),
            role,
            host: self.host().cloned(),
            state,
            reason,
            since_ms,
            pid: process
                .map_or_else(|| info.filter(|_| alive).map(|info| info.pid), |status| status.pid),
            // The uptime that the node reports, because its wall clock and this host's may be years apart.
            uptime_s: health.filter(|_| alive).map_or(0, |health| health.uptime_ms / 1000),
            frame: frames.map(|frames| frames.count),
            fps: frames.map(|frames| frames.fps),
            frame_max_us: frames.map(|frames| frames.max_us),
            restarts: process.map_or(0, |status| status.restarts),
            launched: process.is_some(),
            acknowledged: process
                .is_some_and(|status| status.acknowledged && status.state == state),
            in_force: self.look.in_force.filter(|_| alive),
            owners: if alive { self.owners.owners.clone() } else { vec![] },
            mixed: if alive { self.owners.mixed.clone() } else { BTreeMap::new() },
            note: self.note(node),
            plays: health.filter(|_| alive).map(|of| of.plays.clone()).unwrap_or_default(),
            // The roster fills this in from the other entries.
            played_by: BTreeMap::new(),
            counters: troubled.map(|health| health.counters),
            lanes: troubled.map(|health| health.lanes.clone()).unwrap_or_default(),
            troubles: troubled.map(|health| health.troubles.clone()).unwrap_or_default(),
            playing: parameters.as_ref().map(|values| self.playing(values)).unwrap_or_default(),
            parameters,
        }
    }

    /// Returns the status of this node's play session with the visualization `node`, if it has one.
    pub(super) fn plays(&self, node: &NodeId) -> Option<PlayStatus> {
        let health = self.health.as_ref().and_then(HealthMonitor::last);
        health.filter(|_| self.is_present())?.plays.get(node).copied()
    }

    /// Returns the node's values as text; a parameter that a modulator moves has the modulator instead of its value.
    fn playing(&self, values: &BTreeMap<ParameterName, f32>) -> Vec<(String, String)> {
        let mut words = words_of_values(self.declared(), values);
        for (name, modulator) in &self.look.modulators {
            match words.iter_mut().find(|(of, _)| of == name.as_str()) {
                Some((_, word)) => *word = modulator.to_string(),
                None => words.push((name.to_string(), modulator.to_string())),
            }
        }
        words
    }

    /// Returns the note that the node's operator wrote for the other operators; `None` if it is empty.
    fn note(&self, node: &NodeId) -> Option<String> {
        let own = self.session.notes.iter().find(|note| note.app == *node);
        own.map(|note| note.text.clone()).filter(|text| !text.is_empty())
    }

    /// Returns the parameters that the node declares.
    fn declared(&self) -> &[Parameter] {
        self.info.as_ref().map(|info| info.parameters.as_slice()).unwrap_or_default()
    }

    /// Returns the current value of each parameter, or its default if no value was received yet.
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
