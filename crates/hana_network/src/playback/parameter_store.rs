use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
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
use hana_time::{ScheduleError, Scheduled, Timeline};
use thiserror::Error;

use crate::config::on_controller_lost::OnControllerLost;
use crate::playback::automation::{AutomatedChange, Automation, BeatInstant, WriteMode};
use crate::time::beat_clock::BeatClock;
use crate::time::timeline_handle::TimelineHandle;
use crate::time::wall_clock::unix_ms;

/// The parameters of a visualization with their current values.
///
/// The network thread writes received values. The render loop reads the values to show once per frame. Each locks the
/// store for a few microseconds, and neither waits for the other's work. While [`Override::Freeze`] is in force the
/// shown values stay unchanged; values received meanwhile apply when it ends.
///
/// A parameter with a modulator ([`ModulationSource`](hana_protocol::parameter::Modulator)) moves by itself, with the
/// beat of this machine, until it is played or set. Changes scheduled for a beat are applied when it is reached.
#[derive(Debug)]
pub struct ParameterStore {
    state: Mutex<PlaybackState>,
    /// Notified when a value, a modulation batch or a command arrives.
    news: Condvar,
    beat: BeatClock,
}

/// Why a [`Set`] was not carried out. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SetError {
    /// An unknown parameter, or a value that it does not accept.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// The change cannot be scheduled for its beat.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A parameter is given both a value and a modulator.
    #[error("'{name}' is given a value and a modulator; it takes one of them")]
    ValueAndRecipe {
        /// The parameter.
        name: ParameterName,
    },
    /// Another controller owns a parameter.
    #[error("{0}; `hana set --take` does both")]
    Held(OwnedByOther),
    /// The change claims an owned parameter, but its sender is unknown.
    #[error("this comes without envelope; only who says who he is takes what another holds")]
    Unnamed,
    /// The change is empty.
    #[error("nothing is to be set; name values in `parameters`, or modulators in `modulators`")]
    Nothing,
}

#[derive(Debug)]
struct PlaybackState {
    /// The played values, as of the last `advance`.
    parameters: Parameters,
    /// Received values that are not shown yet, with their times.
    player: ModulationReceiver,
    /// The values shown during a freeze.
    held: Option<Parameters>,
    in_force: Option<Override>,
    version: u64,
    /// Number of values, modulation batches and commands received.
    arrivals: u64,
    /// The owners of the parameters.
    hands: OwnershipArbiter,
    /// Duration of the fade to the default after an app disappeared; `None` keeps the value.
    ease: Option<Duration>,
    /// Stamps claims that come without a stamp.
    clock: HybridClock,
    /// Modulators and scheduled changes.
    conductor: Automation,
}

/// The outcome of a received value or modulation batch.
#[derive(Debug, Default)]
pub(crate) struct ApplyOutcome {
    pub(crate) taken: ReceiveOutcome,
    /// Index and value of the parameters that accepted one; of mixed parameters, the sum of all contributions.
    pub(crate) values: Vec<(usize, f32)>,
    /// Number of values dropped because another controller owns their parameter.
    pub(crate) held: u64,
    /// The drops to report now: the owner, and the number of drops since the last report.
    pub(crate) told: Option<(OwnedByOther, u64)>,
}

/// Why parameters were not claimed or released.
#[derive(Debug, Clone, PartialEq, Error)]
pub(crate) enum OwnershipError {
    /// There is no such parameter.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// The parameter is mixed: all contributions are added, so it cannot be claimed.
    #[error("{parameter} is mixed: all who play it are added up, and nobody takes it")]
    Mixed {
        /// The parameter.
        parameter: ParameterName,
    },
    /// The sender is unknown.
    #[error("this comes without envelope; only who says who he is takes and releases")]
    Unnamed,
    /// The stamp belongs to another node, or its time is impossible.
    #[error(
        "the stamp is that of '{by}' at {ms} ms; it is to be the sender's own, and before the year 3000"
    )]
    Stamp {
        /// The node in the stamp.
        by: NodeId,
        /// The time in the stamp.
        ms: u64,
    },
}

impl PlaybackState {
    /// Advances playback to `now`, and beat-driven parameters to the expected presentation time.
    fn advance(&mut self, now: Instant, shown: &BeatInstant) {
        while let Some((change, beat)) =
            self.conductor.waiting.take_due(&shown.timeline, shown.at_us)
        {
            self.carry_out(&change, beat, now);
        }
        let Self { parameters, player, version, conductor, .. } = self;
        player.advance(now, |place, value| {
            // A parameter also accepts every value between two accepted values.
            if parameters.values()[place].to_bits() != value.to_bits()
                && parameters.set_at(place, value).is_ok()
            {
                *version += 1;
            }
        });
        *version += u64::from(conductor.play(parameters, shown));
        self.fade_to_default(now);
    }

