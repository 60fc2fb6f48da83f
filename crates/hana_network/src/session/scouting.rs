//! Discovers other listening nodes on every interface, including those added while the node runs, without an
//! interruption.
//!
//! Zenoh reads the interfaces once per process: it neither queries nor replies on later ones, and announces addresses
//! that are gone. So its own discovery is off. The node itself replies to the queries of others with its current
//! addresses, and sends queries as [`Discovery`] decides; Zenoh connects the session to the nodes that reply.
//!
//! Each query carries the id of this node's session. A node that still holds a connection to that session does not
//! reply: it has not noticed yet that the connection is lost. A reconnection before it notices would leave Zenoh with
//! declarations that only one end knows.

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{io, thread};

use socket2::{Domain, SockRef, Socket, Type};
use zenoh::Wait;
use zenoh::config::{Locator, WhatAmI};
use zenoh::internal::runtime::ZRuntime;
use zenoh::sample::SampleKind;
use zenoh::session::TransportEvent;

use crate::node::node::NodeContext;
use crate::session::discovery::Discovery;
use crate::session::local_addresses::LocalAddresses;
use crate::session::open::Listener;
use crate::session::scout_message;
use crate::session::scout_message::{ScoutPacket, SessionId};
use crate::session::session_worker::RegistrationGuard;

/// The multicast group of Zenoh's discovery.
const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 224), 7446);
/// The interval between checks of the machine's addresses.
const LOOK: Duration = Duration::from_millis(250);
/// The largest packet that Zenoh sends.
const PACKET: usize = u16::MAX as usize;

type Shared = Arc<Mutex<Discovery<SessionId>>>;

/// The addresses used for discovery, with the index of their interface.
type Networks = BTreeSet<(Ipv4Addr, Option<u32>)>;

/// Starts discovery for a listening node, unless it is running or the settings disable it.
pub(crate) fn ensure(core: &Arc<NodeContext>) {
    if !core.config.network.multicast {
        return;
    }
    let mut scouting = core.scouting.lock().unwrap_or_else(PoisonError::into_inner);
    if scouting.is_none() {
        *scouting = start(core)
            .inspect_err(|problem| {
                tracing::error!(
                    "this node cannot look for others, no thread can be started: {problem}"
                );
            })
            .ok();
    }
}

/// Starts the threads that reply and query until the node is dropped. The returned guard tracks its connections.
fn start(core: &Arc<NodeContext>) -> io::Result<RegistrationGuard> {
    let discovery: Shared = Arc::new(Mutex::new(Discovery::new(Instant::now())));
    let (of_answers, of_questions) = (Arc::downgrade(core), Arc::downgrade(core));
    // One socket sends both queries and replies: once this node has replied to another one, a firewall that admits
    // only responses admits the replies of that node too.
    let mouth = Arc::new(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?);
    let answering = Arc::clone(&mouth);
    thread::Builder::new()
        .name("hana answer".into())
        .spawn(move || answer_all(&of_answers, &answering))?;
    let shared = Arc::clone(&discovery);
    thread::Builder::new()
        .name("hana scout".into())
        .spawn(move || ask_all(&of_questions, &mouth, &shared))?;
    Ok(core.worker.declare("connections to find anew", move |session| {
        let discovery = Arc::clone(&discovery);
        let callback = move |event: TransportEvent| {
            let transport = event.transport();
            let id = SessionId::from(*transport.zid());
            if transport.whatami() == WhatAmI::Client {
                return;
            }
            if event.kind() == SampleKind::Delete {
                tracing::debug!("the connection to {id} is gone");
                lock(&discovery).on_lost(id, Instant::now());
            } else {
                lock(&discovery).on_connected(id);
            }
        };
        let listener =
            session.info().transport_events_listener().history(true).callback(callback).wait()?;
        Ok(Box::new(listener))
    }))
}

