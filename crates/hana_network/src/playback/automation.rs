use std::collections::BTreeMap;

use hana_protocol::id::NodeId;
use hana_protocol::parameter::{Modulator, Parameter, ParameterName, Parameters};
use hana_time::ChangeSchedule;

use crate::time::beat_instant::BeatInstant;

/// The running modulators and the scheduled changes, which change the parameters of a visualization with the beat.
///
/// Pure. It no longer allocates once the schedule has reached its largest size.
#[derive(Debug)]
pub(crate) struct Automation {
    /// The running modulators, by parameter index.
    modulators: Vec<Option<Modulator>>,
    running: usize,
    pub(crate) scheduled: ChangeSchedule<QueuedChange>,
}

/// A validated change that is applied as a whole, with parameters as indices.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct QueuedChange {
    pub(crate) values: Vec<(usize, f32)>,
    pub(crate) modulators: Vec<(usize, Modulator)>,
    pub(crate) by: Option<NodeId>,
    pub(crate) mode: WriteMode,
}

/// The effect of a change on a parameter that another controller owns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum WriteMode {
    /// The program itself makes the change, which always applies.
    Local,
    /// The change does not apply.
    #[default]
    IfFree,
    /// The change claims the parameter from its owner.
    Preempt,
}

impl Automation {
    /// The maximum number of scheduled changes.
    const MAX_SCHEDULED: usize = 256;

    pub(crate) fn new(parameters: usize) -> Self {
        Self {
            modulators: vec![None; parameters],
            running: 0,
            scheduled: ChangeSchedule::new(Self::MAX_SCHEDULED),
        }
    }

    /// Starts a modulator on a parameter.
    pub(crate) fn begin(&mut self, place: usize, modulator: Modulator) {
        if let Some(slot) = self.modulators.get_mut(place) {
            self.running += usize::from(slot.replace(modulator).is_none());
        }
    }

    /// Stops the modulator of a parameter; returns whether the parameter had one.
    pub(crate) fn end(&mut self, place: usize) -> bool {
        let was_running = self.modulators.get_mut(place).is_some_and(|slot| slot.take().is_some());
        self.running -= usize::from(was_running);
        was_running
    }

    /// Returns whether a parameter has a modulator.
    pub(crate) fn moves(&self, place: usize) -> bool {
        self.modulators.get(place).is_some_and(Option::is_some)
    }

    /// Sets each parameter with a modulator to its value at `moment`; returns whether any value changed.
    pub(crate) fn play(&self, parameters: &mut Parameters, moment: &BeatInstant) -> bool {
        if self.running == 0 {
            return false;
        }
        let mut moved = false;
        for (place, modulator) in self.modulators.iter().enumerate() {
            let Some((modulator, parameter)) =
                modulator.as_ref().zip(parameters.declared().get(place))
            else {
                continue;
            };
            let value = modulator.value_at(parameter, &moment.timeline, moment.at_us);
            let is_new = parameters.values()[place].to_bits() != value.to_bits();
            moved |= is_new && parameters.set_at(place, value).is_ok();
        }
        moved
    }

    /// Returns the running modulators, by parameter name.
    pub(crate) fn named_modulators(
        &self,
        declared: &[Parameter],
    ) -> BTreeMap<ParameterName, Modulator> {
        let named = |(modulator, declared): (&Option<Modulator>, &Parameter)| {
            Some((declared.name.clone(), (*modulator)?))
        };
        self.modulators.iter().zip(declared).filter_map(named).collect()
    }
}
