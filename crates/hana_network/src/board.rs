use std::collections::BTreeMap;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use hana_protocol::Envelope;
use hana_protocol::Look;
use hana_protocol::ModulationFrame;
use hana_protocol::NodeId;
use hana_protocol::Override;
use hana_protocol::Parameter;
use hana_protocol::ParameterError;
use hana_protocol::ParameterName;
use hana_protocol::Parameters;
use hana_protocol::Player;
use hana_protocol::PlayoutSettings;
use hana_protocol::ScheduleError;
use hana_protocol::Scheduled;
use hana_protocol::Set;
use hana_protocol::SetReport;
use hana_protocol::Taken;
use hana_protocol::Timeline;
use thiserror::Error;

use crate::TimelineWatch;
use crate::beat_clock::BeatClock;
use crate::conductor::Change;
use crate::conductor::Conductor;
use crate::conductor::Moment;
use crate::hands::Hands;

/// The parameters of a visualization with their current values.
///
/// The network writes what it is sent, the render loop reads once a frame, and gets what is to be shown at that
/// moment. Held for some microseconds by either; neither waits for the other's work. While [`Override::Hold`] is in force, what is shown stays as it was, and what is played is kept for afterwards.
///
/// A parameter with a recipe ([`ModulationSource`](hana_protocol::ModulationSource)) moves by itself, with the beat of this machine, until it is played or
/// set; changes that wait for a beat are made when that is there.
#[derive(Debug)]
pub struct Board {
    state: Mutex<State>,
    /// Told when something has come.
    news: Condvar,
    beat: BeatClock,
}

/// Why a [`Set`] was not carried out. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SetError {
    /// A parameter that there is not, or a value that it does not take.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// It cannot wait for its beat.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A parameter is given both.
    #[error("'{name}' is given a value and a recipe; it takes one of them")]
    ValueAndRecipe {
        /// The parameter.
        name: ParameterName,
    },
    /// There is nothing in it.
    #[error("nothing is to be set; name values in `parameters`, or recipes in `recipes`")]
    Nothing,
}

#[derive(Debug)]
struct State {
    /// What is played, as of when it was looked at last.
    parameters: Parameters,
    /// What is yet to be shown, and when.
    player: Player,
    /// What is shown while it is held.
    held: Option<Parameters>,
    in_force: Option<Override>,
    version: u64,
    /// How often something has come.
    arrivals: u64,
    /// Who plays what, where that matters.
    hands: Option<Hands>,
    /// What moves by the beat.
    conductor: Conductor,
}

impl State {
    /// Brings what is played as far as it is by now; what goes by the beat, as far as it will be when this is seen.
    fn advance(&mut self, now: Instant, shown: &Moment) {
        while let Some((change, beat)) =
            self.conductor.waiting.take_due(&shown.timeline, shown.at_us)
        {
            self.carry_out(&change, beat, now);
        }
        let Self { parameters, player, version, conductor, .. } = self;
        player.advance(now, |place, value| {
            // A value between two that it takes, it takes too.
            if parameters.values()[place].to_bits() != value.to_bits()
                && parameters.set_at(place, value).is_ok()
            {
                *version += 1;
            }
        });
        *version += u64::from(conductor.play(parameters, shown));
        self.ease(now);
    }

    /// Does what was found to be right, from `beat` on.
    fn carry_out(&mut self, change: &Change, beat: f64, now: Instant) {
        for (place, value) in &change.values {
            if self.parameters.set_at(*place, *value).is_ok() {
                self.conductor.end(*place);
                self.player.set(*place, *value, now);
                self.was_played(*place, change.by.as_ref());
            }
        }
        for (place, recipe) in &change.recipes {
            // What was sent before is over.
            self.player.set(*place, self.parameters.values()[*place], now);
            self.conductor.begin(*place, recipe.begun_at(beat));
            self.was_played(*place, change.by.as_ref());
        }
        self.version += 1;
    }

