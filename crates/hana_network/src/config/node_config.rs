use std::any::Any;
use std::collections::BTreeMap;
use std::env;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hana_engine::playout::{JitterBuffer, JitterBufferSettings};
use hana_protocol::id::{NodeId, NodeIdError};
use hana_protocol::message::{CustomMessageInfo, Look, Priority};
use hana_protocol::parameter::{Parameter, ParameterName};
use thiserror::Error;

use crate::config::host_memory::remembered_host;
use crate::config::machine_config::MachineConfig;
use crate::config::machine_config_error::MachineConfigError;
use crate::config::network_settings::NetworkSettings;
use crate::config::on_controller_lost::OnControllerLost;
use crate::persistence::last_look::LastLook;
use crate::sync::change_counter::ChangeCounter;

/// The configuration with which a node joins. The defaults work on any network with multicast.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    pub(crate) id: NodeId,
    /// The id that the program gives itself; `None` for daemons and for command-line tools that exit after a query.
    pub(crate) kind: Option<NodeId>,
    pub(crate) host: NodeId,
    /// Whether the host was set explicitly; otherwise the daemon is queried for it.
    pub(crate) host_is_named: bool,
    pub(crate) program: String,
    pub(crate) visibility: Visibility,
    pub(crate) daemon: SocketAddr,
    pub(crate) network: NetworkSettings,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) messages: Vec<CustomMessageInfo>,
    /// The factories of the subscriptions to custom messages. These subscriptions start before the node is announced.
    ///
    /// The type of the factories is private to the module `custom`, so they are stored as `Any`.
    pub(crate) early_subscriptions: Vec<Arc<dyn Any + Send + Sync>>,
    /// The initial look, which replaces the defaults.
    pub(crate) last_look: Option<Look>,
    pub(crate) on_controller_lost: OnControllerLost,
    /// The playout settings of parameters that have none in `playout_of`.
    playout: JitterBufferSettings,
    playout_of: BTreeMap<ParameterName, JitterBufferSettings>,
    /// The playout delay set for this machine, which overrides the delay that the program sets.
    delay: Option<Duration>,
    /// The priority of the node among the controllers of a parameter.
    pub(crate) priority: Priority,
    /// The reason why the program runs without a window; `None` if it has a window.
    pub(crate) headless: Option<String>,
    /// Whether the program draws black during a blackout.
    pub(crate) draws_blackout: bool,
    /// The number of the previous instance, if the program stored it.
    pub(crate) instance_after: Option<u64>,
    /// The counter that notifies a program with a frame loop of changes.
    pub(crate) change_counter: ChangeCounter,
}

/// Whether a node is visible to other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// The node has a liveliness token, publishes its info and health, and accepts commands.
    Listed,
    /// The node is absent from the list of nodes: a command-line tool that reads, queries and exits.
    Unlisted,
}

/// A reason why the settings of this machine cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The value of an environment variable is not a valid id.
    #[error("the environment variable {variable} does not contain a valid id")]
    Id {
        /// The name of the variable.
        variable: &'static str,
        /// The error in its value.
        #[source]
        problem: NodeIdError,
    },
    /// `HANA_PLAYOUT_MS` is not a number in the permitted range.
    #[error(
        "the environment variable HANA_PLAYOUT_MS is {value:?}; it must be a number of milliseconds from 0 to {}",
        JitterBuffer::MAX_DELAY.as_millis()
    )]
    Playout {
        /// The value of the variable.
        value: String,
    },
    /// `HANA_PORT` is not a port.
    #[error(
        "the environment variable HANA_PORT is {value:?}; it must be the port of this machine's daemon, from 1 to 65535, or unset for {}",
        NodeConfig::DAEMON_PORT
    )]
    Port {
        /// The value of the variable.
        value: String,
    },
    /// `HANA_PRIORITY` is not a number in the permitted range.
    #[error(
        "the environment variable HANA_PRIORITY is {value:?}; it must be a whole number from -128 to 127"
    )]
    Priority {
        /// The value of the variable.
        value: String,
    },
    /// The settings of this machine are invalid.
    #[error(transparent)]
    Settings(#[from] MachineConfigError),
}

impl NodeConfig {
    /// The default port of Zenoh, at which the daemon of a host listens and which `zenoh` tools try first.
    pub const DAEMON_PORT: u16 = 7447;

