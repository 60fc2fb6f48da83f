//! Queries the daemon of this machine for the id of the host.

use std::thread;
use std::time::{Duration, Instant};

use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use zenoh::{Session, Wait};

use crate::config::node_config::NodeConfig;
use crate::session::first_reply::first_reply;
use crate::session::session_kind::SessionKind;

/// The timeout of one query. The daemon replies from memory.
const QUERY_TIMEOUT: Duration = Duration::from_millis(500);
/// The time within which a starting daemon announces its id, after it has checked that the id is free.
const STARTUP_TIME: Duration = Duration::from_secs(2);
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Returns the id of the daemon to which a client's session is connected; `None` if the other program is not a daemon.
pub(crate) fn host_behind(session: &Session) -> Option<NodeId> {
    let until = Instant::now() + STARTUP_TIME;
    loop {
        let info = session.info();
        let routers: Vec<_> = info.routers_zid().wait().collect();
        let peers: Vec<_> = info.peers_zid().wait().collect();
        for zid in peers.iter().chain(&routers) {
            if let Some(host) = daemon_of(session, &zid.to_string()) {
                return Some(host);
            }
        }
        // A Zenoh router is never a daemon, so a retry is pointless.
        if (peers.is_empty() && !routers.is_empty()) || Instant::now() >= until {
            return None;
        }
        thread::sleep(RETRY_INTERVAL);
    }
}

/// Returns the id of the daemon whose session has this id.
fn daemon_of(session: &Session, zid: &str) -> Option<NodeId> {
    first_reply(|sender| {
        session
            .liveliness()
            .get(format!("{}/*/alive/{}/{zid}", Key::ROOT, Role::Daemon))
            .timeout(QUERY_TIMEOUT)
            .callback(move |reply| {
                if let Ok(sample) = reply.result()
                    && let Some(Key::Alive { node, .. }) = Key::parse(sample.key_expr().as_str())
                {
                    sender.try_send(node).ok();
                }
            })
            .wait()
    })
}

impl NodeConfig {
    /// Queries the daemon of this machine for its host id, unless `HANA_HOST` is set.
    ///
    /// For a program that derives its own id from the host id; all other nodes query the host id when they join.
    /// Without a daemon, the host is the machine's last host id, or its hostname.
    ///
    /// With a daemon, blocks for a few milliseconds; without one, does not block.
    #[must_use]
    pub fn with_host_of_daemon(mut self) -> Self {
        let kind = SessionKind::for_node(&self);
        if !self.host_is_named
            && matches!(kind, SessionKind::Client)
            && let Ok(session) = kind.open(&self)
        {
            self.learn_host(&session);
            session.close().ok();
        }
        self
    }

    /// Adopts the host id of the daemon to which this session is connected.
    pub(crate) fn learn_host(&mut self, session: &Session) {
        if !self.host_is_named
            && let Some(host) = host_behind(session)
        {
            self.host = host;
        }
    }
}
