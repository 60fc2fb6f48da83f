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
use crate::roster::health_monitor::{HealthLimits, HealthMonitor, HealthVerdict};
use crate::roster::node_view::NodeView;
use crate::roster::observation::Observation;

/// What is known of one node.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Zenoh ids under which it is present, with its role.
    present: BTreeMap<String, Role>,
    /// The role it was last present with.
    was: Option<Role>,
    info: Option<NodeInfo>,
    /// Which instance said that, and which ones were before it.
    instances: Option<Succession>,
    health: Option<HealthMonitor>,
    /// What daemons say who launched it; most often one. Two halves of a parted network may each have
    /// launched one under the same name.
    claims: BTreeMap<NodeId, DaemonReport>,
    look: Look,
    holders: ParameterOwners,
    session: Arc<OperatorState>,
    /// When it was first heard of.
    heard_of: Option<Instant>,
    /// Since when it has been gone from the mesh, having been there; Unix milliseconds beside it.
    gone: Option<(Instant, u64)>,
    said_goodbye: bool,
    /// What others say who have lost it.
    told: Option<ReportedLoss>,
    /// Whether it was told that it is lost alone.
    said_lost_alone: bool,
    said: Option<PublishedState>,
    /// Whether it was told that it is listed.
    listed: bool,
}

/// What the daemon of a host says of a process.
#[derive(Debug)]
struct DaemonReport {
    status: ProcessStatus,
    /// The daemon is another one since this moment, and has not said it again.
    stale_since: Option<Instant>,
}

/// What others say of a node that is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReportedLoss {
    pub(super) role: Role,
    pub(super) host: NodeId,
    /// None: it is lost alone.
    pub(super) cause: Option<LossCause>,
    pub(super) since_ms: u64,
}

/// The state as it was last said.
#[derive(Debug, Clone)]
struct PublishedState {
    state: ProcessState,
    cause: Option<LossCause>,
    reason: String,
    /// When it was first said, Unix milliseconds.
    at_ms: u64,
    /// Whether another state was said before: it was we who saw the change.
    change_seen: bool,
}

/// How the host of a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostView {
    /// Its daemon is there, or has never been there.
    There,
    /// Its daemon is gone without a word; why, once that is known.
    Missing(Option<LossCause>),
}

/// Sessions of one node that are followed. There is one, or two while it changes its way.
const MAX_SESSIONS: usize = 16;
/// How long a daemon that is back may take to say again what it knows of a process.
const CONFIRM: Duration = Duration::from_secs(3);
/// How long words may come before the token of the node that says them.
const WORDS: Duration = Duration::from_secs(2);
/// A node that is gone while its host is there may be on its way back by another way.
const COMING_BACK: Duration = Duration::from_secs(1);
/// How long a node stays listed that is lost alone.
const LOST_ALONE: Duration = Duration::from_mins(1);
/// How long what was on a lost host stays listed.
const LOST_WITH_HOST: Duration = Duration::from_hours(7 * 24);

impl Entry {
    pub(super) const fn info(&self) -> Option<&NodeInfo> {
        self.info.as_ref()
    }

    pub(super) const fn holders(&self) -> &ParameterOwners {
        &self.holders
    }

    pub(super) const fn session(&self) -> &Arc<OperatorState> {
        &self.session
    }

    pub(super) fn is_present(&self) -> bool {
        !self.present.is_empty()
    }

    /// Whether this is the only session it is present with.
    pub(super) fn is_present_only_as(&self, zid: &str) -> bool {
        self.present.len() == 1 && self.present.contains_key(zid)
    }

    pub(super) const fn is_said_lost_alone(&self) -> bool {
        self.said_lost_alone
    }

