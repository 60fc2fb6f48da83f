use hana_protocol::message::Priority;
use hana_protocol::parameter::Sharing;
use hana_time::{ScheduleAt, Timeline};

use super::*;

/// A modulator whose value is always half of the range, at every beat.
const STILL: &str = "lfo:sine:1bar:depth=0:offset=0.5";

fn id(text: &str) -> NodeId {
    NodeId::new(text).unwrap()
}

fn name(text: &str) -> ParameterName {
    ParameterName::new(text).unwrap()
}

/// A state in virtual time with the default timeline: 120 beats per minute, starting at beat 0.
struct Playback {
    state: PlaybackState,
    start: Instant,
    elapsed: Duration,
    /// The delay between reading a value and its presentation.
    presentation_delay: Duration,
}

impl Playback {
    fn with(declared: Vec<Parameter>) -> Self {
        let (start, elapsed) = (Instant::now(), Duration::ZERO);
        let immediate = JitterBufferSettings { delay: Duration::ZERO, ..Default::default() };
        let state = PlaybackState::new(&id("viz"), declared, |_| immediate, start);
        Self { state, start, elapsed, presentation_delay: Duration::ZERO }
    }

    fn new() -> Self {
        Self::with(vec![Parameter::new(name("zoom"), 0.0), Parameter::new(name("hue"), 0.5)])
    }

    fn now(&self) -> PlaybackTime {
        let elapsed_ms = u64::try_from(self.elapsed.as_millis()).unwrap();
        PlaybackTime { at: self.start + self.elapsed, unix_ms: 1_700_000_000_000 + elapsed_ms }
    }

    fn beat_after(&self, delay: Duration) -> BeatInstant {
        let at_us = i64::try_from((self.elapsed + delay).as_micros()).unwrap();
        BeatInstant { timeline: Timeline::DEFAULT, at_us }
    }

    fn beat(&self) -> f64 {
        self.beat_after(Duration::ZERO).beat()
    }

    fn pass(&mut self, time: Duration) {
        self.elapsed += time;
    }

    /// Advances the time until a beat is reached.
    fn pass_until(&mut self, beat: f64) {
        let at_us = u64::try_from(Timeline::DEFAULT.time_at(beat)).unwrap();
        self.elapsed = self.elapsed.max(Duration::from_micros(at_us));
    }

    fn advanced(&mut self) -> &mut PlaybackState {
        let (now, shown) = (self.now(), self.beat_after(self.presentation_delay));
        self.state.advance(now, &shown);
        &mut self.state
    }

    fn values(&mut self) -> Vec<f32> {
        self.advanced().shown().values().to_vec()
    }

    fn look(&mut self) -> Look {
        self.advanced().look()
    }

    fn set_override(&mut self, mode: Option<Override>) {
        self.advanced().set_override(mode);
    }

    fn set(&mut self, parameter: &str, value: f32) {
        let now = self.now().at;
        self.state.set(&name(parameter), value, now).unwrap();
    }

    fn change(&mut self, set: &Set) -> Result<SetReply, SetError> {
        self.change_as(None, WriteMode::Local, set)
    }

    fn change_as(
        &mut self,
        by: Option<&NodeId>,
        mode: WriteMode,
        set: &Set,
    ) -> Result<SetReply, SetError> {
        let (now, beat) = (self.now(), self.beat_after(Duration::ZERO));
        self.state.change(by, mode, set, now, &beat)
    }

    fn apply_value(
        &mut self,
        envelope: Option<&Envelope>,
        parameter: &str,
        value: f32,
    ) -> ApplyOutcome {
        let now = self.now().at;
        self.state.apply_value(envelope, &name(parameter), value, now).unwrap()
    }

    fn apply_batch(
        &mut self,
        envelope: Option<&Envelope>,
        batch: ModulationBatch,
    ) -> Result<ApplyOutcome, ParameterError> {
        let now = self.now().at;
        self.state.apply_batch(envelope, batch, now)
    }

