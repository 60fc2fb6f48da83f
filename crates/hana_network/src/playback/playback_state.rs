use std::time::{Duration, Instant};

use hana_engine::ownership::{HybridClock, OwnershipArbiter};
use hana_engine::playout::{JitterBufferSettings, ModulationReceiver, ReceiveOutcome};
use hana_protocol::id::{NodeId, Stamp};
use hana_protocol::message::{
    Look, ModulationBatch, Override, OwnedByOther, ParameterOwners, Release, Set, SetReply, Take,
    TakeReply,
};
use hana_protocol::parameter::{Parameter, ParameterError, ParameterName, Parameters};
use hana_protocol::wire::Envelope;
use hana_time::Scheduled;

use crate::playback::automation::{Automation, QueuedChange, WriteMode};
use crate::playback::ownership_error::OwnershipError;
use crate::playback::set_error::SetError;
use crate::time::beat_instant::BeatInstant;

/// The playback of a visualization: its values, modulators, scheduled changes, owners and overrides.
///
/// Pure: each event comes with the current time, and the state reads no clock.
#[derive(Debug)]
pub(crate) struct PlaybackState {
    /// The played values, as of the last `advance`.
    pub(crate) parameters: Parameters,
    /// Received values that are not due yet, with their times.
    receiver: ModulationReceiver,
    /// The values that are presented during a freeze.
    frozen: Option<Parameters>,
    pub(crate) override_mode: Option<Override>,
    /// A number that increases with every change.
    pub(crate) version: u64,
    /// The number of values, modulation batches and commands received.
    pub(crate) update_count: u64,
    /// The owners of the parameters.
    pub(crate) arbiter: OwnershipArbiter,
    /// The duration of the fade to the default after a controller is lost; `None` keeps the current value.
    pub(crate) fade: Option<Duration>,
    /// The clock that stamps claims received without a stamp.
    clock: HybridClock,
    /// Modulators and scheduled changes.
    pub(crate) automation: Automation,
}

/// The current time on both clocks that playback uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlaybackTime {
    /// The time on the monotonic clock.
    pub(crate) at: Instant,
    /// The time on the wall clock, in Unix milliseconds.
    pub(crate) unix_ms: u64,
}

/// The outcome of a received value or modulation batch.
#[derive(Debug, Default)]
pub(crate) struct ApplyOutcome {
    pub(crate) received: ReceiveOutcome,
    /// The index and value of each parameter that accepted a value; for a mixed parameter, the sum of all
    /// contributions.
    pub(crate) values: Vec<(usize, f32)>,
    /// The number of values dropped because another controller owns their parameters.
    pub(crate) refused: u64,
    /// The owner, and the number of values dropped since the last report; `None` if no report is due.
    pub(crate) to_report: Option<(OwnedByOther, u64)>,
}

impl PlaybackState {
    /// Creates the state with the declared defaults; `playout` returns the playout settings of each parameter.
    pub(crate) fn new(
        own: &NodeId,
        declared: Vec<Parameter>,
        playout: impl Fn(&ParameterName) -> JitterBufferSettings,
        now: Instant,
    ) -> Self {
        let parameters = Parameters::new(declared);
        let settings: Vec<_> =
            parameters.declared().iter().map(|declared| playout(&declared.name)).collect();
        Self {
            receiver: ModulationReceiver::new(&settings, parameters.values(), now),
            automation: Automation::new(parameters.declared().len()),
            arbiter: OwnershipArbiter::new(parameters.declared()),
            parameters,
            frozen: None,
            override_mode: None,
            version: 1,
            update_count: 0,
            fade: None,
            clock: HybridClock::new(own.clone()),
        }
    }

    /// Advances received values to `now`, and modulators and scheduled changes to the presentation time in `shown`.
    pub(crate) fn advance(&mut self, now: PlaybackTime, shown: &BeatInstant) {
        while let Some((change, beat)) =
            self.automation.scheduled.take_due(&shown.timeline, shown.at_us)
        {
            self.apply(&change, beat, now);
        }
        let Self { parameters, receiver, version, automation, .. } = self;
        receiver.advance(now.at, |place, value| {
            // Cannot fail for an interpolated value: a parameter also accepts every value between two accepted values.
            if parameters.values()[place].to_bits() != value.to_bits()
                && parameters.set_at(place, value).is_ok()
            {
                *version += 1;
            }
        });
        *version += u64::from(automation.play(parameters, shown));
        self.advance_fades(now.at);
    }

    /// Returns the current owners and their version if the version differs from `version`. The first version is 1.
    pub(crate) fn owners_since(
        &mut self,
        version: u64,
        now: Instant,
    ) -> Option<(u64, ParameterOwners)> {
        for place in self.arbiter.expire(now) {
            self.recompute_mix(place, now);
        }
        let current = self.arbiter.version();
        (current != version).then(|| (current, self.arbiter.owners(now)))
    }