    /// Applies a validated change, as of `beat`.
    fn carry_out(&mut self, change: &AutomatedChange, beat: f64, now: Instant) {
        for (place, value) in &change.values {
            if self.claim(*place, change, now) && self.parameters.set_at(*place, *value).is_ok() {
                self.conductor.end(*place);
                self.player.set(*place, *value, now);
                self.hands.was_set(*place, change.by.as_ref());
                self.hands.set_mix(*place, *value, now);
            }
        }
        for (place, modulator) in &change.modulators {
            if !self.claim(*place, change, now) {
                continue;
            }
            // Discards values received earlier.
            self.player.set(*place, self.parameters.values()[*place], now);
            self.conductor.begin(*place, modulator.starting_at(beat));
            self.hands.was_set(*place, change.by.as_ref());
        }
        self.version += 1;
    }

    /// Returns whether a change may be made now, claiming the parameter if the change asks for it.
    ///
    /// Ownership may have changed while the change was scheduled, so this is checked again.
    fn claim(&mut self, place: usize, change: &AutomatedChange, now: Instant) -> bool {
        if change.claim == WriteMode::Own
            || self.hands.may_play(place, change.by.as_ref(), now).is_ok()
        {
            return true;
        }
        let (WriteMode::Takes, Some(by)) = (change.claim, &change.by) else { return false };
        let stamp = Stamp { by: by.clone(), ..self.clock.stamp(unix_ms()) };
        self.hands.preempt(place, stamp, now);
        true
    }

    /// Validates `set` and resolves its parameters to indices; fails unless all of it can be applied.
    fn change_of(
        &mut self,
        by: Option<&NodeId>,
        claim: WriteMode,
        set: &Set,
    ) -> Result<AutomatedChange, SetError> {
        if set.parameters.is_empty() && set.modulators.is_empty() {
            return Err(SetError::Nothing);
        }
        let mut change = AutomatedChange { by: by.cloned(), claim, ..AutomatedChange::default() };
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
        for place in places.filter(|_| claim != WriteMode::Own) {
            match (self.hands.may_play(place, by, Instant::now()), claim) {
                (Err(held), WriteMode::Asks) => return Err(SetError::Held(held)),
                (Err(_), _) if by.is_none() => return Err(SetError::Unnamed),
                _ => {},
            }
        }
        Ok(change)
    }

    /// Continues playback from the value to which a modulator has moved the parameter, before a new value is played.
    fn meet(&mut self, place: usize) {
        if self.conductor.moves(place) {
            self.player.resume_from(place, self.parameters.values()[place]);
        }
    }

    /// Stops the modulator of a parameter that was played.
    fn played_instead(&mut self, place: usize) {
        if self.conductor.end(place) {
            self.version += 1;
        }
    }

    /// Advances the fades of parameters that return to their defaults.
    fn fade_to_default(&mut self, now: Instant) {
        let Self { parameters, player, hands, ease: Some(over), version, conductor, .. } = self
        else {
            return;
        };
        if hands.is_idle() {
            return;
        }
        let eased = hands.fade_to_default(*over, now, |place| {
            Some((*parameters.values().get(place)?, parameters.declared().get(place)?.default))
        });
        for (place, value) in eased {
            // A parameter also accepts every value between two accepted values.
            if parameters.set_at(place, value).is_ok() {
                player.set(place, value, now);
                conductor.end(place);
                *version += 1;
            }
        }
    }

    /// Updates a mixed parameter to the sum of its current contributions.
    fn mix_anew(&mut self, place: usize, now: Instant) {
        let Self { parameters, player, hands, version, .. } = self;
        let Some(declared) = parameters.declared().get(place) else { return };
        let value = hands.mix(place, declared);
        if parameters.set_at(place, value).is_ok() {
            player.set(place, value, now);
            *version += 1;
        }
    }

    /// Returns whether the sender may play a parameter; records the refusal if not.
    fn may_play(
        &mut self,
        place: usize,
        by: Option<&NodeId>,
        now: Instant,
        played: &mut ApplyOutcome,
    ) -> bool {
        let Err(held) = self.hands.may_play(place, by, now) else { return true };
        played.held += 1;
        if let Some(count) = self.hands.refused(place, now) {
            played.told = Some((held, count));
        }
        false
    }

    /// Returns the stamp of a command; without one, stamps it with the current time.
    fn stamp(&mut self, by: &NodeId, stamp: Option<&Stamp>) -> Result<Stamp, OwnershipError> {
        let unix_ms = unix_ms();
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

    fn shown(&self) -> &Parameters {
        self.held.as_ref().unwrap_or(&self.parameters)
    }
}

impl ParameterStore {
    /// Creates the parameters; `playout` returns the playback settings of each.
    pub(crate) fn new(
        own: &NodeId,
        declared: Vec<Parameter>,
        playout: impl Fn(&ParameterName) -> JitterBufferSettings,
    ) -> Self {
        let parameters = Parameters::new(declared);
        let settings: Vec<_> =
            parameters.declared().iter().map(|declared| playout(&declared.name)).collect();
        let state = PlaybackState {
            player: ModulationReceiver::new(&settings, parameters.values(), Instant::now()),
            conductor: Automation::new(parameters.declared().len()),
            hands: OwnershipArbiter::new(parameters.declared()),
            parameters,
            held: None,
            in_force: None,
            version: 1,
            arrivals: 0,
            ease: None,
            clock: HybridClock::new(own.clone()),
        };
        Self { state: Mutex::new(state), news: Condvar::new(), beat: BeatClock::new() }
    }