    /// What `set` says, by places, if all of it can be done.
    fn change_of(&self, by: Option<&NodeId>, set: &Set) -> Result<Change, SetError> {
        if set.parameters.is_empty() && set.recipes.is_empty() {
            return Err(SetError::Nothing);
        }
        let mut change = Change { by: by.cloned(), ..Change::default() };
        for (name, value) in &set.parameters {
            let place = self.parameters.index(name)?;
            self.parameters.check_at(place, *value)?;
            change.values.push((place, *value));
        }
        for (name, recipe) in &set.recipes {
            if set.parameters.contains_key(name) {
                return Err(SetError::ValueAndRecipe { name: name.clone() });
            }
            change.recipes.push((self.parameters.index(name)?, *recipe));
        }
        Ok(change)
    }

    /// Something is about to be played: it goes on from where a recipe has brought the parameter.
    fn meet(&mut self, place: usize, now: Instant) {
        if self.conductor.moves(place) {
            self.player.resume_from(place, self.parameters.values()[place], now);
        }
    }

    /// A parameter was played: it moves by itself no more.
    fn played_instead(&mut self, place: usize) {
        if self.conductor.end(place) {
            self.version += 1;
        }
    }

    /// Brings what is on its way back to its default as far as it is by now.
    fn ease(&mut self, now: Instant) {
        let Self { parameters, player, hands: Some(hands), version, conductor, .. } = self else {
            return;
        };
        if hands.is_idle() {
            return;
        }
        let eased = hands.ease(now, |name| {
            let index = parameters.index(name).ok()?;
            Some((parameters.values()[index], parameters.declared()[index].default))
        });
        for (name, value) in eased {
            // A value between two that it takes, it takes too.
            if let Ok(place) = parameters.set(&name, value) {
                player.set(place, value, now);
                conductor.end(place);
                *version += 1;
            }
        }
    }

    fn was_played(&mut self, place: usize, by: Option<&NodeId>) {
        if let Some(hands) = &mut self.hands {
            hands.played(&self.parameters.declared()[place].name, by);
        }
    }

    fn shown(&self) -> &Parameters {
        self.held.as_ref().unwrap_or(&self.parameters)
    }
}

impl Board {
    /// `playout` says of each parameter how it is played.
    pub(crate) fn new(
        declared: Vec<Parameter>,
        playout: impl Fn(&ParameterName) -> PlayoutSettings,
    ) -> Self {
        let parameters = Parameters::new(declared);
        let settings: Vec<_> =
            parameters.declared().iter().map(|declared| playout(&declared.name)).collect();
        let state = State {
            player: Player::new(&settings, parameters.values(), Instant::now()),
            conductor: Conductor::new(parameters.declared().len()),
            parameters,
            held: None,
            in_force: None,
            version: 1,
            arrivals: 0,
            hands: None,
        };
        Self { state: Mutex::new(state), news: Condvar::new(), beat: BeatClock::new() }
    }

    /// From now on, it goes by the beat that `watch` says.
    pub(crate) fn follow(&self, watch: TimelineWatch) {
        self.beat.follow(watch);
    }