    /// Handles a claim. Each parameter is granted or refused separately; one that is unknown or mixed refuses all.
    pub(crate) fn take(
        &mut self,
        by: Option<&NodeId>,
        take: &Take,
        now: PlaybackTime,
    ) -> Result<TakeReply, OwnershipError> {
        let by = by.ok_or(OwnershipError::Unnamed)?;
        let places = self.places(&take.parameters)?;
        if let Some(place) = places.iter().find(|place| self.arbiter.is_mixed(**place)) {
            let parameter = self.parameters.declared()[*place].name.clone();
            return Err(OwnershipError::Mixed { parameter });
        }
        let stamp = self.stamp(by, take.stamp.as_ref(), now.unix_ms)?;
        self.arbiter.has_priority(by, take.priority, now.at);
        let (mut taken, mut held) = (vec![], vec![]);
        for (place, name) in places.into_iter().zip(&take.parameters) {
            match self.arbiter.take(place, &stamp, take.priority, now.at) {
                Ok(()) => taken.push(name.clone()),
                Err(by) => held.push(by),
            }
        }
        Ok(TakeReply { taken, held, stamp: Some(stamp) })
    }

    /// Handles a release.
    pub(crate) fn release(
        &mut self,
        by: Option<&NodeId>,
        release: &Release,
        now: PlaybackTime,
    ) -> Result<(), OwnershipError> {
        let by = by.ok_or(OwnershipError::Unnamed)?;
        let places = self.places(&release.parameters)?;
        let stamp = self.stamp(by, release.stamp.as_ref(), now.unix_ms)?;
        for place in places {
            self.arbiter.release(place, by, &stamp);
            if self.arbiter.remove_contribution(place, by) {
                self.recompute_mix(place, now.at);
            }
        }
        Ok(())
    }

    /// Sets one value, as if it had arrived over the network.
    pub(crate) fn set(
        &mut self,
        name: &ParameterName,
        value: f32,
        now: Instant,
    ) -> Result<(), ParameterError> {
        let place = self.parameters.set(name, value)?;
        self.receiver.set(place, value, now);
        self.automation.end(place);
        self.version += 1;
        self.arbiter.was_set(place, None);
        self.arbiter.set_mix(place, value, now);
        self.update_count += 1;
        Ok(())
    }

    /// Applies a change now, or schedules it for its beat.
    ///
    /// `beat` is the current beat. `by` is the sender, if it is known.
    pub(crate) fn change(
        &mut self,
        by: Option<&NodeId>,
        mode: WriteMode,
        set: &Set,
        now: PlaybackTime,
        beat: &BeatInstant,
    ) -> Result<SetReply, SetError> {
        let change = self.change_of(by, mode, set, now.at)?;
        let scheduled =
            self.automation.scheduled.put(change, set.at, &beat.timeline, beat.at_us)?;
        self.update_count += 1;
        Ok(match scheduled {
            Scheduled::Waits { beat } => SetReply { waits_for: Some(beat), late_for: None },
            Scheduled::Due { change, late_for } => {
                // A modulator that arrives late starts at the beat for which it was scheduled.
                self.apply(&change, late_for.unwrap_or_else(|| beat.beat()), now);
                SetReply { waits_for: None, late_for }
            },
        })
    }

    /// Handles a received value of one parameter and returns the outcome.
    pub(crate) fn apply_value(
        &mut self,
        envelope: Option<&Envelope>,
        name: &ParameterName,
        value: f32,
        now: Instant,
    ) -> Result<ApplyOutcome, ParameterError> {
        let by = envelope.map(|envelope| &envelope.from);
        let mut outcome = ApplyOutcome::default();
        let place = self.parameters.index(name)?;
        self.parameters.check_at(place, value)?;
        if !self.may_play(place, by, now, &mut outcome) {
            return Ok(outcome);
        }
        self.sync_from_modulator(place);
        let mixed = self.arbiter.mixed(place, &self.parameters.declared()[place], by, value);
        outcome.received = self.receiver.put(place, envelope, mixed, now);
        if outcome.received.taken > 0 {
            self.stop_modulator(place);
            self.arbiter.played(place, by, now);
            self.arbiter.set_contribution(place, by, value, now);
            outcome.values.push((place, mixed));
        }
        self.update_count += 1;
        Ok(outcome)
    }

