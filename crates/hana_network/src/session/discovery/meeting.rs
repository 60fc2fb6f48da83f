//! The first search of a newly opened session for other nodes.

use std::collections::HashMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use zenoh::config::Locator;
use zenoh::internal::runtime::ZRuntime;

use crate::session::discovery::scout_message::SessionId;
use crate::session::discovery::scout_socket::{
    MAX_PACKET, Networks, ScoutSocket, networks, query, recv_reply, reply,
};
use crate::session::local_addresses::LocalAddresses;
use crate::session::open_session::Listener;

/// The time for which a newly opened session waits for the first reply, and then for further replies.
const FIRST_REPLY: Duration = Duration::from_millis(500);
const FURTHER_REPLIES: Duration = Duration::from_millis(150);
/// The interval between the queries of the session.
const QUERY_INTERVAL: Duration = Duration::from_millis(100);
/// The timeout for the connections to the nodes that replied.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1800);
/// The time for which the session waits for queries of other nodes before it checks whether the search is over.
const RECV_TIMEOUT: Duration = Duration::from_millis(20);

/// Connects a newly opened session to the existing nodes, and to nodes that start at the same time.
///
/// Blocks for half a second, or longer if a node that replied is unreachable.
pub(crate) fn meet(listener: &Listener, interface: Option<&str>) {
    let addresses = LocalAddresses::now(interface);
    let met = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut queries = ScoutSocket::default();
                queries.listen_on(networks(&addresses), RECV_TIMEOUT);
                let mut packet = vec![0; MAX_PACKET];
                while !is_over.load(Ordering::Relaxed) {
                    if let Some((from, querier)) = queries.recv_query(&mut packet) {
                        reply(&socket, listener, &addresses, from, querier);
                    }
                }
            });
            let found = scout(&socket, &networks(&addresses), listener.id());
            let connected = found.map(|found| connect_all(listener, found));
            is_over.store(true, Ordering::Relaxed);
            connected
        })
    });
    if let Err(problem) = met {
        tracing::warn!("cannot look for other nodes: {problem}");
    }
}

/// Connects to the nodes that were found, and waits until all attempts have ended, at most for [`CONNECT_TIMEOUT`].
fn connect_all(listener: &Listener, found: HashMap<SessionId, Vec<Locator>>) {
    let (done, all_done) = flume::unbounded::<()>();
    let connect = |(id, locators): (SessionId, Vec<Locator>)| {
        let (runtime, done) = (listener.runtime().clone(), done.clone());
        ZRuntime::Net.spawn(async move {
            runtime.connect_peer(&id, &locators).await;
            drop(done);
        });
    };
    // A node that started at the same time connects too. The node with the greater id does so first.
    let (ours, theirs): (HashMap<_, _>, HashMap<_, _>) =
        found.into_iter().partition(|(id, _)| listener.id() > *id);
    ours.into_iter().for_each(connect);
    if !theirs.is_empty() {
        thread::sleep(FURTHER_REPLIES);
        theirs.into_iter().for_each(connect);
    }
    drop(done);
    // No message is ever sent; the channel closes when the last attempt ends.
    all_done.recv_timeout(CONNECT_TIMEOUT).ok();
}

/// Sends several queries and collects the replies.
fn scout(
    socket: &UdpSocket,
    networks: &Networks,
    own: SessionId,
) -> io::Result<HashMap<SessionId, Vec<Locator>>> {
    let mut found = HashMap::new();
    let mut packet = vec![0; MAX_PACKET];
    let mut query_at = Instant::now();
    let mut until = query_at + FIRST_REPLY;
    loop {
        let now = Instant::now();
        if now >= until {
            return Ok(found);
        }
        if now >= query_at {
            query(socket, networks, own);
            query_at = now + QUERY_INTERVAL;
        }
        let left = until.min(query_at).saturating_duration_since(Instant::now());
        let Some((id, locators)) = recv_reply(socket, &mut packet, left)? else { continue };
        if id != own && found.insert(id, locators).is_none() {
            until = until.min(Instant::now() + FURTHER_REPLIES);
        }
    }
}
