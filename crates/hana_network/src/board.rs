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
use hana_protocol::Taken;

use crate::hands::Hands;

/// The parameters of a visualization with their current values.
///
/// The network writes what it is sent, the render loop reads once a frame, and gets what is to be shown at that
/// moment. Held for some microseconds by either; neither waits for the other's work. While [`Override::Hold`] is in force, what is shown stays as it was, and what is played is kept for afterwards.
#[derive(Debug)]
pub struct Board {
    state: Mutex<State>,
    /// Told when something has come.
    news: Condvar,
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
}

impl State {
    /// Brings what is played as far as it is by now.
    fn advance(&mut self, now: Instant) {
        let Self { parameters, player, version, .. } = self;
        player.advance(now, |place, value| {
            // A value between two that it takes, it takes too.
            if parameters.values()[place].to_bits() != value.to_bits()
                && parameters.set_at(place, value).is_ok()
            {
                *version += 1;
            }
        });
        self.ease(now);
    }

    /// Brings what is on its way back to its default as far as it is by now.
    fn ease(&mut self, now: Instant) {
        let Self { parameters, player, hands: Some(hands), version, .. } = self else { return };
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
            parameters,
            held: None,
            in_force: None,
            version: 1,
            arrivals: 0,
            hands: None,
        };
        Self { state: Mutex::new(state), news: Condvar::new() }
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
        state.advance(Instant::now());
        state
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
        let taken = state.player.put(place, envelope, value, now);
        if taken.taken > 0 {
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
        let taken = state.player.frame(envelope, frame, now);
        if taken.taken > 0 && state.hands.is_some() {
            for (place, _) in frame.last_values() {
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
    pub fn set_all(&self, values: &BTreeMap<ParameterName, f32>) -> Result<(), ParameterError> {
        self.set_all_by(None, values)
    }

    /// The same, by an app.
    pub(crate) fn set_all_by(
        &self,
        by: Option<&NodeId>,
        values: &BTreeMap<ParameterName, f32>,
    ) -> Result<(), ParameterError> {
        let mut state = self.state();
        state.parameters.set_all(values)?;
        state.version += 1;
        let now = Instant::now();
        for (name, value) in values {
            let place = state.parameters.index(name)?;
            state.player.set(place, *value, now);
            state.was_played(place, by);
        }
        state.arrivals += 1;
        drop(state);
        self.news.notify_all();
        Ok(())
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
        self.put_in_force(look.in_force);
        left_out
    }

    /// A number that grows with every change.
    pub(crate) fn version(&self) -> u64 {
        self.state_now().version
    }

    /// What is shown.
    pub(crate) fn look(&self) -> Look {
        let state = self.state_now();
        Look { parameters: state.shown().named_values(), in_force: state.in_force }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
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
        };
        assert_eq!(board.restore(&look).len(), 2);
        assert_eq!((board.values(), board.in_force()), (vec![0.25, 0.5], Some(Override::Hold)));
        board.set(&name("zoom"), 1.0).unwrap();
        assert_eq!(board.values(), [0.25, 0.5], "held from the beginning");
    }
}
