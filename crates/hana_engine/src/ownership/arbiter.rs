//! The arbiter: decides which controller owns each parameter of one visualization.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hana_protocol::id::{NodeId, Stamp};
use hana_protocol::message::{OwnedByOther, Ownership, OwnershipKind, ParameterOwners, Priority};
use hana_protocol::parameter::{Parameter, ParameterName, Sharing};

use crate::ownership::parameter_claims::{
    ActiveWriter, Claimed, IDLE_RELEASE, LastWriter, ParameterClaims, Preempted,
};
use crate::ownership::writers::{GRACE, Writers};

/// The owners of a visualization's parameters. The visualization decides, because every controller reaches it.
///
/// A parameter has one owner at a time. A controller that plays a free parameter owns it while it keeps sending
/// values. A controller that *takes* a parameter owns it until it releases the parameter, another controller takes
/// it, or the owner vanishes. A mixed parameter has no owner: all controllers contribute. The arbiter also remembers
/// which app played a parameter last, so that the values of a vanished app can return to their defaults. Pure: it
/// takes events and the time.
#[derive(Debug)]
pub struct OwnershipArbiter {
    names: Vec<ParameterName>,
    slots: Vec<ParameterClaims>,
    writers: Writers,
    version: u64,
}

impl OwnershipArbiter {
    /// The time without values after which a controller that did not take the parameter loses it.
    pub const IDLE_RELEASE: Duration = IDLE_RELEASE;
    /// The time for which a vanished app keeps its parameters.
    pub const GRACE: Duration = GRACE;

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
            writers: Writers::default(),
            version: 1,
        }
    }

    /// Returns a number that grows with every change of [`owners`](Self::owners).
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Checks whether a controller may play or set the parameter with index `place`.
    ///
    /// `by` is `None` for an anonymous controller.
    ///
    /// # Errors
    ///
    /// Fails if another controller owns the parameter, or a command preempted this controller.
    pub fn may_play(
        &mut self,
        place: usize,
        by: Option<&NodeId>,
        now: Instant,
    ) -> Result<(), OwnedByOther> {
        let Some(slot) = self.slots.get_mut(place).filter(|of| of.sharing == Sharing::One) else {
            return Ok(());
        };
        if let Some(preempted) =
            slot.preempted.as_mut().filter(|preempted| Some(&preempted.app) == by)
        {
            if now.saturating_duration_since(preempted.last_seen) < Self::IDLE_RELEASE {
                preempted.last_seen = now;
                let (parameter, by) = (self.names[place].clone(), preempted.by.clone());
                return Err(OwnedByOther { parameter, by, how: OwnershipKind::Released });
            }
            slot.preempted = None;
        }
        let Some((holder, how, priority)) = slot.holder(now) else { return Ok(()) };
        if Some(holder) == by {
            return Ok(());
        }
        if by.is_some_and(|by| self.writers.priority_of(by) > priority) {
            return Ok(());
        }
        Err(OwnedByOther { parameter: self.names[place].clone(), by: holder.clone(), how })
    }

    /// Counts a refused value; returns the number of refused values if a report is due. Reports are rate-limited.
    pub fn refused(&mut self, place: usize, now: Instant) -> Option<u64> {
        self.slots.get_mut(place)?.refused.count(now)
    }

    /// Records a played value that [was allowed](Self::may_play).
    pub fn played(&mut self, place: usize, by: Option<&NodeId>, now: Instant) {
        self.was_set(place, by);
        let Some(by) = by else { return };
        self.writers.seen(by, now);
        let Some(slot) = self.slots.get_mut(place).filter(|of| of.sharing == Sharing::One) else {
            return;
        };
        if slot.taken.as_ref().is_some_and(|taken| taken.by == *by) {
            return;
        }
        match &mut slot.playing {
            Some(playing) if playing.by == *by => {
                // This controller's ownership may have lapsed; it is renewed, because no other one played in between.
                playing.last_seen = now;
            },
            playing => {
                let priority = self.writers.priority_of(by);
                *playing = Some(ActiveWriter { by: by.clone(), priority, last_seen: now });
                slot.before = None;
                self.version += 1;
            },
        }
    }

    /// Records a value set by a command or by the program itself; neither of them owns the parameter.
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

    /// Ends the ownership of a parameter, for a one-off command that then sets it without owning it.
    ///
    /// A claim to the parameter ends, and the previous owner's values are refused until it pauses. Returns that owner.
    pub fn preempt(&mut self, place: usize, stamp: Stamp, now: Instant) -> Option<NodeId> {
        let slot = self.slots.get_mut(place).filter(|of| of.sharing == Sharing::One)?;
        let (holder, _, priority) = slot.holder(now)?;
        let (holder, by) = (holder.clone(), stamp.by.clone());
        slot.preempted = Some(Preempted { app: holder.clone(), by: by.clone(), last_seen: now });
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
    /// Of two claims to one parameter, the one with the higher priority wins; at equal priority, the newer claim wins.
    /// A claim is void if a newer claim of another app to the same parameter has already ended.
    ///
    /// # Errors
    ///
    /// Fails if the other claim wins. A mixed parameter cannot be taken; callers check [`Sharing`] first.
    pub fn take(
        &mut self,
        place: usize,
        stamp: &Stamp,
        priority: Priority,
        now: Instant,
    ) -> Result<(), OwnedByOther> {
        let by = &stamp.by;
        self.writers.touch(by, now);
        let Some(slot) = self.slots.get_mut(place) else { return Ok(()) };
        let parameter = || self.names[place].clone();
        if let Some(taken) = &slot.taken
            && taken.by != *by
            && (taken.priority, &taken.stamp) > (priority, stamp)
        {
            let (by, how) = (taken.by.clone(), OwnershipKind::Claimed);
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
        slot.preempted = None;
        slot.playing.take_if(|playing| playing.by == *by || playing.priority <= priority);
        self.version += 1;
        Ok(())
    }

    /// Releases a parameter: ends the app's claim, unless it is newer than `stamp`, and the ownership by playing.
    pub fn release(&mut self, place: usize, by: &NodeId, stamp: &Stamp) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        let taken = slot.taken.take_if(|taken| taken.by == *by && taken.stamp <= *stamp);
        let playing = slot.playing.take_if(|playing| playing.by == *by);
        if taken.is_none() && playing.is_none() {
            return;
        }
        let parameter = self.names[place].clone();
        slot.before = taken.map(|taken| taken.into_ended(parameter, OwnershipKind::Released));
        self.version += 1;
    }

    /// Updates the priority that an app has published.
    pub fn has_priority(&mut self, app: &NodeId, priority: Priority, now: Instant) {
        self.writers.touch(app, now);
        if !self.writers.set_priority(app, priority) {
            return;
        }
        for playing in self.slots.iter_mut().filter_map(|slot| slot.playing.as_mut()) {
            if playing.by == *app {
                playing.priority = priority;
            }
        }
        self.version += 1;
    }

    /// Records that a token of an app appeared.
    pub fn token_added(&mut self, app: &NodeId, token: &str, now: Instant) {
        if self.writers.token_added(app, token, now) {
            for last in self.slots.iter_mut().filter_map(|slot| slot.last.as_mut()) {
                if last.by == *app {
                    last.from = None;
                }
            }
        }
    }

    /// Records that a token of an app disappeared.
    pub fn token_removed(&mut self, app: &NodeId, token: &str, now: Instant) {
        self.writers.token_removed(app, token, now);
    }

    /// Clears the token sets after this node reconnected to the mesh; live tokens are announced again.
    ///
    /// A repeated call with the same `session_id` has no effect.
    pub fn reset_tokens(&mut self, session_id: &str, now: Instant) {
        self.writers.reset_tokens(session_id, now);
    }

    /// Returns the writers whose tokens are not watched yet, and marks them as watched.
    ///
    /// A visualization thus watches only the apps that play it.
    pub fn take_unwatched(&mut self, now: Instant) -> Vec<NodeId> {
        let players = self.slots.iter().flat_map(|slot| {
            let last = slot.last.as_ref().map(|last| &last.by);
            last.into_iter().chain(slot.contributions.apps())
        });
        let strangers = players.filter(|by| !self.writers.is_known(by)).cloned().collect();
        self.writers.take_unwatched(strangers, now)
    }

    /// Ends the ownership of silent and of vanished controllers; returns the mixed parameters that lost a
    /// contribution.
    ///
    /// A silent controller loses the parameters that it plays without having taken them; a vanished controller loses
    /// all its parameters.
    pub fn expire(&mut self, now: Instant) -> Vec<usize> {
        let is_gone = |app: &NodeId| self.writers.has_vanished(app, now);
        let mut unmixed = vec![];
        for (place, slot) in self.slots.iter_mut().enumerate() {
            if slot.playing.take_if(|playing| !playing.is_active(now)).is_some() {
                self.version += 1;
            }
            // An app that was not stored, because the table is full, would never vanish, so its claim ends now.
            let has_left =
                |taken: &mut Claimed| !self.writers.is_known(&taken.by) || is_gone(&taken.by);
            if let Some(taken) = slot.taken.take_if(has_left) {
                slot.before =
                    Some(taken.into_ended(self.names[place].clone(), OwnershipKind::Abandoned));
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
                    how: OwnershipKind::Abandoned,
                    priority: Priority::default(),
                    stamp: None,
                });
                self.version += 1;
            }
            if slot.contributions.remove_if(is_gone) {
                unmixed.push(place);
                self.version += 1;
            }
        }
        unmixed
    }

    /// Returns the value that a mixed parameter takes if `by` plays `value`; `value` itself if it is not mixed.
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
        slot.contributions.value_with(declared, by, value)
    }

    /// Returns whether the parameter is mixed.
    #[must_use]
    pub fn is_mixed(&self, place: usize) -> bool {
        self.slots.get(place).is_some_and(|slot| slot.sharing == Sharing::Mix)
    }

    /// Returns the current value of a mixed parameter; its default if no controller contributes.
    #[must_use]
    pub fn mix(&self, place: usize, declared: &Parameter) -> f32 {
        self.slots.get(place).map_or(declared.default, |slot| slot.contributions.value(declared))
    }

    /// Records a controller's contribution to a mixed parameter.
    pub fn set_contribution(
        &mut self,
        place: usize,
        by: Option<&NodeId>,
        value: f32,
        now: Instant,
    ) {
        let Some(slot) = self.slots.get_mut(place).filter(|of| of.sharing == Sharing::Mix) else {
            return;
        };
        self.version += u64::from(slot.contributions.set(by, value, now));
    }

    /// Sets a mixed parameter to a value that replaces all contributions until a controller plays it again.
    pub fn set_mix(&mut self, place: usize, value: f32, now: Instant) {
        if let Some(slot) = self.slots.get_mut(place).filter(|of| of.sharing == Sharing::Mix) {
            slot.contributions.replace_all(value, now);
            self.version += 1;
        }
    }

    /// Removes a controller's contribution to a mixed parameter; returns whether there was one.
    pub fn remove_contribution(&mut self, place: usize, by: &NodeId) -> bool {
        let Some(slot) = self.slots.get_mut(place) else { return false };
        let withdrew = slot.contributions.remove_if(|known| known == by);
        self.version += u64::from(withdrew);
        withdrew
    }

    /// Returns the owners of all parameters, as published to others.
    #[must_use]
    pub fn owners(&self, now: Instant) -> ParameterOwners {
        let mut owners = vec![];
        for (slot, name) in self.slots.iter().zip(&self.names) {
            let taken = slot
                .taken
                .as_ref()
                .map(|taken| taken.to_ownership(name.clone(), OwnershipKind::Claimed));
            let playing = slot.playing.as_ref().filter(|playing| playing.is_active(now));
            let playing = playing.map(|playing| Ownership {
                parameter: name.clone(),
                by: playing.by.clone(),
                how: OwnershipKind::Active,
                priority: playing.priority,
                stamp: None,
            });
            if taken.is_none() && playing.is_none() {
                owners.extend(slot.before.clone());
            }
            // The first entry is the owner: a controller that plays over a claim has the higher priority.
            owners.extend(playing);
            owners.extend(taken);
        }
        let mixed = self.slots.iter().zip(&self.names).flat_map(|(slot, name)| {
            slot.contributions.apps().map(|by| (name.clone(), by.clone()))
        });
        let mut mixers: BTreeMap<ParameterName, Vec<NodeId>> = BTreeMap::new();
        for (name, by) in mixed {
            mixers.entry(name).or_default().push(by);
        }
        ParameterOwners { owners, mixed: mixers, priorities: self.writers.priorities() }
    }

    /// Returns whether no parameter is returning to its default, or may start to soon.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.writers.are_all_present()
    }

    /// Returns the index and the current value of each parameter that returns to its default.
    ///
    /// A parameter returns to its default if the app that played it last vanished. The return begins when that app
    /// has been gone for [`GRACE`](Self::GRACE), and lasts for `over`. `value_of` returns the value and the default of
    /// the parameter at an index.
    pub fn fade_to_default(
        &mut self,
        over: Duration,
        now: Instant,
        value_of: impl Fn(usize) -> Option<(f32, f32)>,
    ) -> Vec<(usize, f32)> {
        let mut eased = vec![];
        for (place, slot) in self.slots.iter_mut().enumerate() {
            let is_nobodys = slot.sharing == Sharing::One && slot.taken.is_none();
            let Some(last) = slot.last.as_mut().filter(|_| is_nobodys) else { continue };
            if !self.writers.has_vanished(&last.by, now) {
                continue;
            }
            let Some((value, default)) = value_of(place) else { continue };
            let (now_at, is_there) = last.fade_step(value, default, over, now);
            eased.push((place, now_at));
            if is_there {
                slot.last = None;
            }
        }
        eased
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp)]
mod tests;
