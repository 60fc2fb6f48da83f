//! The claims of an app, and its copy of the claims of other apps.

pub(crate) mod claim_event;
mod claim_key;
mod peers;
mod target_state;
pub(crate) mod targets;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hana_protocol::id::{NodeId, Stamp};
use hana_protocol::message::{OperatorState, OwnershipKind, Priority};
use hana_protocol::parameter::ParameterName;

use crate::ownership::claims::claim_event::ClaimEvent;
use crate::ownership::claims::claim_key::{ClaimKey, ClaimState};
use crate::ownership::claims::target_state::TargetState;
use crate::ownership::hybrid_clock::HybridClock;
use crate::ownership::lww_map::{LwwEntry, LwwMap};

/// The claims of an app, including its copy of the claims of all other apps.
///
/// The visualizations decide (see [`OwnershipArbiter`](crate::ownership::arbiter::OwnershipArbiter)). An app requests
/// its claims again and again until the visualizations publish them, gives up the claims that another app has
/// superseded, and notifies the operator. All nodes therefore converge, whichever messages are lost and whichever
/// nodes are away. Pure: it takes the messages of others and the time, and returns requests.
#[derive(Debug)]
pub struct ClaimManager {
    own: NodeId,
    clock: HybridClock,
    priority: Priority,
    map: LwwMap<ClaimKey, ClaimState>,
    notes: LwwMap<NodeId, String>,
    played: BTreeMap<NodeId, TargetState>,
    /// The apps that are present and so publish their own claims.
    present: BTreeSet<NodeId>,
    /// The writes that present apps made but do not publish, because they lost them in a restart.
    unreported: BTreeMap<NodeId, (BTreeSet<ClaimKey>, BTreeSet<NodeId>)>,
    /// The claims of this app that its current instance has made or ended.
    decided: BTreeSet<ClaimKey>,
    /// The claims that the visualizations have confirmed.
    confirmed: BTreeMap<(NodeId, ParameterName), Stamp>,
    news: VecDeque<ClaimEvent>,
    version: u64,
}

/// The maximum number of waiting notifications; beyond it, the oldest are dropped.
const MAX_EVENTS: usize = 1024;

impl ClaimManager {
    /// Creates the claims of the app `own`.
    #[must_use]
    pub fn new(own: NodeId, priority: Priority) -> Self {
        Self {
            clock: HybridClock::new(own.clone()),
            own,
            priority,
            map: LwwMap::new(OperatorState::MAX_CLAIMS),
            notes: LwwMap::new(OperatorState::MAX_NOTES),
            played: BTreeMap::new(),
            present: BTreeSet::new(),
            unreported: BTreeMap::new(),
            decided: BTreeSet::new(),
            confirmed: BTreeMap::new(),
            news: VecDeque::new(),
            version: 1,
        }
    }

    /// Returns the priority of this app.
    #[must_use]
    pub const fn priority(&self) -> Priority {
        self.priority
    }

    /// Sets the priority of this app, and renews its claims with the new priority.
    pub fn set_priority(&mut self, priority: Priority, unix_ms: u64) {
        if priority == self.priority {
            return;
        }
        self.priority = priority;
        let own: Vec<ClaimKey> = self.live(&self.own).map(|(of, _)| of.clone()).collect();
        for of in own {
            self.renew(of, unix_ms);
        }
        self.version += 1;
        self.request_all_now();
    }

    /// Claims parameters of a visualization, whichever controller owns them.
    pub fn take(
        &mut self,
        node: &NodeId,
        parameters: impl IntoIterator<Item = ParameterName>,
        unix_ms: u64,
    ) {
        for parameter in parameters {
            self.take_one(node, parameter, unix_ms);
        }
        self.request_now(node);
    }

    /// Releases parameters of a visualization.
    pub fn release(
        &mut self,
        node: &NodeId,
        parameters: impl IntoIterator<Item = ParameterName>,
        unix_ms: u64,
    ) {
        for parameter in parameters {
            let of = ClaimKey { app: self.own.clone(), node: node.clone(), parameter };
            if self.map.get(&of).is_some_and(|state| !state.ended) {
                self.end(of, None, unix_ms);
            }
        }
        self.request_now(node);
    }

    /// Releases all parameters, for example before the app leaves.
    pub fn release_all(&mut self, unix_ms: u64) {
        let own: Vec<ClaimKey> = self.live(&self.own).map(|(of, _)| of.clone()).collect();
        for of in own {
            self.end(of, None, unix_ms);
        }
        self.request_all_now();
    }

    /// Claims all parameters that another app owns, claims, or owned when it vanished; returns their number.
    pub fn take_over(&mut self, app: &NodeId, unix_ms: u64) -> usize {
        let of_wish = self.live(app).map(|(of, _)| (of.node.clone(), of.parameter.clone()));
        let of_owners = self.played.iter().flat_map(|(node, played)| {
            let held = played.owners.owners.iter();
            let his = held.filter(|held| held.by == *app && held.how != OwnershipKind::Released);
            his.map(|held| (node.clone(), held.parameter.clone()))
        });
        let all: BTreeSet<(NodeId, ParameterName)> = of_wish.chain(of_owners).collect();
        for (node, parameter) in &all {
            self.take_one(node, parameter.clone(), unix_ms);
            self.request_now(node);
        }
        all.len()
    }

    /// Writes a note for all operators, which replaces this app's previous one; an empty text deletes it.
    ///
    /// A text longer than [`OperatorState::MAX_NOTE`] is truncated.
    pub fn note(&mut self, text: &str, unix_ms: u64) {
        let text: String = hana_time::sanitize_line(text.trim(), OperatorState::MAX_NOTE - 1);
        let text = text.chars().take(OperatorState::MAX_NOTE).collect();
        let stamp = self.clock.stamp(unix_ms);
        self.notes.write(self.own.clone(), LwwEntry { stamp, value: Some(text) });
        self.version += 1;
    }