    /// Configures a node on this machine with this id and the network settings of the machine
    /// ([`MachineConfig::find`]).
    ///
    /// `HANA_NODE` overrides the id: a daemon sets it for each program that it launches. The id given here remains
    /// the node's kind: messages to all `ripples` reach `ripples-2` too.
    ///
    /// The node's host is the one that the daemon of this machine reports when the node joins. Without a daemon, it is
    /// the last host id of the machine, or its hostname. `HANA_HOST` overrides the host, and `HANA_PORT` the port of
    /// the daemon: with both, one machine can act as several hosts in a test bench.
    ///
    /// `HANA_LOOK` names a file with the look of a previous instance ([`LastLook`]). `HANA_PLAYOUT_MS` overrides the
    /// playout delay of a visualization, from 0 to 200 ms. `HANA_PRIORITY` is the priority of an app or a bridge
    /// among the controllers of a parameter, from -128 to 127; the default is 0.
    ///
    /// # Errors
    ///
    /// When a variable that should contain an id does not, `HANA_PORT`, `HANA_PLAYOUT_MS` or `HANA_PRIORITY` is
    /// invalid, or the settings cannot be used. Invalid settings are an error because a node that ignored them might
    /// join the wrong show.
    pub fn from_environment(id: NodeId) -> Result<Self, ConfigError> {
        let kind = Some(id.clone());
        let id = id_from("HANA_NODE")?.unwrap_or(id);
        let last_look = LastLook::of_environment(&id);
        let config = Self::of_environment(id)?.with_network(MachineConfig::find(None)?.network);
        Ok(Self { kind, last_look, delay: playout_delay()?, priority: own_priority()?, ..config })
    }

    /// Configures the daemon of this machine, whose node id is the host id.
    ///
    /// # Errors
    ///
    /// When `HANA_PORT` is not a port.
    pub fn for_daemon(host: NodeId) -> Result<Self, ConfigError> {
        let config = Self::of(host.clone(), host).with_daemon_at(daemon_port()?);
        Ok(Self { host_is_named: true, ..config })
    }

    /// Configures a node on this machine, with the host id from the environment or the host memory.
    fn of_environment(id: NodeId) -> Result<Self, ConfigError> {
        let named = named_host()?;
        let host_is_named = named.is_some();
        let config = Self::of(id, named.unwrap_or_else(remembered_host));
        Ok(Self { host_is_named, ..config }.with_daemon_at(daemon_port()?))
    }

    /// Configures an unlisted node that reads, queries and exits, with the network settings of this machine.
    ///
    /// # Errors
    ///
    /// When `HANA_HOST` is not an id, `HANA_PORT` is not a port, or the settings cannot be used.
    pub fn unlisted(name: &NodeId) -> Result<Self, ConfigError> {
        let config = Self::of_environment(name.numbered(std::process::id()))?
            .with_network(MachineConfig::find(None)?.network);
        Ok(Self { visibility: Visibility::Unlisted, ..config })
    }

