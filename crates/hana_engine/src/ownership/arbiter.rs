//! The arbiter: decides which controller owns each parameter of one visualization.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use hana_protocol::id::{NodeId, Stamp};
use hana_protocol::message::{OwnedByOther, Ownership, OwnershipKind, ParameterOwners, Priority};
use hana_protocol::parameter::{Parameter, ParameterName, Sharing};

/// The owners of a visualization's parameters. The visualization decides, because every controller reaches it.
///
/// A parameter has one owner at a time. A controller that plays a free parameter owns it while the values continue; a
/// controller that *takes* it owns it until it releases it, another controller takes it, or it vanishes. A mixed
/// parameter has no owner: all controllers contribute. The arbiter also remembers which app played a parameter last,
/// so that the values of a vanished app can return to their defaults. Pure: it takes events and the time.
#[derive(Debug)]
pub struct OwnershipArbiter {
    names: Vec<ParameterName>,
    slots: Vec<ParameterClaims>,
    apps: BTreeMap<NodeId, Writer>,
    /// The number of apps without a token. While it is zero, no search for them is needed.
    gone: usize,
    version: u64,
    /// The identity of this node's connection to the mesh, which changes when the node reconnects.
    way: String,
}

/// An app with its liveliness tokens; it may have two of them while it reconnects.
#[derive(Debug, Default)]
struct Writer {
    tokens: BTreeSet<String>,
    /// The time since when it has had no token.
    gone: Option<Instant>,
    priority: Priority,
    /// Whether its tokens are watched.
    is_watched: bool,
}

/// The ownership of one parameter.
#[derive(Debug, Default)]
struct ParameterClaims {
    sharing: Sharing,
    /// The controller that took the parameter.
    taken: Option<Claimed>,
    /// The controller that plays without having taken it: the parameter was free, or this one's priority is higher.
    playing: Option<ActiveWriter>,
    /// The ownership that ended last, while there is no new one.
    before: Option<Ownership>,
    /// The controller preempted by a one-off command; its values are refused until it pauses.
    ousted: Option<Preempted>,
    /// The controller that played last, needed if it vanishes.
    last: Option<LastWriter>,
    contributions: Vec<Contribution>,
    refused: WriteRefused,
}

#[derive(Debug)]
struct Claimed {
    by: NodeId,
    stamp: Stamp,
    priority: Priority,
}

#[derive(Debug)]
struct ActiveWriter {
    by: NodeId,
    priority: Priority,
    heard: Instant,
}

#[derive(Debug)]
struct Preempted {
    app: NodeId,
    by: NodeId,
    heard: Instant,
}

#[derive(Debug)]
struct LastWriter {
    by: NodeId,
    /// The value and the time at which the return to the default began, if it has.
    from: Option<(f32, Instant)>,
}

/// A controller's contribution to a mixed parameter.
#[derive(Debug)]
struct Contribution {
    /// The controller; `None` stands for all anonymous ones together.
    by: Option<NodeId>,
    value: f32,
    heard: Instant,
}

/// Refused values: another controller owns the parameter.
#[derive(Debug, Default)]
struct WriteRefused {
    untold: u64,
    told: Option<Instant>,
}

/// The maximum number of remembered apps. Beyond it, a live app is indistinguishable from one that was never seen.
const MOST_APPS: usize = 256;
/// The maximum number of contributions to a mixed parameter; beyond it the one that was silent longest is dropped.
const MOST_CONTRIBUTIONS: usize = 16;
/// The minimum interval between two reports of refused values, for each parameter.
const PAUSE: Duration = Duration::from_secs(3);

impl OwnershipArbiter {
    /// The silence after which a controller that plays without having taken the parameter loses it.
    ///
    /// Longer than the pauses within a gesture, shorter than the walk to another keyboard.
    pub const LAPSE: Duration = Duration::from_secs(1);
    /// The time for which a vanished app keeps what it owned: an app whose daemon crashed reconnects by itself before
    /// this.
    pub const GRACE: Duration = Duration::from_secs(6);