    fn take(&mut self, by: Option<&NodeId>, take: &Take) -> Result<TakeReply, OwnershipError> {
        let now = self.now();
        self.state.take(by, take, now)
    }

    fn restore(&mut self, look: &Look) -> Vec<ParameterError> {
        let (now, shown) = (self.now(), self.beat_after(Duration::ZERO));
        self.state.restore(look, now, &shown)
    }
}

fn envelope(node: &str, sequence: u64) -> Envelope {
    // Each node has its own instance, because two messages of one instance with the same time are duplicates.
    let instance = u64::try_from(node.len()).unwrap();
    Envelope { from: id(node), instance, sequence, at: 1_700_000_000_000_000 }
}

fn batch(indices: Vec<u16>, samples: Vec<f32>) -> ModulationBatch {
    let at = envelope("osc", 0).at;
    ModulationBatch { at, after: vec![0], indices, samples, ..ModulationBatch::default() }
}

fn take(parameters: &[&str]) -> Take {
    let parameters = parameters.iter().map(|parameter| name(parameter)).collect();
    Take { parameters, priority: Priority::default(), stamp: None }
}

fn modulator(parameter: &str, text: &str) -> Set {
    Set::default().with_modulator(name(parameter), text.parse().unwrap())
}

#[test]
fn batch_skips_and_counts_parameters_of_another_owner() {
    let mut playback = Playback::new();
    let app = id("desk");
    assert_eq!(playback.take(Some(&app), &take(&["hue"])).unwrap().taken, [name("hue")]);
    let batch = batch(vec![0, 1], vec![0.1, 0.2]);
    let outcome = playback.apply_batch(Some(&envelope("osc", 0)), batch).unwrap();
    assert_eq!((outcome.received.taken, outcome.refused), (1, 1));
    assert_eq!(outcome.values, [(0, 0.1)]);
    assert_eq!(outcome.to_report.unwrap().0.by, app);
    // The bridge now owns `zoom`, because it played `zoom`.
    let outcome = playback.apply_value(Some(&envelope("desk", 0)), "zoom", 0.9);
    assert_eq!((outcome.received.taken, outcome.refused), (0, 1));
    let outcome = playback.apply_value(Some(&envelope("desk", 1)), "hue", 0.9);
    assert_eq!((outcome.received.taken, outcome.refused), (1, 0));
}

#[test]
fn set_names_the_owner_and_preempts_on_request() {
    let mut playback = Playback::new();
    let (app, tool) = (id("desk"), id("hana-1"));
    playback.take(Some(&app), &take(&["zoom"])).unwrap();
    let parameters = [(name("hue"), 0.1), (name("zoom"), 0.25)].into();
    let set = Set { parameters, ..Set::default() };
    let refused = playback.change_as(Some(&tool), WriteMode::IfFree, &set).unwrap_err();
    assert!(refused.to_string().contains("'desk' has taken zoom"), "{refused}");
    assert_eq!(playback.values(), [0.0, 0.5], "all or none");
    let unnamed = playback.change_as(None, WriteMode::Preempt, &set);
    assert_eq!(unnamed, Err(SetError::Unnamed));
    playback.change_as(Some(&tool), WriteMode::Preempt, &set).unwrap();
    assert_eq!(playback.values(), [0.25, 0.1]);
    let owners = playback.state.owners_since(0, playback.now().at).unwrap().1;
    assert_eq!(owners.owner_of(&name("zoom")), None);
    playback.change_as(None, WriteMode::IfFree, &set).unwrap();
}

#[test]
fn claim_without_sender_or_with_a_foreign_stamp_is_refused() {
    let mut playback = Playback::new();
    assert_eq!(playback.take(None, &take(&["zoom"])), Err(OwnershipError::Unnamed));
    let stamp = Some(Stamp { ms: 1, count: 0, by: id("hana-1") });
    let refused = playback.take(Some(&id("desk")), &Take { stamp, ..take(&["zoom"]) });
    assert!(matches!(refused, Err(OwnershipError::Stamp { .. })), "{refused:?}");
}

