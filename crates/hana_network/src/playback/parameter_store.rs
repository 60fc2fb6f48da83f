use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::sync::lock::{Condvar, Mutex, MutexGuard};
use hana_engine::ownership::OwnershipArbiter;
use hana_engine::playout::JitterBufferSettings;
use hana_protocol::id::NodeId;
use hana_protocol::message::{
    Look, ModulationBatch, Override, ParameterOwners, Release, Set, SetReply, Take, TakeReply,
};
use hana_protocol::parameter::{Parameter, ParameterError, ParameterName};
use hana_protocol::wire::Envelope;
use hana_time::Timeline;

use crate::clock::wall_clock::unix_ms;
use crate::config::on_controller_lost::OnControllerLost;
use crate::playback::automation::WriteMode;
use crate::playback::ownership_error::OwnershipError;
use crate::playback::playback_state::{ApplyOutcome, PlaybackState, PlaybackTime};
use crate::playback::set_error::SetError;
use crate::time::beat_clock::BeatClock;
use crate::time::beat_instant::BeatInstant;
use crate::time::timeline_handle::TimelineHandle;

/// The parameters of a visualization with their current values.
///
/// The network thread writes received values, and the render loop reads the current values once per frame. Each locks
/// the store for a few microseconds only. While [`Override::Freeze`] is in force, the current values stay unchanged;
/// values received during the freeze are applied when it ends.
///
/// A parameter with a modulator ([`hana_protocol::parameter::Modulator`]) moves automatically with the beat of this
/// machine until it is played or set. A change scheduled for a beat is applied when that beat is reached.
#[derive(Debug)]
pub struct ParameterStore {
    state: Mutex<PlaybackState>,
    /// Notified when a value, a modulation batch or a command arrives.
    updated: Condvar,
    beat: BeatClock,
}

impl ParameterStore {
    /// Creates the parameters; `playout` returns the playout settings of each parameter.
    pub(crate) fn new(
        own: &NodeId,
        declared: Vec<Parameter>,
        playout: impl Fn(&ParameterName) -> JitterBufferSettings,
    ) -> Self {
        Self {
            state: Mutex::new(PlaybackState::new(own, declared, playout, Instant::now())),
            updated: Condvar::new(),
            beat: BeatClock::new(),
        }
    }

    /// Uses the beat of `timeline`, unless the store already follows a timeline.
    pub(crate) fn follow(&self, timeline: TimelineHandle) {
        self.beat.follow(timeline);
    }

    /// Sets the reaction of parameters to the loss of the controller that played them.
    pub(crate) fn on_controller_lost(self, then: OnControllerLost) -> Self {
        self.state.lock().fade = match then {
            OnControllerLost::Keep => None,
            OnControllerLost::FadeToDefault(over) => Some(over),
        };
        self
    }