    pub(super) const fn say_lost_alone(&mut self, lost: bool) {
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

    /// What its daemon says of it, and which host's daemon. Of several the one whose process lives counts,
    /// then the one that was heard of last; everybody comes to the same.
    fn process(&self) -> Option<(&NodeId, &ProcessStatus)> {
        let rank = |status: &ProcessStatus| (status.state.is_alive(), status.since_ms);
        self.claims
            .iter()
            .map(|(host, claim)| (host, &claim.status))
            .max_by_key(|(host, status)| (rank(status), *host))
    }

    /// The host it is, or was, on.
    pub(super) fn host(&self) -> Option<&NodeId> {
        let of_process = self.process().map(|(host, _)| host);
        let of_told = self.told.as_ref().map(|told| &told.host);
        let of_info = self.info.as_ref().map(|info| &info.host);
        // What it said of itself counts as long as it is there to say it.
        if self.is_present() { of_info.or(of_process) } else { of_process.or(of_info) }.or(of_told)
    }

    pub(super) fn has_said_all(&self) -> bool {
        self.info.is_some() && self.health.as_ref().is_some_and(|watch| watch.last().is_some())
    }

    /// Takes in a sighting of this node; whether anything but the health figures changed.
    pub(super) fn take(&mut self, sighting: Observation, now: Instant, unix_ms: u64) -> bool {
        self.heard_of.get_or_insert(now);
        match sighting {
            Observation::Appeared { role, zid, .. } => {
                if self.present.is_empty() {
                    // Present, so its health is due: one that is silent from now on is not well.
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
            Observation::Vanished { zid, .. } => {
                let went = self.present.remove(&zid).is_some();
                if self.present.is_empty() {
                    self.health = None;
                    self.gone.get_or_insert((now, unix_ms));
                }
                went
            },
            Observation::Goodbye(_) => {
                self.said_goodbye = true;
                false
            },
            Observation::Info(info) => {
                // What is late of an earlier instance does not replace what the present one said.
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
            Observation::Holders(_, holders) => {
                let changed = self.holders != holders;
                self.holders = holders;
                changed
            },
            Observation::Session(_, session) => {
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
            Observation::Lost(..) | Observation::Knocked(..) => false,
        }
    }

    /// Whether its id is in use: it is here, or will be, or was on a host that is lost.
    pub(super) fn holds_its_id(&self, host: HostView) -> bool {
        let state = self.process().map(|(_, status)| status.state);
        let is_kept =
            state.is_some_and(|state| state.is_alive() || state == ProcessState::Restarting);
        let is_lost = self.gone.is_some() && host != HostView::There;
        self.is_present() || is_kept || (is_lost && !self.said_goodbye)
    }

    pub(super) fn tell(&mut self, told: Option<ReportedLoss>) {
        self.told = told;
    }

    /// The daemon of `host` is another one: what the one before said must be said again.
    pub(super) fn doubt(&mut self, host: &NodeId, now: Instant) {
        if let Some(claim) = self.claims.get_mut(host) {
            claim.stale_since = Some(now);
        }
    }

    /// The daemon of `host` is gone for good, and before it went it ended what it launched.
    pub(super) fn forget_process_of(&mut self, host: &NodeId) {
        if self.claims.remove(host).is_some() {
            self.said_goodbye = true;
        }
    }

    /// The wall clock here was set forward by so many milliseconds: all times are others by it.
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

    /// Lets time pass.
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

    /// Whether it is, or was, there: more than words of one that has not come yet, or of one that has gone.
    pub(super) fn is_shown(&self) -> bool {
        self.was.is_some() || !self.claims.is_empty() || self.told.is_some()
    }

    /// Nothing of it is left, or what is left is of no interest: an app that has gone.
    pub(super) fn is_forgotten(&self, host: HostView, now: Instant) -> bool {
        if self.is_present() || !self.claims.is_empty() || self.told.is_some() {
            return false;
        }
        let Some((gone, _)) = self.gone else {
            // Its words came before its token, or are echoes of what has gone.
            let is_echo = |at| now.saturating_duration_since(at) >= WORDS;
            return self.was.is_some() || self.heard_of.is_none_or(is_echo);
        };
        let gone_for = now.saturating_duration_since(gone);
        match self.role() {
            None | Some(Role::App | Role::Bridge) => true,
            // Nobody misses what never said what it is: a token is quickly made up.
            Some(Role::Visualization | Role::Daemon)
                if self.said_goodbye || self.info.is_none() =>
            {
                true
            },
            Some(Role::Daemon) => gone_for >= LOST_WITH_HOST,
            Some(Role::Visualization) => match host {
                HostView::There => gone_for >= LOST_ALONE,
                HostView::Missing(_) => gone_for >= LOST_WITH_HOST,
            },
        }
    }

    /// Since when, in Unix milliseconds, it has been lost alone: gone while its host is there, without a
    /// word, and no daemon launched it.
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
            // The daemon sees the process itself, and judges its health where it lives.
            return (status.state, None, status.reason.clone());
        }
        if self.is_present() {
            let (state, reason) = self.state_by_health(now);
            let unwatched = !self.claims.is_empty() && reason.is_empty();
            let reason = if unwatched {
                "its daemon is gone: nobody restarts it until hanad is back".into()
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
            Some(None) => "gone from the mesh a moment ago; looking why".into(),
            None => "node_lost: it is gone from the mesh without a word, and no daemon launched it; start it where it was started".into(),
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

    /// Says the state anew; whether it is another. A reason alone that counts seconds is no change.
    pub(super) fn restate(
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

    /// Since when it is in its state: as its daemon says, as others say who lost it, or since it joined, if
    /// it was there before us.
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
            // As it counts itself: its wall clock and that of this host may be years apart.
            uptime_s: health.filter(|_| alive).map_or(0, |health| health.uptime_ms / 1000),
            frame: frames.map(|frames| frames.count),
            fps: frames.map(|frames| frames.fps),
            frame_max_us: frames.map(|frames| frames.max_us),
            restarts: process.map_or(0, |status| status.restarts),
            launched: process.is_some(),
            ignored: process.is_some_and(|status| status.ignored && status.state == state),
            in_force: self.look.in_force.filter(|_| alive),
            holders: if alive { self.holders.holders.clone() } else { vec![] },
            mixed: if alive { self.holders.mixed.clone() } else { BTreeMap::new() },
            note: self.note(node),
            plays: health.filter(|_| alive).map(|of| of.plays.clone()).unwrap_or_default(),
            // By the others: the roster knows them.
            played_by: BTreeMap::new(),
            counters: troubled.map(|health| health.counters),
            lanes: troubled.map(|health| health.lanes.clone()).unwrap_or_default(),
            troubles: troubled.map(|health| health.troubles.clone()).unwrap_or_default(),
            playing: parameters.as_ref().map(|values| self.playing(values)).unwrap_or_default(),
            parameters,
        }
    }

    /// How it plays a visualization, if it does.
    pub(super) fn plays(&self, node: &NodeId) -> Option<PlayStatus> {
        let health = self.health.as_ref().and_then(HealthMonitor::last);
        health.filter(|_| self.is_present())?.plays.get(node).copied()
    }

    /// What it plays, in words: values, and the recipes of what moves by itself.
    fn playing(&self, values: &BTreeMap<ParameterName, f32>) -> Vec<(String, String)> {
        let mut words = words_of_values(self.declared(), values);
        for (name, recipe) in &self.look.recipes {
            match words.iter_mut().find(|(of, _)| of == name.as_str()) {
                Some((_, word)) => *word = recipe.to_string(),
                None => words.push((name.to_string(), recipe.to_string())),
            }
        }
        words
    }

    /// What its operator has told the others.
    fn note(&self, node: &NodeId) -> Option<String> {
        let own = self.session.notes.iter().find(|note| note.app == *node);
        own.map(|note| note.text.clone()).filter(|text| !text.is_empty())
    }

    /// What can be played of it, as it says.
    fn declared(&self) -> &[Parameter] {
        self.info.as_ref().map(|info| info.parameters.as_slice()).unwrap_or_default()
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
