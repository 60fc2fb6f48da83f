//! Opens sessions: for a daemon, for a node behind a daemon, for a node without one, and for both ends of a direct
//! link.
//!
//! The numbers are Zenoh settings; the comment on each gives the reason for deviating from Zenoh's default.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;
use tracing::subscriber::NoSubscriber;
use zenoh::config::Config;

use crate::config::node_config::{NodeConfig, daemon_port};
use crate::config::play_transport::DirectLinkTransport;
use crate::config::port_range::PortRange;
use crate::config::secret::{CredentialsFile, Secret};
use crate::session::attach_mode::AttachMode;
use crate::session::discovery::meeting;
use crate::session::local_addresses::LocalAddresses;
use crate::session::open_session::OpenSession;
use crate::session::zenoh_probe::ProbeResult;

/// A reason why a session could not be opened.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The daemon's port is in use.
    #[error(
        "port {port} of this machine is in use by {by}; stop that program (`ss -ltnp 'sport = :{port}'` shows its process), then start hanad again"
    )]
    PortInUse {
        /// The port.
        port: u16,
        /// The kind of program that uses the port.
        by: &'static str,
    },
    /// All ports for direct links are in use.
    #[error(
        "all ports for direct links are in use ({range}); widen `play_ports` in hanad.toml to one port for each visualization on this machine"
    )]
    NoPlayPort {
        /// The permitted ports.
        range: PortRange,
    },
    /// The daemon of this machine requires a secret, and this program has none.
    #[error(
        "the daemon on this machine requires a secret, and none is set here; set HANA_SECRET, or `secret` in hanad.toml"
    )]
    SecretWanted,
    /// The secret of this program differs from that of the daemon of this machine.
    #[error(
        "the secret set here is not that of the daemon on this machine; set HANA_SECRET, or `secret` in hanad.toml, to the daemon's, or restart the daemon if its secret was changed"
    )]
    SecretDiffers,
    /// The daemon of this machine has no secret, but this program has one.
    #[error(
        "a secret is set here (HANA_SECRET, or `secret` in hanad.toml), but the daemon on this machine has none; restart the daemon with it, or unset it here"
    )]
    SecretUnknown,
    /// The secret cannot be passed to Zenoh.
    #[error("cannot pass the secret to Zenoh: {0}")]
    SecretNotHanded(String),
    /// Zenoh rejects one of the settings.
    #[error("Zenoh rejects the setting {key} = {value}: {problem}")]
    Setting {
        /// The key of the setting.
        key: &'static str,
        /// The value of the setting.
        value: String,
        /// Zenoh's own error text.
        problem: String,
    },
    /// Zenoh could not open the session.
    #[error("Zenoh cannot open a session: {problem}")]
    Open {
        /// Zenoh's own error text.
        problem: String,
    },
}

/// The role of a session.
#[derive(Debug, Clone)]
pub(crate) enum SessionKind {
    /// The daemon of a host: a peer on the well-known port, and the gateway of its host.
    Daemon {
        /// The addresses on which it listens; `None` for all addresses of the machine.
        addresses: Option<LocalAddresses>,
    },
    /// A node behind the daemon of its host.
    Client,
    /// A node on a host without a daemon.
    Peer {
        /// The addresses on which it listens if it relies on gossip; `None` for all addresses of the machine.
        ///
        /// The first session of a process needs no addresses, since Zenoh has just read the interfaces.
        addresses: Option<LocalAddresses>,
    },
    /// The visualization's end of a direct link. It listens, and does not search for other nodes.
    DirectListener {
        /// The port at which it listens.
        port: u16,
    },
    /// The controller's end of a direct link.
    DirectDialer {
        /// The endpoint of the visualization.
        endpoint: String,
    },
}

/// The timeout of the check whether a program listens at a port. The loopback accepts or refuses at once.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);
/// The timeout of a probe of the daemon on this machine.
///
/// A reply takes about a millisecond. The timeout is much longer, so that a busy machine does not make a node bypass
/// its daemon.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The maximum size in bytes of a received message, of any type and from any sender.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// The Zenoh region by which daemons and nodes without a daemon recognize each other as peers of one mesh.
const REGION: &str = "hana";

impl SessionKind {
    /// Returns the role of an ordinary node: a client of the daemon if there is one, else a peer.
    pub(crate) fn for_node(config: &NodeConfig) -> Self {
        static WARNED: AtomicBool = AtomicBool::new(false);
        match ProbeResult::probe(config.daemon, PROBE_TIMEOUT) {
            ProbeResult::Accepting(_) | ProbeResult::AuthRequired => Self::Client,
            ProbeResult::Unreachable => Self::Peer { addresses: None },
            probe @ (ProbeResult::NoResponse | ProbeResult::NotZenoh) => {
                if !WARNED.swap(true, Ordering::Relaxed) {
                    let port = config.daemon.port();
                    tracing::warn!(
                        "port {port} of this machine, where its daemon should listen, is in use by {}; continuing without a daemon. `ss -ltnp 'sport = :{port}'` shows the process",
                        probe.describe()
                    );
                }
                Self::Peer { addresses: None }
            },
        }
    }

