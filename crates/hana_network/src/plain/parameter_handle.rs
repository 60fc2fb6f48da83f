use std::sync::Arc;

use crate::playback::parameter_store::ParameterStore;

/// A handle of one parameter of a [`PlainVisualization`](super::PlainVisualization).
///
/// The program uses it to read the value of the parameter in each frame.
///
/// Cloning is cheap. A handle may be used in any thread.
#[derive(Debug, Clone)]
pub struct ParameterHandle {
    store: Arc<ParameterStore>,
    index: usize,
}

impl ParameterHandle {
    pub(super) const fn new(store: Arc<ParameterStore>, index: usize) -> Self {
        Self { store, index }
    }

    /// Returns the current value, which is within the declared range. Does not block.
    ///
    /// The value includes the effect of modulators, smoothing, freeze and the playout delay.
    #[must_use]
    pub fn get(&self) -> f32 {
        self.store.value_at(self.index)
    }

    /// Returns whether a toggle is on: the value is at least 0.5.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.get() >= 0.5
    }
}
