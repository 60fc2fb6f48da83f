use std::time::Duration;

use hana_protocol::id::NodeIdError;
use hana_protocol::parameter::ParameterNameError;
use thiserror::Error;

use crate::config::node_config::ConfigError;
use crate::node::join_error::JoinError;

/// A reason why a visualization cannot run as it was declared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VisualizationError {
    /// The id is not valid.
    #[error("{id:?} cannot be the id of a visualization")]
    Id {
        /// The id.
        id: String,
        /// The rule that it breaks.
        #[source]
        source: NodeIdError,
    },
    /// The name of a parameter is not valid.
    #[error("{name:?} cannot be the name of a parameter")]
    ParameterName {
        /// The name.
        name: String,
        /// The rule that it breaks.
        #[source]
        source: ParameterNameError,
    },
    /// The settings of this machine, or the environment, cannot be used.
    #[error("the settings of this machine cannot be used")]
    Config(#[from] ConfigError),
    /// The node was refused, or could not open a session.
    #[error("'{id}' cannot join the mesh")]
    Join {
        /// Its id.
        id: String,
        /// The reason.
        #[source]
        source: JoinError,
    },
    /// The node did not join in time.
    #[error("'{id}' did not join the mesh within {} s; `hana nodes` shows the nodes that this machine reaches", after.as_secs_f32())]
    JoinTimeout {
        /// Its id.
        id: String,
        /// The time limit that the caller gave.
        after: Duration,
    },
    /// No parameter of this name was declared.
    #[error("there is no parameter {name:?}; declared are: {}", declared.join(", "))]
    UnknownParameter {
        /// The requested name.
        name: String,
        /// The declared names, in order.
        declared: Vec<String>,
    },
}