    /// Handles a received modulation batch and returns the outcome.
    ///
    /// A batch with an invalid value is refused as a whole. Values of parameters that other controllers own are
    /// skipped.
    pub(crate) fn apply_batch(
        &mut self,
        envelope: Option<&Envelope>,
        mut batch: ModulationBatch,
        now: Instant,
    ) -> Result<ApplyOutcome, ParameterError> {
        let by = envelope.map(|envelope| &envelope.from);
        let mut outcome = ApplyOutcome::default();
        for index in &batch.indices {
            let (place, count) = (usize::from(*index), self.parameters.values().len());
            if place >= count {
                return Err(ParameterError::NoPlace { place, count });
            }
        }
        for (place, _, value) in batch.values() {
            self.parameters.check_at(place, value)?;
        }
        let width = batch.indices.len();
        let mut contributed = vec![];
        for (column, index) in batch.indices.iter().enumerate() {
            let place = usize::from(*index);
            let samples = batch.samples.iter_mut().skip(column).step_by(width.max(1));
            let samples = samples.filter(|value| !value.is_nan());
            if !self.may_play(place, by, now, &mut outcome) {
                // NaN marks a missing value, so the receiver skips this one.
                samples.for_each(|value| *value = f32::NAN);
                continue;
            }
            self.sync_from_modulator(place);
            if self.arbiter.is_mixed(place) {
                let declared = &self.parameters.declared()[place];
                for value in samples {
                    contributed.push((place, *value));
                    *value = self.arbiter.mixed(place, declared, by, *value);
                }
            }
        }
        outcome.received = self.receiver.frame(envelope, &batch, now);
        if outcome.received.taken > 0 {
            for (place, value) in batch.last_values() {
                self.stop_modulator(place);
                self.arbiter.played(place, by, now);
                outcome.values.push((place, value));
            }
            for (place, value) in contributed {
                self.arbiter.set_contribution(place, by, value, now);
            }
        }
        self.update_count += 1;
        Ok(outcome)
    }

    /// Applies an override, or ends it with `None`. A new override replaces the previous one: a blackout ends a
    /// freeze.
    ///
    /// The caller first advances to the current time, so that a freeze keeps the current values.
    pub(crate) fn set_override(&mut self, mode: Option<Override>) {
        if self.override_mode == mode {
            return;
        }
        self.override_mode = mode;
        self.frozen = (mode == Some(Override::Freeze)).then(|| self.parameters.clone());
        self.version += 1;
    }

    /// Restores the look of an earlier instance.
    ///
    /// Returns an error for each part of the look that does not fit the current parameters.
    pub(crate) fn restore(
        &mut self,
        look: &Look,
        now: PlaybackTime,
        shown: &BeatInstant,
    ) -> Vec<ParameterError> {
        let mut problems = vec![];
        for (name, value) in &look.parameters {
            match self.parameters.set(name, *value) {
                Ok(place) => self.receiver.set(place, *value, now.at),
                Err(problem) => problems.push(problem),
            }
        }
        self.version += 1;
        // A look saved during a freeze contains the frozen values, so the freeze begins with them; the modulators
        // continue.
        self.advance(now, shown);
        self.set_override(look.in_force);
        for (name, modulator) in &look.modulators {
            match self.parameters.index(name) {
                Ok(place) => self.automation.begin(place, *modulator),
                Err(problem) => problems.push(problem),
            }
        }
        problems
    }

    /// Returns the current look, as of the last `advance`.
    pub(crate) fn look(&self) -> Look {
        Look {
            parameters: self.shown().named_values(),
            modulators: self.automation.named_modulators(self.parameters.declared()),
            in_force: self.override_mode,
        }
    }

    /// Applies a validated change; its modulators start at `beat`.
    fn apply(&mut self, change: &QueuedChange, beat: f64, now: PlaybackTime) {
        for (place, value) in &change.values {
            if self.claim(*place, change, now) && self.parameters.set_at(*place, *value).is_ok() {
                self.automation.end(*place);
                self.receiver.set(*place, *value, now.at);
                self.arbiter.was_set(*place, change.by.as_ref());
                self.arbiter.set_mix(*place, *value, now.at);
            }
        }
        for (place, modulator) in &change.modulators {
            if !self.claim(*place, change, now) {
                continue;
            }
            // Discards received values that are not due yet.
            self.receiver.set(*place, self.parameters.values()[*place], now.at);
            self.automation.begin(*place, modulator.starting_at(beat));
            self.arbiter.was_set(*place, change.by.as_ref());
        }
        self.version += 1;
    }

    /// Returns whether a change may set a parameter now, and claims the parameter if the change requests that.
    ///
    /// The check is repeated here because the owner may have changed while the change was scheduled.
    fn claim(&mut self, place: usize, change: &QueuedChange, now: PlaybackTime) -> bool {
        if change.mode == WriteMode::Local
            || self.arbiter.may_play(place, change.by.as_ref(), now.at).is_ok()
        {
            return true;
        }
        let (WriteMode::Preempt, Some(by)) = (change.mode, &change.by) else { return false };
        let stamp = Stamp { by: by.clone(), ..self.clock.stamp(now.unix_ms) };
        self.arbiter.preempt(place, stamp, now.at);
        true
    }

