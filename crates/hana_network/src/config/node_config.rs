use std::collections::BTreeMap;
use std::env;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hana_engine::playout::{JitterBuffer, JitterBufferSettings};
use hana_protocol::id::{NodeId, NodeIdError};
use hana_protocol::message::{CustomMessageInfo, Direction, Look, Priority};
use hana_protocol::parameter::{Parameter, ParameterName};
use hana_protocol::wire::CustomMessage;
use thiserror::Error;

use crate::change_counter::ChangeCounter;
use crate::config::host_memory::remembered_host;
use crate::config::machine_config::{MachineConfig, MachineConfigError};
use crate::config::network_settings::NetworkSettings;
use crate::config::on_controller_lost::OnControllerLost;
use crate::custom::custom_subscription::SubscriptionFactory;
use crate::persistence::last_look::LastLook;

/// How a node joins. The defaults need no configuration on any network with multicast.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    pub(crate) id: NodeId,
    /// The id that the program gives itself; none for daemons and passing commands.
    pub(crate) kind: Option<NodeId>,
    pub(crate) host: NodeId,
    /// Whether that was said, and is not to be asked of the daemon.
    pub(crate) host_is_named: bool,
    pub(crate) program: String,
    pub(crate) presence: Visibility,
    pub(crate) daemon: SocketAddr,
    pub(crate) network: NetworkSettings,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) messages: Vec<CustomMessageInfo>,
    /// How the custom messages that are heard begin to be.
    pub(crate) hearing: Vec<SubscriptionFactory>,
    /// What it shows first, instead of the defaults.
    pub(crate) last_look: Option<Look>,
    pub(crate) when_app_vanishes: OnControllerLost,
    /// How what is played is shown, unless a parameter has its own.
    playout: JitterBufferSettings,
    playout_of: BTreeMap<ParameterName, JitterBufferSettings>,
    /// The delay that this machine wants, whatever the program says.
    delay: Option<Duration>,
    /// How much its word counts beside that of others who play.
    pub(crate) priority: Priority,
    /// Why it runs without a window, if it does.
    pub(crate) headless: Option<String>,
    /// Whether its program draws black during a blackout.
    pub(crate) draws_blackout: bool,
    /// The number of the instance before, where its program has kept it.
    pub(crate) instance_after: Option<u64>,
    /// What it tells of what a program that looks once a frame is to look for.
    pub(crate) news: ChangeCounter,
}

/// Whether others see a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// It has a token, says what it is and how it is, and takes commands.
    Announced,
    /// It looks on, asks and goes; nobody lists it. Command-line tools.
    Passing,
}

/// Why what is set on this machine cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// An environment variable that should be an id.
    #[error("the environment variable {variable} is no id")]
    Id {
        /// Its name.
        variable: &'static str,
        /// What is wrong with it.
        #[source]
        problem: NodeIdError,
    },
    /// `HANA_PLAYOUT_MS` is no such number.
    #[error(
        "the environment variable HANA_PLAYOUT_MS is {value:?}; it is a number of milliseconds from 0 to {}",
        JitterBuffer::MAX_DELAY.as_millis()
    )]
    Playout {
        /// What it is.
        value: String,
    },
    /// `HANA_PORT` is no port.
    #[error(
        "the environment variable HANA_PORT is {value:?}; it is the port of this machine's daemon, from 1 to 65535; unset it for {}",
        NodeConfig::DAEMON_PORT
    )]
    Port {
        /// What it is.
        value: String,
    },
    /// `HANA_PRIORITY` is no such number.
    #[error(
        "the environment variable HANA_PRIORITY is {value:?}; it is a whole number from -128 to 127"
    )]
    Priority {
        /// What it is.
        value: String,
    },
    /// The settings of this machine.
    #[error(transparent)]
    Settings(#[from] MachineConfigError),
}

impl NodeConfig {
    /// Zenoh's own port, where the daemon of a host listens and where `zenoh` tools look first.
    pub const DAEMON_PORT: u16 = 7447;