    /// Returns the attach mode of a session in this role.
    pub(crate) const fn attach_mode(&self) -> AttachMode {
        match self {
            Self::Client => AttachMode::ViaDaemon,
            Self::Daemon { .. }
            | Self::Peer { .. }
            | Self::DirectListener { .. }
            | Self::DirectDialer { .. } => AttachMode::Peer,
        }
    }

    fn settings(&self, config: &NodeConfig) -> Result<Vec<(&'static str, Value)>, SessionError> {
        let none: [&str; 0] = [];
        let mut settings = common_settings();
        let network = &config.network;
        if let Some(show) = &network.show {
            settings.push(("namespace", json!(show.as_str())));
        }
        // Zenoh's own discovery is off: where multicast is available, `scouting` discovers nodes on all current
        // interfaces.
        settings.push(("scouting/multicast/enabled", json!(false)));
        match self {
            Self::Daemon { addresses } => {
                settings.push(("mode", json!("peer")));
                let endpoints = daemon_endpoints(config, addresses.as_ref())?;
                settings.push(("listen/endpoints", json!(endpoints)));
                settings.push(("connect/endpoints", json!(network.connect)));
                settings.push(("region_name", json!(REGION)));
                // The daemon is the gateway of the clients on its host, and of every peer that is not a hana node. A
                // foreign program that is connected to one daemon therefore reaches all nodes, not only those that it
                // is connected to.
                settings.push((
                    "gateway",
                    json!({"south": [
                        {"filters": [{"modes": ["client"]}]},
                        {"filters": [{"region_names": [REGION], "negated": true}]},
                    ]}),
                ));
                // No message may wait while a link is full. The lanes of hana never wait. A foreign message that
                // waited would delay all traffic here for five seconds, and would then close the connection between
                // two daemons.
                settings.push((
                    "qos/network",
                    json!([{
                        "messages": ["put", "delete", "query"],
                        "flows": ["ingress"],
                        "qos": {"congestion_control": "block"},
                        "key_exprs": ["**"],
                        "overwrite": {"congestion_control": "drop"},
                    }]),
                ));
                // With this lease, an unplugged host is detected within a second.
                settings.push(("transport/link/tx/lease", json!(1000)));
            },
            Self::Client => {
                settings.push(("mode", json!("client")));
                settings.push(("connect/endpoints", json!([format!("tcp/{}", config.daemon)])));
                settings.push(("connect/timeout_ms", json!(2000)));
                settings.push(("listen/endpoints", json!(none)));
                // When a process is suspended or frozen, its token stays for this long, since the daemon judges the
                // process by its health. When a process dies, its connection closes at once, regardless of the lease.
                settings.push(("transport/link/tx/lease", json!(60_000)));
            },
            Self::Peer { addresses } => {
                settings.push(("mode", json!("peer")));
                settings.push(("region_name", json!(REGION)));
                settings.push(("connect/endpoints", json!(network.connect)));
                let known = addresses.as_ref().filter(|_| network.relies_on_gossip());
                let endpoints = known.map_or_else(|| any_endpoints(0), |known| known.endpoints(0));
                settings.push(("listen/endpoints", json!(endpoints)));
                settings.push(("transport/link/tx/lease", json!(3000)));
            },
            Self::DirectListener { port } => {
                settings.push(("mode", json!("peer")));
                let mut endpoints = any_endpoints(*port);
                if network.play_link == DirectLinkTransport::Udp {
                    let over_udp = any_endpoints(*port);
                    let over_udp =
                        over_udp.iter().map(|endpoint| endpoint.replacen("tcp/", "udp/", 1));
                    endpoints.extend(over_udp);
                }
                settings.push(("listen/endpoints", json!(endpoints)));
                // Gossip stays enabled, because Zenoh warns if it is off, but it has no targets.
                settings.push(("scouting/gossip/target", json!(none)));
                settings.push(("scouting/gossip/autoconnect", json!(none)));
            },
            Self::DirectDialer { endpoint } => {
                settings.push(("mode", json!("client")));
                settings.push(("connect/endpoints", json!([endpoint])));
                settings.push(("connect/timeout_ms", json!(1000)));
                // Each value of a stream takes its own batch. With the default of two batches, the queue overflows
                // when the writing thread is three milliseconds late, and the next value is lost. The batches are
                // small to save memory per link: a modulation batch of 64 parameters has 1.2 kB.
                settings.push(("transport/link/tx/queue/size/real_time", json!(16)));
                settings.push(("transport/link/tx/batch_size", json!(8192)));
                settings.push(("listen/endpoints", json!(none)));
            },
        }
        Ok(settings)
    }

