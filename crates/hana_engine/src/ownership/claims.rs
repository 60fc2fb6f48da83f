//! The claims of an app, and what it knows of the claims of others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use hana_protocol::id::{NodeId, Stamp};
use hana_protocol::message::{
    Claim, Control, Note, OperatorState, OwnedByOther, Ownership, OwnershipKind, ParameterOwners,
    Priority, Release, Take, TakeReply,
};
use hana_protocol::parameter::ParameterName;

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
    map: LwwMap<ClaimKey, State>,
    notes: LwwMap<NodeId, String>,
    played: BTreeMap<NodeId, TargetState>,
    /// The apps that are present and so publish their own claims.
    present: BTreeSet<NodeId>,
    /// The writes that present apps made but do not publish, because they lost them in a restart.
    unsaid: BTreeMap<NodeId, (BTreeSet<ClaimKey>, BTreeSet<NodeId>)>,
    /// The claims that the visualizations have confirmed.
    confirmed: BTreeMap<(NodeId, ParameterName), Stamp>,
    news: VecDeque<ClaimEvent>,
    version: u64,
}

/// The key of a claim: the claimant and the claimed parameter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct ClaimKey {
    app: NodeId,
    node: NodeId,
    parameter: ParameterName,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    priority: Priority,
    ended: bool,
    to: Option<NodeId>,
}

/// The state of a visualization that is present.
#[derive(Debug, Default)]
struct TargetState {
    instance: u64,
    holders: ParameterOwners,
    /// The time of the last request; `wait` is how long to wait for an answer or a new state.
    asked: Option<Instant>,
    wait: Duration,
    /// Whether the visualization's published state matched this app's claims at the last check, with no change since.
    is_settled: bool,
    /// The claims it has granted in an answer but may not have published yet.
    granted: BTreeMap<ParameterName, Stamp>,
}

/// A notification for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimEvent {
    /// The owner of a parameter changed, or the parameter became free.
    HolderChanged {
        /// The visualization.
        node: NodeId,
        /// The parameter.
        parameter: ParameterName,
        /// The previous owner.
        before: Option<NodeId>,
        /// The new owner and the kind of ownership.
        now: Option<(NodeId, OwnershipKind)>,
    },
    /// Another controller owns a parameter that this app had claimed.
    TakenFromYou {
        /// The visualization.
        node: NodeId,
        /// The parameter.
        parameter: ParameterName,
        /// The new owner.
        by: NodeId,
        /// Whether the two apps claimed the parameter concurrently, and the other claim won.
        apart: bool,
    },
    /// Two apps claimed the parameter concurrently; this app's claim won.
    KeptByYou {
        /// The visualization.
        node: NodeId,
        /// The parameter.
        parameter: ParameterName,
        /// The other claimant.
        from: NodeId,
    },
    /// A visualization does not allow this app to take parameters.
    Refused {
        /// The visualization.
        node: NodeId,
        /// The parameters.
        parameters: Vec<ParameterName>,
        /// The reason given by the visualization.
        reason: String,
    },
    /// An operator wrote or deleted a note.
    Noted {
        /// The app at which the note was written.
        app: NodeId,
        /// The text; empty if the note was deleted.
        text: String,
    },
}

/// A request to a visualization.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimRequest {
    /// The visualization.
    pub node: NodeId,
    /// A [`Take`] or a [`Release`].
    pub command: Control,
}

/// The delay before an unanswered request is repeated. It doubles up to `ASK_SELDOM`, to spare a busy network.
const ASK_AGAIN: Duration = Duration::from_millis(250);
const ASK_SELDOM: Duration = Duration::from_secs(1);
/// The maximum number of waiting notifications; beyond it the oldest are dropped.
const NEWS: usize = 1024;
/// The maximum size of the published claims in bytes; beyond it the oldest are left out.
const TOLD: usize = 180 * 1024;

