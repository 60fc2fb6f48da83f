use std::collections::BTreeMap;

use hana_protocol::id::NodeId;
use hana_protocol::parameter::{Modulator, Parameter, ParameterName, Parameters};
use hana_time::{ChangeSchedule, Timeline};

/// What moves the parameters of a visualization by the beat: recipes that are in force, and changes that wait for their
/// beat. Pure; once the schedule has grown to its size, nothing of it allocates.
#[derive(Debug)]
pub(crate) struct Automation {
    /// By the places of the parameters.
    recipes: Vec<Option<Modulator>>,
    in_force: usize,
    pub(crate) waiting: ChangeSchedule<AutomatedChange>,
}

/// What was found to be right and is to be done as a whole; parameters by their places.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct AutomatedChange {
    pub(crate) values: Vec<(usize, f32)>,
    pub(crate) recipes: Vec<(usize, Modulator)>,
    pub(crate) by: Option<NodeId>,
    pub(crate) claim: WriteMode,
}

/// What becomes of a change where somebody else holds the parameter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum WriteMode {
    /// It is the program's own: it is made.
    Own,
    /// It is not made.
    #[default]
    Asks,
    /// The parameter is taken from him.
    Takes,
}

/// A moment, on the beat and on the clock of this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BeatInstant {
    /// The timeline that holds then.
    pub(crate) timeline: Timeline,
    /// When it is, in microseconds of the timeline's clock.
    pub(crate) at_us: i64,
}

impl BeatInstant {
    pub(crate) const fn beat(&self) -> f64 {
        self.timeline.beat_at(self.at_us)
    }
}

impl Automation {
    /// Changes that wait, at most.
    const MOST_WAITING: usize = 256;

    pub(crate) fn new(parameters: usize) -> Self {
        Self {
            recipes: vec![None; parameters],
            in_force: 0,
            waiting: ChangeSchedule::new(Self::MOST_WAITING),
        }
    }

    /// From now on, a parameter moves by this.
    pub(crate) fn begin(&mut self, place: usize, recipe: Modulator) {
        if let Some(of) = self.recipes.get_mut(place) {
            self.in_force += usize::from(of.replace(recipe).is_none());
        }
    }

    /// A parameter does not move by itself any more; whether it did.
    pub(crate) fn end(&mut self, place: usize) -> bool {
        let did = self.recipes.get_mut(place).is_some_and(|of| of.take().is_some());
        self.in_force -= usize::from(did);
        did
    }

    /// Whether a parameter moves by itself.
    pub(crate) fn moves(&self, place: usize) -> bool {
        self.recipes.get(place).is_some_and(Option::is_some)
    }

    /// Brings all that move by themselves to where they are at `moment`; whether any has moved.
    pub(crate) fn play(&self, parameters: &mut Parameters, moment: &BeatInstant) -> bool {
        if self.in_force == 0 {
            return false;
        }
        let mut moved = false;
        for (place, recipe) in self.recipes.iter().enumerate() {
            let Some((recipe, parameter)) = recipe.as_ref().zip(parameters.declared().get(place))
            else {
                continue;
            };
            let value = recipe.value_at(parameter, &moment.timeline, moment.at_us);
            let is_new = parameters.values()[place].to_bits() != value.to_bits();
            moved |= is_new && parameters.set_at(place, value).is_ok();
        }
        moved
    }

    /// The recipes, by name.
    pub(crate) fn named_recipes(
        &self,
        declared: &[Parameter],
    ) -> BTreeMap<ParameterName, Modulator> {
        let of = |(recipe, declared): (&Option<Modulator>, &Parameter)| {
            Some((declared.name.clone(), (*recipe)?))
        };
        self.recipes.iter().zip(declared).filter_map(of).collect()
    }
}
