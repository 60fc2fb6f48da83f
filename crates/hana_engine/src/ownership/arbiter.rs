//! Who plays what on one visualization.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use hana_protocol::id::{NodeId, Stamp};
use hana_protocol::message::{
    OwnedByOther, Ownership, OwnershipKind, ParameterOwners, Priority, Sharing,
};
use hana_protocol::parameter::{Parameter, ParameterName};

/// Who plays which parameter of a visualization, and who may: the visualization itself decides, since everybody who plays
/// it reaches it.
///
/// One at a time holds a parameter. Who plays a free one holds it while he plays; who has *taken* it holds it until he
/// releases it, somebody else takes it, or he vanishes. Where parameters are mixed, all play and nobody holds. Also
/// remembers who played a parameter last, so that what a vanished app has left can go back to its default. Pure: it is
/// told what came and what time it is.
#[derive(Debug)]
pub struct OwnershipArbiter {
    names: Vec<ParameterName>,
    slots: Vec<ParameterClaims>,
    apps: BTreeMap<NodeId, Writer>,
    /// How many of them have no token, so that nobody looks for them where there are none.
    gone: usize,
    version: u64,
    /// The way by which this node is on the mesh.
    way: String,
}

/// An app, by its tokens: while it changes its way onto the mesh it may have two.
#[derive(Debug, Default)]
struct Writer {
    tokens: BTreeSet<String>,
    /// Since when it has no token.
    gone: Option<Instant>,
    priority: Priority,
    /// Whether somebody looks for its tokens.
    is_watched: bool,
}

/// One parameter.
#[derive(Debug, Default)]
struct ParameterClaims {
    sharing: Sharing,
    /// Who has taken it.
    taken: Option<Claimed>,
    /// Who plays it without having taken it: because it was free, or because his priority is higher.
    playing: Option<ActiveWriter>,
    /// Who had it before, and has it no more.
    before: Option<Ownership>,
    /// From whom a passing command took it; he is not heard until he pauses.
    ousted: Option<Preempted>,
    /// Who played it last, for what becomes of it when he vanishes.
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
    /// Where and when its way back began, once it has.
    from: Option<(f32, Instant)>,
}

/// What somebody plays of a mixed parameter.
#[derive(Debug)]
struct Contribution {
    /// None of all who do not say who they are.
    by: Option<NodeId>,
    value: f32,
    heard: Instant,
}

/// Values that were not taken since somebody else holds the parameter.
#[derive(Debug, Default)]
struct WriteRefused {
    untold: u64,
    told: Option<Instant>,
}

/// Apps that are remembered: beyond, those that are there are not told from those that never were.
const MOST_APPS: usize = 256;
/// Contributions to a mixed parameter; of more, the one that was silent for longest makes room.
const MOST_CONTRIBUTIONS: usize = 16;
/// From one complaint about who plays what another holds to the next, of each parameter.
const PAUSE: Duration = Duration::from_secs(3);

impl OwnershipArbiter {
    /// Who plays without having taken holds the parameter until he has been silent for this long: longer than the pauses
    /// within a gesture, shorter than it takes to walk to the other keyboard.
    pub const LAPSE: Duration = Duration::from_secs(1);
    /// An app that has vanished is waited for for so long: one whose daemon has crashed is back by itself before this.
    pub const GRACE: Duration = Duration::from_secs(6);

    /// Of a visualization with these parameters.
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

    /// A number that grows with every change of [`holders`](Self::holders).
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Whether somebody may play the parameter at `place`, or set it; `by` is none for who does not say who he is.
    ///
    /// # Errors
    ///
    /// When somebody else holds it.
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

    /// How many values for the parameter were refused, if that is to be told now: now and then, not of each.
    pub fn refused(&mut self, place: usize, now: Instant) -> Option<u64> {
        let refused = &mut self.slots.get_mut(place)?.refused;
        refused.untold += 1;
        if refused.told.is_some_and(|told| now.saturating_duration_since(told) < PAUSE) {
            return None;
        }
        refused.told = Some(now);
        Some(std::mem::take(&mut refused.untold))
    }

    /// A value was played that [might be](Self::may_play).
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
                // One whose hold had lapsed has it anew, and nobody else had it meanwhile.
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

    /// A value was set by a command or by the program itself: that holds nothing.
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

    /// Takes the parameter away from whoever holds it, for a passing command that then sets it and holds nothing. Who had
    /// taken it has lost it; who plays it is not heard until he pauses. Whom it was taken from.
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

