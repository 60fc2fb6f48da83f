use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hana_engine::ownership::OwnershipArbiter;
use hana_engine::playout::JitterBufferSettings;
use hana_protocol::id::NodeId;
use hana_protocol::message::{
    Look, ModulationBatch, Override, ParameterOwners, Release, Set, SetReply, Take, TakeReply,
};
use hana_protocol::parameter::{Parameter, ParameterError, ParameterName};
use hana_protocol::wire::Envelope;
use hana_time::Timeline;
use parking_lot::{Condvar, Mutex, MutexGuard};

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
    updated: Condvar,
    beat: BeatClock,
}

impl ParameterStore {
    /// Creates the parameters; `playout` returns the playback settings of each.
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

    /// Uses the beat of `timeline` from now on.
    pub(crate) fn follow(&self, timeline: TimelineHandle) {
        self.beat.follow(timeline);
    }

    /// Sets what happens to the parameters of a controller that is lost.
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

    /// Runs `update`, and wakes those that wait for an update if it succeeds.
    fn update<T, E>(
        &self,
        update: impl FnOnce(&mut PlaybackState) -> Result<T, E>,
    ) -> Result<T, E> {
        let outcome = update(&mut self.state.lock())?;
        self.updated.notify_all();
        Ok(outcome)
    }

    /// Blocks until something arrives after `update_count`, at most for `timeout`; returns the new count.
    ///
    /// An update is a value, a modulation batch or a command; begin with 0. Meant for programs without a frame loop. A
    /// received value is shown when it is due, so [`ParameterStore::read_if_changed`] may return it only after the playout
    /// delay.
    #[must_use]
    pub fn wait_for_update(&self, update_count: u64, timeout: Duration) -> u64 {
        let has_none = |state: &mut PlaybackState| state.update_count == update_count;
        let mut state = self.state.lock();
        self.updated.wait_while_for(&mut state, has_none, timeout);
        state.update_count
    }

    /// Sets the delay between reading values and their presentation, at most 100 ms.
    ///
    /// It is about half a frame plus the drawing time. Modulators and scheduled changes are evaluated at the
    /// presentation time.
    pub fn set_presentation_delay(&self, delay: Duration) {
        self.beat.set_presentation_delay(delay);
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
    pub fn late_changes(&self) -> u64 {
        self.state.lock().automation.scheduled.late()
    }

    /// Runs `update` on the ownership state.
    pub(crate) fn with_arbiter<T>(&self, update: impl FnOnce(&mut OwnershipArbiter) -> T) -> T {
        update(&mut self.state.lock().arbiter)
    }

    /// Returns the current owners and their version, if that differs from `version`. The first version is 1.
    pub(crate) fn owners_since(&self, version: u64) -> Option<(u64, ParameterOwners)> {
        self.state.lock().owners_since(version, Instant::now())
    }

    /// Returns the owners of the parameters.
    #[must_use]
    pub fn owners(&self) -> ParameterOwners {
        self.state.lock().arbiter.owners(Instant::now())
    }

    /// Handles a claim; each parameter is claimed on its own.
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

    /// Returns the declarations, in order.
    #[must_use]
    pub fn declared(&self) -> Vec<Parameter> {
        self.state.lock().parameters.declared().to_vec()
    }

    /// Returns the values to show, in the order of the declarations.
    #[must_use]
    pub fn values(&self) -> Vec<f32> {
        self.advanced().shown().values().to_vec()
    }

    /// Copies the values to show into `values` if anything changed since `version`; returns their current version.
    ///
    /// Does not allocate once `values` has its size. The first version is 1, so begin with 0.
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
    /// When there is no such parameter, or it does not accept the value. Nothing has changed then.
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
    /// An invalid value refuses the whole batch; parameters owned by other controllers are skipped.
    pub(crate) fn apply_batch(
        &self,
        envelope: Option<&Envelope>,
        batch: ModulationBatch,
    ) -> Result<ApplyOutcome, ParameterError> {
        self.update(|state| state.apply_batch(envelope, batch, Instant::now()))
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
        self.change_as(None, WriteMode::Local, set)
    }

    /// Applies a change sent by a node.
    ///
    /// It is also refused if another controller owns a parameter, unless the change claims it.
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

    /// Applies an override, or ends it with `None`. The newest applies: a blackout ends a freeze.
    pub(crate) fn set_override(&self, mode: Option<Override>) {
        self.advanced().set_override(mode);
    }

    /// Restores the look of an earlier instance.
    ///
    /// Returns an error for every part that no longer fits because the program has changed.
    pub(crate) fn restore(&self, look: &Look) -> Vec<ParameterError> {
        self.state.lock().restore(look, now(), &self.beat.shown())
    }

    /// Returns a number that grows with every change.
    pub(crate) fn version(&self) -> u64 {
        self.advanced().version
    }

    /// Returns the look that is shown.
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
