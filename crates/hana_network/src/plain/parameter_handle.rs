use std::sync::Arc;

use crate::playback::parameter_store::ParameterStore;

/// A handle of one parameter of a [`PlainVisualization`](super::PlainVisualization), for reading its value in each
/// frame.
///
/// Cloning is cheap, and a handle may be used on any thread.
#[derive(Debug, Clone)]
pub struct ParameterHandle {
    store: Arc<ParameterStore>,
    index: usize,
}

impl ParameterHandle {
    pub(super) const fn new(store: Arc<ParameterStore>, index: usize) -> Self {
        Self { store, index }
    }

    /// Returns the value to show now, within the declared range. Does not block.
    ///
    /// Modulators, smoothing, freeze and the playout delay are applied.
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
