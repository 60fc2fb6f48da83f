//! How the sessions of a node are opened: the daemon's, that of a node behind its daemon, that of a node
//! without one, and the two ends of a play link. The numbers are Zenoh's settings; each says why it is not
//! the default.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use thiserror::Error;
use zenoh::Wait;
use zenoh::config::Config;

use crate::NodeConfig;
use crate::addresses::Addresses;

/// A session could not be opened.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The daemon's port is in use.
    #[error(
        "port {port} is in use; is a hanad or a zenohd running on this machine already? Stop it, or see who it is: `ss -ltnp 'sport = :{port}'`"
    )]
    PortInUse {
        /// The port.
        port: u16,
    },
    /// A setting that Zenoh does not take.
    #[error("Zenoh does not take the setting {key} = {value}: {problem}")]
    Setting {
        /// The setting.
        key: &'static str,
        /// The value.
        value: String,
        /// Zenoh's own words.
        problem: String,
    },
    /// Zenoh could not open it.
    #[error("Zenoh cannot open a session: {problem}")]
    Open {
        /// Zenoh's own words.
        problem: String,
    },
}

/// How a session takes part.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    /// The daemon of a host: a peer on the port that everybody knows, and the gateway of its host.
    Daemon {
        /// As for a peer.
        addresses: Option<Addresses>,
    },
    /// A node behind the daemon of its host.
    Client,
    /// A node on a host without a daemon.
    Peer {
        /// Where to listen and scout; none for the first session of a process, where Zenoh's own reading of
        /// the interfaces is fresh.
        addresses: Option<Addresses>,
    },
    /// The end of a play link that is played: it listens, and looks for nobody.
    Played {
        /// Where.
        port: u16,
    },
    /// The end of a play link that plays.
    Player {
        /// Where the other end listens.
        endpoint: String,
    },
}

/// How long the probe for a daemon on this machine may take. Loopback answers or refuses at once.
const PROBE: Duration = Duration::from_millis(250);

/// How daemons and nodes without one know each other for peers of one mesh.
const REGION: &str = "hana";

impl Part {
    /// The part of an ordinary node: behind the daemon, if there is one.
    pub(crate) fn of_node(config: &NodeConfig) -> Self {
        if is_listening(config.daemon) { Self::Client } else { Self::Peer { addresses: None } }
    }