    /// The same, with an eye on who plays what.
    pub(crate) fn with_hands(self, hands: Option<Hands>) -> Self {
        self.state().hands = hands;
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until something has come since `arrivals`, be it a value, a frame or a command, at most for `timeout`; how
    /// often something has come by then. The first is 0. For programs without a frame loop. What has come is shown when
    /// its time comes, so [`Board::read_since`] may find it only a playout delay later.
    #[must_use]
    pub fn wait_for_arrival(&self, arrivals: u64, timeout: Duration) -> u64 {
        let has_none = |state: &mut State| state.arrivals == arrivals;
        let waited = self.news.wait_timeout_while(self.state(), timeout, has_none);
        waited.unwrap_or_else(PoisonError::into_inner).0.arrivals
    }

    /// As of now.
    fn state_now(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.advance(Instant::now(), &self.beat.shown());
        state
    }

    /// What is read from now on is seen so much later, 100 ms at most: half a frame and the time that drawing takes, say.
    /// Recipes, and changes that wait for a beat, are given as they shall be then.
    pub fn shown_after(&self, delay: Duration) {
        self.beat.shown_after(delay);
    }

    /// The timeline that recipes and changes go by, and the time that it is now, in microseconds of its clock. Where nobody
    /// has said one, it is one of this machine's own, of 120 beats a minute.
    #[must_use]
    pub fn timeline(&self) -> (Timeline, i64) {
        let Moment { timeline, at_us } = self.beat.now();
        (timeline, at_us)
    }

    /// The same for the moment at which what is read now will be seen.
    #[must_use]
    pub fn timeline_shown(&self) -> (Timeline, i64) {
        let Moment { timeline, at_us } = self.beat.shown();
        (timeline, at_us)
    }

    /// How many changes came after the beat that they were for.
    #[must_use]
    pub fn overdue(&self) -> u64 {
        self.state().conductor.waiting.late()
    }

    /// Tells what was seen of apps to whoever has an eye on that.
    pub(crate) fn tell_hands(&self, tell: impl FnOnce(&mut Hands)) {
        if let Some(hands) = &mut self.state().hands {
            tell(hands);
        }
    }

    /// The declarations, in order.
    #[must_use]
    pub fn declared(&self) -> Vec<Parameter> {
        self.state().parameters.declared().to_vec()
    }

    /// The values to be shown, in the order of the declarations.
    #[must_use]
    pub fn values(&self) -> Vec<f32> {
        self.state_now().shown().values().to_vec()
    }

    /// Copies the values to be shown into `values` if anything changed since `version`; the version they have now.
    /// Does not allocate once `values` has its size. The first version is 1: begin with 0.
    pub fn read_since(&self, version: u64, values: &mut Vec<f32>) -> u64 {
        let state = self.state_now();
        if state.version != version {
            values.clear();
            values.extend_from_slice(state.shown().values());
        }
        state.version
    }

    /// What a person has put in force over what is played. A program draws black during [`Override::Blackout`];
    /// [`Override::Hold`] is seen to here.
    #[must_use]
    pub fn in_force(&self) -> Option<Override> {
        self.state().in_force
    }

    /// Sets one value, as if it had come over the network.
    ///
    /// # Errors
    ///
    /// When there is no such parameter, or it does not take the value; nothing has changed then.
    pub fn set(&self, name: &ParameterName, value: f32) -> Result<(), ParameterError> {
        self.set_by(None, name, value)
    }

    /// The same, by an app.
    pub(crate) fn set_by(
        &self,
        by: Option<&NodeId>,
        name: &ParameterName,
        value: f32,
    ) -> Result<(), ParameterError> {
        let mut state = self.state();
        let place = state.parameters.set(name, value)?;
        state.player.set(place, value, Instant::now());
        state.conductor.end(place);
        state.version += 1;
        state.was_played(place, by);
        state.arrivals += 1;
        drop(state);
        self.news.notify_all();
        Ok(())
    }

    /// A value has come for one parameter: its place, and what became of the value.
    pub(crate) fn play(
        &self,
        envelope: Option<&Envelope>,
        name: &ParameterName,
        value: f32,
    ) -> Result<(usize, Taken), ParameterError> {
        let now = Instant::now();
        let mut state = self.state();
        let place = state.parameters.index(name)?;
        state.parameters.check_at(place, value)?;
        state.meet(place, now);
        let taken = state.player.put(place, envelope, value, now);
        if taken.taken > 0 {
            state.played_instead(place);
            state.was_played(place, envelope.map(|envelope| &envelope.from));
        }
        state.arrivals += 1;
        drop(state);
        self.news.notify_all();
        Ok((place, taken))
    }

    /// A frame has come: what became of its values. One that cannot be played refuses all of it.
    pub(crate) fn play_frame(
        &self,
        envelope: Option<&Envelope>,
        frame: &ModulationFrame,
    ) -> Result<Taken, ParameterError> {
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
        for index in &frame.indices {
            state.meet(usize::from(*index), now);
        }
        let taken = state.player.frame(envelope, frame, now);
        if taken.taken > 0 {
            for (place, _) in frame.last_values() {
                state.played_instead(place);
                state.was_played(place, envelope.map(|envelope| &envelope.from));
            }
        }
        state.arrivals += 1;
        drop(state);
        self.news.notify_all();
        Ok(taken)
    }

    /// Sets several values, all or none.
    ///
    /// # Errors
    ///
    /// The first that cannot be set; nothing has changed then.
    pub fn set_all(&self, values: &BTreeMap<ParameterName, f32>) -> Result<(), SetError> {
        if values.is_empty() {
            return Ok(());
        }
        self.change(&Set { parameters: values.clone(), ..Set::default() }).map(|_| ())
    }

    /// Sets values and recipes, all or none, now or at a beat, as if it had come over the network.
    ///
    /// # Errors
    ///
    /// The first that cannot be set; or that too many changes wait. Nothing has changed then.
    pub fn change(&self, set: &Set) -> Result<SetReport, SetError> {
        self.change_by(None, set)
    }

    /// The same, by an app.
    pub(crate) fn change_by(&self, by: Option<&NodeId>, set: &Set) -> Result<SetReport, SetError> {
        let moment = self.beat.now();
        let mut state = self.state();
        let change = state.change_of(by, set)?;
        let put = state.conductor.waiting.put(change, set.at, &moment.timeline, moment.at_us)?;
        let report = match put {
            Scheduled::Waits { beat } => SetReport { waits_for: Some(beat), late_for: None },
            Scheduled::Due { change, late_for } => {
                // What is late has begun when it should have.
                state.carry_out(&change, late_for.unwrap_or_else(|| moment.beat()), Instant::now());
                SetReport { waits_for: None, late_for }
            },
        };
        state.arrivals += 1;
        drop(state);
        self.news.notify_all();
        Ok(report)
    }

    /// Puts something in force, or takes it back. The newest counts: a blackout ends a hold.
    pub(crate) fn put_in_force(&self, what: Option<Override>) {
        let mut state = self.state_now();
        if state.in_force == what {
            return;
        }
        state.in_force = what;
        state.held = (what == Some(Override::Hold)).then(|| state.parameters.clone());
        state.version += 1;
    }

    /// Shows a look of an earlier run again. What does not fit any more, since the program has changed, is left out;
    /// in plain words, why.
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
        // What was held is the values; what moves goes on underneath.
        self.put_in_force(look.in_force);
        let mut state = self.state();
        for (name, recipe) in &look.recipes {
            match state.parameters.index(name) {
                Ok(place) => state.conductor.begin(place, *recipe),
                Err(problem) => left_out.push(problem),
            }
        }
        drop(state);
        left_out
    }

