//! The daemon of this machine knows which host it is; whoever is behind it asks.

use std::thread;
use std::time::{Duration, Instant};

use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use zenoh::{Session, Wait};

use crate::config::node_config::NodeConfig;
use crate::node::node::first_reply;
use crate::session::open::SessionKind;

/// How long one query may take. The daemon replies from what it has.
const QUERY: Duration = Duration::from_millis(500);
/// How long a daemon that has just begun to listen may take to say who it is: it looks first whether its id is free.
const JUST_STARTED: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(20);

/// The id of the daemon that a client's session is connected to; none where what it is connected to is no daemon.
pub(crate) fn host_behind(session: &Session) -> Option<NodeId> {
    let until = Instant::now() + JUST_STARTED;
    loop {
        let info = session.info();
        let routers: Vec<_> = info.routers_zid().wait().collect();
        let peers: Vec<_> = info.peers_zid().wait().collect();
        for zid in peers.iter().chain(&routers) {
            if let Some(host) = daemon_of(session, &zid.to_string()) {
                return Some(host);
            }
        }
        // A router of Zenoh's is none, however long it is asked.
        if (peers.is_empty() && !routers.is_empty()) || Instant::now() >= until {
            return None;
        }
        thread::sleep(AGAIN);
    }
}

/// The daemon whose session has this id.
fn daemon_of(session: &Session, zid: &str) -> Option<NodeId> {
    first_reply(|sender| {
        session
            .liveliness()
            .get(format!("{}/*/alive/{}/{zid}", Key::ROOT, Role::Daemon))
            .timeout(QUERY)
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
    /// Asks the daemon of this machine which host this is, unless `HANA_HOST` says so: for a program whose own id is made of
    /// it. (Every node asks when it joins.) Without a daemon it stays the host that the machine was last, or its hostname.
    ///
    /// Blocks: some milliseconds with a daemon, none without.
    #[must_use]
    pub fn with_host_of_daemon(mut self) -> Self {
        let part = SessionKind::of_node(&self);
        if !self.host_is_named
            && matches!(part, SessionKind::Client)
            && let Ok(session) = part.open(&self)
        {
            self.learn_host(&session);
            session.close().ok();
        }
        self
    }

    /// Takes the host that the daemon behind this session is.
    pub(crate) fn learn_host(&mut self, session: &Session) {
        if !self.host_is_named
            && let Some(host) = host_behind(session)
        {
            self.host = host;
        }
    }
}
