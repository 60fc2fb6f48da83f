use std::collections::HashMap;

use hana_protocol::message::ModulationBatch;
use hana_protocol::parameter::{ParameterError, ParameterName, Parameters};

use crate::clock::steady_clock::steady_us;
use crate::control::batch_stream::BatchStream;

/// The values of a play session and their destination. Callers lock the buffer for nanoseconds.
#[derive(Default)]
pub(super) struct ValueBuffer {
    /// The index of each parameter, which stays the same during the session.
    indices: HashMap<ParameterName, usize>,
    slots: Vec<ParameterSlot>,
    /// The instance that the session plays, once it is known.
    pub(super) target: Option<TargetInstance>,
}

struct ParameterSlot {
    name: ParameterName,
    /// The last value that was set, and its time in microseconds of the steady clock.
    last: Option<(f32, i64)>,
    /// The index of the parameter in the current instance, if the instance has the parameter.
    target_index: Option<usize>,
}

pub(super) struct TargetInstance {
    pub(super) parameters: Parameters,
    pub(super) stream: BatchStream,
}

/// The maximum number of parameters of a session.
const MAX_PARAMETERS: usize = ModulationBatch::MAX_PARAMETERS;
impl ValueBuffer {
    pub(super) fn place(&mut self, name: &ParameterName) -> Result<usize, ParameterError> {
        if let Some(place) = self.indices.get(name) {
            return Ok(*place);
        }
        let target_index =
            self.target.as_ref().map(|target| target.parameters.index(name)).transpose()?;
        let place = self.slots.len();
        if place >= MAX_PARAMETERS {
            return Err(ParameterError::NoPlace { place, count: MAX_PARAMETERS });
        }
        self.indices.insert(name.clone(), place);
        self.slots.push(ParameterSlot { name: name.clone(), last: None, target_index });
        Ok(place)
    }

    pub(super) fn set(&mut self, place: usize, value: f32) -> Result<(), ParameterError> {
        let count = self.slots.len();
        let slot = self.slots.get_mut(place).ok_or(ParameterError::NoPlace { place, count })?;
        let now = steady_us();
        match &self.target {
            Some(target) => {
                let target_index = match slot.target_index {
                    Some(target_index) => target_index,
                    // This returns an error that lists the known parameters.
                    None => target.parameters.index(&slot.name)?,
                };
                target.parameters.check_at(target_index, value)?;
                target.stream.set_unchecked(target_index, value, now);
            },
            None if !value.is_finite() => {
                return Err(ParameterError::NotFinite { name: slot.name.clone() });
            },
            None => {},
        }
        slot.last = Some((value, now));
        Ok(())
    }

    /// Switches to another instance, and sends it the values that were set since `since`.
    pub(super) fn switch_target(&mut self, target: TargetInstance, since: i64) {
        let mut carried = vec![];
        for slot in &mut self.slots {
            slot.target_index = target.parameters.index(&slot.name).ok();
            let Some((value, at)) = slot.last.filter(|(_, at)| *at >= since) else { continue };
            match slot.target_index.map(|place| (place, target.parameters.check_at(place, value))) {
                Some((place, Ok(value))) => carried.push((place, value, at)),
                Some((_, Err(problem))) => tracing::warn!("value not sent: {problem}"),
                None => tracing::warn!("value not sent: there is no parameter '{}'", slot.name),
            }
        }
        if let Some(before) = &self.target {
            before.stream.clear();
        }
        target.stream.restore(carried);
        self.target = Some(target);
    }
}