    /// Creates the arbiter of a visualization with these parameters.
    #[must_use]
    pub fn new(declared: &[Parameter]) -> Self {
        let slot = |declared: &Parameter| ParameterClaims {
            sharing: declared.sharing,
            ..ParameterClaims::default()
        };
        Self {
            names: declared.iter().map(|declared| declared.name.clone()).collect(),
            slots: declared.iter().map(slot).collect(),
            apps: BTreeMap::new(),
            gone: 0,
            version: 1,
            way: String::new(),
        }
    }

    /// Returns a number that grows with every change of [`holders`](Self::holders).
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Checks whether a controller may play or set the parameter at `place`; `by` is `None` for an anonymous one.
    ///
    /// # Errors
    ///
    /// If another controller owns it.
    pub fn may_play(
        &mut self,
        place: usize,
        by: Option<&NodeId>,
        now: Instant,
    ) -> Result<(), OwnedByOther> {
        let Some(slot) = self.slots.get_mut(place).filter(|of| of.sharing == Sharing::One) else {
            return Ok(());
        };
        if let Some(ousted) = slot.ousted.as_mut().filter(|ousted| Some(&ousted.app) == by) {
            if now.saturating_duration_since(ousted.heard) < Self::LAPSE {
                ousted.heard = now;
                let (parameter, by) = (self.names[place].clone(), ousted.by.clone());
                return Err(OwnedByOther { parameter, by, how: OwnershipKind::Released });
            }
            slot.ousted = None;
        }
        let Some((holder, how, priority)) = slot.holder(now) else { return Ok(()) };
        if Some(holder) == by {
            return Ok(());
        }
        let own =
            by.and_then(|by| self.apps.get(by)).map_or_else(Priority::default, |app| app.priority);
        if own > priority {
            return Ok(());
        }
        Err(OwnedByOther { parameter: self.names[place].clone(), by: holder.clone(), how })
    }

    /// Counts a refused value; returns the number of refused values if a report is due. Reports are rate-limited.
    pub fn refused(&mut self, place: usize, now: Instant) -> Option<u64> {
        let refused = &mut self.slots.get_mut(place)?.refused;
        refused.untold += 1;
        if refused.told.is_some_and(|told| now.saturating_duration_since(told) < PAUSE) {
            return None;
        }
        refused.told = Some(now);
        Some(std::mem::take(&mut refused.untold))
    }

    /// Records a played value that [was allowed](Self::may_play).
    pub fn played(&mut self, place: usize, by: Option<&NodeId>, now: Instant) {
        self.was_set(place, by);
        let Some(by) = by else { return };
        if self.gone > 0 {
            self.heard(by, now);
        }
        let Some(slot) = self.slots.get_mut(place).filter(|of| of.sharing == Sharing::One) else {
            return;
        };
        if slot.taken.as_ref().is_some_and(|taken| taken.by == *by) {
            return;
        }
        match &mut slot.playing {
            Some(playing) if playing.by == *by => {
                // Its ownership may have lapsed; it is renewed, because no other controller played in between.
                playing.heard = now;
            },
            playing => {
                let known = self.apps.get(by);
                let priority = known.map_or_else(Priority::default, |app| app.priority);
                *playing = Some(ActiveWriter { by: by.clone(), priority, heard: now });
                slot.before = None;
                self.version += 1;
            },
        }
    }