    /// A number that grows with every change.
    pub(crate) fn version(&self) -> u64 {
        self.state_now().version
    }

    /// What is shown.
    pub(crate) fn look(&self) -> Look {
        let state = self.state_now();
        Look {
            parameters: state.shown().named_values(),
            recipes: state.conductor.named_recipes(state.parameters.declared()),
            in_force: state.in_force,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp)]
mod tests {
    use hana_protocol::When;

    use super::*;

    fn name(text: &str) -> ParameterName {
        ParameterName::new(text).unwrap()
    }

    fn board() -> Board {
        let declared = vec![Parameter::new(name("zoom"), 0.0), Parameter::new(name("hue"), 0.5)];
        Board::new(declared, |_| PlayoutSettings { delay: Duration::ZERO, ..Default::default() })
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

    #[test]
    fn held_is_the_look_as_it_was_and_afterwards_comes_what_was_played() {
        let board = board();
        board.set(&name("zoom"), 0.1).unwrap();
        board.put_in_force(Some(Override::Hold));
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
        let frame = ModulationFrame {
            after: vec![0],
            indices: vec![0, 1],
            samples: vec![0.1, 0.2],
            ..ModulationFrame::default()
        };
        assert_eq!(board.play_frame(None, &frame).unwrap().taken, 2);
        assert_eq!(board.values(), [0.1, 0.2]);
        for (indices, samples) in [(vec![0, 2], vec![0.5, 0.5]), (vec![0, 1], vec![0.5, 1.5])] {
            let frame = ModulationFrame { indices, samples, ..frame.clone() };
            let problem = board.play_frame(None, &frame).unwrap_err();
            assert_eq!(board.values(), [0.1, 0.2], "{problem}");
        }
    }

    #[test]
    fn the_newest_override_counts_and_under_black_it_is_played_on() {
        let board = board();
        board.put_in_force(Some(Override::Hold));
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
            in_force: Some(Override::Hold),
            ..Look::default()
        };
        assert_eq!(board.restore(&look).len(), 2);
        assert_eq!((board.values(), board.in_force()), (vec![0.25, 0.5], Some(Override::Hold)));
        board.set(&name("zoom"), 1.0).unwrap();
        assert_eq!(board.values(), [0.25, 0.5], "held from the beginning");
    }