    /// Uses the beat of `watch` from now on.
    pub(crate) fn follow(&self, watch: TimelineHandle) {
        self.beat.follow(watch);
    }

    /// Sets what happens to the parameters of an app that disappears.
    pub(crate) fn with_vanishing_apps(self, then: OnControllerLost) -> Self {
        self.state().ease = match then {
            OnControllerLost::Hold => None,
            OnControllerLost::Ease(over) => Some(over),
        };
        self
    }

    fn state(&self) -> MutexGuard<'_, PlaybackState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until something arrives after `arrivals`, at most for `timeout`; returns the new number of arrivals.
    ///
    /// An arrival is a value, a modulation batch or a command; begin with 0. Meant for programs without a frame loop.
    /// A received value is shown when it is due, so [`ParameterStore::read_since`] may return it only after the
    /// playout delay.
    #[must_use]
    pub fn wait_for_arrival(&self, arrivals: u64, timeout: Duration) -> u64 {
        let has_none = |state: &mut PlaybackState| state.arrivals == arrivals;
        let waited = self.news.wait_timeout_while(self.state(), timeout, has_none);
        waited.unwrap_or_else(PoisonError::into_inner).0.arrivals
    }

    /// Locks the state and advances it to the current time.
    fn state_now(&self) -> MutexGuard<'_, PlaybackState> {
        let mut state = self.state();
        state.advance(Instant::now(), &self.beat.shown());
        state
    }

    /// Sets the delay between reading values and their presentation, at most 100 ms.
    ///
    /// It is about half a frame plus the drawing time. Modulators and scheduled changes are evaluated at the
    /// presentation time.
    pub fn shown_after(&self, delay: Duration) {
        self.beat.shown_after(delay);
    }

    /// Returns the timeline of modulators and scheduled changes, and the current time in microseconds of its clock.
    ///
    /// Until a timeline is received, it is one of this machine with 120 beats per minute.
    #[must_use]
    pub fn timeline(&self) -> (Timeline, i64) {
        let BeatInstant { timeline, at_us } = self.beat.now();
        (timeline, at_us)
    }

    /// Returns the same timeline, with the expected presentation time of values read now.
    #[must_use]
    pub fn timeline_shown(&self) -> (Timeline, i64) {
        let BeatInstant { timeline, at_us } = self.beat.shown();
        (timeline, at_us)
    }

    /// Returns the number of changes that arrived after the beat that they were scheduled for.
    #[must_use]
    pub fn overdue(&self) -> u64 {
        self.state().conductor.waiting.late()
    }

    /// Runs `tell` on the ownership state.
    pub(crate) fn tell_hands<T>(&self, tell: impl FnOnce(&mut OwnershipArbiter) -> T) -> T {
        tell(&mut self.state().hands)
    }

    /// Returns the current owners and their version, if that differs from `version`. The first version is 1.
    pub(crate) fn owners_since(&self, version: u64) -> Option<(u64, ParameterOwners)> {
        let now = Instant::now();
        let mut state = self.state();
        for place in state.hands.expire(now) {
            state.mix_anew(place, now);
        }
        let is_news = state.hands.version() != version;
        let news = is_news.then(|| (state.hands.version(), state.hands.owners(now)));
        drop(state);
        news
    }

    /// Returns the owners of the parameters.
    #[must_use]
    pub fn owners(&self) -> ParameterOwners {
        self.state().hands.owners(Instant::now())
    }

    /// Handles a claim; each parameter is claimed on its own.
    pub(crate) fn take(
        &self,
        by: Option<&NodeId>,
        take: &Take,
    ) -> Result<TakeReply, OwnershipError> {
        let now = Instant::now();
        let mut state = self.state();
        let by = by.ok_or(OwnershipError::Unnamed)?;
        let places = state.places(&take.parameters)?;
        if let Some(place) = places.iter().find(|place| state.hands.is_mixed(**place)) {
            let parameter = state.parameters.declared()[*place].name.clone();
            return Err(OwnershipError::Mixed { parameter });
        }
        let stamp = state.stamp(by, take.stamp.as_ref())?;
        state.hands.has_priority(by, take.priority, now);
        let (mut taken, mut held) = (vec![], vec![]);
        for (place, name) in places.into_iter().zip(&take.parameters) {
            match state.hands.take(place, &stamp, take.priority, now) {
                Ok(()) => taken.push(name.clone()),
                Err(by) => held.push(by),
            }
        }
        drop(state);
        Ok(TakeReply { taken, held, stamp: Some(stamp) })
    }