    /// Opens the session.
    ///
    /// Blocks: a client for a few milliseconds, a peer for up to half a second of discovery, and a client whose daemon
    /// is not running for up to two seconds.
    pub(crate) fn open(&self, config: &NodeConfig) -> Result<OpenSession, SessionError> {
        // The probe comes first because Zenoh retries for two seconds, and its error does not mention secrets.
        let probe =
            matches!(self, Self::Client).then(|| ProbeResult::probe(config.daemon, PROBE_TIMEOUT));
        let secret = config.network.secret.as_ref();
        match (probe, secret) {
            (Some(ProbeResult::AuthRequired), None) => return Err(SessionError::SecretWanted),
            (Some(ProbeResult::Accepting(_)), Some(_)) => return Err(SessionError::SecretUnknown),
            _ => {},
        }
        let mut settings = Config::default();
        for (key, value) in self.settings(config)? {
            let value = value.to_string();
            settings.insert_json5(key, &value).map_err(|problem| SessionError::Setting {
                key,
                value,
                problem: problem.to_string(),
            })?;
        }
        let credentials = secret.map(|secret| admit(&mut settings, secret)).transpose()?;
        let listens = matches!(self, Self::Daemon { .. } | Self::Peer { .. });
        let open = || {
            if listens { OpenSession::listening(settings) } else { OpenSession::quiet(settings) }
        };
        let session = if secret.is_some() {
            // At level `debug`, Zenoh logs its settings with the secret, in this thread; so this thread logs nothing
            // meanwhile.
            tracing::subscriber::with_default(NoSubscriber::new(), open)
        } else {
            open()
        };
        drop(credentials);
        let session = session.map_err(|problem| match probe {
            Some(ProbeResult::AuthRequired) => SessionError::SecretDiffers,
            _ => SessionError::Open { problem: problem.to_string() },
        })?;
        if let Some(listener) = session.listener().filter(|_| config.network.multicast) {
            meeting::meet(listener, config.network.interface.as_deref());
        }
        Ok(session)
    }
}

/// Returns the settings that all sessions have in common.
fn common_settings() -> Vec<(&'static str, Value)> {
    vec![
        // An unreachable address in a discovery reply must not delay the other connections by 10 s.
        ("transport/unicast/open_timeout", json!(1500)),
        ("transport/unicast/accept_timeout", json!(1500)),
        // Short kernel queues: data that waits in them while a reader hangs is stale when the reader resumes.
        ("transport/link/tcp/so_sndbuf", json!(65536)),
        ("transport/link/tcp/so_rcvbuf", json!(65536)),
        // Zenoh reassembles fragmented messages before the application can check their size; its default limit is one
        // GiB for each message. Fragments of a message above this limit are dropped, and the connection stays open.
        ("transport/link/rx/max_message_size", json!(MAX_MESSAGE)),
        // This leaves room for a burst of reliable messages; with the default of two batches, the queue overflows on a
        // busy machine.
        ("transport/link/tx/queue/size/interactive_high", json!(8)),
        // The session reconnects within half a second after the daemon restarts.
        (
            "connect/retry",
            json!({"period_init_ms": 100, "period_max_ms": 500, "period_increase_factor": 1.5}),
        ),
    ]
}

/// Admits only nodes with the secret, and authenticates this node with it.
///
/// Zenoh reads the dictionary while it opens the session. The error messages of Zenoh are not passed on, because they
/// may contain the settings.
fn admit(settings: &mut Config, secret: &Secret) -> Result<CredentialsFile, SessionError> {
    let credentials = CredentialsFile::of(secret)
        .map_err(|problem| SessionError::SecretNotHanded(problem.to_string()))?;
    let user = json!({
        "user": Secret::USER,
        "password": secret.reveal(),
        "dictionary_file": credentials.path(),
    });
    settings
        .insert_json5("transport/auth/usrpwd", &user.to_string())
        .map_err(|_| SessionError::SecretNotHanded("Zenoh rejects the setting".into()))?;
    Ok(credentials)
}

/// Returns whether a program listens at `address`.
pub(crate) fn is_listening(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).is_ok()
}