    /// Locks the state and advances it to the current time.
    fn advanced(&self) -> MutexGuard<'_, PlaybackState> {
        let mut state = self.state.lock();
        state.advance(now(), &self.beat.shown());
        state
    }

    /// Runs `update`; if it succeeds, wakes the threads that wait for an update.
    fn update<T, E>(
        &self,
        update: impl FnOnce(&mut PlaybackState) -> Result<T, E>,
    ) -> Result<T, E> {
        let outcome = update(&mut self.state.lock())?;
        self.updated.notify_all();
        Ok(outcome)
    }

    /// Blocks until the update count differs from `update_count`, at most for `timeout`; returns the current count.
    ///
    /// An update is a received value, modulation batch or command. Pass 0 in the first call. Meant for programs
    /// without a frame loop. A received value takes effect only after the playout delay, so
    /// [`ParameterStore::read_if_changed`] may not return it before that.
    #[must_use]
    pub fn wait_for_update(&self, update_count: u64, timeout: Duration) -> u64 {
        let has_none = |state: &mut PlaybackState| state.update_count == update_count;
        let state = self.state.lock();
        self.updated.wait_timeout_while(state, timeout, has_none).update_count
    }

    /// Sets the delay between the reading of values and their presentation on the screen, at most 100 ms.
    ///
    /// The delay is about half a frame plus the drawing time. Modulators and scheduled changes are evaluated for the
    /// presentation time.
    pub fn set_presentation_delay(&self, delay: Duration) {
        self.beat.set_presentation_delay(delay);
    }

    /// Returns the timeline of modulators and scheduled changes, and the current time of its clock in microseconds.
    ///
    /// Until a timeline is received, the store uses a local one with 120 beats per minute.
    #[must_use]
    pub fn timeline(&self) -> (Timeline, i64) {
        let BeatInstant { timeline, at_us } = self.beat.now();
        (timeline, at_us)
    }

    /// Returns the same timeline as [`timeline`](Self::timeline), for the presentation of values that are read now.
    ///
    /// The time is that at which these values are expected to be presented.
    #[must_use]
    pub fn timeline_shown(&self) -> (Timeline, i64) {
        let BeatInstant { timeline, at_us } = self.beat.shown();
        (timeline, at_us)
    }

    /// Returns the number of scheduled changes that arrived after their beat.
    #[must_use]
    pub fn late_changes(&self) -> u64 {
        self.state.lock().automation.scheduled.late()
    }

    /// Runs `update` on the ownership state.
    pub(crate) fn with_arbiter<T>(&self, update: impl FnOnce(&mut OwnershipArbiter) -> T) -> T {
        update(&mut self.state.lock().arbiter)
    }

    /// Returns the current owners and their version if the version differs from `version`. The first version is 1.
    pub(crate) fn owners_since(&self, version: u64) -> Option<(u64, ParameterOwners)> {
        self.state.lock().owners_since(version, Instant::now())
    }

    /// Returns the owners of the parameters.
    #[must_use]
    pub fn owners(&self) -> ParameterOwners {
        self.state.lock().arbiter.owners(Instant::now())
    }

    /// Handles a claim. Each parameter is granted or refused separately.
    pub(crate) fn take(
        &self,
        by: Option<&NodeId>,
        take: &Take,
    ) -> Result<TakeReply, OwnershipError> {
        self.state.lock().take(by, take, now())
    }

    /// Handles a release.
    pub(crate) fn release(
        &self,
        by: Option<&NodeId>,
        release: &Release,
    ) -> Result<(), OwnershipError> {
        self.state.lock().release(by, release, now())
    }

    /// Returns the declarations of the parameters, in their order.
    #[must_use]
    pub fn declared(&self) -> Vec<Parameter> {
        self.state.lock().parameters.declared().to_vec()
    }

    /// Returns the current values of all parameters, in the order of the declarations.
    #[must_use]
    pub fn values(&self) -> Vec<f32> {
        self.advanced().shown().values().to_vec()
    }

    /// Returns the current value of the parameter with index `place`, in the order of the declarations.
    ///
    /// Returns 0 if the index is out of range.
    #[must_use]
    pub fn value_at(&self, place: usize) -> f32 {
        self.advanced().shown().values().get(place).copied().unwrap_or_default()
    }

    /// Copies the current values into `values` if anything changed since `version`; returns the current version.
    ///
    /// Allocates only while the capacity of `values` is too small. The first version is 1, so pass 0 in the first
    /// call.
    pub fn read_if_changed(&self, version: u64, values: &mut Vec<f32>) -> u64 {
        let state = self.advanced();
        if state.version != version {
            values.clear();
            values.extend_from_slice(state.shown().values());
        }
        state.version
    }

    /// Returns the override that an operator has applied.
    ///
    /// A program draws black during [`Override::Blackout`]; the store itself applies [`Override::Freeze`].
    #[must_use]
    pub fn override_mode(&self) -> Option<Override> {
        self.state.lock().override_mode
    }

    /// Sets one value, as if it had arrived over the network.
    ///
    /// # Errors
    ///
    /// When no parameter has this name, or the parameter does not accept the value. No value is changed then.
    pub fn set(&self, name: &ParameterName, value: f32) -> Result<(), ParameterError> {
        self.update(|state| state.set(name, value, Instant::now()))
    }

    /// Handles a received value of one parameter and returns the outcome.
    pub(crate) fn apply_value(
        &self,
        envelope: Option<&Envelope>,
        name: &ParameterName,
        value: f32,
    ) -> Result<ApplyOutcome, ParameterError> {
        self.update(|state| state.apply_value(envelope, name, value, Instant::now()))
    }

    /// Handles a received modulation batch and returns the outcome.
    ///
    /// A batch with an invalid value is refused as a whole. Values of parameters that other controllers own are
    /// skipped.
    pub(crate) fn apply_batch(
        &self,
        envelope: Option<&Envelope>,
        batch: ModulationBatch,
    ) -> Result<ApplyOutcome, ParameterError> {
        self.update(|state| state.apply_batch(envelope, batch, Instant::now()))
    }

    /// Sets several values, or none if one of them cannot be set.
    ///
    /// # Errors
    ///
    /// When a value cannot be set; the first such error is returned. No value is changed then.
    pub fn set_all(&self, values: &BTreeMap<ParameterName, f32>) -> Result<(), SetError> {
        if values.is_empty() {
            return Ok(());
        }
        self.change(&Set { parameters: values.clone(), ..Set::default() }).map(|_| ())
    }

    /// Sets values and modulators, all or none, now or at a beat, as if they had been received from the network.
    ///
    /// # Errors
    ///
    /// When a value or modulator cannot be set, or too many changes are scheduled. Nothing is changed then.
    pub fn change(&self, set: &Set) -> Result<SetReply, SetError> {
        self.change_as(None, WriteMode::Local, set)
    }

    /// Applies a change sent by a node.
    ///
    /// The change is also refused if another controller owns one of the parameters, unless the change claims them.
    pub(crate) fn change_by(&self, by: Option<&NodeId>, set: &Set) -> Result<SetReply, SetError> {
        self.change_as(by, if set.take { WriteMode::Preempt } else { WriteMode::IfFree }, set)
    }

    fn change_as(
        &self,
        by: Option<&NodeId>,
        mode: WriteMode,
        set: &Set,
    ) -> Result<SetReply, SetError> {
        let beat = self.beat.now();
        self.update(|state| state.change(by, mode, set, now(), &beat))
    }

    /// Applies an override, or ends it with `None`. A new override replaces the previous one: a blackout ends a
    /// freeze.
    pub(crate) fn set_override(&self, mode: Option<Override>) {
        self.advanced().set_override(mode);
    }

    /// Restores the look of an earlier instance.
    ///
    /// Returns an error for each part of the look that does not fit the current parameters.
    pub(crate) fn restore(&self, look: &Look) -> Vec<ParameterError> {
        self.state.lock().restore(look, now(), &self.beat.shown())
    }

    /// Returns a number that increases with every change.
    pub(crate) fn version(&self) -> u64 {
        self.advanced().version
    }

    /// Returns the current look, including the effect of an override.
    pub(crate) fn look(&self) -> Look {
        self.advanced().look()
    }
}