impl ClaimManager {
    /// Creates the claims of the app `own`.
    #[must_use]
    pub fn new(own: NodeId, priority: Priority) -> Self {
        Self {
            clock: HybridClock::new(own.clone()),
            own,
            priority,
            map: LwwMap::new(OperatorState::MAX_WISHES),
            notes: LwwMap::new(OperatorState::MAX_NOTES),
            played: BTreeMap::new(),
            present: BTreeSet::new(),
            unsaid: BTreeMap::new(),
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
            self.wish(of, unix_ms);
        }
        self.version += 1;
        self.ask_all_now();
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
        self.ask_now(node);
    }

    /// Releases parameters.
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
        self.ask_now(node);
    }

    /// Releases all parameters, for example before the app leaves.
    pub fn release_all(&mut self, unix_ms: u64) {
        let own: Vec<ClaimKey> = self.live(&self.own).map(|(of, _)| of.clone()).collect();
        for of in own {
            self.end(of, None, unix_ms);
        }
        self.ask_all_now();
    }

    /// Claims all parameters that another app owns, claims, or had when it vanished; returns their number.
    pub fn take_over(&mut self, app: &NodeId, unix_ms: u64) -> usize {
        let of_wish = self.live(app).map(|(of, _)| (of.node.clone(), of.parameter.clone()));
        let of_holders = self.played.iter().flat_map(|(node, played)| {
            let held = played.holders.holders.iter();
            let his = held.filter(|held| held.by == *app && held.how != OwnershipKind::Released);
            his.map(|held| (node.clone(), held.parameter.clone()))
        });
        let all: BTreeSet<(NodeId, ParameterName)> = of_wish.chain(of_holders).collect();
        for (node, parameter) in &all {
            self.take_one(node, parameter.clone(), unix_ms);
            self.ask_now(node);
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

    /// Returns the current notes, by the apps at which they were written.
    pub fn notes(&self) -> impl Iterator<Item = (&NodeId, &str)> {
        self.notes
            .iter()
            .map(|(app, text)| (app, text.as_str()))
            .filter(|(_, text)| !text.is_empty())
    }

    /// Returns the known claims of an app: the visualization and the parameter of each.
    pub fn wishes_of(&self, app: &NodeId) -> impl Iterator<Item = (&NodeId, &ParameterName)> {
        self.live(app).map(|(of, _)| (&of.node, &of.parameter))
    }

    /// Returns whether this app claims a parameter.
    #[must_use]
    pub fn has_taken(&self, node: &NodeId, parameter: &ParameterName) -> bool {
        let of =
            ClaimKey { app: self.own.clone(), node: node.clone(), parameter: parameter.clone() };
        self.map.get(&of).is_some_and(|state| !state.ended)
    }

    /// Returns the apps that have vanished and left parameters to take over, each with the number of these
    /// parameters.
    #[must_use]
    pub fn left_behind(&self) -> BTreeMap<NodeId, usize> {
        let is_gone = |app: &NodeId| *app != self.own && !self.present.contains(app);
        let of_wish = self.map.iter().filter(|(of, state)| !state.ended && is_gone(&of.app));
        let of_wish = of_wish.map(|(of, _)| (&of.app, &of.node, &of.parameter));
        let of_holders = self.played.iter().flat_map(|(node, played)| {
            let left = played.holders.holders.iter();
            let left = left.filter(|held| held.how != OwnershipKind::Released && is_gone(&held.by));
            left.map(move |held| (&held.by, node, &held.parameter))
        });
        let mut left: BTreeMap<NodeId, BTreeSet<(&NodeId, &ParameterName)>> = BTreeMap::new();
        for (app, node, parameter) in of_wish.chain(of_holders) {
            left.entry(app.clone()).or_default().insert((node, parameter));
        }
        left.into_iter().map(|(app, parameters)| (app, parameters.len())).collect()
    }

    /// Records that an app is present.
    pub fn app_came(&mut self, app: &NodeId) {
        self.version += u64::from(self.present.insert(app.clone()));
    }

    /// Records that an app is gone. Its writes are kept, and published on its behalf.
    pub fn app_went(&mut self, app: &NodeId) {
        self.unsaid.remove(app);
        self.version += u64::from(self.present.remove(app));
    }

    /// Takes in the state published by another app, which is present.
    pub fn hears(&mut self, from: &NodeId, session: &OperatorState, unix_ms: u64) {
        // Ended claims go first: an app that knowingly takes over a claim publishes the end of the old one and the
        // new one.
        let (ended, live): (Vec<&Claim>, Vec<&Claim>) =
            session.wishes.iter().partition(|wish| wish.ended);
        for wish in ended.into_iter().chain(live) {
            self.hears_wish(wish, unix_ms);
        }
        for Note { app, text, stamp } in &session.notes {
            if !self.clock.hear(stamp) || text.chars().count() > OperatorState::MAX_NOTE {
                continue;
            }
            let before = self.notes.get(app).cloned().unwrap_or_default();
            let written = LwwEntry { stamp: stamp.clone(), value: Some(text.clone()) };
            if self.notes.write(app.clone(), written) && *app != self.own && before != *text {
                self.version += 1;
                self.tell(ClaimEvent::Noted { app: app.clone(), text: text.clone() });
            }
        }
        self.note_unsaid(from, session);
    }

    /// Updates the set of writes that an app made but does not publish.
    fn note_unsaid(&mut self, from: &NodeId, session: &OperatorState) {
        let said = session.wishes.iter().filter(|wish| wish.stamp.by == *from);
        let said: BTreeSet<ClaimKey> = said.map(ClaimKey::wish).collect();
        let wrote = self.map.all_written().filter(|(_, written)| written.stamp.by == *from);
        let wishes = wrote.map(|(of, _)| of).filter(|of| !said.contains(of)).cloned().collect();
        let said = session.notes.iter().filter(|note| note.stamp.by == *from);
        let said: BTreeSet<&NodeId> = said.map(|note| &note.app).collect();
        let wrote = self.notes.all_written().filter(|(_, written)| written.stamp.by == *from);
        let notes = wrote.map(|(app, _)| app).filter(|app| !said.contains(app)).cloned().collect();
        let unsaid: (BTreeSet<ClaimKey>, BTreeSet<NodeId>) = (wishes, notes);
        let before = if unsaid.0.is_empty() && unsaid.1.is_empty() {
            self.unsaid.remove(from)
        } else {
            self.unsaid.insert(from.clone(), unsaid.clone())
        };
        self.version += u64::from(before.unwrap_or_default() != unsaid);
    }

    fn hears_wish(&mut self, wish: &Claim, unix_ms: u64) {
        if !self.clock.hear(&wish.stamp) {
            return;
        }
        let of = ClaimKey::wish(wish);
        let before = self.map.written(&of).cloned();
        let was_live =
            before.as_ref().is_some_and(|of| of.value.as_ref().is_some_and(State::is_live));
        let state = State { priority: wish.priority, ended: wish.ended, to: wish.to.clone() };
        let written = LwwEntry { stamp: wish.stamp.clone(), value: Some(state) };
        if !self.map.write(of.clone(), written) {
            return;
        }
        self.version += 1;
        self.unsettle(&of);
        if of.app == self.own {
            self.confirmed.remove(&(of.node.clone(), of.parameter.clone()));
            if was_live && wish.ended {
                let by = wish.to.clone().unwrap_or_else(|| wish.stamp.by.clone());
                let ClaimKey { node, parameter, .. } = of;
                self.ask_now(&node);
                self.tell(ClaimEvent::TakenFromYou { node, parameter, by, apart: false });
            }
            return;
        }
        let mine = ClaimKey { app: self.own.clone(), ..of.clone() };
        let Some(own) =
            self.map.written(&mine).filter(|of| of.value.as_ref().is_some_and(State::is_live))
        else {
            return;
        };
        let own_priority = own.value.as_ref().map_or_else(Priority::default, |own| own.priority);
        let is_lesser = (own_priority, &own.stamp) < (wish.priority, &wish.stamp);
        let ClaimKey { app: of_app, node, parameter } = of;
        if wish.ended {
            // The other app noticed first. This checks whether this app knew of the other claim when it made its own.
            let knew = was_live
                || before.is_some_and(|before| {
                    before.stamp.by == self.own && before.stamp.ms == own.stamp.ms
                });
            if !knew && wish.to.as_ref() == Some(&self.own) {
                let from = wish.app.clone();
                self.tell(ClaimEvent::KeptByYou { node, parameter, from });
            }
        } else if !self.present.contains(&of_app) {
            // The claimant is gone. If it comes back, the visualization decides.
        } else if is_lesser {
            let by = wish.app.clone();
            self.end(mine, Some(by.clone()), unix_ms);
            self.tell(ClaimEvent::TakenFromYou { node, parameter, by, apart: true });
        } else {
            let from = wish.app.clone();
            self.tell(ClaimEvent::KeptByYou { node, parameter, from });
        }
    }

    /// Takes in the owners published by the instance `instance` of a visualization.
    pub fn sees(&mut self, node: &NodeId, instance: u64, holders: &ParameterOwners, unix_ms: u64) {
        let known = self.played.entry(node.clone()).or_default();
        let is_other_run = known.instance != instance;
        if !is_other_run && known.holders == *holders {
            return;
        }
        known.instance = instance;
        known.is_settled = false;
        known.granted.clear();
        known.wait = ASK_AGAIN;
        let before = std::mem::replace(&mut known.holders, holders.clone());
        if is_other_run {
            self.confirmed.retain(|(of, _), _| of != node);
            self.ask_now(node);
        }
        self.tell_changes(node, &before, holders);
        let mut settled: BTreeSet<&ParameterName> = BTreeSet::new();
        for held in &holders.holders {
            let Some(stamp) = &held.stamp else { continue };
            if !self.clock.hear(stamp) || !settled.insert(&held.parameter) {
                continue;
            }
            self.settle(node, held, stamp, unix_ms);
        }
    }

    /// Compares a published owner with this app's claim to the same parameter, and updates the claim.
    fn settle(&mut self, node: &NodeId, held: &Ownership, stamp: &Stamp, unix_ms: u64) {
        let of = ClaimKey {
            app: self.own.clone(),
            node: node.clone(),
            parameter: held.parameter.clone(),
        };
        let own = self.map.written(&of);
        let at = (node.clone(), held.parameter.clone());
        if held.by == self.own {
            match own {
                // An earlier instance of this app has claimed it.
                None if held.how == OwnershipKind::Taken => {
                    let state = State { priority: held.priority, ended: false, to: None };
                    self.map.write(of, LwwEntry { stamp: stamp.clone(), value: Some(state) });
                    self.version += 1;
                    self.confirmed.insert(at, stamp.clone());
                },
                Some(own) if own.stamp == *stamp && held.how == OwnershipKind::Taken => {
                    self.confirmed.insert(at, stamp.clone());
                },
                // An earlier instance claimed it too, by a clock that was ahead of the present one.
                Some(own) if own.stamp < *stamp && held.how == OwnershipKind::Taken => {
                    let is_ended = own.value.as_ref().is_some_and(|own| own.ended);
                    if is_ended {
                        self.end(of, None, unix_ms);
                    } else {
                        self.wish(of, unix_ms);
                    }
                    self.ask_now(node);
                },
                _ => drop(self.confirmed.remove(&at)),
            }
            return;
        }
        let Some(own) = own.filter(|of| of.value.as_ref().is_some_and(State::is_live)) else {
            return;
        };
        let own_priority = own.value.as_ref().map_or_else(Priority::default, |own| own.priority);
        let is_lesser = match held.how {
            OwnershipKind::Taken => (own_priority, &own.stamp) < (held.priority, stamp),
            OwnershipKind::Left | OwnershipKind::Released => own.stamp < *stamp,
            OwnershipKind::Plays => false,
        };
        let was_confirmed = self.confirmed.remove(&at).is_some();
        if is_lesser {
            let (by, parameter) = (held.by.clone(), held.parameter.clone());
            self.end(of, Some(by.clone()), unix_ms);
            let (node, apart) = (node.clone(), !was_confirmed);
            self.tell(ClaimEvent::TakenFromYou { node, parameter, by, apart });
        }
    }

    fn tell_changes(&mut self, node: &NodeId, before: &ParameterOwners, now: &ParameterOwners) {
        let of = |holders: &ParameterOwners| -> BTreeMap<ParameterName, (NodeId, OwnershipKind)> {
            let held = holders.holders.iter().filter(|held| held.how.is_held()).rev();
            held.map(|held| (held.parameter.clone(), (held.by.clone(), held.how))).collect()
        };
        let (before, now) = (of(before), of(now));
        let names: BTreeSet<&ParameterName> = before.keys().chain(now.keys()).collect();
        for parameter in names {
            let (was, is) = (before.get(parameter), now.get(parameter));
            if was != is {
                self.tell(ClaimEvent::HolderChanged {
                    node: node.clone(),
                    parameter: parameter.clone(),
                    before: was.map(|(by, _)| by.clone()),
                    now: is.cloned(),
                });
            }
        }
    }

    /// Records that a visualization is gone.
    pub fn misses(&mut self, node: &NodeId) {
        if self.played.remove(node).is_some() {
            self.confirmed.retain(|(of, _), _| of != node);
        }
    }

    /// Takes in a visualization's answer to a [`Take`].
    pub fn answered(&mut self, node: &NodeId, took: &TakeReply, unix_ms: u64) {
        if let Some(played) = self.played.get_mut(node) {
            let stamps =
                took.taken.iter().filter_map(|name| Some((name.clone(), took.stamp.clone()?)));
            played.granted.extend(stamps);
            played.wait = ASK_AGAIN;
        }
        for OwnedByOther { parameter, by, .. } in &took.held {
            let of = ClaimKey {
                app: self.own.clone(),
                node: node.clone(),
                parameter: parameter.clone(),
            };
            let is_live = self.map.get(&of).is_some_and(State::is_live);
            if is_live && self.map.written(&of).map(|of| &of.stamp) == took.stamp.as_ref() {
                self.end(of, Some(by.clone()), unix_ms);
                let (node, parameter, by) = (node.clone(), parameter.clone(), by.clone());
                self.tell(ClaimEvent::TakenFromYou { node, parameter, by, apart: true });
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
    pub fn holders(&self, node: &NodeId) -> Option<&ParameterOwners> {
        self.played.get(node).map(|played| &played.holders)
    }

    /// Returns the requests due at `now`: those that visualizations need to match this app's claims.
    ///
    /// `is_asked` returns whether a request to a visualization is still unanswered.
    pub fn due(&mut self, now: Instant, is_asked: impl Fn(&NodeId) -> bool) -> Vec<ClaimRequest> {
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
                played.wait = ASK_AGAIN;
                played.is_settled = true;
                continue;
            }
            played.wait = if played.asked.is_none() {
                ASK_AGAIN
            } else {
                (played.wait * 2).clamp(ASK_AGAIN, ASK_SELDOM)
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
        let Some(TargetState { holders, granted, .. }) = self.played.get(node) else {
            return vec![];
        };
        let mut takes: BTreeMap<(Stamp, Priority), Vec<ParameterName>> = BTreeMap::new();
        for (of, written) in self.map.all_written() {
            let is_mine = of.app == self.own && of.node == *node;
            let Some(state) = written.value.as_ref().filter(|state| is_mine && state.is_live())
            else {
                continue;
            };
            let is_said = holders.holders.iter().any(|held| {
                held.parameter == of.parameter
                    && held.how == OwnershipKind::Taken
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
        for held in &holders.holders {
            if held.by != self.own || held.how != OwnershipKind::Taken {
                continue;
            }
            let of = ClaimKey {
                app: self.own.clone(),
                node: node.clone(),
                parameter: held.parameter.clone(),
            };
            let Some(written) = self.map.written(&of) else { continue };
            // Releases exactly this claim and no newer one; the stamp of its end may be another app's.
            let ended = written.value.as_ref().is_some_and(|state| state.ended);
            if let Some(stamp) = held.stamp.clone().filter(|_| ended) {
                releases.entry(stamp).or_default().push(held.parameter.clone());
            }
        }
        let mut commands: Vec<Control> = vec![];
        let told = holders.priorities.get(&self.own).copied().unwrap_or_default();
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

    /// Returns a number that grows with every change of [`session`](Self::session).
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Returns the state to publish: this app's own writes, and those of other apps that do not publish them
    /// themselves.
    #[must_use]
    pub fn session(&self) -> OperatorState {
        let is_said_here =
            |stamp: &Stamp| stamp.by == self.own || !self.present.contains(&stamp.by);
        let is_unsaid = |of: &ClaimKey, by: &NodeId| {
            self.unsaid.get(by).is_some_and(|(wishes, _)| wishes.contains(of))
        };
        let is_unsaid_note = |of: &NodeId, by: &NodeId| {
            self.unsaid.get(by).is_some_and(|(_, notes)| notes.contains(of))
        };
        let mut wishes: Vec<Claim> = self
            .map
            .all_written()
            .filter(|(of, LwwEntry { stamp, .. })| is_said_here(stamp) || is_unsaid(of, &stamp.by))
            .filter_map(|(of, written)| {
                let State { priority, ended, to } = written.value.clone()?;
                let ClaimKey { app, node, parameter } = of.clone();
                Some(Claim {
                    app,
                    node,
                    parameter,
                    priority,
                    ended,
                    to,
                    stamp: written.stamp.clone(),
                })
            })
            .collect();
        wishes.sort_by(|a, b| b.stamp.cmp(&a.stamp));
        let mut bytes = 0;
        wishes.retain(|wish| {
            let names = [&wish.app, &wish.node, &wish.stamp.by].map(|id| id.as_str().len());
            let names = names.iter().sum::<usize>() + wish.parameter.as_str().len();
            bytes += 100 + names;
            bytes <= TOLD
        });
        let notes = self.notes.all_written().filter(|(app, LwwEntry { stamp, .. })| {
            is_said_here(stamp) || is_unsaid_note(app, &stamp.by)
        });
        let notes = notes.filter_map(|(app, written)| {
            let (app, text, stamp) = (app.clone(), written.value.clone()?, written.stamp.clone());
            Some(Note { app, text, stamp })
        });
        OperatorState { priority: self.priority, wishes, notes: notes.collect() }
    }

    /// Returns the notifications that are new to the operator.
    pub fn take_news(&mut self) -> Vec<ClaimEvent> {
        self.news.drain(..).collect()
    }

    fn tell(&mut self, news: ClaimEvent) {
        if self.news.len() >= NEWS {
            self.news.pop_front();
        }
        self.news.push_back(news);
    }

    fn live(&self, app: &NodeId) -> impl Iterator<Item = (&ClaimKey, &State)> {
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
        self.wish(of, unix_ms);
    }

    fn wish(&mut self, of: ClaimKey, unix_ms: u64) {
        let stamp = self.clock.stamp(unix_ms);
        let state = State { priority: self.priority, ended: false, to: None };
        self.confirmed.remove(&(of.node.clone(), of.parameter.clone()));
        self.unsettle(&of);
        self.map.write(of, LwwEntry { stamp, value: Some(state) });
        self.version += 1;
    }

    fn end(&mut self, of: ClaimKey, to: Option<NodeId>, unix_ms: u64) {
        let stamp = self.clock.stamp(unix_ms);
        let priority = self.map.get(&of).map_or_else(Priority::default, |state| state.priority);
        self.confirmed.remove(&(of.node.clone(), of.parameter.clone()));
        self.unsettle(&of);
        self.map.write(of, LwwEntry { stamp, value: Some(State { priority, ended: true, to }) });
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

    fn ask_now(&mut self, node: &NodeId) {
        if let Some(played) = self.played.get_mut(node) {
            played.is_settled = false;
            played.asked = None;
        }
    }

    fn ask_all_now(&mut self) {
        for played in self.played.values_mut() {
            played.is_settled = false;
            played.asked = None;
        }
    }
}

impl ClaimKey {
    fn wish(wish: &Claim) -> Self {
        let Claim { app, node, parameter, .. } = wish;
        Self { app: app.clone(), node: node.clone(), parameter: parameter.clone() }
    }
}

impl State {
    const fn is_live(&self) -> bool {
        !self.ended
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
