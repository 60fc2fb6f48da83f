//! What an app has taken and wants to keep.

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

/// What an app has taken and wants to keep, and what it knows of the wishes of all others.
///
/// The visualizations decide ([`OwnershipArbiter`](crate::ownership::arbiter::OwnershipArbiter)); this tells them again and again what the app wishes until they say
/// the same, gives up what somebody else has taken since, and tells the operator. So whatever is lost on the way, and
/// whoever was away, all come to the same in the end. Pure: it is told what others say and what time it is, and says what
/// is to be asked.
#[derive(Debug)]
pub struct ClaimManager {
    own: NodeId,
    clock: HybridClock,
    priority: Priority,
    map: LwwMap<ClaimKey, State>,
    notes: LwwMap<NodeId, String>,
    played: BTreeMap<NodeId, TargetState>,
    /// The apps that are there to speak for themselves.
    present: BTreeSet<NodeId>,
    /// Of apps that are there, what they wrote and do not say: they have forgotten it when they were started again.
    unsaid: BTreeMap<NodeId, (BTreeSet<ClaimKey>, BTreeSet<NodeId>)>,
    /// The takes that their visualizations have confirmed.
    confirmed: BTreeMap<(NodeId, ParameterName), Stamp>,
    news: VecDeque<ClaimEvent>,
    version: u64,
}

/// Whose wish, and what for.
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

/// A visualization that is there.
#[derive(Debug, Default)]
struct TargetState {
    instance: u64,
    holders: ParameterOwners,
    /// When it was last asked for something, and for how long an answer, or word of it, is waited for.
    asked: Option<Instant>,
    wait: Duration,
    /// It says what this app wishes, as far as anything has been said since that was looked at.
    is_settled: bool,
    /// What it has answered that this app has, and has not told all yet.
    granted: BTreeMap<ParameterName, Stamp>,
}

/// Something that the operator is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimEvent {
    /// Somebody else holds a parameter now, or nobody.
    HolderChanged {
        /// The visualization.
        node: NodeId,
        /// The parameter.
        parameter: ParameterName,
        /// Who held it before.
        before: Option<NodeId>,
        /// Who holds it now, and how.
        now: Option<(NodeId, OwnershipKind)>,
    },
    /// Somebody has what this app had taken.
    TakenFromYou {
        /// The visualization.
        node: NodeId,
        /// The parameter.
        parameter: ParameterName,
        /// Who has it.
        by: NodeId,
        /// Both had taken it without knowing of each other, and his take counts.
        apart: bool,
    },
    /// Somebody else had taken what this app had taken, without knowing of it; this app's take counts.
    KeptByYou {
        /// The visualization.
        node: NodeId,
        /// The parameter.
        parameter: ParameterName,
        /// Who had taken it too.
        from: NodeId,
    },
    /// A visualization does not let this app take parameters.
    Refused {
        /// The visualization.
        node: NodeId,
        /// The parameters.
        parameters: Vec<ParameterName>,
        /// Its words.
        reason: String,
    },
    /// An operator has written a note.
    Noted {
        /// The app he wrote it at.
        app: NodeId,
        /// His words; empty when he took them back.
        text: String,
    },
}

/// A question to a visualization.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimRequest {
    /// The visualization.
    pub node: NodeId,
    /// A [`Take`] or a [`Release`].
    pub command: Control,
}

/// After so long without an answer it is asked again, then after twice that, and so on up to every so often: a network that is
/// busy is not asked the more for it.
const ASK_AGAIN: Duration = Duration::from_millis(250);
const ASK_SELDOM: Duration = Duration::from_secs(1);
/// News that wait; of more, the oldest go.
const NEWS: usize = 1024;
/// Bytes of wishes that are told; what does not fit is the oldest.
const TOLD: usize = 180 * 1024;

impl ClaimManager {
    /// Of the app `own`.
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

    /// How much the word of this app counts.
    #[must_use]
    pub const fn priority(&self) -> Priority {
        self.priority
    }

    /// Makes its word count so much from now on; what it has taken, it takes anew with it.
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

    /// Takes parameters of a visualization, from whoever has them.
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

    /// Lets parameters go.
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

    /// Lets all go, as before it leaves.
    pub fn release_all(&mut self, unix_ms: u64) {
        let own: Vec<ClaimKey> = self.live(&self.own).map(|(of, _)| of.clone()).collect();
        for of in own {
            self.end(of, None, unix_ms);
        }
        self.ask_all_now();
    }

    /// Takes all that another app holds, wishes to hold, or had when it vanished. How many parameters that is.
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