#[test]
fn contributions_to_a_mixed_parameter_add_up_until_released() {
    let glow = Parameter { sharing: Sharing::Mix, ..Parameter::new(name("glow"), 0.0) };
    let mut playback = Playback::with(vec![glow]);
    playback.apply_value(Some(&envelope("desk", 0)), "glow", 0.25);
    playback.pass(Duration::from_millis(1));
    let batch = batch(vec![0], vec![0.5]);
    let outcome = playback.apply_batch(Some(&envelope("osc", 0)), batch).unwrap();
    assert_eq!(outcome.values, [(0, 0.75)], "the echo has the sum");
    let bridge = id("osc");
    let refused = playback.take(Some(&bridge), &take(&["glow"]));
    assert!(matches!(refused, Err(OwnershipError::Mixed { .. })), "{refused:?}");
    let release = Release { parameters: vec![name("glow")], stamp: None };
    let now = playback.now();
    playback.state.release(Some(&bridge), &release, now).unwrap();
    assert_eq!(playback.values(), [0.25]);
}

#[test]
fn lost_controller_fades_its_parameter_to_the_default() {
    let mut playback = Playback::new();
    playback.state.fade = Some(Duration::from_secs(1));
    let app = id("desk");
    playback.state.arbiter.token_added(&app, "token", playback.start);
    playback.apply_value(Some(&envelope("desk", 0)), "zoom", 0.8);
    assert_eq!(playback.values(), [0.8, 0.5]);
    let now = playback.now().at;
    playback.state.arbiter.token_removed(&app, "token", now);
    for _ in 0..100 {
        playback.pass(Duration::from_millis(100));
        let now = playback.now().at;
        playback.state.owners_since(0, now);
        let zoom = playback.values()[0];
        assert!((0.0..=0.8).contains(&zoom), "{zoom}");
    }
    assert_eq!(playback.values(), [0.0, 0.5]);
}

#[test]
fn freeze_keeps_the_look_and_shows_later_values_afterwards() {
    let mut playback = Playback::new();
    playback.set("zoom", 0.1);
    playback.set_override(Some(Override::Freeze));
    playback.set("zoom", 0.9);
    assert_eq!(playback.values(), [0.1, 0.5]);
    assert_eq!(playback.look().parameters[&name("zoom")], 0.1);
    let version = playback.state.version;
    playback.set_override(None);
    assert_ne!(playback.state.version, version);
    assert_eq!(playback.values(), [0.9, 0.5]);
}

#[test]
fn batch_with_one_invalid_value_changes_nothing() {
    let mut playback = Playback::new();
    let valid = ModulationBatch { at: 0, ..batch(vec![0, 1], vec![0.1, 0.2]) };
    assert_eq!(playback.apply_batch(None, valid.clone()).unwrap().received.taken, 2);
    assert_eq!(playback.values(), [0.1, 0.2]);
    for (indices, samples) in [(vec![0, 2], vec![0.5, 0.5]), (vec![0, 1], vec![0.5, 1.5])] {
        let invalid = ModulationBatch { indices, samples, ..valid.clone() };
        let problem = playback.apply_batch(None, invalid).unwrap_err();
        assert_eq!(playback.values(), [0.1, 0.2], "{problem}");
    }
}

#[test]
fn newest_override_applies_and_blackout_keeps_playing() {
    let mut playback = Playback::new();
    playback.set_override(Some(Override::Freeze));
    playback.set_override(Some(Override::Blackout));
    playback.set("hue", -1.0);
    assert_eq!(playback.state.override_mode, Some(Override::Blackout));
    assert_eq!(playback.values(), [0.0, -1.0]);
    let version = playback.state.version;
    playback.set_override(Some(Override::Blackout));
    assert_eq!(playback.state.version, version, "nothing has changed");
}

