//! Discovers other listening nodes on every interface, including interfaces added while the node runs.
//!
//! Zenoh reads the interfaces once per process: it neither queries nor replies on interfaces added later, and
//! announces addresses that are gone. So Zenoh's own discovery is off. The node itself replies to the queries of other
//! nodes with its current addresses, and sends queries as [`Discovery`] decides. Zenoh then connects the session to
//! the nodes that reply.
//!
//! Each query carries the id of this node's session. Another node that still holds a connection to that session does
//! not reply, because it has not yet detected that the connection is lost. If the nodes reconnected before that, Zenoh
//! would be left with declarations that exist at only one end.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::sync::lock::Mutex;
use zenoh::Wait;
use zenoh::config::{Locator, WhatAmI};
use zenoh::internal::runtime::ZRuntime;
use zenoh::sample::SampleKind;
use zenoh::session::TransportEvent;

use crate::session::attachment::Attachment;
use crate::session::discovery::discovery::Discovery;
use crate::session::discovery::scout_message::SessionId;
use crate::session::discovery::scout_socket::{
    MAX_PACKET, ScoutSocket, networks, query, recv_reply, reply,
};
use crate::session::local_addresses::LocalAddresses;
use crate::session::open_session::Listener;
use crate::session::session_worker::RegistrationGuard;

/// The interval between checks of the machine's addresses.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

type Shared = Arc<Mutex<Discovery<SessionId>>>;

/// Starts discovery for a listening node, unless it is running or the settings disable it.
pub(crate) fn ensure(attachment: &Arc<Attachment>) {
    if !attachment.config.network.multicast {
        return;
    }
    let mut scouting = attachment.scouting.lock();
    if scouting.is_none() {
        *scouting = start(attachment)
            .inspect_err(|problem| {
                tracing::error!("cannot look for other nodes: cannot start a thread: {problem}");
            })
            .ok();
    }
}

/// Starts the threads that reply and query until the node is dropped. The returned guard tracks the node's
/// connections.
fn start(attachment: &Arc<Attachment>) -> io::Result<RegistrationGuard> {
    let discovery: Shared = Arc::new(Mutex::new(Discovery::new(Instant::now())));
    let (for_replies, for_queries) = (Arc::downgrade(attachment), Arc::downgrade(attachment));
    // One socket sends both queries and replies. After this node has replied to another node, a firewall that admits
    // only responses therefore also admits the replies of that node.
    let sender = Arc::new(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?);
    let reply_sender = Arc::clone(&sender);
    thread::Builder::new()
        .name("hana answer".into())
        .spawn(move || reply_to_queries(&for_replies, &reply_sender))?;
    let shared = Arc::clone(&discovery);
    thread::Builder::new()
        .name("hana scout".into())
        .spawn(move || send_queries(&for_queries, &sender, &shared))?;
    Ok(attachment.worker.declare("connections to rediscover", move |session| {
        let discovery = Arc::clone(&discovery);
        let callback = move |event: TransportEvent| {
            let transport = event.transport();
            let id = SessionId::from(*transport.zid());
            if transport.whatami() == WhatAmI::Client {
                return;
            }
            if event.kind() == SampleKind::Delete {
                tracing::debug!("the connection to {id} is gone");
                discovery.lock().on_lost(id, Instant::now());
            } else {
                discovery.lock().on_connected(id);
            }
        };
        let listener =
            session.info().transport_events_listener().history(true).callback(callback).wait()?;
        Ok(Box::new(listener))
    }))
}

/// Replies to queries until the node is dropped.
fn reply_to_queries(attachment: &Weak<Attachment>, sender: &UdpSocket) {
    let mut query_socket = ScoutSocket::default();
    let mut packet = vec![0; MAX_PACKET];
    loop {
        let Some(strong) = attachment.upgrade() else { return };
        let addresses = addresses_of(&strong);
        if strong.worker.current().is_some_and(|active| active.listener.is_none()) {
            // The node is attached through a daemon, which replies for the whole machine.
            query_socket.close();
        } else {
            query_socket.listen_on(networks(&addresses), CHECK_INTERVAL);
        }
        drop(strong);
        let Some((from, querier)) = query_socket.recv_query(&mut packet) else { continue };
        let Some(attachment) = attachment.upgrade() else { return };
        let is_held =
            from.is_some_and(|from| attachment.connection.is_connected_to(&from.to_string()));
        if let Some(listener) = attachment.worker.current().and_then(|active| active.listener)
            && !is_held
        {
            reply(sender, &listener, &addresses, from, querier);
        }
    }
}

/// Sends queries and connects to the nodes that reply, until the node is dropped.
fn send_queries(attachment: &Weak<Attachment>, sender: &UdpSocket, discovery: &Shared) {
    let mut packet = vec![0; MAX_PACKET];
    loop {
        let Some(strong) = attachment.upgrade() else { return };
        let listener = strong.worker.current().and_then(|active| active.listener);
        let networks = networks(&addresses_of(&strong));
        drop(strong);
        // Without a listening session, no other node can be connected.
        let Some(listener) = listener else {
            thread::sleep(CHECK_INTERVAL);
            continue;
        };
        let now = Instant::now();
        discovery.lock().on_networks(networks.clone(), now);
        if discovery.lock().take_question(now) {
            query(sender, &networks, listener.id());
        }
        let until = discovery.lock().next_question().min(now + CHECK_INTERVAL);
        if let Err(problem) =
            recv_replies(attachment, sender, &listener, discovery, &mut packet, until)
        {
            tracing::debug!("cannot receive discovery replies: {problem}");
            thread::sleep(CHECK_INTERVAL);
        }
    }
}

/// Handles the replies that arrive before the deadline.
fn recv_replies(
    attachment: &Weak<Attachment>,
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
        let Some((from, locators)) = recv_reply(socket, packet, left)? else { continue };
        let Some(attachment) = attachment.upgrade() else { return Ok(()) };
        if attachment.connection.is_connected_to(&from.to_string()) {
            continue;
        }
        if discovery.lock().on_answer(from, listener.id(), Instant::now()) {
            tracing::debug!("{from} replied, connecting to it");
            connect(listener, from, locators, discovery);
        }
    }
}

/// Connects the session to another node, in a thread of Zenoh.
fn connect(listener: &Listener, to: SessionId, locators: Vec<Locator>, discovery: &Shared) {
    let (runtime, discovery) = (listener.runtime().clone(), Arc::clone(discovery));
    ZRuntime::Net.spawn(async move {
        if !runtime.connect_peer(&to, &locators).await {
            discovery.lock().on_failure(to, Instant::now());
        }
    });
}

fn addresses_of(attachment: &Attachment) -> LocalAddresses {
    LocalAddresses::now(attachment.config.network.interface.as_deref())
}