    /// Records a value set by a command or by the program itself, which does not own the parameter.
    pub fn was_set(&mut self, place: usize, by: Option<&NodeId>) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        match (&mut slot.last, by) {
            (Some(last), Some(by)) => {
                last.from = None;
                if last.by != *by {
                    last.by = by.clone();
                }
            },
            (last @ None, Some(by)) => *last = Some(LastWriter { by: by.clone(), from: None }),
            (last, None) => *last = None,
        }
    }

    /// Takes the parameter from its owner, for a one-off command that then sets it and owns nothing.
    ///
    /// A claim on it ends; a controller that plays it is refused until it pauses. Returns the previous owner.
    pub fn oust(&mut self, place: usize, stamp: Stamp, now: Instant) -> Option<NodeId> {
        let slot = self.slots.get_mut(place).filter(|of| of.sharing == Sharing::One)?;
        let (holder, _, priority) = slot.holder(now)?;
        let (holder, by) = (holder.clone(), stamp.by.clone());
        slot.ousted = Some(Preempted { app: holder.clone(), by: by.clone(), heard: now });
        slot.taken = None;
        slot.playing = None;
        let parameter = self.names[place].clone();
        slot.before = Some(Ownership {
            parameter,
            by,
            how: OwnershipKind::Released,
            priority,
            stamp: Some(stamp),
        });
        self.version += 1;
        Some(holder)
    }

    /// Takes a parameter for an app, even while a controller with a higher priority is playing it.
    ///
    /// Of two claims to one parameter the higher priority wins; at equal priority the newer claim wins. A claim that
    /// is older than one that has ended since is void.
    ///
    /// # Errors
    ///
    /// If the other claim wins. A mixed parameter cannot be taken; callers check [`Sharing`] first.
    pub fn take(
        &mut self,
        place: usize,
        stamp: &Stamp,
        priority: Priority,
        now: Instant,
    ) -> Result<(), OwnedByOther> {
        let by = &stamp.by;
        self.meet(by, now);
        let Some(slot) = self.slots.get_mut(place) else { return Ok(()) };
        let parameter = || self.names[place].clone();
        if let Some(taken) = &slot.taken
            && taken.by != *by
            && (taken.priority, &taken.stamp) > (priority, stamp)
        {
            let (by, how) = (taken.by.clone(), OwnershipKind::Taken);
            return Err(OwnedByOther { parameter: parameter(), by, how });
        }
        if let Some(before) = &slot.before
            && slot.taken.is_none()
            && before.by != *by
            && before.stamp.as_ref().is_some_and(|of| of > stamp)
        {
            return Err(OwnedByOther {
                parameter: parameter(),
                by: before.by.clone(),
                how: before.how,
            });
        }
        if slot.taken.as_ref().is_some_and(|taken| taken.by == *by && taken.stamp >= *stamp) {
            // This claim was retransmitted.
            return Ok(());
        }
        slot.taken = Some(Claimed { by: by.clone(), stamp: stamp.clone(), priority });
        slot.before = None;
        slot.ousted = None;
        slot.playing.take_if(|playing| playing.by == *by || playing.priority <= priority);
        self.version += 1;
        Ok(())
    }

    /// Releases a parameter: ends the app's claims up to `stamp`, and its playing.
    pub fn release(&mut self, place: usize, by: &NodeId, stamp: &Stamp) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        let taken = slot.taken.take_if(|taken| taken.by == *by && taken.stamp <= *stamp);
        let playing = slot.playing.take_if(|playing| playing.by == *by);
        if taken.is_none() && playing.is_none() {
            return;
        }
        let parameter = self.names[place].clone();
        slot.before = taken.map(|taken| taken.into_past(parameter, OwnershipKind::Released));
        self.version += 1;
    }

    /// Updates the priority that an app has published.
    pub fn has_priority(&mut self, app: &NodeId, priority: Priority, now: Instant) {
        self.meet(app, now);
        let Some(known) = self.apps.get_mut(app).filter(|known| known.priority != priority) else {
            return;
        };
        known.priority = priority;
        for playing in self.slots.iter_mut().filter_map(|slot| slot.playing.as_mut()) {
            if playing.by == *app {
                playing.priority = priority;
            }
        }
        self.version += 1;
    }

    /// Counts a message from an app as a sign of life, whatever the state of its token.
    ///
    /// Over a direct link an app is reachable even when the mesh is not.
    fn heard(&mut self, app: &NodeId, now: Instant) {
        if let Some(gone) = self.apps.get_mut(app).and_then(|known| known.gone.as_mut()) {
            *gone = now;
        }
    }

    /// Registers an app that sends a command rather than values. Its token may not have been seen yet.
    fn meet(&mut self, app: &NodeId, now: Instant) {
        if let Some(known) = self.apps.get_mut(app) {
            if known.tokens.is_empty() {
                known.gone = Some(now);
                self.count_gone();
            }
            return;
        }
        if !self.has_room(now) {
            return;
        }
        self.apps.insert(app.clone(), Writer { gone: Some(now), ..Writer::default() });
        self.count_gone();
    }

    fn has_room(&mut self, now: Instant) -> bool {
        if self.apps.len() >= MOST_APPS {
            self.apps.retain(|_, app| {
                app.gone.is_none_or(|gone| now.saturating_duration_since(gone) < Self::GRACE)
            });
        }
        self.apps.len() < MOST_APPS
    }

    fn count_gone(&mut self) {
        self.gone = self.apps.values().filter(|app| app.gone.is_some()).count();
    }

    /// Records that a token of an app appeared.
    pub fn came(&mut self, app: &NodeId, token: &str, now: Instant) {
        if !self.apps.contains_key(app) && !self.has_room(now) {
            return;
        }
        let known = self.apps.entry(app.clone()).or_default();
        known.is_watched = true;
        known.tokens.insert(token.into());
        known.gone = None;
        for last in self.slots.iter_mut().filter_map(|slot| slot.last.as_mut()) {
            if last.by == *app {
                last.from = None;
            }
        }
        self.count_gone();
    }

    /// Records that a token of an app disappeared.
    pub fn went(&mut self, app: &NodeId, token: &str, now: Instant) {
        if let Some(known) = self.apps.get_mut(app) {
            known.tokens.remove(token);
            if known.tokens.is_empty() {
                known.gone.get_or_insert(now);
            }
        }
        self.count_gone();
    }

    /// Clears the token sets after this node reconnected to the mesh over `way`; live tokens are announced again.
    ///
    /// A repeated call with the same `way` has no effect.
    pub fn look_anew(&mut self, way: &str, now: Instant) {
        if self.way == way {
            return;
        }
        self.way = way.into();
        // An app without a token, such as a one-off command, does not vanish when this node reconnects.
        for app in self.apps.values_mut().filter(|app| !app.tokens.is_empty()) {
            app.tokens.clear();
            app.gone.get_or_insert(now);
        }
        self.count_gone();
    }

    /// Returns the writers whose tokens are not watched yet, and marks them as watched.
    ///
    /// A visualization thus watches only the apps that play it.
    pub fn unwatched(&mut self, now: Instant) -> Vec<NodeId> {
        let players = self.slots.iter().flat_map(|slot| {
            let last = slot.last.as_ref().map(|last| &last.by);
            last.into_iter().chain(slot.contributions.iter().filter_map(|of| of.by.as_ref()))
        });
        let strangers: Vec<NodeId> =
            players.filter(|by| !self.apps.contains_key(*by)).cloned().collect();
        for app in strangers {
            if self.apps.contains_key(&app) || !self.has_room(now) {
                continue;
            }
            self.apps.insert(app, Writer::default());
        }
        let unwatched = self.apps.iter_mut().filter(|(_, app)| !app.is_watched);
        unwatched
            .map(|(id, app)| {
                app.is_watched = true;
                id.clone()
            })
            .collect()
    }

    /// Ends the ownership of silent and of vanished controllers; returns the mixed parameters that lost a
    /// contribution.
    ///
    /// A silent controller loses what it plays without having taken it; a vanished one loses everything.
    pub fn pass(&mut self, now: Instant) -> Vec<usize> {
        let is_gone = |app: &NodeId| {
            let gone = self.apps.get(app).and_then(|app| app.gone);
            gone.is_some_and(|gone| now.saturating_duration_since(gone) >= Self::GRACE)
        };
        let mut unmixed = vec![];
        for (place, slot) in self.slots.iter_mut().enumerate() {
            if slot.playing.take_if(|playing| !playing.is_heard(now)).is_some() {
                self.version += 1;
            }
            // An app that was not stored (table full) would never be seen to vanish, so its claim ends now.
            let has_left =
                |taken: &mut Claimed| !self.apps.contains_key(&taken.by) || is_gone(&taken.by);
            if let Some(taken) = slot.taken.take_if(has_left) {
                slot.before = Some(taken.into_past(self.names[place].clone(), OwnershipKind::Left));
                self.version += 1;
            }
            let left = slot.last.as_ref().filter(|last| is_gone(&last.by));
            if let Some(last) = left
                && slot.taken.is_none()
                && slot.playing.is_none()
                && slot.before.is_none()
                && slot.sharing == Sharing::One
            {
                slot.before = Some(Ownership {
                    parameter: self.names[place].clone(),
                    by: last.by.clone(),
                    how: OwnershipKind::Left,
                    priority: Priority::default(),
                    stamp: None,
                });
                self.version += 1;
            }
            let contributions = slot.contributions.len();
            slot.contributions.retain(|of| !of.by.as_ref().is_some_and(is_gone));
            if slot.contributions.len() < contributions {
                unmixed.push(place);
                self.version += 1;
            }
        }
        unmixed
    }

    /// Returns the value of a mixed parameter if `by` played `value`; `value` itself if the parameter is not mixed.
    ///
    /// The mix is the default plus the sum of all deviations from it, clamped to the parameter's range.
    #[must_use]
    pub fn mixed(
        &self,
        place: usize,
        declared: &Parameter,
        by: Option<&NodeId>,
        value: f32,
    ) -> f32 {
        let Some(slot) = self.slots.get(place).filter(|of| of.sharing == Sharing::Mix) else {
            return value;
        };
        let others = slot.contributions.iter().filter(|of| of.by.as_ref() != by);
        let off: f32 = others.map(|of| of.value - declared.default).sum();
        (value + off).clamp(declared.min, declared.max)
    }

    /// Returns whether the parameter is mixed.
    #[must_use]
    pub fn is_mixed(&self, place: usize) -> bool {
        self.slots.get(place).is_some_and(|slot| slot.sharing == Sharing::Mix)
    }

    /// Returns the current value of a mixed parameter; its default if no controller contributes.
    #[must_use]
    pub fn mix(&self, place: usize, declared: &Parameter) -> f32 {
        let of =
            self.slots.get(place).map(|slot| slot.contributions.as_slice()).unwrap_or_default();
        let off: f32 = of.iter().map(|of| of.value - declared.default).sum();
        (declared.default + off).clamp(declared.min, declared.max)
    }

    /// Records a controller's contribution to a mixed parameter.
    pub fn contributes(&mut self, place: usize, by: Option<&NodeId>, value: f32, now: Instant) {
        let Some(slot) = self.slots.get_mut(place).filter(|of| of.sharing == Sharing::Mix) else {
            return;
        };
        if let Some(known) = slot.contributions.iter_mut().find(|of| of.by.as_ref() == by) {
            (known.value, known.heard) = (value, now);
            return;
        }
        if slot.contributions.len() >= MOST_CONTRIBUTIONS {
            let silent = slot.contributions.iter().enumerate().min_by_key(|(_, of)| of.heard);
            if let Some(index) = silent.map(|(index, _)| index) {
                slot.contributions.swap_remove(index);
            }
        }
        slot.contributions.push(Contribution { by: by.cloned(), value, heard: now });
        self.version += 1;
    }

    /// Sets a mixed parameter to a value that replaces all contributions until a controller plays it again.
    pub fn set_mix(&mut self, place: usize, value: f32, now: Instant) {
        if let Some(slot) = self.slots.get_mut(place).filter(|of| of.sharing == Sharing::Mix) {
            slot.contributions.clear();
            slot.contributions.push(Contribution { by: None, value, heard: now });
            self.version += 1;
        }
    }

    /// Removes a controller's contribution to a mixed parameter; returns whether there was one.
    pub fn withdraws(&mut self, place: usize, by: &NodeId) -> bool {
        let Some(slot) = self.slots.get_mut(place) else { return false };
        let count = slot.contributions.len();
        slot.contributions.retain(|of| of.by.as_ref() != Some(by));
        let withdrew = slot.contributions.len() < count;
        self.version += u64::from(withdrew);
        withdrew
    }

    /// Returns the owners of all parameters, as published to others.
    #[must_use]
    pub fn holders(&self, now: Instant) -> ParameterOwners {
        let mut holders = vec![];
        for (slot, name) in self.slots.iter().zip(&self.names) {
            let taken =
                slot.taken.as_ref().map(|taken| taken.as_told(name.clone(), OwnershipKind::Taken));
            let playing = slot.playing.as_ref().filter(|playing| playing.is_heard(now));
            let playing = playing.map(|playing| Ownership {
                parameter: name.clone(),
                by: playing.by.clone(),
                how: OwnershipKind::Plays,
                priority: playing.priority,
                stamp: None,
            });
            if taken.is_none() && playing.is_none() {
                holders.extend(slot.before.clone());
            }
            // The first entry is the owner: a controller that plays over a claim has the higher priority.
            holders.extend(playing);
            holders.extend(taken);
        }
        let mixed = self.slots.iter().zip(&self.names).flat_map(|(slot, name)| {
            let known = slot.contributions.iter().filter_map(|of| of.by.clone());
            known.map(|by| (name.clone(), by))
        });
        let mut mixers: BTreeMap<ParameterName, Vec<NodeId>> = BTreeMap::new();
        for (name, by) in mixed {
            mixers.entry(name).or_default().push(by);
        }
        let priorities = self.apps.iter().filter(|(_, app)| app.priority != Priority::default());
        ParameterOwners {
            holders,
            mixed: mixers,
            priorities: priorities.map(|(id, app)| (id.clone(), app.priority)).collect(),
        }
    }

    /// Returns whether a parameter is returning to its default, or may start to soon.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.gone == 0
    }

    /// Returns the index and the current value of each parameter that returns to its default.
    ///
    /// A parameter returns to its default if the app that played it last vanished. The return begins when that app
    /// has been gone for [`GRACE`](Self::GRACE), and takes as long as `over`. `value_of` returns the value and the
    /// default of the parameter at an index.
    pub fn ease(
        &mut self,
        over: Duration,
        now: Instant,
        value_of: impl Fn(usize) -> Option<(f32, f32)>,
    ) -> Vec<(usize, f32)> {
        let mut eased = vec![];
        for (place, slot) in self.slots.iter_mut().enumerate() {
            let is_nobodys = slot.sharing == Sharing::One && slot.taken.is_none();
            let Some(last) = slot.last.as_mut().filter(|_| is_nobodys) else { continue };
            let gone = self.apps.get(&last.by).and_then(|app| app.gone);
            if gone.is_none_or(|gone| now < gone + Self::GRACE) {
                continue;
            }
            let Some((value, default)) = value_of(place) else { continue };
            // The return starts from the value at the first look, so the value never jumps.
            let (from, begun) = *last.from.get_or_insert((value, now));
            let passed = now.saturating_duration_since(begun);
            let is_there = passed >= over;
            let along = if is_there { 1.0 } else { passed.as_secs_f32() / over.as_secs_f32() };
            eased.push((place, (default - from).mul_add(smooth(along), from)));
            if is_there {
                slot.last = None;
            }
        }
        eased
    }
}

