use crate::config::environment::env_var;
use crate::config::machine_config_error::MachineConfigError;
use crate::config::play_transport::DirectLinkTransport;
use crate::config::port_range::PortRange;
use crate::config::secret::Secret;
use crate::config::show_name::ShowName;

/// The settings for discovery of other nodes and for access.
///
/// The daemon, the visualizations and the commands of a machine share them;
/// [`MachineConfig`](crate::config::machine_config::MachineConfig) reads them from `hanad.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSettings {
    /// The only network interface used for discovery, by its name in the operating system; `None` for all interfaces.
    pub interface: Option<String>,
    /// Whether multicast discovery is enabled.
    pub multicast: bool,
    /// Additional daemons to which a daemon or peer connects, as Zenoh endpoints such as `tcp/10.0.0.7:7447`.
    pub connect: Vec<String>,
    /// The name of the show. Nodes without a show name form a show of their own.
    pub show: Option<ShowName>,
    /// The shared secret. Nodes with another secret, or without one, are refused.
    pub secret: Option<Secret>,
    /// The ports at which visualizations listen for direct links; `None` for any free port.
    pub play_ports: Option<PortRange>,
    /// The transport of direct links.
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
    /// Returns whether nodes may find each other only by gossip, without multicast discovery.
    pub(crate) const fn relies_on_gossip(&self) -> bool {
        !self.multicast || !self.connect.is_empty()
    }

    /// Applies `HANA_SHOW`, `HANA_SECRET` and `HANA_PLAY_LINK`. An empty variable counts as unset.
    pub(crate) fn override_by_environment(&mut self) -> Result<(), MachineConfigError> {
        if let Some(show) = env_var("HANA_SHOW")? {
            self.show = Some(ShowName::new(show).map_err(|problem| {
                MachineConfigError::Variable { variable: "HANA_SHOW", problem: problem.to_string() }
            })?);
        }
        if let Some(secret) = env_var("HANA_SECRET")? {
            self.secret =
                Some(Secret::new(secret).map_err(|problem| MachineConfigError::Variable {
                    variable: "HANA_SECRET",
                    problem: problem.to_string(),
                })?);
        }
        if let Some(link) = env_var("HANA_PLAY_LINK")? {
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
