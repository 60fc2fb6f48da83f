use hana_protocol::id::NodeId;
use hana_protocol::parameter::{ParameterError, ParameterName};
use thiserror::Error;

/// A reason why parameters were not claimed or released.
#[derive(Debug, Clone, PartialEq, Error)]
pub(crate) enum OwnershipError {
    /// The command names a parameter that does not exist.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// The parameter is mixed: all contributions are added, so it cannot be claimed.
    #[error(
        "{parameter} is mixed: the values of all its controllers are added, so it cannot be claimed"
    )]
    Mixed {
        /// The name of the parameter.
        parameter: ParameterName,
    },
    /// The sender is unknown.
    #[error("the command has no envelope; only an identified sender can claim and release")]
    Unnamed,
    /// The stamp is from another node than the sender, or its time is impossible.
    #[error(
        "the stamp is from '{by}' at {ms} ms; it must be from the sender itself, and before the year 3000"
    )]
    Stamp {
        /// The node in the stamp.
        by: NodeId,
        /// The time in the stamp.
        ms: u64,
    },
}