/// Returns whether a daemon (or another program) listens at the daemon port of this machine (`HANA_PORT`).
///
/// Blocks for a quarter of a second at most; the loopback accepts or refuses at once.
#[must_use]
pub fn daemon_is_listening() -> bool {
    let port = daemon_port().unwrap_or(NodeConfig::DAEMON_PORT);
    is_listening(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// Returns the endpoints of the daemon: its port on all addresses, or on the given addresses and the loopback.
fn daemon_endpoints(
    config: &NodeConfig,
    addresses: Option<&LocalAddresses>,
) -> Result<Vec<String>, SessionError> {
    let port = config.daemon.port();
    let endpoints = addresses.map_or_else(
        || any_endpoints(port),
        |addresses| {
            let mut endpoints = addresses.endpoints(port);
            endpoints.push(format!("tcp/127.0.0.1:{port}"));
            endpoints
        },
    );
    // Zenoh only reports that it could not listen, without the cause, so this tests whether the port is in use.
    let in_use = |address: &str| {
        TcpListener::bind(address).is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
    };
    if endpoints.iter().filter_map(|endpoint| endpoint.strip_prefix("tcp/")).any(in_use) {
        let by = ProbeResult::probe(config.daemon, PROBE_TIMEOUT).describe();
        return Err(SessionError::PortInUse { port, by });
    }
    Ok(endpoints)
}

/// Returns the endpoints for all addresses of this machine.
///
/// One socket serves IPv4 and IPv6, except on Windows, where it serves IPv6 only; a machine without IPv6 listens on
/// IPv4 alone.
fn any_endpoints(port: u16) -> Vec<String> {
    let v4 = format!("tcp/0.0.0.0:{port}");
    let v6 = format!("tcp/[::]:{port}");
    let has_v6 = TcpListener::bind("[::]:0").is_ok();
    match (has_v6, cfg!(windows)) {
        (false, _) => vec![v4],
        (true, false) => vec![v6],
        (true, true) => vec![v4, v6],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hana_protocol::id::NodeId;

    use super::*;
    use crate::config::network_settings::NetworkSettings;
    use crate::session::zenoh_probe::WhatAmI;

    /// Configures a node whose daemon address is a free port, at which no program listens yet.
    fn config(secret: Option<&str>) -> NodeConfig {
        let network = NetworkSettings {
            multicast: false,
            secret: secret.map(|secret| Secret::new(secret).unwrap()),
            ..NetworkSettings::default()
        };
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let id = NodeId::new("session-test").unwrap();
        let mut config = NodeConfig::of(id.clone(), id).with_network(network);
        config.daemon = free;
        config
    }

    fn with_secret(config: &NodeConfig, secret: Option<&str>) -> NodeConfig {
        let mut config = config.clone();
        config.network.secret = secret.map(|secret| Secret::new(secret).unwrap());
        config
    }

    #[test]
    fn probe_distinguishes_an_open_from_a_guarded_daemon() {
        let open = config(None);
        let _open = SessionKind::Daemon { addresses: None }.open(&open).unwrap();
        assert_eq!(
            ProbeResult::probe(open.daemon, PROBE_TIMEOUT),
            ProbeResult::Accepting(WhatAmI::Peer)
        );
        let guarded = config(Some("swordfish"));
        let _guarded = SessionKind::Daemon { addresses: None }.open(&guarded).unwrap();
        assert_eq!(ProbeResult::probe(guarded.daemon, PROBE_TIMEOUT), ProbeResult::AuthRequired);
    }

    #[test]
    fn client_needs_the_secret_and_learns_what_is_wrong() {
        let daemon = config(Some("swordfish"));
        let _session = SessionKind::Daemon { addresses: None }.open(&daemon).unwrap();
        let known = |secret| {
            SessionKind::Client.open(&with_secret(&daemon, secret)).map(drop).map_err(|problem| {
                assert!(!problem.to_string().contains("fish"), "{problem}");
                problem
            })
        };
        known(Some("swordfish")).unwrap();
        assert!(matches!(known(Some("goldfish")), Err(SessionError::SecretDiffers)));
        assert!(matches!(known(None), Err(SessionError::SecretWanted)));

        let open = config(None);
        let _session = SessionKind::Daemon { addresses: None }.open(&open).unwrap();
        let known = SessionKind::Client.open(&with_secret(&open, Some("swordfish")));
        assert!(matches!(known, Err(SessionError::SecretUnknown)));
    }

    #[test]
    fn direct_link_requires_the_secret() {
        let played = config(Some("swordfish"));
        let port = played.daemon.port();
        let _session = SessionKind::DirectListener { port }.open(&played).unwrap();
        let endpoint = format!("tcp/127.0.0.1:{port}");
        let link = SessionKind::DirectDialer { endpoint };
        link.open(&played).unwrap();
        for secret in [None, Some("goldfish")] {
            assert!(link.open(&with_secret(&played, secret)).is_err());
        }
    }

    #[test]
    fn port_in_use_names_the_program() {
        let config = config(None);
        let _other = TcpListener::bind(config.daemon).unwrap();
        let refused = SessionKind::Daemon { addresses: None }.open(&config);
        let port = config.daemon.port();
        assert!(
            matches!(refused, Err(SessionError::PortInUse { port: taken, .. }) if taken == port)
        );
    }
}