    /// Handles a release.
    pub(crate) fn release(
        &self,
        by: Option<&NodeId>,
        release: &Release,
    ) -> Result<(), OwnershipError> {
        let now = Instant::now();
        let mut state = self.state();
        let by = by.ok_or(OwnershipError::Unnamed)?;
        let places = state.places(&release.parameters)?;
        let stamp = state.stamp(by, release.stamp.as_ref())?;
        for place in places {
            state.hands.release(place, by, &stamp);
            if state.hands.remove_contribution(place, by) {
                state.mix_anew(place, now);
            }
        }
        drop(state);
        Ok(())
    }

    /// Returns the declarations, in order.
    #[must_use]
    pub fn declared(&self) -> Vec<Parameter> {
        self.state().parameters.declared().to_vec()
    }

    /// Returns the values to show, in the order of the declarations.
    #[must_use]
    pub fn values(&self) -> Vec<f32> {
        self.state_now().shown().values().to_vec()
    }

    /// Copies the values to show into `values` if anything changed since `version`; returns their current version.
    ///
    /// Does not allocate once `values` has its size. The first version is 1, so begin with 0.
    pub fn read_since(&self, version: u64, values: &mut Vec<f32>) -> u64 {
        let state = self.state_now();
        if state.version != version {
            values.clear();
            values.extend_from_slice(state.shown().values());
        }
        state.version
    }

    /// Returns the override that an operator has put in force.
    ///
    /// A program draws black during [`Override::Blackout`]; the store itself applies [`Override::Freeze`].
    #[must_use]
    pub fn in_force(&self) -> Option<Override> {
        self.state().in_force
    }

    /// Sets one value, as if it had arrived over the network.
    ///
    /// # Errors
    ///
    /// When there is no such parameter, or it does not accept the value. Nothing has changed then.
    pub fn set(&self, name: &ParameterName, value: f32) -> Result<(), ParameterError> {
        let now = Instant::now();
        let mut state = self.state();
        let place = state.parameters.set(name, value)?;
        state.player.set(place, value, now);
        state.conductor.end(place);
        state.version += 1;
        state.hands.was_set(place, None);
        state.hands.set_mix(place, value, now);
        state.arrivals += 1;
        drop(state);
        self.news.notify_all();
        Ok(())
    }

    /// Handles a received value of one parameter and returns the outcome.
    pub(crate) fn play(
        &self,
        envelope: Option<&Envelope>,
        name: &ParameterName,
        value: f32,
    ) -> Result<ApplyOutcome, ParameterError> {
        let now = Instant::now();
        let by = envelope.map(|envelope| &envelope.from);
        let mut played = ApplyOutcome::default();
        let mut state = self.state();
        let place = state.parameters.index(name)?;
        state.parameters.check_at(place, value)?;
        if !state.may_play(place, by, now, &mut played) {
            return Ok(played);
        }
        state.meet(place);
        let mixed = state.hands.mixed(place, &state.parameters.declared()[place], by, value);
        played.taken = state.player.put(place, envelope, mixed, now);
        if played.taken.taken > 0 {
            state.played_instead(place);
            state.hands.played(place, by, now);
            state.hands.set_contribution(place, by, value, now);
            played.values.push((place, mixed));
        }
        state.arrivals += 1;
        drop(state);
        self.news.notify_all();
        Ok(played)
    }

    /// Handles a received modulation batch and returns the outcome.
    ///
    /// An invalid value refuses the whole batch; parameters owned by other controllers are skipped.
    pub(crate) fn play_frame(
        &self,
        envelope: Option<&Envelope>,
        mut frame: ModulationBatch,
    ) -> Result<ApplyOutcome, ParameterError> {
        let by = envelope.map(|envelope| &envelope.from);
        let mut played = ApplyOutcome::default();
        let now = Instant::now();
        let mut state = self.state();
        for index in &frame.indices {
            let (place, count) = (usize::from(*index), state.parameters.values().len());
            if place >= count {
                return Err(ParameterError::NoPlace { place, count });
            }
        }
        for (place, _, value) in frame.values() {
            state.parameters.check_at(place, value)?;
        }
        let width = frame.indices.len();
        let mut contributed = vec![];
        for (column, index) in frame.indices.iter().enumerate() {
            let place = usize::from(*index);
            let of_column = frame.samples.iter_mut().skip(column).step_by(width.max(1));
            let of_column = of_column.filter(|value| !value.is_nan());
            if !state.may_play(place, by, now, &mut played) {
                // NaN marks a missing value.
                of_column.for_each(|value| *value = f32::NAN);
                continue;
            }
            state.meet(place);
            if state.hands.is_mixed(place) {
                let declared = &state.parameters.declared()[place];
                for value in of_column {
                    contributed.push((place, *value));
                    *value = state.hands.mixed(place, declared, by, *value);
                }
            }
        }
        played.taken = state.player.frame(envelope, &frame, now);
        if played.taken.taken > 0 {
            for (place, value) in frame.last_values() {
                state.played_instead(place);
                state.hands.played(place, by, now);
                played.values.push((place, value));
            }
            for (place, value) in contributed {
                state.hands.set_contribution(place, by, value, now);
            }
        }
        state.arrivals += 1;
        drop(state);
        self.news.notify_all();
        Ok(played)
    }