    pub(crate) fn of(id: NodeId, host: NodeId) -> Self {
        let program = env::current_exe()
            .ok()
            .and_then(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
            .unwrap_or_default();
        Self {
            id,
            kind: None,
            host,
            host_is_named: false,
            program,
            visibility: Visibility::Listed,
            daemon: SocketAddr::from((Ipv4Addr::LOCALHOST, Self::DAEMON_PORT)),
            network: NetworkSettings::default(),
            parameters: vec![],
            messages: vec![],
            early_subscriptions: vec![],
            last_look: None,
            on_controller_lost: OnControllerLost::default(),
            playout: JitterBufferSettings {
                delay: Duration::ZERO,
                ..JitterBufferSettings::default()
            },
            playout_of: BTreeMap::new(),
            delay: None,
            priority: Priority::default(),
            headless: None,
            draws_blackout: false,
            instance_after: None,
            change_counter: ChangeCounter::default(),
        }
    }

    /// Assigns the node to `host`, whose daemon listens at `port` of this machine.
    ///
    /// Used when one machine acts as several hosts.
    #[must_use]
    pub fn on_host(self, host: NodeId, port: u16) -> Self {
        Self { host, host_is_named: true, ..self.with_daemon_at(port) }
    }

    const fn with_daemon_at(mut self, port: u16) -> Self {
        self.daemon = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        self
    }

    /// Declares the parameters of the node.
    #[must_use]
    pub fn with_parameters(mut self, parameters: Vec<Parameter>) -> Self {
        self.parameters = parameters;
        self
    }

    /// Sets the reaction of the parameters to the loss of the controller that played them.
    #[must_use]
    pub const fn on_controller_lost(mut self, then: OnControllerLost) -> Self {
        self.on_controller_lost = then;
        self
    }

    /// Increments `change_counter` after each rare change, for a program with a frame loop.
    ///
    /// The counter changes when [`Node::id_conflicts`], [`Node::connection_changes`] or [`Node::diagnostics`] may have
    /// a new entry, and when [`Node::is_shutdown_requested`] changes.
    ///
    /// [`Node::id_conflicts`]: crate::Node::id_conflicts
    /// [`Node::connection_changes`]: crate::Node::connection_changes
    /// [`Node::diagnostics`]: crate::Node::diagnostics
    /// [`Node::is_shutdown_requested`]: crate::Node::is_shutdown_requested
    #[must_use]
    pub fn with_change_counter(mut self, change_counter: ChangeCounter) -> Self {
        self.change_counter = change_counter;
        self
    }

    /// Sets the playout of received values: their delay, and the interpolation between two values.
    ///
    /// Without this call, each value takes effect as soon as it arrives.
    #[must_use]
    pub const fn with_playout(mut self, playout: JitterBufferSettings) -> Self {
        self.playout = playout;
        self
    }

    /// Sets the playout of one parameter, which overrides [`with_playout`](Self::with_playout).
    #[must_use]
    pub fn with_playout_of(mut self, name: ParameterName, playout: JitterBufferSettings) -> Self {
        self.playout_of.insert(name, playout);
        self
    }

    /// Returns the playout settings of a parameter. `HANA_PLAYOUT_MS` overrides the delay that the program sets.
    pub(crate) fn playout_of(&self, name: &ParameterName) -> JitterBufferSettings {
        let playout = *self.playout_of.get(name).unwrap_or(&self.playout);
        JitterBufferSettings { delay: self.delay.unwrap_or(playout.delay), ..playout }
    }

    /// Sets the priority of the node among the controllers of a parameter.
    #[must_use]
    pub const fn with_priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Declares that the program runs without a window, for the given reason.
    ///
    /// The reason appears beside the node's state in the list of nodes, so that the operator knows why the screen is
    /// empty.
    #[must_use]
    pub fn with_headless(mut self, cause: impl Into<String>) -> Self {
        self.headless = Some(cause.into());
        self
    }

    /// Declares that the program supports blackout: during a blackout, it draws black or has no visible output.
    ///
    /// [`ParameterStore::override_mode`](crate::ParameterStore::override_mode) reports the blackout.
    /// A visualization that does not declare support refuses the command `blackout`, so that the operator never
    /// mistakes a visible picture for black.
    #[must_use]
    pub const fn with_blackout(mut self) -> Self {
        self.draws_blackout = true;
        self
    }

    /// Keeps the id that the program gives itself, regardless of `HANA_NODE`.
    ///
    /// For the second node of a program whose first node uses the id in `HANA_NODE`.
    #[must_use]
    pub fn with_own_id(mut self) -> Self {
        if let Some(kind) = &self.kind {
            self.id = kind.clone();
        }
        self
    }

    /// Sets the number of the previous instance, if the program stored it.
    ///
    /// This instance then gets a larger number, even if the wall clock was set back.
    #[must_use]
    pub const fn with_instance_after(mut self, instance: Option<u64>) -> Self {
        self.instance_after = instance;
        self
    }

    /// Sets the discovery and access settings.
    #[must_use]
    pub fn with_network(mut self, network: NetworkSettings) -> Self {
        self.network = network;
        self
    }

    /// Returns the initial look, if a daemon restarted the program and kept its previous look.
    #[must_use]
    pub const fn last_look(&self) -> Option<&Look> {
        self.last_look.as_ref()
    }

    /// Returns the discovery and access settings.
    #[must_use]
    pub const fn network(&self) -> &NetworkSettings {
        &self.network
    }

    /// Returns the id with which the node will join.
    #[must_use]
    pub const fn id(&self) -> &NodeId {
        &self.id
    }

    /// Returns the host of the node.
    #[must_use]
    pub const fn host(&self) -> &NodeId {
        &self.host
    }
}

fn playout_delay() -> Result<Option<Duration>, ConfigError> {
    let Some(value) = env::var_os("HANA_PLAYOUT_MS").filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let value = value.to_string_lossy();
    let delay = value.trim().parse().ok().filter(|ms| (0.0..=1e6).contains(ms));
    let delay = delay.map(|ms: f64| Duration::from_secs_f64(ms / 1000.0));
    delay
        .filter(|delay| *delay <= JitterBuffer::MAX_DELAY)
        .map(Some)
        .ok_or_else(|| ConfigError::Playout { value: value.chars().take(40).collect() })
}

pub(crate) fn daemon_port() -> Result<u16, ConfigError> {
    let Some(value) = env::var_os("HANA_PORT").filter(|value| !value.is_empty()) else {
        return Ok(NodeConfig::DAEMON_PORT);
    };
    let value = value.to_string_lossy();
    value
        .trim()
        .parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| ConfigError::Port { value: value.chars().take(40).collect() })
}

fn own_priority() -> Result<Priority, ConfigError> {
    let Some(value) = env::var_os("HANA_PRIORITY").filter(|value| !value.is_empty()) else {
        return Ok(Priority::default());
    };
    let value = value.to_string_lossy();
    let priority = value.trim().parse().map(Priority);
    priority.map_err(|_| ConfigError::Priority { value: value.chars().take(40).collect() })
}

/// Returns the host id in `HANA_HOST`, if it is set.
///
/// # Errors
///
/// When the value of `HANA_HOST` is not an id.
pub fn named_host() -> Result<Option<NodeId>, ConfigError> {
    id_from("HANA_HOST")
}

fn id_from(variable: &'static str) -> Result<Option<NodeId>, ConfigError> {
    match env::var(variable) {
        Ok(id) if !id.is_empty() => {
            NodeId::new(&id).map(Some).map_err(|problem| ConfigError::Id { variable, problem })
        },
        _ => Ok(None),
    }
}
