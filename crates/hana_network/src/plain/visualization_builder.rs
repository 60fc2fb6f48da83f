use std::ops::RangeInclusive;
use std::time::Duration;

use hana_protocol::id::{NodeId, role};
use hana_protocol::parameter::{Parameter, ParameterName};

use super::plain_visualization::PlainVisualization;
use super::visualization_error::VisualizationError;
use crate::config::node_config::NodeConfig;
use crate::node::node::Node;

/// The declaration of a visualization before it joins.
///
/// Invalid names are reported by [`join`](VisualizationBuilder::join).
#[derive(Debug)]
#[must_use = "a visualization is on the mesh once it has joined"]
pub struct VisualizationBuilder {
    id: String,
    parameters: Result<Vec<Parameter>, VisualizationError>,
    draws_blackout: bool,
    configure: Vec<fn(NodeConfig) -> NodeConfig>,
}

impl VisualizationBuilder {
    /// Begins the declaration of a visualization. The id is also its kind; a daemon may give it another id.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            parameters: Ok(Vec::new()),
            draws_blackout: false,
            configure: Vec::new(),
        }
    }

    /// Declares a parameter for a number within a range, with its default value.
    pub fn parameter(self, name: &str, range: RangeInclusive<f32>, default: f32) -> Self {
        self.declare(name, |name| {
            let (min, max) = range.into_inner();
            vec![Parameter { min, max, ..Parameter::new(name, default) }]
        })
    }

    /// Declares a parameter that is on or off.
    pub fn toggle(self, name: &str, default: bool) -> Self {
        self.declare(name, |name| vec![Parameter::toggle(name, default)])
    }

    /// Declares a parameter with named choices; `default` is the index of the initial choice, starting at 0.
    pub fn choice(self, name: &str, choices: &[&str], default: u16) -> Self {
        let choices = choices.iter().copied().map(String::from).collect();
        self.declare(name, |name| vec![Parameter::choice(name, choices, default)])
    }

    /// Declares a parameter with all settings of [`Parameter`].
    pub fn declared(mut self, parameter: Parameter) -> Self {
        if let Ok(parameters) = &mut self.parameters {
            parameters.push(parameter);
        }
        self
    }

    /// Declares that the program draws black while [`PlainVisualization::is_blacked_out`] returns true.
    ///
    /// Without this declaration, the visualization refuses blackouts.
    pub const fn draws_blackout(mut self) -> Self {
        self.draws_blackout = true;
        self
    }

    /// Changes other settings of the node, such as the playout delay or custom messages.
    pub fn configure(mut self, change: fn(NodeConfig) -> NodeConfig) -> Self {
        self.configure.push(change);
        self
    }

    /// Joins the mesh. Blocks until the node has joined, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// When a name is invalid, the settings of this machine cannot be used, the node cannot join, or `timeout` has
    /// passed.
    pub fn join(self, timeout: Duration) -> Result<PlainVisualization, VisualizationError> {
        let Self { id, parameters, draws_blackout, configure } = self;
        let node =
            NodeId::new(&id).map_err(|source| VisualizationError::Id { id: id.clone(), source })?;
        let mut config = NodeConfig::from_environment(node)?.with_parameters(parameters?);
        if draws_blackout {
            config = config.with_blackout();
        }
        let config = configure.into_iter().fold(config, |config, change| change(config));
        match Node::<role::Visualization>::join(config).wait(timeout) {
            Ok(Ok(node)) => Ok(PlainVisualization::new(node)),
            Ok(Err(source)) => Err(VisualizationError::Join { id, source }),
            Err(_) => Err(VisualizationError::JoinTimeout { id, after: timeout }),
        }
    }

    fn declare(
        mut self,
        name: &str,
        parameters: impl FnOnce(ParameterName) -> Vec<Parameter>,
    ) -> Self {
        if let Ok(declared) = &mut self.parameters {
            match ParameterName::new(name) {
                Ok(name) => declared.extend(parameters(name)),
                Err(source) => {
                    let name = name.to_owned();
                    self.parameters = Err(VisualizationError::ParameterName { name, source });
                },
            }
        }
        self
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn invalid_names_are_reported_by_join() {
        let parameter = VisualizationBuilder::new("wave")
            .parameter("no spaces", 0.0..=1.0, 0.0)
            .parameter("zoom", 0.0..=1.0, 0.0)
            .join(NOW)
            .err()
            .unwrap();
        assert!(
            matches!(&parameter, VisualizationError::ParameterName { name, .. } if name == "no spaces"),
            "{parameter}"
        );
        let id = VisualizationBuilder::new("no/slashes").join(NOW).err().unwrap();
        assert!(matches!(&id, VisualizationError::Id { id, .. } if id == "no/slashes"), "{id}");
    }

    #[test]
    fn join_error_names_its_deadline() {
        let late = VisualizationBuilder::new("wave").join(Duration::from_micros(1)).err().unwrap();
        assert!(
            matches!(late, VisualizationError::JoinTimeout { after, .. } if after == Duration::from_micros(1)),
            "{late}"
        );
    }

    #[test]
    fn parameters_are_declared_in_order() {
        let builder = VisualizationBuilder::new("wave")
            .parameter("speed", 0.0..=4.0, 1.0)
            .toggle("strobe", true)
            .choice("form", &["disc", "ring"], 1);
        let declared = builder.parameters.unwrap();
        let shown: Vec<(&str, f32, f32, f32)> =
            declared.iter().map(|it| (it.name.as_str(), it.min, it.max, it.default)).collect();
        assert_eq!(
            shown,
            [("speed", 0.0, 4.0, 1.0), ("strobe", 0.0, 1.0, 1.0), ("form", 0.0, 1.0, 1.0)]
        );
    }
}
