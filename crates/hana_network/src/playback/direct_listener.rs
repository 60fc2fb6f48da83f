use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use crate::config::node_config::NodeConfig;
use crate::config::play_transport::DirectLinkTransport;
use crate::session::local_addresses::LocalAddresses;
use crate::session::session_kind::{SessionError, SessionKind};
use crate::session::session_worker::SessionWorker;

/// The second session of a visualization, which listens for direct links.
pub(crate) struct DirectListener {
    pub(crate) worker: SessionWorker,
    port: u16,
    transport: DirectLinkTransport,
}

impl DirectListener {
    pub(crate) fn open(config: &NodeConfig) -> Result<Self, SessionError> {
        // The port is chosen here, because Zenoh does not report the port that it chose on a machine with only the
        // loopback.
        let port = free_port(config)?;
        let session = SessionKind::DirectListener { port }.open(config)?;
        let worker = SessionWorker::start("played", session)
            .map_err(|problem| SessionError::Open { problem: problem.to_string() })?;
        Ok(Self { worker, port, transport: config.network.play_link })
    }

    /// Returns the endpoints of the listener, given the addresses of the machine.
    ///
    /// The listener accepts connections on all addresses, including addresses added later.
    pub(crate) fn endpoints(&self, addresses: &LocalAddresses) -> Vec<String> {
        // A controller uses the first endpoint in the list that it can reach.
        let transports = match self.transport {
            DirectLinkTransport::Tcp => &[DirectLinkTransport::Tcp][..],
            DirectLinkTransport::Udp => &[DirectLinkTransport::Udp, DirectLinkTransport::Tcp],
        };
        let endpoints_over = |transport: &DirectLinkTransport| {
            let mut endpoints = addresses.endpoints_over(*transport, self.port);
            endpoints.push(format!("{transport}/127.0.0.1:{}", self.port));
            endpoints
        };
        transports.iter().flat_map(endpoints_over).collect()
    }
}

/// Returns a currently unused port from the configured range.
fn free_port(config: &NodeConfig) -> Result<u16, SessionError> {
    let bind = |port| {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
        let port = listener.local_addr()?.port();
        if config.network.play_link == DirectLinkTransport::Udp {
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
        }
        Ok::<u16, std::io::Error>(port)
    };
    if let Some(range) = config.network.play_ports {
        // Visualizations that start at the same time begin their search at different ports.
        let ports: Vec<u16> = range.ports().collect();
        let begin = usize::try_from(std::process::id()).unwrap_or_default() % ports.len().max(1);
        return ports
            .iter()
            .cycle()
            .skip(begin)
            .take(ports.len())
            .copied()
            .find(|port| bind(*port).is_ok())
            .ok_or(SessionError::NoPlayPort { range });
    }
    let mut port = bind(0);
    // A port that is free for TCP is almost always free for UDP too.
    for _ in 0..8 {
        if port.is_ok() {
            break;
        }
        port = bind(0);
    }
    port.map_err(|problem| SessionError::Open { problem: problem.to_string() })
}