#[test]
fn restored_look_applies_as_far_as_it_fits() {
    let mut playback = Playback::new();
    let parameters = [("zoom", 0.25), ("hue", 7.0), ("gone", 0.0)];
    let look = Look {
        parameters: parameters.map(|(parameter, value)| (name(parameter), value)).into(),
        in_force: Some(Override::Freeze),
        ..Look::default()
    };
    assert_eq!(playback.restore(&look).len(), 2);
    assert_eq!(playback.values(), [0.25, 0.5]);
    assert_eq!(playback.state.override_mode, Some(Override::Freeze));
    playback.set("zoom", 1.0);
    assert_eq!(playback.values(), [0.25, 0.5], "frozen from the start");
}

#[test]
fn modulator_follows_the_beat_and_appears_in_the_look() {
    let mut playback = Playback::new();
    let sine = modulator("zoom", "lfo:sine:1beat");
    playback.change(&sine).unwrap();
    assert_eq!(playback.look().modulators, sine.modulators);
    let declared = playback.state.parameters.declared()[0].clone();
    let mut seen = vec![];
    for _ in 0..50 {
        playback.pass(Duration::from_millis(20));
        let BeatInstant { timeline, at_us } = playback.beat_after(Duration::ZERO);
        let expected = sine.modulators[&name("zoom")].value_at(&declared, &timeline, at_us);
        assert_eq!(playback.values(), [expected, 0.5]);
        seen.push(expected);
    }
    seen.dedup();
    assert!(seen.len() > 40, "it moves: {seen:?}");
}

#[test]
fn any_write_to_a_parameter_stops_its_modulator() {
    let batch = ModulationBatch { at: 0, ..batch(vec![0], vec![0.0]) };
    let writes: [&dyn Fn(&mut Playback); 5] = [
        &|playback| playback.set("zoom", 0.0),
        &|playback| {
            playback.change(&Set::default().with(name("zoom"), 0.0)).unwrap();
        },
        &|playback| assert_eq!(playback.apply_value(None, "zoom", 0.0).received.late, 0),
        &|playback| {
            let outcome = playback.apply_value(Some(&envelope("knob", 1)), "zoom", 0.0);
            assert_eq!(outcome.values[0].0, 0);
        },
        &|playback| {
            assert_eq!(playback.apply_batch(None, batch.clone()).unwrap().received.taken, 1);
        },
    ];
    for (number, write) in writes.into_iter().enumerate() {
        let mut playback = Playback::new();
        playback.change(&modulator("zoom", STILL)).unwrap();
        assert_eq!(playback.values(), [0.5, 0.5]);
        let version = playback.state.version;
        // The written value equals the value before the modulator started, but must still count as a change.
        write(&mut playback);
        assert_eq!(playback.values(), [0.0, 0.5], "write {number}");
        assert!(playback.look().modulators.is_empty(), "write {number}");
        assert_ne!(playback.state.version, version);
    }
}

#[test]
fn new_modulator_replaces_the_old_one_of_its_parameter() {
    let mut playback = Playback::new();
    playback.change(&modulator("zoom", STILL)).unwrap();
    playback.change(&modulator("zoom", "lfo:sine:1bar:depth=0:offset=-0.5")).unwrap();
    playback.set("hue", 0.25);
    assert_eq!(playback.values(), [-0.5, 0.25]);
    assert_eq!(playback.look().modulators.len(), 1);
}

#[test]
fn scheduled_change_applies_as_a_whole_on_its_beat() {
    let mut playback = Playback::new();
    playback.pass(Duration::from_millis(330));
    let beat = playback.beat() + 0.2;
    let set = Set::default().with(name("zoom"), 0.75).at(ScheduleAt::Beat(beat));
    let modulators = modulator("hue", "lfo:sine:1bar:depth=0:offset=-1").modulators;
    let reply = playback.change(&Set { modulators, ..set }).unwrap();
    assert_eq!(reply, SetReply { waits_for: Some(beat), late_for: None });
    playback.pass(Duration::from_millis(99));
    assert_eq!(playback.values(), [0.0, 0.5], "all or none");
    playback.pass_until(beat + 1e-4);
    assert_eq!(playback.values(), [0.75, -1.0]);
    assert_eq!(playback.state.automation.scheduled.late(), 0);
}