    /// Returns the current notes, each with the app at which it was written.
    pub fn notes(&self) -> impl Iterator<Item = (&NodeId, &str)> {
        self.notes
            .iter()
            .map(|(app, text)| (app, text.as_str()))
            .filter(|(_, text)| !text.is_empty())
    }

    /// Returns the known claims of an app: the visualization and the parameter of each.
    pub fn claims_of(&self, app: &NodeId) -> impl Iterator<Item = (&NodeId, &ParameterName)> {
        self.live(app).map(|(of, _)| (&of.node, &of.parameter))
    }

    /// Returns whether this app claims a parameter.
    #[must_use]
    pub fn has_taken(&self, node: &NodeId, parameter: &ParameterName) -> bool {
        let of =
            ClaimKey { app: self.own.clone(), node: node.clone(), parameter: parameter.clone() };
        self.map.get(&of).is_some_and(|state| !state.ended)
    }

    /// Returns the apps that have vanished and left parameters to take over, each with the number of those
    /// parameters.
    #[must_use]
    pub fn left_behind(&self) -> BTreeMap<NodeId, usize> {
        let is_gone = |app: &NodeId| *app != self.own && !self.present.contains(app);
        let of_wish = self.map.iter().filter(|(of, state)| !state.ended && is_gone(&of.app));
        let of_wish = of_wish.map(|(of, _)| (&of.app, &of.node, &of.parameter));
        let of_owners = self.played.iter().flat_map(|(node, played)| {
            let left = played.owners.owners.iter();
            let left = left.filter(|held| held.how != OwnershipKind::Released && is_gone(&held.by));
            left.map(move |held| (&held.by, node, &held.parameter))
        });
        let mut left: BTreeMap<NodeId, BTreeSet<(&NodeId, &ParameterName)>> = BTreeMap::new();
        for (app, node, parameter) in of_wish.chain(of_owners) {
            left.entry(app.clone()).or_default().insert((node, parameter));
        }
        left.into_iter().map(|(app, parameters)| (app, parameters.len())).collect()
    }

    /// Records that an app is present.
    pub fn app_joined(&mut self, app: &NodeId) {
        self.version += u64::from(self.present.insert(app.clone()));
    }

    /// Records that an app is gone. Its writes are kept, and published on its behalf.
    pub fn app_left(&mut self, app: &NodeId) {
        self.unreported.remove(app);
        self.version += u64::from(self.present.remove(app));
    }

    /// Returns a number that grows with every change of [`operator_state`](Self::operator_state).
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Returns the notifications for the operator since the last call.
    pub fn take_events(&mut self) -> Vec<ClaimEvent> {
        self.news.drain(..).collect()
    }

    fn tell(&mut self, news: ClaimEvent) {
        if self.news.len() >= MAX_EVENTS {
            self.news.pop_front();
        }
        self.news.push_back(news);
    }

    fn live(&self, app: &NodeId) -> impl Iterator<Item = (&ClaimKey, &ClaimState)> {
        self.map.iter().filter(move |(of, state)| of.app == *app && state.is_live())
    }

    fn take_one(&mut self, node: &NodeId, parameter: ParameterName, unix_ms: u64) {
        let of = ClaimKey { app: self.own.clone(), node: node.clone(), parameter };
        let others: Vec<ClaimKey> = self
            .map
            .iter()
            .filter(|(other, state)| {
                state.is_live()
                    && other.app != of.app
                    && other.node == of.node
                    && other.parameter == of.parameter
                    // A claim with a higher priority stays in force.
                    && state.priority <= self.priority
            })
            .map(|(other, _)| other.clone())
            .collect();
        for other in others {
            self.end(other, Some(self.own.clone()), unix_ms);
        }
        self.renew(of, unix_ms);
    }

    fn renew(&mut self, of: ClaimKey, unix_ms: u64) {
        let stamp = self.clock.stamp(unix_ms);
        let state = ClaimState { priority: self.priority, ended: false, to: None };
        self.confirmed.remove(&(of.node.clone(), of.parameter.clone()));
        self.unsettle(&of);
        self.decide(&of);
        self.map.write(of, LwwEntry { stamp, value: Some(state) });
        self.version += 1;
    }

    /// Remembers that this instance has made or ended a claim of its own.
    fn decide(&mut self, of: &ClaimKey) {
        if of.app == self.own && self.decided.len() < OperatorState::MAX_CLAIMS {
            self.decided.insert(of.clone());
        }
    }

    fn end(&mut self, of: ClaimKey, to: Option<NodeId>, unix_ms: u64) {
        let stamp = self.clock.stamp(unix_ms);
        let priority = self.map.get(&of).map_or_else(Priority::default, |state| state.priority);
        self.confirmed.remove(&(of.node.clone(), of.parameter.clone()));
        self.unsettle(&of);
        self.decide(&of);
        self.map
            .write(of, LwwEntry { stamp, value: Some(ClaimState { priority, ended: true, to }) });
        self.version += 1;
    }

    /// Marks the visualization as unsettled after a change of this app's claim.
    fn unsettle(&mut self, of: &ClaimKey) {
        if of.app == self.own
            && let Some(played) = self.played.get_mut(&of.node)
        {
            played.is_settled = false;
        }
    }

    fn request_now(&mut self, node: &NodeId) {
        if let Some(played) = self.played.get_mut(node) {
            played.is_settled = false;
            played.asked = None;
        }
    }

    fn request_all_now(&mut self) {
        for played in self.played.values_mut() {
            played.is_settled = false;
            played.asked = None;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