fn now() -> PlaybackTime {
    PlaybackTime { at: Instant::now(), unix_ms: unix_ms() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::thread;

    use super::*;

    fn name(text: &str) -> ParameterName {
        ParameterName::new(text).unwrap()
    }

    fn store() -> ParameterStore {
        let declared = vec![Parameter::new(name("zoom"), 0.0), Parameter::new(name("hue"), 0.5)];
        let viz = NodeId::new("viz").unwrap();
        ParameterStore::new(&viz, declared, |_| JitterBufferSettings::default())
    }

    #[test]
    fn update_wakes_a_waiting_program() {
        let store = store();
        assert_eq!(store.wait_for_update(0, Duration::from_millis(1)), 0);
        store.set(&name("zoom"), 0.1).unwrap();
        assert_eq!(store.wait_for_update(0, Duration::from_secs(10)), 1);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| store.wait_for_update(1, Duration::from_secs(10)));
            store.set_all(&[(name("hue"), 0.2)].into()).unwrap();
            assert_eq!(waiting.join().unwrap(), 2);
        });
    }

    #[test]
    fn values_are_read_only_when_they_changed() {
        let store = store();
        let mut values = vec![];
        let version = store.read_if_changed(0, &mut values);
        assert_eq!(values, [0.0, 0.5]);
        values.clear();
        assert_eq!(store.read_if_changed(version, &mut values), version);
        assert!(values.is_empty());
        store.set(&name("zoom"), 0.9).unwrap();
        assert_ne!(store.read_if_changed(version, &mut values), version);
        assert_eq!(values, [0.9, 0.5]);
    }

    #[test]
    fn presentation_delay_moves_the_shown_beat_ahead() {
        let store = store();
        store.set_presentation_delay(Duration::from_millis(100));
        assert!(store.timeline_shown().1 - store.timeline().1 > 50_000);
    }
}