    /// Writes a note for all operators, in place of the last one of this app; an empty one takes it back. What is longer
    /// than [`OperatorState::MAX_NOTE`] is cut.
    pub fn note(&mut self, text: &str, unix_ms: u64) {
        let text: String = hana_time::sanitize_line(text.trim(), OperatorState::MAX_NOTE - 1);
        let text = text.chars().take(OperatorState::MAX_NOTE).collect();
        let stamp = self.clock.stamp(unix_ms);
        self.notes.write(self.own.clone(), LwwEntry { stamp, value: Some(text) });
        self.version += 1;
    }

    /// The notes that stand, by the apps they were written at.
    pub fn notes(&self) -> impl Iterator<Item = (&NodeId, &str)> {
        self.notes
            .iter()
            .map(|(app, text)| (app, text.as_str()))
            .filter(|(_, text)| !text.is_empty())
    }

    /// What an app wishes to hold, as far as is known: the visualization and the parameter of each.
    pub fn wishes_of(&self, app: &NodeId) -> impl Iterator<Item = (&NodeId, &ParameterName)> {
        self.live(app).map(|(of, _)| (&of.node, &of.parameter))
    }

    /// Whether this app has taken a parameter and wants to keep it.
    #[must_use]
    pub fn has_taken(&self, node: &NodeId, parameter: &ParameterName) -> bool {
        let of =
            ClaimKey { app: self.own.clone(), node: node.clone(), parameter: parameter.clone() };
        self.map.get(&of).is_some_and(|state| !state.ended)
    }

    /// The apps that have vanished, or are gone, and left something that can be taken over, with how much.
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

    /// An app is there.
    pub fn app_came(&mut self, app: &NodeId) {
        self.version += u64::from(self.present.insert(app.clone()));
    }

    /// An app is not there any more; what it wrote is kept, and told for it.
    pub fn app_went(&mut self, app: &NodeId) {
        self.unsaid.remove(app);
        self.version += u64::from(self.present.remove(app));
    }

    /// Another app, which is there, says what it knows of the wishes of all.
    pub fn hears(&mut self, from: &NodeId, session: &OperatorState, unix_ms: u64) {
        // What has ended first: who takes something from another whom he knows of says both.
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

    /// Notes what an app wrote and does not say.
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
            // He found out first. Whether we knew of him when we took it:
            let knew = was_live
                || before.is_some_and(|before| {
                    before.stamp.by == self.own && before.stamp.ms == own.stamp.ms
                });
            if !knew && wish.to.as_ref() == Some(&self.own) {
                let from = wish.app.clone();
                self.tell(ClaimEvent::KeptByYou { node, parameter, from });
            }
        } else if !self.present.contains(&of_app) {
            // Words of one who is gone. When he is back, the visualization decides.
        } else if is_lesser {
            let by = wish.app.clone();
            self.end(mine, Some(by.clone()), unix_ms);
            self.tell(ClaimEvent::TakenFromYou { node, parameter, by, apart: true });
        } else {
            let from = wish.app.clone();
            self.tell(ClaimEvent::KeptByYou { node, parameter, from });
        }
    }

    /// A visualization is there, in the run `instance`, and says who holds what.
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

    /// Compares what a visualization says of a parameter that was taken with what this app wishes.
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
                // An earlier run of this app has taken it.
                None if held.how == OwnershipKind::Taken => {
                    let state = State { priority: held.priority, ended: false, to: None };
                    self.map.write(of, LwwEntry { stamp: stamp.clone(), value: Some(state) });
                    self.version += 1;
                    self.confirmed.insert(at, stamp.clone());
                },
                Some(own) if own.stamp == *stamp && held.how == OwnershipKind::Taken => {
                    self.confirmed.insert(at, stamp.clone());
                },
                // So has an earlier run, by a clock that was ahead of what it is now.
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

    /// A visualization is not there any more.
    pub fn misses(&mut self, node: &NodeId) {
        if self.played.remove(node).is_some() {
            self.confirmed.retain(|(of, _), _| of != node);
        }
    }

    /// A visualization has answered a [`Take`].
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

    /// A visualization has refused the take of `stamp`: there is nothing to wish for.
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

    /// Who holds what of a visualization that is there.
    #[must_use]
    pub fn holders(&self, node: &NodeId) -> Option<&ParameterOwners> {
        self.played.get(node).map(|played| &played.holders)
    }

    /// What visualizations are to be asked for at `now`, since they do not say yet what this app wishes. `is_asked` are
    /// those of which an answer is waited for.
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

    /// What is to be said to a visualization, so that it says what this app wishes.
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
            // That take and no newer one: the stamp with which it ended may be another's.
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

    /// A number that grows with every change of [`session`](Self::session).
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// What is told to the other apps: what this one wrote itself, and what those wrote who do not say it.
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

    /// What the operator has not been told yet.
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
                    // The word of one with a higher priority stands.
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

    /// What this app wishes of a visualization is another thing now.
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