#[test]
fn scheduled_change_is_evaluated_at_the_presentation_time() {
    let mut playback = Playback::new();
    playback.presentation_delay = Duration::from_millis(100);
    // Half a beat is 250 ms.
    let set = Set::default().with(name("zoom"), 0.75).at(ScheduleAt::Beat(0.5));
    playback.change(&set).unwrap();
    playback.pass(Duration::from_millis(149));
    assert_eq!(playback.values()[0], 0.0);
    playback.pass(Duration::from_millis(2));
    assert_eq!(playback.values()[0], 0.75);
}

#[test]
fn late_change_applies_at_once_and_is_counted() {
    let mut playback = Playback::new();
    let set = Set::default().with(name("zoom"), 0.75).at(ScheduleAt::Beat(-1.0));
    let reply = playback.change(&set).unwrap();
    assert_eq!(reply, SetReply { waits_for: None, late_for: Some(-1.0) });
    assert_eq!((playback.values()[0], playback.state.automation.scheduled.late()), (0.75, 1));
    // A one-shot envelope that arrives late starts at the beat for which it was scheduled.
    playback.change(&modulator("hue", "env:once").at(ScheduleAt::Beat(-100.0))).unwrap();
    assert_eq!(playback.look().modulators, modulator("hue", "env:at=-100").modulators);
    assert_eq!((playback.values()[1], playback.state.automation.scheduled.late()), (0.0, 2));
}

#[test]
fn invalid_change_changes_nothing_and_names_the_fault() {
    let mut playback = Playback::new();
    let valid = modulator("zoom", STILL);
    let unknown = [valid.modulators.clone(), modulator("gone", STILL).modulators];
    let unknown = Set { modulators: unknown.into_iter().flatten().collect(), ..Set::default() };
    let not_a_beat = ScheduleAt::Beat(f64::NAN);
    for (set, expected) in [
        (Set::default(), "`parameters`"),
        (valid.clone().with(name("zoom"), 0.5), "'zoom'"),
        (unknown, "there is no parameter 'gone'; there are zoom, hue"),
        (valid.with(name("hue"), 7.0), "not 7"),
        (Set::default().with(name("hue"), 0.0).at(not_a_beat), "NaN is no beat"),
    ] {
        let error = playback.change(&set).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!((playback.values(), playback.look().modulators.len()), (vec![0.0, 0.5], 0));
    }
    let scheduled = Set::default().with(name("hue"), 0.0).at(ScheduleAt::Beat(1e12));
    let refused = (0..1000).find_map(|_| playback.change(&scheduled).err()).unwrap();
    assert!(refused.to_string().contains("256 changes wait"), "{refused}");
}

#[test]
fn modulator_continues_during_a_freeze_and_after_a_restart() {
    let mut playback = Playback::new();
    playback.set_override(Some(Override::Freeze));
    playback.change(&modulator("zoom", STILL)).unwrap();
    assert_eq!(playback.values()[0], 0.0);
    let look = playback.look();
    assert_eq!((look.parameters[&name("zoom")], look.modulators.len()), (0.0, 1));

    let mut restarted = Playback::new();
    assert!(restarted.restore(&look).is_empty());
    assert_eq!((restarted.values(), restarted.look()), (vec![0.0, 0.5], look.clone()));
    restarted.set_override(None);
    assert_eq!(restarted.values(), [0.5, 0.5]);

    let mut other_program = Playback::with(vec![Parameter::new(name("hue"), 0.0)]);
    assert_eq!(other_program.restore(&look).len(), 2, "value and modulator of the removed one");
}