    /// Sets several values, all or none.
    ///
    /// # Errors
    ///
    /// When a value cannot be set: the first such error. Nothing has changed then.
    pub fn set_all(&self, values: &BTreeMap<ParameterName, f32>) -> Result<(), SetError> {
        if values.is_empty() {
            return Ok(());
        }
        self.change(&Set { parameters: values.clone(), ..Set::default() }).map(|_| ())
    }

    /// Sets values and modulators, all or none, now or at a beat, as if they had arrived over the network.
    ///
    /// # Errors
    ///
    /// When one of them cannot be set, or too many changes are scheduled. Nothing has changed then.
    pub fn change(&self, set: &Set) -> Result<SetReply, SetError> {
        self.change_as(None, WriteMode::Own, set)
    }

    /// Applies a change sent by a node.
    ///
    /// It is also refused if another controller owns a parameter, unless the change claims it.
    pub(crate) fn change_by(&self, by: Option<&NodeId>, set: &Set) -> Result<SetReply, SetError> {
        self.change_as(by, if set.take { WriteMode::Takes } else { WriteMode::Asks }, set)
    }

    fn change_as(
        &self,
        by: Option<&NodeId>,
        claim: WriteMode,
        set: &Set,
    ) -> Result<SetReply, SetError> {
        let moment = self.beat.now();
        let mut state = self.state();
        let change = state.change_of(by, claim, set)?;
        let put = state.conductor.waiting.put(change, set.at, &moment.timeline, moment.at_us)?;
        let report = match put {
            Scheduled::Waits { beat } => SetReply { waits_for: Some(beat), late_for: None },
            Scheduled::Due { change, late_for } => {
                // A late modulator starts at the beat that it was scheduled for.
                state.carry_out(&change, late_for.unwrap_or_else(|| moment.beat()), Instant::now());
                SetReply { waits_for: None, late_for }
            },
        };
        state.arrivals += 1;
        drop(state);
        self.news.notify_all();
        Ok(report)
    }

    /// Puts an override in force, or ends it with `None`. The newest applies: a blackout ends a freeze.
    pub(crate) fn put_in_force(&self, what: Option<Override>) {
        let mut state = self.state_now();
        if state.in_force == what {
            return;
        }
        state.in_force = what;
        state.held = (what == Some(Override::Freeze)).then(|| state.parameters.clone());
        state.version += 1;
    }

    /// Restores the look of an earlier instance.
    ///
    /// Returns an error for every part that no longer fits because the program has changed.
    pub(crate) fn restore(&self, look: &Look) -> Vec<ParameterError> {
        let mut state = self.state();
        let mut left_out = vec![];
        for (name, value) in &look.parameters {
            match state.parameters.set(name, *value) {
                Ok(place) => state.player.set(place, *value, Instant::now()),
                Err(problem) => left_out.push(problem),
            }
        }
        state.version += 1;
        drop(state);
        // The look of a freeze contains the frozen values; modulators continue underneath.
        self.put_in_force(look.in_force);
        let mut state = self.state();
        for (name, modulator) in &look.modulators {
            match state.parameters.index(name) {
                Ok(place) => state.conductor.begin(place, *modulator),
                Err(problem) => left_out.push(problem),
            }
        }
        drop(state);
        left_out
    }

    /// Returns a number that grows with every change.
    pub(crate) fn version(&self) -> u64 {
        self.state_now().version
    }

    /// Returns the look that is shown.
    pub(crate) fn look(&self) -> Look {
        let state = self.state_now();
        Look {
            parameters: state.shown().named_values(),
            modulators: state.conductor.named_modulators(state.parameters.declared()),
            in_force: state.in_force,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp)]
mod tests {
    use hana_protocol::message::Priority;
    use hana_protocol::parameter::Sharing;
    use hana_time::ScheduleAt;

    use super::*;

    fn own() -> NodeId {
        NodeId::new("viz").unwrap()
    }

    fn name(text: &str) -> ParameterName {
        ParameterName::new(text).unwrap()
    }

    fn board() -> ParameterStore {
        let declared = vec![Parameter::new(name("zoom"), 0.0), Parameter::new(name("hue"), 0.5)];
        ParameterStore::new(&own(), declared, |_| JitterBufferSettings {
            delay: Duration::ZERO,
            ..Default::default()
        })
    }