    fn recipe(parameter: &str, text: &str) -> Set {
        Set::default().with_recipe(name(parameter), text.parse().unwrap())
    }

    /// Half way up, whatever the beat.
    const STILL: &str = "lfo:sine:1bar:depth=0:offset=0.5";

    #[test]
    fn a_recipe_moves_a_parameter_with_the_beat_and_the_look_says_so() {
        let board = board();
        let sine = recipe("zoom", "lfo:sine:1beat");
        board.change(&sine).unwrap();
        assert_eq!(board.look().recipes, sine.recipes);
        let of = |(timeline, at_us): (Timeline, i64)| {
            sine.recipes[&name("zoom")].value_at(&board.declared()[0], &timeline, at_us)
        };
        for _ in 0..50 {
            let before = of(board.timeline());
            let seen = board.values()[0];
            let after = of(board.timeline());
            // It may be at an end of its swing between the two.
            let (low, high) = (before.min(after) - 0.05, before.max(after) + 0.05);
            assert!((low..=high).contains(&seen), "{before} {seen} {after}");
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(board.values()[1], 0.5, "and no other");
    }

    #[test]
    fn whoever_plays_or_sets_a_parameter_ends_its_recipe() {
        let envelope = |at: i64| Envelope {
            from: NodeId::new("knob").unwrap(),
            instance: 1,
            sequence: at.cast_unsigned(),
            at,
        };
        let frame = ModulationFrame {
            after: vec![0],
            indices: vec![0],
            samples: vec![0.0],
            ..ModulationFrame::default()
        };
        let ways: [&dyn Fn(&Board); 5] = [
            &|board| board.set(&name("zoom"), 0.0).unwrap(),
            &|board| board.set_all(&[(name("zoom"), 0.0)].into()).unwrap(),
            &|board| assert_eq!(board.play(None, &name("zoom"), 0.0).unwrap().1.late, 0),
            &|board| assert_eq!(board.play(Some(&envelope(1)), &name("zoom"), 0.0).unwrap().0, 0),
            &|board| assert_eq!(board.play_frame(None, &frame).unwrap().taken, 1),
        ];
        for (number, way) in ways.into_iter().enumerate() {
            let board = board();
            board.change(&recipe("zoom", STILL)).unwrap();
            assert_eq!(board.values(), [0.5, 0.5]);
            let version = board.version();
            // To where it was before the recipe, which must not be taken for nothing new.
            way(&board);
            assert_eq!(board.values(), [0.0, 0.5], "way {number}");
            assert!(board.look().recipes.is_empty(), "way {number}");
            assert_ne!(board.version(), version);
        }
    }

    #[test]
    fn another_recipe_takes_the_place_of_one_and_a_value_beside_it_leaves_it() {
        let board = board();
        board.change(&recipe("zoom", STILL)).unwrap();
        board.change(&recipe("zoom", "lfo:sine:1bar:depth=0:offset=-0.5")).unwrap();
        board.set(&name("hue"), 0.25).unwrap();
        assert_eq!(board.values(), [-0.5, 0.25]);
        assert_eq!(board.look().recipes.len(), 1);
    }

    #[test]
    fn what_belongs_together_waits_for_its_beat_together() {
        let board = board();
        let (timeline, at_us) = board.timeline();
        let beat = timeline.beat_at(at_us) + 0.2;
        let set = Set::default().with(name("zoom"), 0.75).at(When::Beat(beat));
        let set = Set { recipes: recipe("hue", "lfo:sine:1bar:depth=0:offset=-1").recipes, ..set };
        let report = board.change(&set).unwrap();
        assert_eq!(report, SetReport { waits_for: Some(beat), late_for: None });
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
        // Half a beat is a quarter of a second.
        let beat = timeline.beat_at(at_us) + 0.5;
        board.change(&Set::default().with(name("zoom"), 0.75).at(When::Beat(beat))).unwrap();
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
    fn a_change_that_comes_too_late_is_made_at_once_and_counted() {
        let board = board();
        let report = board.change(&Set::default().with(name("zoom"), 0.75).at(When::Beat(-1.0)));
        assert_eq!(report.unwrap(), SetReport { waits_for: None, late_for: Some(-1.0) });
        assert_eq!((board.values()[0], board.overdue()), (0.75, 1));
        // An envelope that goes off once has gone off when it should have.
        let late = recipe("hue", "env:once").at(When::Beat(-100.0));
        board.change(&late).unwrap();
        assert_eq!(board.look().recipes, recipe("hue", "env:at=-100").recipes);
        assert_eq!((board.values()[1], board.overdue()), (0.0, 2));
    }

    #[test]
    fn what_cannot_be_set_changes_nothing_and_says_why() {
        let board = board();
        let good = recipe("zoom", STILL);
        let unknown = Set {
            recipes: [good.recipes.clone(), recipe("gone", STILL).recipes]
                .into_iter()
                .flatten()
                .collect(),
            ..Set::default()
        };
        for (set, said) in [
            (Set::default(), "`parameters`"),
            (good.clone().with(name("zoom"), 0.5), "'zoom' is given a value and a recipe"),
            (unknown, "there is no parameter 'gone'; there are zoom, hue"),
            (good.with(name("hue"), 7.0), "not 7"),
            (Set::default().with(name("hue"), 0.0).at(When::Beat(f64::NAN)), "NaN is no beat"),
        ] {
            let told = board.change(&set).unwrap_err().to_string();
            assert!(told.contains(said), "{told}");
            assert_eq!((board.values(), board.look().recipes.len()), (vec![0.0, 0.5], 0));
        }
        let waits = Set::default().with(name("hue"), 0.0).at(When::Beat(1e12));
        let refused = (0..1000).find_map(|_| board.change(&waits).err()).unwrap();
        assert!(refused.to_string().contains("256 changes wait"), "{refused}");
    }

    #[test]
    fn a_recipe_goes_on_underneath_what_is_held_and_survives_a_restart_with_it() {
        let board = board();
        board.put_in_force(Some(Override::Hold));
        board.change(&recipe("zoom", STILL)).unwrap();
        assert_eq!((board.values()[0], board.look().parameters[&name("zoom")]), (0.0, 0.0));
        let look = board.look();
        assert_eq!(look.recipes.len(), 1);

        let again = self::board();
        assert!(again.restore(&look).is_empty());
        assert_eq!((again.values(), again.look()), (vec![0.0, 0.5], look.clone()));
        again.put_in_force(None);
        assert_eq!(again.values(), [0.5, 0.5]);

        let other_program =
            Board::new(vec![Parameter::new(name("hue"), 0.0)], |_| PlayoutSettings::default());
        assert_eq!(other_program.restore(&look).len(), 2, "value and recipe of what is gone");
    }
}