    /// An app takes a parameter; it has it then, even where another with a higher priority plays over it just now.
    ///
    /// Of two who take one parameter the one with the higher priority has it, of equals the newer. A take that is older
    /// than one that has ended since is void.
    ///
    /// # Errors
    ///
    /// When it is the lesser of two. A mixed parameter cannot be taken: [`Sharing`] says so before.
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
            // Said again.
            return Ok(());
        }
        slot.taken = Some(Claimed { by: by.clone(), stamp: stamp.clone(), priority });
        slot.before = None;
        slot.ousted = None;
        slot.playing.take_if(|playing| playing.by == *by || playing.priority <= priority);
        self.version += 1;
        Ok(())
    }

    /// An app lets a parameter go: what it has taken up to `stamp`, and what it plays.
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

    /// Takes in what an app says of its priority.
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

    /// Somebody speaks. Whoever is heard has not vanished, whatever became of his token: over a play link he is heard when
    /// the mesh is not.
    fn heard(&mut self, app: &NodeId, now: Instant) {
        if let Some(gone) = self.apps.get_mut(app).and_then(|known| known.gone.as_mut()) {
            *gone = now;
        }
    }

    /// An app speaks that holds things by what it says, and not by what it plays; it may not have been seen yet.
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

    /// A token of an app is there.
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

    /// A token of an app is gone.
    pub fn went(&mut self, app: &NodeId, token: &str, now: Instant) {
        if let Some(known) = self.apps.get_mut(app) {
            known.tokens.remove(token);
            if known.tokens.is_empty() {
                known.gone.get_or_insert(now);
            }
        }
        self.count_gone();
    }

    /// Tokens are looked for anew, since this node is on the mesh by another `way`: those that are there come again. Said
    /// twice of one way it is said once.
    pub fn look_anew(&mut self, way: &str, now: Instant) {
        if self.way == way {
            return;
        }
        self.way = way.into();
        // Who never had one, as a passing command, does not vanish by it.
        for app in self.apps.values_mut().filter(|app| !app.tokens.is_empty()) {
            app.tokens.clear();
            app.gone.get_or_insert(now);
        }
        self.count_gone();
    }

    /// Who has a say here and whose tokens nobody looks for yet; each is said once, and is to be looked for from then on. So
    /// a visualization watches those who play it, and not everybody.
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

    /// Lets time pass: who has been silent for long enough holds nothing any more by playing, who has vanished nothing at
    /// all. The mixed parameters that somebody's contribution has gone from.
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
            // Of one that there was no room to remember, nobody would notice that he vanishes.
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

    /// What a mixed parameter would be if `by` played `value`: its default, and from it as far as all who play it are off
    /// it together, within its range. Of one that is not mixed, `value` itself.
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

    /// Whether the parameter is mixed.
    #[must_use]
    pub fn is_mixed(&self, place: usize) -> bool {
        self.slots.get(place).is_some_and(|slot| slot.sharing == Sharing::Mix)
    }

    /// The value of a mixed parameter as of now; its default where nobody plays it.
    #[must_use]
    pub fn mix(&self, place: usize, declared: &Parameter) -> f32 {
        let of =
            self.slots.get(place).map(|slot| slot.contributions.as_slice()).unwrap_or_default();
        let off: f32 = of.iter().map(|of| of.value - declared.default).sum();
        (declared.default + off).clamp(declared.min, declared.max)
    }

    /// Somebody plays a mixed parameter.
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

    /// A mixed parameter was set: that is all there is of it, until somebody plays it on.
    pub fn set_mix(&mut self, place: usize, value: f32, now: Instant) {
        if let Some(slot) = self.slots.get_mut(place).filter(|of| of.sharing == Sharing::Mix) {
            slot.contributions.clear();
            slot.contributions.push(Contribution { by: None, value, heard: now });
            self.version += 1;
        }
    }

    /// Somebody takes back what he plays of a mixed parameter. Whether he played it.
    pub fn withdraws(&mut self, place: usize, by: &NodeId) -> bool {
        let Some(slot) = self.slots.get_mut(place) else { return false };
        let count = slot.contributions.len();
        slot.contributions.retain(|of| of.by.as_ref() != Some(by));
        let withdrew = slot.contributions.len() < count;
        self.version += u64::from(withdrew);
        withdrew
    }

    /// Who holds what, as it is told to others.
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
            // Who is first holds it: who plays over one that has taken it has the higher priority.
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

    /// Whether anything is on its way back to its default, or may be soon.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.gone == 0
    }

    /// The values that are on their way back, since who played them last has vanished: the place of each, and its value
    /// now. It takes as long as `over`, and begins when that app has been gone for [`GRACE`](Self::GRACE). `value_of`
    /// says the value and the default of the parameter at a place.
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
            // From where it is when that is first looked at, so that nothing ever jumps.
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
            // It plays over it only with a higher priority, or had it before it was taken.
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

/// Begins and ends gently; 0 to 1.
fn smooth(along: f32) -> f32 {
    along * along * 2.0_f32.mul_add(-along, 3.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp)]
mod tests;
