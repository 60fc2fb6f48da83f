//! The UDP sockets of discovery: one sends queries and replies, the other receives the queries of other nodes.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;
use std::{io, thread};

use socket2::{Domain, SockRef, Socket, Type};
use zenoh::config::Locator;

use crate::session::discovery::scout_message;
use crate::session::discovery::scout_message::{ScoutPacket, SessionId};
use crate::session::local_addresses::LocalAddresses;
use crate::session::open_session::Listener;

/// The multicast group of Zenoh's discovery.
const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 224), 7446);
/// The pause after a failed read, or while no socket is open.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// The largest packet that Zenoh sends.
pub(super) const MAX_PACKET: usize = u16::MAX as usize;

/// The addresses used for discovery, with the index of their interface.
pub(super) type Networks = BTreeSet<(Ipv4Addr, Option<u32>)>;

/// The socket that receives queries.
#[derive(Default)]
pub(super) struct ScoutSocket {
    socket: Option<UdpSocket>,
    networks: Networks,
    /// The last error of opening the socket, so that each error is logged once.
    reported: Option<String>,
}

impl ScoutSocket {
    /// Receives queries on exactly these interfaces.
    ///
    /// A socket joins the multicast group on each interface and keeps these memberships, so it is replaced by a new
    /// socket when the interfaces change.
    pub(super) fn listen_on(&mut self, networks: Networks, timeout: Duration) {
        if self.socket.is_some() && networks == self.networks {
            return;
        }
        match multicast_socket(&networks, timeout) {
            Ok(socket) => {
                (self.socket, self.networks, self.reported) = (Some(socket), networks, None);
            },
            Err(problem) => {
                let problem = problem.to_string();
                if self.reported.as_ref() != Some(&problem) {
                    tracing::warn!(
                        "other nodes cannot find this one by multicast on UDP port {}: {problem} (retrying, reported once)",
                        GROUP.port()
                    );
                }
                self.reported = Some(problem);
            },
        }
    }

    pub(super) fn close(&mut self) {
        self.socket = None;
    }

    /// Waits briefly for a query; returns the session id in it, if any, and the sender's address.
    pub(super) fn recv_query(
        &mut self,
        packet: &mut [u8],
    ) -> Option<(Option<SessionId>, SocketAddrV4)> {
        let Some(received) = self.socket.as_ref().map(|socket| socket.recv_from(packet)) else {
            thread::sleep(RETRY_INTERVAL);
            return None;
        };
        match received {
            Ok((length, SocketAddr::V4(querier))) => {
                match packet.get(..length).and_then(scout_message::read)? {
                    ScoutPacket::Question { from } => Some((from, querier)),
                    ScoutPacket::Answer { .. } => None,
                }
            },
            Ok((_, SocketAddr::V6(_))) => None,
            Err(error) if is_timeout(&error) => None,
            Err(error) => {
                tracing::debug!("cannot receive discovery queries: {error}");
                self.socket = None;
                thread::sleep(RETRY_INTERVAL);
                None
            },
        }
    }
}

/// Creates a socket that receives queries on these interfaces, in addition to the sockets of other programs.
fn multicast_socket(networks: &Networks, timeout: Duration) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_reuse_address(true)?;
    // Windows cannot bind to a multicast group.
    let ip = if cfg!(windows) { Ipv4Addr::UNSPECIFIED } else { *GROUP.ip() };
    socket.bind(&SocketAddr::from((ip, GROUP.port())).into())?;
    for (address, _) in networks {
        if let Err(problem) = socket.join_multicast_v4(GROUP.ip(), address) {
            // The interface does not support multicast, has already joined with another address, or was just removed.
            tracing::debug!("cannot receive discovery queries on {address}: {problem}");
        }
    }
    socket.set_read_timeout(Some(timeout))?;
    Ok(socket.into())
}

/// Replies to one query.
pub(super) fn reply(
    sender: &UdpSocket,
    listener: &Listener,
    addresses: &LocalAddresses,
    from: Option<SessionId>,
    querier: SocketAddrV4,
) {
    let endpoints = addresses.endpoints_for(*querier.ip(), listener.port());
    if from == Some(listener.id()) || endpoints.is_empty() {
        return;
    }
    let answer = scout_message::answer(listener.id(), &endpoints);
    if let Err(problem) = sender.send_to(&answer, querier) {
        tracing::debug!("cannot reply to {querier}: {problem}");
    }
}

/// Sends a query on each interface.
pub(super) fn query(socket: &UdpSocket, networks: &Networks, own: SessionId) {
    let question = scout_message::question(own);
    let options = SockRef::from(socket);
    for (address, _) in networks {
        let asked = options
            .set_multicast_if_v4(address)
            .and_then(|()| socket.send_to(&question, SocketAddr::from(GROUP)));
        if let Err(problem) = asked {
            // The interface does not support multicast, or was just removed.
            tracing::debug!("cannot send a discovery query on {address}: {problem}");
        }
    }
}

/// Waits for one reply, at most for `timeout`.
pub(super) fn recv_reply(
    socket: &UdpSocket,
    packet: &mut [u8],
    timeout: Duration,
) -> io::Result<Option<(SessionId, Vec<Locator>)>> {
    // The kernel rejects a timeout of zero.
    socket.set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
    let length = match socket.recv(packet) {
        Ok(length) => length,
        Err(error) if is_timeout(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(match packet.get(..length).and_then(scout_message::read) {
        Some(ScoutPacket::Answer { from, locators }) => Some((from, locators)),
        _ => None,
    })
}

/// Returns the networks for discovery. On a machine without a network, this is the loopback.
pub(super) fn networks(addresses: &LocalAddresses) -> Networks {
    if addresses.is_empty() {
        return [(Ipv4Addr::LOCALHOST, None)].into();
    }
    addresses.with_multicast()
}

fn is_timeout(error: &io::Error) -> bool {
    use io::ErrorKind::ConnectionReset;
    use io::ErrorKind::Interrupted;
    use io::ErrorKind::TimedOut;
    use io::ErrorKind::WouldBlock;
    // If a packet reached no program, Windows reports a connection reset.
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted | ConnectionReset)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn queries_arrive_on_loopback_beside_other_programs() {
        let networks: Networks = [(Ipv4Addr::LOCALHOST, None)].into();
        let mut sockets = [ScoutSocket::default(), ScoutSocket::default()];
        for queries in &mut sockets {
            queries.listen_on(networks.clone(), RETRY_INTERVAL);
        }
        let querier = UdpSocket::bind("0.0.0.0:0").unwrap();
        let id = SessionId::rand();
        let mut packet = vec![0; MAX_PACKET];
        for queries in &mut sockets {
            let deadline = Instant::now() + Duration::from_secs(20);
            while queries.recv_query(&mut packet).and_then(|(from, _)| from) != Some(id) {
                assert!(Instant::now() < deadline, "no question is heard");
                query(&querier, &networks, id);
            }
        }
    }
}