    #[test]
    fn who_has_no_frame_loop_waits_for_what_comes() {
        let board = board();
        assert_eq!(board.wait_for_arrival(0, Duration::from_millis(1)), 0);
        board.set(&name("zoom"), 0.1).unwrap();
        assert_eq!(board.wait_for_arrival(0, Duration::from_secs(10)), 1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| board.wait_for_arrival(1, Duration::from_secs(10)));
            board.set_all(&[(name("hue"), 0.2)].into()).unwrap();
            assert_eq!(waiting.join().unwrap(), 2);
        });
    }

    fn from(node: &str, sequence: u64) -> Envelope {
        let from = NodeId::new(node).unwrap();
        let at = i64::try_from(unix_ms()).unwrap() * 1000;
        // A different instance for each node, because two messages of one instance with the same time are duplicates.
        let instance = u64::try_from(node.len()).unwrap();
        Envelope { from, instance, sequence, at }
    }

    fn take(parameters: &[&str]) -> Take {
        let parameters = parameters.iter().map(|of| name(of)).collect();
        Take { parameters, priority: Priority::default(), stamp: None }
    }

    #[test]
    fn of_a_frame_what_somebody_else_holds_is_left_out_and_counted() {
        let board = board();
        let desk = NodeId::new("desk").unwrap();
        assert_eq!(board.take(Some(&desk), &take(&["hue"])).unwrap().taken, [name("hue")]);
        let frame = ModulationBatch {
            at: from("osc", 0).at,
            after: vec![0],
            indices: vec![0, 1],
            samples: vec![0.1, 0.2],
            ..ModulationBatch::default()
        };
        let played = board.play_frame(Some(&from("osc", 0)), frame).unwrap();
        assert_eq!((played.taken.taken, played.held, played.values), (1, 1, vec![(0, 0.1)]));
        assert_eq!(played.told.unwrap().0.by, desk);
        // The bridge now owns zoom, because it plays it.
        let played = board.play(Some(&from("desk", 0)), &name("zoom"), 0.9).unwrap();
        assert_eq!((played.taken.taken, played.held), (0, 1));
        let played = board.play(Some(&from("desk", 1)), &name("hue"), 0.9).unwrap();
        assert_eq!((played.taken.taken, played.held), (1, 0));
    }

    #[test]
    fn a_set_is_refused_with_the_name_of_the_holder_and_may_take() {
        let board = board();
        let (desk, passing) = (NodeId::new("desk").unwrap(), NodeId::new("hana-1").unwrap());
        board.take(Some(&desk), &take(&["zoom"])).unwrap();
        let parameters = [(name("hue"), 0.1), (name("zoom"), 0.25)].into();
        let set = Set { parameters, ..Set::default() };
        let refused = board.change_by(Some(&passing), &set).unwrap_err().to_string();
        assert!(refused.contains("'desk' has taken zoom"), "{refused}");
        assert_eq!(board.values(), [0.0, 0.5], "all or none");
        let taking = Set { take: true, ..set.clone() };
        assert_eq!(board.change_by(None, &taking), Err(SetError::Unnamed));
        board.change_by(Some(&passing), &taking).unwrap();
        assert_eq!(board.values(), [0.25, 0.1]);
        assert_eq!(board.owners().owner_of(&name("zoom")), None);
        board.change_by(None, &set).unwrap();
        assert_eq!(board.take(None, &take(&["zoom"])), Err(OwnershipError::Unnamed));
        let of_another = Some(Stamp { ms: 1, count: 0, by: passing });
        let refused = board.take(Some(&desk), &Take { stamp: of_another, ..take(&["zoom"]) });
        assert!(matches!(refused, Err(OwnershipError::Stamp { .. })), "{refused:?}");
    }

    #[test]
    fn contributions_by_value_and_by_frame_add_up_and_cannot_be_taken() {
        let glow = Parameter { sharing: Sharing::Mix, ..Parameter::new(name("glow"), 0.0) };
        let usual = JitterBufferSettings { delay: Duration::ZERO, ..Default::default() };
        let board = ParameterStore::new(&own(), vec![glow], |_| usual);
        board.play(Some(&from("desk", 0)), &name("glow"), 0.25).unwrap();
        let frame = ModulationBatch {
            at: from("osc", 0).at,
            after: vec![0],
            indices: vec![0],
            samples: vec![0.5],
            ..ModulationBatch::default()
        };
        let played = board.play_frame(Some(&from("osc", 0)), frame).unwrap();
        assert_eq!(played.values, [(0, 0.75)], "what is shown on the mesh is all together");
        let osc = NodeId::new("osc").unwrap();
        let refused = board.take(Some(&osc), &take(&["glow"]));
        assert!(matches!(refused, Err(OwnershipError::Mixed { .. })), "{refused:?}");
        board
            .release(Some(&osc), &Release { parameters: vec![name("glow")], stamp: None })
            .unwrap();
        assert_eq!(board.values(), [0.25]);
    }

    #[test]
    fn held_is_the_look_as_it_was_and_afterwards_comes_what_was_played() {
        let board = board();
        board.set(&name("zoom"), 0.1).unwrap();
        board.put_in_force(Some(Override::Freeze));
        board.set(&name("zoom"), 0.9).unwrap();
        assert_eq!((board.values(), board.look().parameters[&name("zoom")]), (vec![0.1, 0.5], 0.1));
        let mut seen = vec![];
        let version = board.read_since(0, &mut seen);
        assert_eq!(seen, [0.1, 0.5]);
        board.put_in_force(None);
        assert_ne!(board.read_since(version, &mut seen), version);
        assert_eq!(seen, [0.9, 0.5]);
    }

    #[test]
    fn a_frame_with_one_value_that_cannot_be_played_changes_nothing() {
        let board = board();
        let frame = ModulationBatch {
            after: vec![0],
            indices: vec![0, 1],
            samples: vec![0.1, 0.2],
            ..ModulationBatch::default()
        };
        assert_eq!(board.play_frame(None, frame.clone()).unwrap().taken.taken, 2);
        assert_eq!(board.values(), [0.1, 0.2]);
        for (indices, samples) in [(vec![0, 2], vec![0.5, 0.5]), (vec![0, 1], vec![0.5, 1.5])] {
            let frame = ModulationBatch { indices, samples, ..frame.clone() };
            let problem = board.play_frame(None, frame.clone()).unwrap_err();
            assert_eq!(board.values(), [0.1, 0.2], "{problem}");
        }
    }

    #[test]
    fn the_newest_override_counts_and_under_black_it_is_played_on() {
        let board = board();
        board.put_in_force(Some(Override::Freeze));
        board.put_in_force(Some(Override::Blackout));
        board.set(&name("hue"), -1.0).unwrap();
        assert_eq!((board.in_force(), board.values()), (Some(Override::Blackout), vec![0.0, -1.0]));
        let version = board.version();
        board.put_in_force(Some(Override::Blackout));
        assert_eq!(board.version(), version, "nothing has changed");
    }

    #[test]
    fn an_old_look_is_shown_as_far_as_it_fits() {
        let board = board();
        let parameters = [("zoom", 0.25), ("hue", 7.0), ("gone", 0.0)];
        let look = Look {
            parameters: parameters.map(|(of, value)| (name(of), value)).into(),
            in_force: Some(Override::Freeze),
            ..Look::default()
        };
        assert_eq!(board.restore(&look).len(), 2);
        assert_eq!((board.values(), board.in_force()), (vec![0.25, 0.5], Some(Override::Freeze)));
        board.set(&name("zoom"), 1.0).unwrap();
        assert_eq!(board.values(), [0.25, 0.5], "held from the beginning");
    }

    fn modulator(parameter: &str, text: &str) -> Set {
        Set::default().with_modulator(name(parameter), text.parse().unwrap())
    }

    /// Always half of the range, whatever the beat.
    const STILL: &str = "lfo:sine:1bar:depth=0:offset=0.5";

    #[test]
    fn a_recipe_moves_a_parameter_with_the_beat_and_the_look_says_so() {
        let board = board();
        let sine = modulator("zoom", "lfo:sine:1beat");
        board.change(&sine).unwrap();
        assert_eq!(board.look().modulators, sine.modulators);
        let of = |(timeline, at_us): (Timeline, i64)| {
            sine.modulators[&name("zoom")].value_at(&board.declared()[0], &timeline, at_us)
        };
        for _ in 0..50 {
            let before = of(board.timeline());
            let seen = board.values()[0];
            let after = of(board.timeline());
            // The LFO may turn around between the two readings.
            let (low, high) = (before.min(after) - 0.05, before.max(after) + 0.05);
            assert!((low..=high).contains(&seen), "{before} {seen} {after}");
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(board.values()[1], 0.5, "and no other");
    }

    #[test]
    fn whoever_plays_or_sets_a_parameter_ends_its_modulator() {
        let envelope = |at: i64| Envelope {
            from: NodeId::new("knob").unwrap(),
            instance: 1,
            sequence: at.cast_unsigned(),
            at,
        };
        let frame = ModulationBatch {
            after: vec![0],
            indices: vec![0],
            samples: vec![0.0],
            ..ModulationBatch::default()
        };
        let ways: [&dyn Fn(&ParameterStore); 5] = [
            &|board| board.set(&name("zoom"), 0.0).unwrap(),
            &|board| board.set_all(&[(name("zoom"), 0.0)].into()).unwrap(),
            &|board| assert_eq!(board.play(None, &name("zoom"), 0.0).unwrap().taken.late, 0),
            &|board| {
                assert_eq!(
                    board.play(Some(&envelope(1)), &name("zoom"), 0.0).unwrap().values[0].0,
                    0
                );
            },
            &|board| assert_eq!(board.play_frame(None, frame.clone()).unwrap().taken.taken, 1),
        ];
        for (number, way) in ways.into_iter().enumerate() {
            let board = board();
            board.change(&modulator("zoom", STILL)).unwrap();
            assert_eq!(board.values(), [0.5, 0.5]);
            let version = board.version();
            // Sets the value from before the modulator, which must still count as a change.
            way(&board);
            assert_eq!(board.values(), [0.0, 0.5], "way {number}");
            assert!(board.look().modulators.is_empty(), "way {number}");
            assert_ne!(board.version(), version);
        }
    }

    #[test]
    fn another_recipe_takes_the_place_of_one_and_a_value_beside_it_leaves_it() {
        let board = board();
        board.change(&modulator("zoom", STILL)).unwrap();
        board.change(&modulator("zoom", "lfo:sine:1bar:depth=0:offset=-0.5")).unwrap();
        board.set(&name("hue"), 0.25).unwrap();
        assert_eq!(board.values(), [-0.5, 0.25]);
        assert_eq!(board.look().modulators.len(), 1);
    }

    #[test]
    fn what_belongs_together_waits_for_its_beat_together() {
        let board = board();
        let (timeline, at_us) = board.timeline();
        let beat = timeline.beat_at(at_us) + 0.2;
        let set = Set::default().with(name("zoom"), 0.75).at(ScheduleAt::Beat(beat));
        let set = Set {
            modulators: modulator("hue", "lfo:sine:1bar:depth=0:offset=-1").modulators,
            ..set
        };
        let report = board.change(&set).unwrap();
        assert_eq!(report, SetReply { waits_for: Some(beat), late_for: None });
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let before = board.timeline().1;
            let values = board.values();
            if values == [0.75, -1.0] {
                assert!(board.timeline().1 >= timeline.time_at(beat), "too early");
                break;
            }
            assert_eq!(values, [0.0, 0.5], "all or none");
            assert!(before <= timeline.time_at(beat), "too late");
            assert!(Instant::now() < deadline, "never");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(board.overdue(), 0);
    }

    #[test]
    fn what_is_seen_later_is_given_as_of_then() {
        let board = board();
        let (timeline, at_us) = board.timeline();
        // Half a beat is 250 ms.
        let beat = timeline.beat_at(at_us) + 0.5;
        board.change(&Set::default().with(name("zoom"), 0.75).at(ScheduleAt::Beat(beat))).unwrap();
        board.shown_after(Duration::from_millis(100));
        let deadline = Instant::now() + Duration::from_secs(10);
        while board.values()[0] < 0.5 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        let at_us = timeline.time_at(beat) - 100_000;
        assert!(board.timeline().1 >= at_us);
        assert!(board.timeline_shown().1 - board.timeline().1 > 50_000);
    }

    #[test]
    fn late_change_is_applied_at_once_and_counted() {
        let board = board();
        let report =
            board.change(&Set::default().with(name("zoom"), 0.75).at(ScheduleAt::Beat(-1.0)));
        assert_eq!(report.unwrap(), SetReply { waits_for: None, late_for: Some(-1.0) });
        assert_eq!((board.values()[0], board.overdue()), (0.75, 1));
        // A late one-shot envelope starts at the beat that it was scheduled for.
        let late = modulator("hue", "env:once").at(ScheduleAt::Beat(-100.0));
        board.change(&late).unwrap();
        assert_eq!(board.look().modulators, modulator("hue", "env:at=-100").modulators);
        assert_eq!((board.values()[1], board.overdue()), (0.0, 2));
    }

    #[test]
    fn what_cannot_be_set_changes_nothing_and_says_why() {
        let board = board();
        let good = modulator("zoom", STILL);
        let unknown = Set {
            modulators: [good.modulators.clone(), modulator("gone", STILL).modulators]
                .into_iter()
                .flatten()
                .collect(),
            ..Set::default()
        };
        for (set, said) in [
            (Set::default(), "`parameters`"),
            (good.clone().with(name("zoom"), 0.5), "'zoom' is given a value and a modulator"),
            (unknown, "there is no parameter 'gone'; there are zoom, hue"),
            (good.with(name("hue"), 7.0), "not 7"),
            (
                Set::default().with(name("hue"), 0.0).at(ScheduleAt::Beat(f64::NAN)),
                "NaN is no beat",
            ),
        ] {
            let told = board.change(&set).unwrap_err().to_string();
            assert!(told.contains(said), "{told}");
            assert_eq!((board.values(), board.look().modulators.len()), (vec![0.0, 0.5], 0));
        }
        let waits = Set::default().with(name("hue"), 0.0).at(ScheduleAt::Beat(1e12));
        let refused = (0..1000).find_map(|_| board.change(&waits).err()).unwrap();
        assert!(refused.to_string().contains("256 changes wait"), "{refused}");
    }

    #[test]
    fn a_recipe_goes_on_underneath_what_is_held_and_survives_a_restart_with_it() {
        let board = board();
        board.put_in_force(Some(Override::Freeze));
        board.change(&modulator("zoom", STILL)).unwrap();
        assert_eq!((board.values()[0], board.look().parameters[&name("zoom")]), (0.0, 0.0));
        let look = board.look();
        assert_eq!(look.modulators.len(), 1);

        let again = self::board();
        assert!(again.restore(&look).is_empty());
        assert_eq!((again.values(), again.look()), (vec![0.0, 0.5], look.clone()));
        again.put_in_force(None);
        assert_eq!(again.values(), [0.5, 0.5]);

        let other_program =
            ParameterStore::new(&own(), vec![Parameter::new(name("hue"), 0.0)], |_| {
                JitterBufferSettings::default()
            });
        assert_eq!(other_program.restore(&look).len(), 2, "value and modulator of what is gone");
    }
}
