use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use hana_protocol::Parameter;
use hana_protocol::ParameterError;
use hana_protocol::ParameterName;
use hana_protocol::Parameters;

/// The parameters of a visualization with their current values: the network writes what it is sent, the
/// render loop reads once a frame. Held for nanoseconds by either; neither waits for the other's work.
#[derive(Debug, Default)]
pub struct Board(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    parameters: Parameters,
    version: u64,
}

impl Board {
    pub(crate) fn new(declared: Vec<Parameter>) -> Self {
        Self(Mutex::new(State { parameters: Parameters::new(declared), version: 1 }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The declarations, in order.
    #[must_use]
    pub fn declared(&self) -> Vec<Parameter> {
        self.state().parameters.declared().to_vec()
    }

    /// The current values, in the order of the declarations.
    #[must_use]
    pub fn values(&self) -> Vec<f32> {
        self.state().parameters.values().to_vec()
    }

    /// Copies the current values into `values` if any changed since `version`; the version they have now.
    /// Does not allocate once `values` has its size. The first version is 1: begin with 0.
    pub fn read_since(&self, version: u64, values: &mut Vec<f32>) -> u64 {
        let state = self.state();
        if state.version != version {
            values.clear();
            values.extend_from_slice(state.parameters.values());
        }
        state.version
    }

    /// Sets one value, as if it had come over the network.
    ///
    /// # Errors
    ///
    /// When there is no such parameter, or it does not take the value; nothing has changed then.
    pub fn set(&self, name: &ParameterName, value: f32) -> Result<(), ParameterError> {
        let mut state = self.state();
        state.parameters.set(name, value)?;
        state.version += 1;
        drop(state);
        Ok(())
    }

    /// Sets several values, all or none.
    ///
    /// # Errors
    ///
    /// The first that cannot be set; nothing has changed then.
    pub fn set_all(&self, values: &BTreeMap<ParameterName, f32>) -> Result<(), ParameterError> {
        let mut state = self.state();
        state.parameters.set_all(values)?;
        state.version += 1;
        drop(state);
        Ok(())
    }

    /// A number that grows with every change.
    pub(crate) fn version(&self) -> u64 {
        self.state().version
    }

    pub(crate) fn named_values(&self) -> BTreeMap<ParameterName, f32> {
        self.state().parameters.named_values()
    }
}
