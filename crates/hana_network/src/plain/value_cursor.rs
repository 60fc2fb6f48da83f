use std::sync::Arc;

use crate::playback::parameter_store::ParameterStore;

/// A reader that returns the values of all parameters only after a change.
///
/// Each cursor has its own position, so every cursor reports each change.
#[derive(Debug, Clone)]
pub struct ValueCursor {
    store: Arc<ParameterStore>,
    version: u64,
    values: Vec<f32>,
}

impl ValueCursor {
    pub(super) const fn new(store: Arc<ParameterStore>) -> Self {
        Self { store, version: 0, values: Vec::new() }
    }

    /// Returns the current values in the order of the declarations, if any value changed since the last call.
    ///
    /// The first call returns the initial values. Does not block, and allocates only in the first call.
    pub fn changed(&mut self) -> Option<&[f32]> {
        let before = self.version;
        self.version = self.store.read_if_changed(before, &mut self.values);
        (self.version != before).then_some(self.values.as_slice())
    }
}