impl ParameterClaims {
    fn holder(&self, now: Instant) -> Option<(&NodeId, OwnershipKind, Priority)> {
        let playing = self.playing.as_ref().filter(|playing| playing.is_heard(now));
        let taken = self.taken.as_ref();
        match (playing, taken) {
            // A controller plays over a claim only if its priority is higher, or if it played before the claim.
            (Some(playing), None) => Some((&playing.by, OwnershipKind::Plays, playing.priority)),
            (Some(playing), Some(taken)) if playing.priority > taken.priority => {
                Some((&playing.by, OwnershipKind::Plays, playing.priority))
            },
            (_, Some(taken)) => Some((&taken.by, OwnershipKind::Taken, taken.priority)),
            (None, None) => None,
        }
    }
}

impl Claimed {
    fn as_told(&self, parameter: ParameterName, how: OwnershipKind) -> Ownership {
        let Self { by, stamp, priority } = self;
        Ownership {
            parameter,
            by: by.clone(),
            how,
            priority: *priority,
            stamp: Some(stamp.clone()),
        }
    }

    fn into_past(self, parameter: ParameterName, how: OwnershipKind) -> Ownership {
        let Self { by, stamp, priority } = self;
        Ownership { parameter, by, how, priority, stamp: Some(stamp) }
    }
}

impl ActiveWriter {
    fn is_heard(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) < OwnershipArbiter::LAPSE
    }
}

/// Eases in and out, from 0 to 1.
fn smooth(along: f32) -> f32 {
    along * along * 2.0_f32.mul_add(-along, 3.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp)]
mod tests;