    /// Validates `set` and resolves its parameters to indices. Fails if any part of it cannot be applied.
    fn change_of(
        &mut self,
        by: Option<&NodeId>,
        mode: WriteMode,
        set: &Set,
        now: Instant,
    ) -> Result<QueuedChange, SetError> {
        if set.parameters.is_empty() && set.modulators.is_empty() {
            return Err(SetError::Nothing);
        }
        let mut change = QueuedChange { by: by.cloned(), mode, ..QueuedChange::default() };
        for (name, value) in &set.parameters {
            let place = self.parameters.index(name)?;
            self.parameters.check_at(place, *value)?;
            change.values.push((place, *value));
        }
        for (name, modulator) in &set.modulators {
            if set.parameters.contains_key(name) {
                return Err(SetError::ValueAndRecipe { name: name.clone() });
            }
            change.modulators.push((self.parameters.index(name)?, *modulator));
        }
        let modulators = change.modulators.iter().map(|(place, _)| *place);
        let places = change.values.iter().map(|(place, _)| *place).chain(modulators);
        for place in places.filter(|_| mode != WriteMode::Local) {
            match (self.arbiter.may_play(place, by, now), mode) {
                (Err(held), WriteMode::IfFree) => return Err(SetError::Held(held)),
                (Err(_), _) if by.is_none() => return Err(SetError::Unnamed),
                _ => {},
            }
        }
        Ok(change)
    }

    /// Lets playback of a new value start at the value to which a modulator has moved the parameter.
    fn sync_from_modulator(&mut self, place: usize) {
        if self.automation.moves(place) {
            self.receiver.resume_from(place, self.parameters.values()[place]);
        }
    }

    /// Stops the modulator of a parameter that was played.
    fn stop_modulator(&mut self, place: usize) {
        if self.automation.end(place) {
            self.version += 1;
        }
    }

    /// Advances the fades of parameters that return to their defaults.
    fn advance_fades(&mut self, now: Instant) {
        let Self { parameters, receiver, arbiter, fade: Some(over), version, automation, .. } =
            self
        else {
            return;
        };
        if arbiter.is_idle() {
            return;
        }
        let faded = arbiter.fade_to_default(*over, now, |place| {
            Some((*parameters.values().get(place)?, parameters.declared().get(place)?.default))
        });
        for (place, value) in faded {
            // Cannot fail: a parameter also accepts every value between two accepted values.
            if parameters.set_at(place, value).is_ok() {
                receiver.set(place, value, now);
                automation.end(place);
                *version += 1;
            }
        }
    }

    /// Updates a mixed parameter to the sum of its current contributions.
    fn recompute_mix(&mut self, place: usize, now: Instant) {
        let Self { parameters, receiver, arbiter, version, .. } = self;
        let Some(declared) = parameters.declared().get(place) else { return };
        let value = arbiter.mix(place, declared);
        if parameters.set_at(place, value).is_ok() {
            receiver.set(place, value, now);
            *version += 1;
        }
    }

    /// Returns whether the sender may play a parameter; if not, records the refusal in `outcome`.
    fn may_play(
        &mut self,
        place: usize,
        by: Option<&NodeId>,
        now: Instant,
        outcome: &mut ApplyOutcome,
    ) -> bool {
        let Err(held) = self.arbiter.may_play(place, by, now) else { return true };
        outcome.refused += 1;
        if let Some(count) = self.arbiter.refused(place, now) {
            outcome.to_report = Some((held, count));
        }
        false
    }

    /// Returns the stamp of a command, or a stamp with the current time if the command has none.
    fn stamp(
        &mut self,
        by: &NodeId,
        stamp: Option<&Stamp>,
        unix_ms: u64,
    ) -> Result<Stamp, OwnershipError> {
        match stamp {
            Some(stamp) if stamp.by == *by && self.clock.observe(stamp) => Ok(stamp.clone()),
            Some(stamp) => Err(OwnershipError::Stamp { by: stamp.by.clone(), ms: stamp.ms }),
            None => Ok(Stamp { by: by.clone(), ..self.clock.stamp(unix_ms) }),
        }
    }

    fn places(&self, names: &[ParameterName]) -> Result<Vec<usize>, OwnershipError> {
        let place = |name| self.parameters.index(name).map_err(OwnershipError::from);
        names.iter().map(place).collect()
    }

    pub(crate) fn shown(&self) -> &Parameters {
        self.frozen.as_ref().unwrap_or(&self.parameters)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp)]
mod tests;
