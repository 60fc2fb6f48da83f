//! The parameters of a visualization, and the modulators that move them.

pub mod format;
pub(crate) mod kind;
pub(crate) mod modulator;
pub(crate) mod parameter;

pub use kind::{ColourPart, ParameterKind};
pub use modulator::adsr::{Adsr, Trigger};
pub use modulator::lfo::{Lfo, Wave};
pub use modulator::period::Period;
pub use modulator::{Modulator, ModulatorError};
pub use parameter::{Parameter, ParameterError, ParameterName, ParameterNameError, Parameters};
