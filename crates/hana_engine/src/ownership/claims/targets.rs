//! The exchange with the visualizations: their published owners, and the requests to them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use hana_protocol::id::{NodeId, Stamp};
use hana_protocol::message::{
    Control, OwnedByOther, Ownership, OwnershipKind, ParameterOwners, Priority, Release, Take,
    TakeReply,
};
use hana_protocol::parameter::ParameterName;

use crate::ownership::claims::ClaimManager;
use crate::ownership::claims::claim_event::ClaimEvent;
use crate::ownership::claims::claim_key::{ClaimKey, ClaimState};
use crate::ownership::claims::target_state::TargetState;
use crate::ownership::lww_map::LwwEntry;

/// A request to a visualization.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimRequest {
    /// The visualization.
    pub node: NodeId,
    /// A [`Take`] or a [`Release`].
    pub command: Control,
}

/// The delay before an unanswered request is repeated. It doubles up to `MAX_RETRY_INTERVAL`, to spare a busy network.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(1);

impl ClaimManager {
    /// Applies the owners that the instance `instance` of a visualization published.
    pub fn apply_owners(
        &mut self,
        node: &NodeId,
        instance: u64,
        owners: &ParameterOwners,
        unix_ms: u64,
    ) {
        let known = self.played.entry(node.clone()).or_default();
        let is_other_run = known.instance != instance;
        if !is_other_run && known.owners == *owners {
            return;
        }
        known.instance = instance;
        known.is_settled = false;
        known.granted.clear();
        known.wait = RETRY_INTERVAL;
        let before = std::mem::replace(&mut known.owners, owners.clone());
        if is_other_run {
            self.confirmed.retain(|(of, _), _| of != node);
            self.request_now(node);
        }
        self.report_changes(node, &before, owners);
        let mut settled: BTreeSet<&ParameterName> = BTreeSet::new();
        for held in &owners.owners {
            let Some(stamp) = &held.stamp else { continue };
            if !self.clock.observe(stamp) || !settled.insert(&held.parameter) {
                continue;
            }
            self.reconcile(node, held, stamp, unix_ms);
        }
    }

    /// Compares a published owner with this app's claim to the same parameter, and updates the claim.
    fn reconcile(&mut self, node: &NodeId, held: &Ownership, stamp: &Stamp, unix_ms: u64) {
        let of = ClaimKey {
            app: self.own.clone(),
            node: node.clone(),
            parameter: held.parameter.clone(),
        };
        let own = self.map.written(&of);
        let at = (node.clone(), held.parameter.clone());
        if held.by == self.own {
            match own {
                // An earlier instance of this app has claimed the parameter.
                None if held.how == OwnershipKind::Claimed => {
                    let state = ClaimState { priority: held.priority, ended: false, to: None };
                    self.map.write(of, LwwEntry { stamp: stamp.clone(), value: Some(state) });
                    self.version += 1;
                    self.confirmed.insert(at, stamp.clone());
                },
                Some(own) if own.stamp == *stamp && held.how == OwnershipKind::Claimed => {
                    self.confirmed.insert(at, stamp.clone());
                },
                // An earlier instance of this app claimed the parameter too, with a clock ahead of the current one.
                Some(own) if own.stamp < *stamp && held.how == OwnershipKind::Claimed => {
                    let is_ended = own.value.as_ref().is_some_and(|own| own.ended);
                    if is_ended {
                        self.end(of, None, unix_ms);
                    } else {
                        self.renew(of, unix_ms);
                    }
                    self.request_now(node);
                },
                _ => drop(self.confirmed.remove(&at)),
            }
            return;
        }
        let Some(own) = own.filter(|of| of.value.as_ref().is_some_and(ClaimState::is_live)) else {
            return;
        };
        let own_priority = own.value.as_ref().map_or_else(Priority::default, |own| own.priority);
        let is_lesser = match held.how {
            OwnershipKind::Claimed => (own_priority, &own.stamp) < (held.priority, stamp),
            OwnershipKind::Abandoned | OwnershipKind::Released => own.stamp < *stamp,
            OwnershipKind::Active => false,
        };
        let was_confirmed = self.confirmed.remove(&at).is_some();
        if is_lesser {
            let (by, parameter) = (held.by.clone(), held.parameter.clone());
            self.end(of, Some(by.clone()), unix_ms);
            let (node, apart) = (node.clone(), !was_confirmed);
            self.tell(ClaimEvent::Lost { node, parameter, by, apart });
        }
    }

    fn report_changes(&mut self, node: &NodeId, before: &ParameterOwners, now: &ParameterOwners) {
        let of = |owners: &ParameterOwners| -> BTreeMap<ParameterName, (NodeId, OwnershipKind)> {
            let held = owners.owners.iter().filter(|held| held.how.is_held()).rev();
            held.map(|held| (held.parameter.clone(), (held.by.clone(), held.how))).collect()
        };
        let (before, now) = (of(before), of(now));
        let names: BTreeSet<&ParameterName> = before.keys().chain(now.keys()).collect();
        for parameter in names {
            let (was, is) = (before.get(parameter), now.get(parameter));
            if was != is {
                self.tell(ClaimEvent::OwnerChanged {
                    node: node.clone(),
                    parameter: parameter.clone(),
                    before: was.map(|(by, _)| by.clone()),
                    now: is.cloned(),
                });
            }
        }
    }

    /// Records that a visualization is gone.
    pub fn target_gone(&mut self, node: &NodeId) {
        if self.played.remove(node).is_some() {
            self.confirmed.retain(|(of, _), _| of != node);
        }
    }

