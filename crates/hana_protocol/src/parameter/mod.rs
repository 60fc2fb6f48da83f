//! The parameters of a visualization, and the modulators that move them.

pub mod format;
pub(crate) mod kind;
pub(crate) mod modulator;
pub(crate) mod parameter;
pub(crate) mod sharing;

pub use kind::{ColourPart, ParameterKind};
pub use modulator::Modulator;
pub use modulator::adsr::{Adsr, Trigger};
pub use modulator::error::ModulatorError;
pub use modulator::lfo::Lfo;
pub use modulator::period::Period;
pub use modulator::wave::Wave;
pub use parameter::{Parameter, ParameterError, ParameterName, ParameterNameError, Parameters};
pub use sharing::Sharing;
