use std::time::Duration;

use hana_protocol::id::NodeIdError;
use hana_protocol::parameter::ParameterNameError;
use thiserror::Error;

use crate::config::node_config::ConfigError;
use crate::node::join_error::JoinError;

/// A reason why a visualization cannot run as declared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VisualizationError {
    /// The id is not valid.
    #[error("{id:?} cannot be the id of a visualization")]
    Id {
        /// The invalid id.
        id: String,
        /// The rule that the id breaks.
        #[source]
        source: NodeIdError,
    },
    /// The name of a parameter is not valid.
    #[error("{name:?} cannot be the name of a parameter")]
    ParameterName {
        /// The invalid name.
        name: String,
        /// The rule that the name breaks.
        #[source]
        source: ParameterNameError,
    },
    /// The settings of this machine, or the environment, cannot be used.
    #[error("the settings of this machine cannot be used")]
    Config(#[from] ConfigError),
    /// The node could not join: it was refused, or could not open a session.
    #[error("'{id}' cannot join the mesh")]
    Join {
        /// The id of the visualization.
        id: String,
        /// The reason.
        #[source]
        source: JoinError,
    },
    /// The node did not join in time.
    #[error("'{id}' did not join the mesh within {} s; `hana nodes` shows the nodes that this machine reaches", after.as_secs_f32())]
    JoinTimeout {
        /// The id of the visualization.
        id: String,
        /// The time limit set by the caller.
        after: Duration,
    },
    /// No parameter with this name was declared.
    #[error("there is no parameter {name:?}; declared are: {}", declared.join(", "))]
    UnknownParameter {
        /// The requested name.
        name: String,
        /// The declared names, in the order of their declaration.
        declared: Vec<String>,
    },
}