/// How long a newly opened session waits for the first reply, and after it for further ones.
const MEET: Duration = Duration::from_millis(500);
const MEET_MORE: Duration = Duration::from_millis(150);
/// The interval between its queries.
const MEET_ASK: Duration = Duration::from_millis(100);
/// The timeout for connecting to the nodes that replied.
const MEET_CONNECT: Duration = Duration::from_millis(1800);
/// How long it waits for queries of other nodes at a time.
const MEET_LISTEN: Duration = Duration::from_millis(20);

/// Connects a newly opened session to the existing nodes, and to those that start at the same time.
///
/// Blocks for half a second, and longer if a node that replied is unreachable.
pub(crate) fn meet(listener: &Listener, interface: Option<&str>) {
    let addresses = LocalAddresses::now(interface);
    let met = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut ear = Ear::default();
                ear.listen_on(networks(&addresses), MEET_LISTEN);
                let mut packet = vec![0; PACKET];
                while !is_over.load(Ordering::Relaxed) {
                    if let Some((from, asker)) = ear.next(&mut packet) {
                        answer(&socket, listener, &addresses, from, asker);
                    }
                }
            });
            let found = look_around(&socket, &networks(&addresses), listener.id());
            let connected = found.map(|found| connect_all(listener, found));
            is_over.store(true, Ordering::Relaxed);
            connected
        })
    });
    if let Err(problem) = met {
        tracing::warn!("nobody can be asked who is there: {problem}");
    }
}

/// Connects to the nodes found, and waits for all attempts to end.
fn connect_all(listener: &Listener, found: HashMap<SessionId, Vec<Locator>>) {
    let (done, all_done) = flume::unbounded::<()>();
    let connect = |(id, locators): (SessionId, Vec<Locator>)| {
        let (runtime, done) = (listener.runtime().clone(), done.clone());
        ZRuntime::Net.spawn(async move {
            runtime.connect_peer(&id, &locators).await;
            drop(done);
        });
    };
    // A node that started at the same time connects as well: the one with the greater id goes first.
    let (ours, theirs): (HashMap<_, _>, HashMap<_, _>) =
        found.into_iter().partition(|(id, _)| listener.id() > *id);
    ours.into_iter().for_each(connect);
    if !theirs.is_empty() {
        thread::sleep(MEET_MORE);
        theirs.into_iter().for_each(connect);
    }
    drop(done);
    // Nothing is ever sent: the channel closes when the last attempt ends.
    all_done.recv_timeout(MEET_CONNECT).ok();
}

/// Sends a few queries and collects the replies.
fn look_around(
    socket: &UdpSocket,
    networks: &Networks,
    own: SessionId,
) -> io::Result<HashMap<SessionId, Vec<Locator>>> {
    let mut found = HashMap::new();
    let mut packet = vec![0; PACKET];
    let mut ask_at = Instant::now();
    let mut until = ask_at + MEET;
    loop {
        let now = Instant::now();
        if now >= until {
            return Ok(found);
        }
        if now >= ask_at {
            ask(socket, networks, own);
            ask_at = now + MEET_ASK;
        }
        let left = until.min(ask_at).saturating_duration_since(Instant::now());
        let Some((id, locators)) = next_answer(socket, &mut packet, left)? else { continue };
        if id != own && found.insert(id, locators).is_none() {
            until = until.min(Instant::now() + MEET_MORE);
        }
    }
}