    /// A node `id` on this machine, with the network settings of this machine ([`MachineConfig::find`]).
    ///
    /// `HANA_NODE` overrides the id: a daemon that launches a program says so which id it shall have. The id
    /// given here stays its kind: what is sent to all `ripples` reaches `ripples-2` too.
    /// The host is the one that the daemon of this machine says when the node joins; without a daemon the one that the
    /// machine was last, or its hostname. `HANA_HOST` overrides it, and `HANA_PORT` the port of the daemon: with
    /// both, one machine can be several hosts, for a bench. `HANA_LOOK` names a file with the
    /// look that an earlier run had ([`LastLook`]). `HANA_PLAYOUT_MS` is how many milliseconds behind a visualization
    /// plays what it is sent, from 0 to 200, whatever the program says. `HANA_PRIORITY` is how much the word of an app or a
    /// bridge counts beside that of others, from -128 to 127; 0 without it.
    ///
    /// # Errors
    ///
    /// When one of the variables is set to what is no id, or the settings cannot be used: a node that went
    /// on without them might join a show that is not its own.
    pub fn from_environment(id: NodeId) -> Result<Self, ConfigError> {
        let kind = Some(id.clone());
        let id = id_from("HANA_NODE")?.unwrap_or(id);
        let last_look = LastLook::of_environment(&id);
        let config = Self::of_environment(id)?.with_network(MachineConfig::find(None)?.network);
        Ok(Self { kind, last_look, delay: playout_delay()?, priority: own_priority()?, ..config })
    }

    /// The daemon of this machine, which is this host: the host's id is the daemon's.
    ///
    /// # Errors
    ///
    /// When `HANA_PORT` is set to what is no port.
    pub fn of_daemon(host: NodeId) -> Result<Self, ConfigError> {
        let config = Self::of(host.clone(), host).with_daemon_at(daemon_port()?);
        Ok(Self { host_is_named: true, ..config })
    }

    /// A node on this machine, wherever its host's id comes from.
    fn of_environment(id: NodeId) -> Result<Self, ConfigError> {
        let named = named_host()?;
        let host_is_named = named.is_some();
        let config = Self::of(id, named.unwrap_or_else(remembered_host));
        Ok(Self { host_is_named, ..config }.with_daemon_at(daemon_port()?))
    }

