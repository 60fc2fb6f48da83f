use std::env;

use crate::config::machine_config::MachineConfigError;
use crate::config::play_transport::DirectLinkTransport;
use crate::config::port_range::PortRange;
use crate::config::secret::Secret;
use crate::config::show_name::ShowName;

/// How the nodes of a machine find others, and whom they let in.
///
/// The same for its daemon, its visualizations and its commands; read from `hanad.toml` by [`MachineConfig`](crate::config::machine_config::MachineConfig).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSettings {
    /// The only network interface to find others on, by its name in the operating system.
    pub interface: Option<String>,
    /// Whether to look for others by multicast.
    pub multicast: bool,
    /// Daemons to connect to as well, as Zenoh endpoints such as `tcp/10.0.0.7:7447`.
    pub connect: Vec<String>,
    /// The show that these nodes belong to; nodes without one are a show of their own.
    pub show: Option<ShowName>,
    /// What others must know to be let in.
    pub secret: Option<Secret>,
    /// The ports at which visualizations listen for play links; any free one without.
    pub play_ports: Option<PortRange>,
    /// What those who play visualizations directly shall use.
    pub play_link: DirectLinkTransport,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            interface: None,
            multicast: true,
            connect: vec![],
            show: None,
            secret: None,
            play_ports: None,
            play_link: DirectLinkTransport::Tcp,
        }
    }
}

impl NetworkSettings {
    /// Whether nodes may have to learn of each other by what those between them tell, instead of by asking.
    pub(crate) const fn relies_on_gossip(&self) -> bool {
        !self.multicast || !self.connect.is_empty()
    }

    /// Lets `HANA_SHOW`, `HANA_SECRET` and `HANA_PLAY_LINK` override. An empty variable is none.
    pub(crate) fn override_by_environment(&mut self) -> Result<(), MachineConfigError> {
        if let Some(show) = variable("HANA_SHOW")? {
            self.show = Some(ShowName::new(show).map_err(|problem| {
                MachineConfigError::Variable { variable: "HANA_SHOW", problem: problem.to_string() }
            })?);
        }
        if let Some(secret) = variable("HANA_SECRET")? {
            self.secret =
                Some(Secret::new(secret).map_err(|problem| MachineConfigError::Variable {
                    variable: "HANA_SECRET",
                    problem: problem.to_string(),
                })?);
        }
        if let Some(link) = variable("HANA_PLAY_LINK")? {
            self.play_link = link.parse().map_err(
                |problem: crate::config::play_transport::DirectLinkTransportError| {
                    let problem = problem.to_string();
                    MachineConfigError::Variable { variable: "HANA_PLAY_LINK", problem }
                },
            )?;
        }
        Ok(())
    }
}

/// What a variable of the environment is set to; none if that is nothing.
pub(crate) fn variable(variable: &'static str) -> Result<Option<String>, MachineConfigError> {
    match env::var(variable) {
        Ok(value) if !value.is_empty() => Ok(Some(value)),
        Ok(_) | Err(env::VarError::NotPresent) => Ok(None),
        // Does not repeat the value.
        Err(env::VarError::NotUnicode(_)) => {
            Err(MachineConfigError::Variable { variable, problem: "it is no UTF-8 text".into() })
        },
    }
}