/// Waits for one reply, for `patience` at most.
fn next_answer(
    socket: &UdpSocket,
    packet: &mut [u8],
    patience: Duration,
) -> io::Result<Option<(SessionId, Vec<Locator>)>> {
    // The kernel rejects a timeout of zero.
    socket.set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
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

/// Replies to queries until the node is dropped.
fn answer_all(core: &Weak<NodeContext>, mouth: &UdpSocket) {
    let mut ear = Ear::default();
    let mut packet = vec![0; PACKET];
    loop {
        let Some(strong) = core.upgrade() else { return };
        let addresses = addresses_of(&strong);
        if strong.worker.seat().is_some_and(|seat| seat.listener.is_none()) {
            // The node is now attached through a daemon, which replies for the whole machine.
            ear.close();
        } else {
            ear.listen_on(networks(&addresses), LOOK);
        }
        drop(strong);
        let Some((from, asker)) = ear.next(&mut packet) else { continue };
        let Some(core) = core.upgrade() else { return };
        let is_held = from.is_some_and(|from| core.connection.is_connected_to(&from.to_string()));
        if let Some(listener) = core.worker.seat().and_then(|seat| seat.listener)
            && !is_held
        {
            answer(mouth, &listener, &addresses, from, asker);
        }
    }
}

/// Replies to one query.
fn answer(
    mouth: &UdpSocket,
    listener: &Listener,
    addresses: &LocalAddresses,
    from: Option<SessionId>,
    asker: SocketAddrV4,
) {
    let endpoints = addresses.endpoints_for(*asker.ip(), listener.port());
    if from == Some(listener.id()) || endpoints.is_empty() {
        return;
    }
    let answer = scout_message::answer(listener.id(), &endpoints);
    if let Err(problem) = mouth.send_to(&answer, asker) {
        tracing::debug!("{asker} is not answered: {problem}");
    }
}

/// Sends queries and connects to the nodes that reply, until the node is dropped.
fn ask_all(core: &Weak<NodeContext>, mouth: &UdpSocket, discovery: &Shared) {
    let mut packet = vec![0; PACKET];
    loop {
        let Some(strong) = core.upgrade() else { return };
        let listener = strong.worker.seat().and_then(|seat| seat.listener);
        let networks = networks(&addresses_of(&strong));
        drop(strong);
        // Without a listening session there is nothing to connect.
        let Some(listener) = listener else {
            thread::sleep(LOOK);
            continue;
        };
        let now = Instant::now();
        lock(discovery).on_networks(networks.clone(), now);
        if lock(discovery).take_question(now) {
            ask(mouth, &networks, listener.id());
        }
        let until = lock(discovery).next_question().min(now + LOOK);
        if let Err(problem) = take_answers(core, mouth, &listener, discovery, &mut packet, until) {
            tracing::debug!("answers cannot be read: {problem}");
            thread::sleep(LOOK);
        }
    }
}

/// Sends a query on each interface.
fn ask(socket: &UdpSocket, networks: &Networks, own: SessionId) {
    let question = scout_message::question(own);
    let options = SockRef::from(socket);
    for (address, _) in networks {
        let asked = options
            .set_multicast_if_v4(address)
            .and_then(|()| socket.send_to(&question, SocketAddr::from(GROUP)));
        if let Err(problem) = asked {
            // The interface has no multicast, or has just been removed.
            tracing::debug!("who is there cannot be asked by {address}: {problem}");
        }
    }
}

/// Handles replies until the deadline.
fn take_answers(
    core: &Weak<NodeContext>,
    socket: &UdpSocket,
    listener: &Listener,
    discovery: &Shared,
    packet: &mut [u8],
    until: Instant,
) -> io::Result<()> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let Some((from, locators)) = next_answer(socket, packet, left)? else { continue };
        let Some(core) = core.upgrade() else { return Ok(()) };
        if core.connection.is_connected_to(&from.to_string()) {
            continue;
        }
        if lock(discovery).on_answer(from, listener.id(), Instant::now()) {
            tracing::debug!("{from} answers, connecting to it");
            connect(listener, from, locators, discovery);
        }
    }
}

/// Connects the session, in a thread of Zenoh.
fn connect(listener: &Listener, to: SessionId, locators: Vec<Locator>, discovery: &Shared) {
    let (runtime, discovery) = (listener.runtime().clone(), Arc::clone(discovery));
    ZRuntime::Net.spawn(async move {
        if !runtime.connect_peer(&to, &locators).await {
            lock(&discovery).on_failure(to, Instant::now());
        }
    });
}