    fn settings(&self, config: &NodeConfig) -> Result<Vec<(&'static str, Value)>, SessionError> {
        let none: [&str; 0] = [];
        let mut settings = vec![
            // A hello from an address that cannot be reached must not hold up the others for 10 s.
            ("transport/unicast/open_timeout", json!(1500)),
            ("transport/unicast/accept_timeout", json!(1500)),
            // Short queues in the kernel: what waits there when a reader hangs is stale when it wakes up.
            ("transport/link/tcp/so_sndbuf", json!(65536)),
            ("transport/link/tcp/so_rcvbuf", json!(65536)),
            // Room for a burst of reliable messages; two batches, the default, overflow on a busy machine.
            ("transport/link/tx/queue/size/interactive_high", json!(8)),
            // Back within half a second when the daemon is.
            (
                "connect/retry",
                json!({"period_init_ms": 100, "period_max_ms": 500, "period_increase_factor": 1.5}),
            ),
        ];
        let interface = match self {
            Self::Daemon { addresses: Some(addresses) }
            | Self::Peer { addresses: Some(addresses) } => addresses.to_scout_on(),
            _ => config.interface.clone(),
        };
        let scouting = |settings: &mut Vec<_>, on: bool| {
            settings.push(("scouting/multicast/enabled", json!(on)));
            if let Some(interface) = &interface {
                settings.push(("scouting/multicast/interface", json!(interface)));
            }
        };
        match self {
            Self::Daemon { addresses } => {
                settings.push(("mode", json!("peer")));
                let endpoints = daemon_endpoints(config, addresses.as_ref())?;
                settings.push(("listen/endpoints", json!(endpoints)));
                settings.push(("connect/endpoints", json!(config.connect)));
                settings.push(("region_name", json!(REGION)));
                // The gateway of the clients of its host, and of every peer that is not ours: a foreign
                // program that meets one daemon reaches everybody through it, instead of only those it
                // has had time to meet.
                settings.push((
                    "gateway",
                    json!({"south": [
                        {"filters": [{"modes": ["client"]}]},
                        {"filters": [{"region_names": [REGION], "negated": true}]},
                    ]}),
                ));
                // An unplugged host is noticed in a second.
                settings.push(("transport/link/tx/lease", json!(1000)));
                scouting(&mut settings, config.multicast);
            },
            Self::Client => {
                settings.push(("mode", json!("client")));
                settings.push(("connect/endpoints", json!([format!("tcp/{}", config.daemon)])));
                settings.push(("connect/timeout_ms", json!(2000)));
                settings.push(("listen/endpoints", json!(none)));
                // A stopped or hung process keeps its token for this long: its daemon judges it by its
                // health, and its death closes the connection at once, whatever the lease.
                settings.push(("transport/link/tx/lease", json!(60_000)));
                // A client that answers scouts draws peers to itself.
                scouting(&mut settings, false);
            },
            Self::Peer { addresses } => {
                settings.push(("mode", json!("peer")));
                settings.push(("region_name", json!(REGION)));
                settings.push(("connect/endpoints", json!(config.connect)));
                let endpoints =
                    addresses.as_ref().map_or_else(|| any_endpoints(0), |known| known.endpoints(0));
                settings.push(("listen/endpoints", json!(endpoints)));
                settings.push(("transport/link/tx/lease", json!(3000)));
                scouting(&mut settings, config.multicast);
            },
            Self::Played { port } => {
                settings.push(("mode", json!("peer")));
                settings.push(("listen/endpoints", json!(any_endpoints(*port))));
                // Gossip stays on, since Zenoh warns of its absence, but there is nobody to gossip to.
                settings.push(("scouting/gossip/target", json!(none)));
                settings.push(("scouting/gossip/autoconnect", json!(none)));
                scouting(&mut settings, false);
            },
            Self::Player { endpoint } => {
                settings.push(("mode", json!("client")));
                settings.push(("connect/endpoints", json!([endpoint])));
                settings.push(("connect/timeout_ms", json!(1000)));
                settings.push(("listen/endpoints", json!(none)));
                scouting(&mut settings, false);
            },
        }
        Ok(settings)
    }

    /// Opens the session. Blocks: for a client some milliseconds, for a peer up to half a second of
    /// scouting, for a daemon that is not there up to two seconds.
    pub(crate) fn open(&self, config: &NodeConfig) -> Result<zenoh::Session, SessionError> {
        let mut settings = Config::default();
        for (key, value) in self.settings(config)? {
            let value = value.to_string();
            settings.insert_json5(key, &value).map_err(|problem| SessionError::Setting {
                key,
                value,
                problem: problem.to_string(),
            })?;
        }
        zenoh::open(settings)
            .wait()
            .map_err(|problem| SessionError::Open { problem: problem.to_string() })
    }
}

/// Whether somebody listens at `address`.
pub(crate) fn is_listening(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, PROBE).is_ok()
}

/// Whether a daemon (or something else) listens on this machine at the port where a daemon does. Blocks for
/// at most a quarter of a second; the loopback answers or refuses at once.
#[must_use]
pub fn daemon_is_listening() -> bool {
    is_listening(SocketAddr::from((Ipv4Addr::LOCALHOST, NodeConfig::DAEMON_PORT)))
}

/// Where the daemon listens: the known port on all addresses, or on those that are given and the loopback.
fn daemon_endpoints(
    config: &NodeConfig,
    addresses: Option<&Addresses>,
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
    // Zenoh says of a taken port only that it could not listen; we say why, and try first.
    let in_use = |address: &str| {
        TcpListener::bind(address).is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
    };
    if endpoints.iter().filter_map(|endpoint| endpoint.strip_prefix("tcp/")).any(in_use) {
        return Err(SessionError::PortInUse { port });
    }
    Ok(endpoints)
}

/// All addresses of this machine. One socket takes IPv4 and IPv6, but on Windows, where it takes only
/// IPv6; a machine without IPv6 listens on IPv4 alone.
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