    /// A node that looks on, asks and goes, with the network settings of this machine.
    ///
    /// # Errors
    ///
    /// When `HANA_HOST` is set to what is no id, or the settings cannot be used.
    pub fn passing(name: &NodeId) -> Result<Self, ConfigError> {
        let config = Self::of_environment(name.numbered(std::process::id()))?
            .with_network(MachineConfig::find(None)?.network);
        Ok(Self { presence: Visibility::Passing, ..config })
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
            presence: Visibility::Announced,
            daemon: SocketAddr::from((Ipv4Addr::LOCALHOST, Self::DAEMON_PORT)),
            network: NetworkSettings::default(),
            parameters: vec![],
            messages: vec![],
            hearing: vec![],
            last_look: None,
            when_app_vanishes: OnControllerLost::default(),
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
            news: ChangeCounter::default(),
        }
    }

    /// Takes it for a node of that host, whose daemon listens at that port of this machine: for who is several hosts.
    #[must_use]
    pub fn on_host(self, host: NodeId, port: u16) -> Self {
        Self { host, host_is_named: true, ..self.with_daemon_at(port) }
    }

    const fn with_daemon_at(mut self, port: u16) -> Self {
        self.daemon = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        self
    }

    /// Declares what can be played.
    #[must_use]
    pub fn with_parameters(mut self, parameters: Vec<Parameter>) -> Self {
        self.parameters = parameters;
        self
    }

    /// What becomes of the parameters that an app played, once it is gone.
    #[must_use]
    pub const fn with_vanishing_apps(mut self, then: OnControllerLost) -> Self {
        self.when_app_vanishes = then;
        self
    }

    /// Counts what seldom comes, for a program that looks once a frame: when there may be something in [`Node::displaced`],
    /// [`Node::connection_changes`] or [`Node::problems`], and when [`Node::is_shutdown_requested`] has changed.
    ///
    /// [`Node::displaced`]: crate::node::node::Node::displaced
    /// [`Node::connection_changes`]: crate::node::node::Node::connection_changes
    /// [`Node::problems`]: crate::node::node::Node::problems
    /// [`Node::is_shutdown_requested`]: crate::node::node::Node::is_shutdown_requested
    #[must_use]
    pub fn with_news(mut self, news: ChangeCounter) -> Self {
        self.news = news;
        self
    }

    /// How what is played is shown: how far behind, and what lies between two values. Without it, each value as soon as
    /// it is there.
    #[must_use]
    pub const fn with_playout(mut self, playout: JitterBufferSettings) -> Self {
        self.playout = playout;
        self
    }

    /// The same for one parameter.
    #[must_use]
    pub fn with_playout_of(mut self, name: ParameterName, playout: JitterBufferSettings) -> Self {
        self.playout_of.insert(name, playout);
        self
    }

    /// How a parameter is played. `HANA_PLAYOUT_MS` overrides the delay that the program wants.
    pub(crate) fn playout_of(&self, name: &ParameterName) -> JitterBufferSettings {
        let playout = *self.playout_of.get(name).unwrap_or(&self.playout);
        JitterBufferSettings { delay: self.delay.unwrap_or(playout.delay), ..playout }
    }

    /// Announces a custom message type that the node publishes, hears, or both. What is heard is heard before
    /// others see the node, and waits for [`Node::hear`](crate::node::node::Node::hear).
    #[must_use]
    pub fn with_message<M: CustomMessage>(mut self, flow: Direction) -> Self {
        if flow.is_heard() {
            self.hearing.push(SubscriptionFactory::of::<M>());
        }
        let known =
            self.messages.iter_mut().find(|known| known.topic == M::TOPIC && known.name == M::NAME);
        match known {
            Some(known) if known.flow != flow => known.flow = Direction::Both,
            Some(_) => {},
            None => self.messages.push(CustomMessageInfo::of::<M>(flow)),
        }
        self
    }

    /// Makes its word count so much beside that of others who play.
    #[must_use]
    pub const fn with_priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Declares that the program runs without a window, and why: it stands in the list of nodes beside its state, so that
    /// a person who looks there knows why nothing is on the screen.
    #[must_use]
    pub fn with_headless(mut self, cause: impl Into<String>) -> Self {
        self.headless = Some(cause.into());
        self
    }

    /// Declares that the program draws black while [`ParameterStore::in_force`](crate::playback::parameter_store::ParameterStore::in_force) is a blackout, or has
    /// nothing that could be seen. A visualization that does not declare it refuses the command `blackout`, so that
    /// no operator takes a picture for black that is not.
    #[must_use]
    pub const fn with_blackout(mut self) -> Self {
        self.draws_blackout = true;
        self
    }

    /// Has the id that the program gives itself, whatever `HANA_NODE` says: for the second node of a program, whose
    /// first has that id.
    #[must_use]
    pub fn with_own_id(mut self) -> Self {
        if let Some(kind) = &self.kind {
            self.id = kind.clone();
        }
        self
    }

    /// The number of the instance before this one, where the program has kept it: this one gets a larger number, also where the
    /// wall clock was set back.
    #[must_use]
    pub const fn with_instance_after(mut self, instance: Option<u64>) -> Self {
        self.instance_after = instance;
        self
    }

    /// Finds others, and lets them in, as these say.
    #[must_use]
    pub fn with_network(mut self, network: NetworkSettings) -> Self {
        self.network = network;
        self
    }

    /// The look it begins with, where a daemon restarted it and kept the one it had.
    #[must_use]
    pub const fn last_look(&self) -> Option<&Look> {
        self.last_look.as_ref()
    }

    /// How it finds others.
    #[must_use]
    pub const fn network(&self) -> &NetworkSettings {
        &self.network
    }

    /// The id it will join with.
    #[must_use]
    pub const fn id(&self) -> &NodeId {
        &self.id
    }

    /// The host it is on.
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

/// The host that `HANA_HOST` says this machine is, if it does.
///
/// # Errors
///
/// When it is no id.
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
