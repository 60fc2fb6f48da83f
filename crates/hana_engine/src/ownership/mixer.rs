use std::time::Instant;

use hana_protocol::id::NodeId;
use hana_protocol::parameter::Parameter;

/// The contributions of several controllers to one mixed parameter.
#[derive(Debug, Default)]
pub(super) struct Mixer(Vec<Contribution>);

/// A controller's contribution to a mixed parameter.
#[derive(Debug)]
struct Contribution {
    /// The controller; `None` stands for all anonymous ones together.
    by: Option<NodeId>,
    value: f32,
    last_seen: Instant,
}

/// The maximum number of contributions to a parameter; beyond it, the one that was silent for longest is dropped.
pub(super) const MOST_CONTRIBUTIONS: usize = 16;

impl Mixer {
    /// Returns the apps that contribute.
    pub(super) fn apps(&self) -> impl Iterator<Item = &NodeId> {
        self.0.iter().filter_map(|of| of.by.as_ref())
    }

    /// Returns the default plus the sum of all deviations from it, clamped to the parameter's range.
    pub(super) fn value(&self, declared: &Parameter) -> f32 {
        let off: f32 = self.0.iter().map(|of| of.value - declared.default).sum();
        (declared.default + off).clamp(declared.min, declared.max)
    }

    /// Returns the value of the mix if `by` contributed `value`.
    pub(super) fn value_with(&self, declared: &Parameter, by: Option<&NodeId>, value: f32) -> f32 {
        let others = self.0.iter().filter(|of| of.by.as_ref() != by);
        let off: f32 = others.map(|of| of.value - declared.default).sum();
        (value + off).clamp(declared.min, declared.max)
    }

    /// Sets a controller's contribution; returns whether it is a new one.
    pub(super) fn set(&mut self, by: Option<&NodeId>, value: f32, now: Instant) -> bool {
        if let Some(known) = self.0.iter_mut().find(|of| of.by.as_ref() == by) {
            (known.value, known.last_seen) = (value, now);
            return false;
        }
        if self.0.len() >= MOST_CONTRIBUTIONS {
            let silent = self.0.iter().enumerate().min_by_key(|(_, of)| of.last_seen);
            if let Some(index) = silent.map(|(index, _)| index) {
                self.0.swap_remove(index);
            }
        }
        self.0.push(Contribution { by: by.cloned(), value, last_seen: now });
        true
    }

    /// Replaces all contributions by an anonymous one.
    pub(super) fn replace_all(&mut self, value: f32, now: Instant) {
        self.0.clear();
        self.0.push(Contribution { by: None, value, last_seen: now });
    }

    /// Removes the contributions of the apps for which `is_removed` is true; returns whether there were any.
    pub(super) fn remove_if(&mut self, is_removed: impl Fn(&NodeId) -> bool) -> bool {
        let count = self.0.len();
        self.0.retain(|of| !of.by.as_ref().is_some_and(&is_removed));
        self.0.len() < count
    }
}