/// The socket that receives queries.
#[derive(Default)]
struct Ear {
    socket: Option<UdpSocket>,
    networks: Networks,
    /// The last error on listening; logged once.
    told: Option<String>,
}

impl Ear {
    /// Listens on exactly these interfaces.
    ///
    /// A socket joins the group once per interface and keeps its memberships, so a new socket replaces it when the
    /// interfaces change.
    fn listen_on(&mut self, networks: Networks, patience: Duration) {
        if self.socket.is_some() && networks == self.networks {
            return;
        }
        match group_socket(&networks, patience) {
            Ok(socket) => {
                (self.socket, self.networks, self.told) = (Some(socket), networks, None);
            },
            Err(problem) => {
                let problem = problem.to_string();
                if self.told.as_ref() != Some(&problem) {
                    tracing::warn!(
                        "others cannot find this node by multicast, UDP port {}: {problem}; tried again and again, said once",
                        GROUP.port()
                    );
                }
                self.told = Some(problem);
            },
        }
    }

    fn close(&mut self) {
        self.socket = None;
    }

    /// Waits briefly for a query; returns the session id in it, if any, and the sender's address.
    fn next(&mut self, packet: &mut [u8]) -> Option<(Option<SessionId>, SocketAddrV4)> {
        let Some(received) = self.socket.as_ref().map(|socket| socket.recv_from(packet)) else {
            thread::sleep(LOOK);
            return None;
        };
        match received {
            Ok((length, SocketAddr::V4(asker))) => {
                match packet.get(..length).and_then(scout_message::read)? {
                    ScoutPacket::Question { from } => Some((from, asker)),
                    ScoutPacket::Answer { .. } => None,
                }
            },
            Ok((_, SocketAddr::V6(_))) => None,
            Err(error) if is_timeout(&error) => None,
            Err(error) => {
                tracing::debug!("questions of others cannot be read: {error}");
                self.socket = None;
                thread::sleep(LOOK);
                None
            },
        }
    }
}

/// Creates a socket that receives queries on these interfaces, alongside those of other programs.
fn group_socket(networks: &Networks, patience: Duration) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_reuse_address(true)?;
    // Windows cannot bind to a multicast group.
    let ip = if cfg!(windows) { Ipv4Addr::UNSPECIFIED } else { *GROUP.ip() };
    socket.bind(&SocketAddr::from((ip, GROUP.port())).into())?;
    for (address, _) in networks {
        if let Err(problem) = socket.join_multicast_v4(GROUP.ip(), address) {
            // The interface has no multicast, is joined already by another address, or has just been removed.
            tracing::debug!("questions that come by {address} are not heard: {problem}");
        }
    }
    socket.set_read_timeout(Some(patience))?;
    Ok(socket.into())
}

fn addresses_of(core: &NodeContext) -> LocalAddresses {
    LocalAddresses::now(core.config.network.interface.as_deref())
}

/// Returns the networks for discovery; on a machine without a network, the loopback.
fn networks(addresses: &LocalAddresses) -> Networks {
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
    // Windows reports a packet that reached no port as a connection reset.
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted | ConnectionReset)
}

fn lock(discovery: &Shared) -> MutexGuard<'_, Discovery<SessionId>> {
    discovery.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_heard_on_the_loopback_beside_other_programs() {
        let networks: Networks = [(Ipv4Addr::LOCALHOST, None)].into();
        let mut ears = [Ear::default(), Ear::default()];
        for ear in &mut ears {
            ear.listen_on(networks.clone(), LOOK);
        }
        let asker = UdpSocket::bind("0.0.0.0:0").unwrap();
        let id = SessionId::rand();
        let mut packet = vec![0; PACKET];
        for ear in &mut ears {
            let deadline = Instant::now() + Duration::from_secs(20);
            while ear.next(&mut packet).and_then(|(from, _)| from) != Some(id) {
                assert!(Instant::now() < deadline, "no question is heard");
                ask(&asker, &networks, id);
            }
        }
    }
}
