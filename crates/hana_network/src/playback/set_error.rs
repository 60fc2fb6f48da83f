use hana_protocol::message::OwnedByOther;
#[cfg(doc)]
use hana_protocol::message::Set;
use hana_protocol::parameter::{ParameterError, ParameterName};
use hana_time::ScheduleError;
use thiserror::Error;

/// A reason why a [`Set`] was refused. Nothing is changed then.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SetError {
    /// A parameter does not exist, or does not accept the value.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// The change cannot be scheduled for its beat.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A parameter is given both a value and a modulator.
    #[error("'{name}' has both a value and a modulator; give only one of them")]
    ValueAndRecipe {
        /// The name of the parameter.
        name: ParameterName,
    },
    /// Another controller owns a parameter.
    #[error("{0}; `hana set --take` claims it first")]
    Held(OwnedByOther),
    /// The change claims a parameter that another controller owns, but the sender of the change is unknown.
    #[error(
        "the command has no envelope; only an identified sender can claim a parameter from its owner"
    )]
    Unnamed,
    /// The change is empty.
    #[error("nothing to set; give values in `parameters` or modulators in `modulators`")]
    Nothing,
}