    /// Applies a visualization's reply to a [`Take`].
    pub fn answered(&mut self, node: &NodeId, took: &TakeReply, unix_ms: u64) {
        if let Some(played) = self.played.get_mut(node) {
            let stamps =
                took.taken.iter().filter_map(|name| Some((name.clone(), took.stamp.clone()?)));
            played.granted.extend(stamps);
            played.wait = RETRY_INTERVAL;
        }
        for OwnedByOther { parameter, by, .. } in &took.held {
            let of = ClaimKey {
                app: self.own.clone(),
                node: node.clone(),
                parameter: parameter.clone(),
            };
            let is_live = self.map.get(&of).is_some_and(ClaimState::is_live);
            if is_live && self.map.written(&of).map(|of| &of.stamp) == took.stamp.as_ref() {
                self.end(of, Some(by.clone()), unix_ms);
                let (node, parameter, by) = (node.clone(), parameter.clone(), by.clone());
                self.tell(ClaimEvent::Lost { node, parameter, by, apart: true });
            }
        }
    }

    /// Records that a visualization has refused the claim with this `stamp`, which therefore ends.
    pub fn refused(&mut self, node: &NodeId, stamp: &Stamp, reason: &str, unix_ms: u64) {
        let refused = self.map.all_written().filter(|(of, written)| {
            of.app == self.own && of.node == *node && written.stamp == *stamp
        });
        let refused: Vec<ClaimKey> = refused.map(|(of, _)| of.clone()).collect();
        if refused.is_empty() {
            return;
        }
        let parameters = refused.iter().map(|of| of.parameter.clone()).collect();
        for of in refused {
            self.end(of, None, unix_ms);
        }
        let (node, reason) = (node.clone(), hana_time::sanitize_line(reason, 400));
        self.tell(ClaimEvent::Refused { node, parameters, reason });
    }

    /// Returns the published owners of a visualization that is present.
    #[must_use]
    pub fn owners(&self, node: &NodeId) -> Option<&ParameterOwners> {
        self.played.get(node).map(|played| &played.owners)
    }

    /// Returns the requests due at `now`, which make visualizations match this app's claims.
    ///
    /// `is_asked` returns whether a request to a visualization is still without a reply.
    pub fn pending_requests(
        &mut self,
        now: Instant,
        is_asked: impl Fn(&NodeId) -> bool,
    ) -> Vec<ClaimRequest> {
        let mut asks = vec![];
        let nodes: Vec<NodeId> = self.played.keys().cloned().collect();
        for node in nodes {
            let is_waiting = self.played.get(&node).is_none_or(|played| {
                let waits = |asked| now.saturating_duration_since(asked) < played.wait;
                played.is_settled || played.asked.is_some_and(waits)
            });
            if is_waiting || is_asked(&node) {
                continue;
            }
            let commands = self.differences(&node);
            let Some(played) = self.played.get_mut(&node) else { continue };
            if commands.is_empty() {
                played.wait = RETRY_INTERVAL;
                played.is_settled = true;
                continue;
            }
            played.wait = if played.asked.is_none() {
                RETRY_INTERVAL
            } else {
                (played.wait * 2).clamp(RETRY_INTERVAL, MAX_RETRY_INTERVAL)
            };
            played.asked = Some(now);
            asks.extend(
                commands.into_iter().map(|command| ClaimRequest { node: node.clone(), command }),
            );
        }
        asks
    }

    /// Returns the commands that bring a visualization's published state in line with this app's claims.
    fn differences(&self, node: &NodeId) -> Vec<Control> {
        let Some(TargetState { owners, granted, .. }) = self.played.get(node) else {
            return vec![];
        };
        let mut takes: BTreeMap<(Stamp, Priority), Vec<ParameterName>> = BTreeMap::new();
        for (of, written) in self.map.all_written() {
            let is_mine = of.app == self.own && of.node == *node;
            let Some(state) = written.value.as_ref().filter(|state| is_mine && state.is_live())
            else {
                continue;
            };
            let is_said = owners.owners.iter().any(|held| {
                held.parameter == of.parameter
                    && held.how == OwnershipKind::Claimed
                    && held.by == self.own
                    && held.stamp.as_ref() == Some(&written.stamp)
            });
            let is_granted = granted.get(&of.parameter) == Some(&written.stamp);
            if !is_said && !is_granted {
                takes
                    .entry((written.stamp.clone(), state.priority))
                    .or_default()
                    .push(of.parameter.clone());
            }
        }
        let mut releases: BTreeMap<Stamp, Vec<ParameterName>> = BTreeMap::new();
        for held in &owners.owners {
            if held.by != self.own || held.how != OwnershipKind::Claimed {
                continue;
            }
            let of = ClaimKey {
                app: self.own.clone(),
                node: node.clone(),
                parameter: held.parameter.clone(),
            };
            let Some(written) = self.map.written(&of) else { continue };
            // The release carries the stamp of this claim, so it ends no newer one; the stamp of the end may be another
            // app's.
            let ended = written.value.as_ref().is_some_and(|state| state.ended);
            if let Some(stamp) = held.stamp.clone().filter(|_| ended) {
                releases.entry(stamp).or_default().push(held.parameter.clone());
            }
        }
        let mut commands: Vec<Control> = vec![];
        let told = owners.priorities.get(&self.own).copied().unwrap_or_default();
        if told != self.priority {
            let priority = self.priority;
            commands.push(Take { parameters: vec![], priority, stamp: None }.into());
        }
        commands.extend(takes.into_iter().map(|((stamp, priority), parameters)| {
            Take { parameters, priority, stamp: Some(stamp) }.into()
        }));
        commands.extend(
            releases
                .into_iter()
                .map(|(stamp, parameters)| Release { parameters, stamp: Some(stamp) }.into()),
        );
        commands
    }
}
