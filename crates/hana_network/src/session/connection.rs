//! The connection state of a node: whether it is on the mesh, and its attach mode.
//!
//! Combines its connections, the addresses of its machine and its own shutdown into one state, and reports each
//! change.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zenoh::sample::SampleKind;
use zenoh::{Session, Wait};

use crate::change_counter::ChangeCounter;
use crate::presence::id_conflict::IdConflict;
use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::transport::inbox::{Inbox, OverflowPolicy};

/// The way in which a node is attached to the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttachMode {
    /// Through the daemon of this machine.
    ThroughDaemon,
    /// As a peer among all others, without a daemon; also the mode of a daemon itself.
    WithoutDaemon,
}

/// The connection state of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionState {
    /// The node is on the mesh.
    Connected {
        /// The attach mode.
        way: AttachMode,
    },
    /// The daemon that the node was attached through is gone.
    ///
    /// The node waits five seconds for it, then continues without it. Values sent over direct links arrive meanwhile.
    DaemonLost,
    /// The node is off the mesh.
    Disconnected {
        /// The party that ended the connection.
        by: DisconnectedBy,
        /// The cause and the remedy, in plain words.
        reason: String,
    },
}

/// The party that ended a node's connection to the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DisconnectedBy {
    /// The program left. The node does not reconnect by itself.
    Us,
    /// Another node had the same id first. The node does not reconnect by itself.
    Peer,
    /// The machine has no network. The node reconnects when there is one.
    Error,
}

impl ConnectionState {
    /// Returns whether the node is on the mesh.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        matches!(self, Self::Connected { .. })
    }
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { way: AttachMode::ThroughDaemon } => f.write_str("connected"),
            Self::Connected { way: AttachMode::WithoutDaemon } => {
                f.write_str("connected, without daemon")
            },
            Self::DaemonLost => f.write_str("daemon lost"),
            Self::Disconnected { reason, .. } => write!(f, "disconnected: {reason}"),
        }
    }
}

/// Combines the observations into one state. Pure.
#[derive(Debug, Default)]
struct ConnectionTracker {
    /// The id of the node's current session, and its attach mode.
    session: Option<(String, AttachMode)>,
    /// The ids of the sessions that the current session is connected to.
    neighbours: BTreeSet<String>,
    has_no_network: bool,
    /// The final cause. Once it is set, nothing else counts.
    ended: Option<(DisconnectedBy, String)>,
    told: Option<ConnectionState>,
}

impl ConnectionTracker {
    /// Handles a new session that replaced the previous one.
    fn sits(&mut self, session: &str, way: AttachMode) {
        self.session = Some((session.into(), way));
        self.neighbours.clear();
    }

    /// Handles a connection of a session that opened or closed.
    fn neighbour(&mut self, session: &str, who: &str, is_there: bool) {
        if self.session.as_ref().is_none_or(|(own, _)| own != session) {
            // An event of the previous session, which is being closed.
            return;
        }
        if is_there {
            self.neighbours.insert(who.into());
        } else {
            self.neighbours.remove(who);
        }
    }

    fn now(&self) -> Option<ConnectionState> {
        if let Some((by, reason)) = &self.ended {
            return Some(ConnectionState::Disconnected { by: *by, reason: reason.clone() });
        }
        let (_, way) = self.session.as_ref()?;
        Some(match way {
            AttachMode::ThroughDaemon if self.neighbours.is_empty() => ConnectionState::DaemonLost,
            AttachMode::WithoutDaemon if self.has_no_network => ConnectionState::Disconnected {
                by: DisconnectedBy::Error,
                reason: "this machine has no network; back by itself when it has one".into(),
            },
            way => ConnectionState::Connected { way: *way },
        })
    }

    /// Returns the current state if it differs from the last reported one.
    fn news(&mut self) -> Option<ConnectionState> {
        let now = self.now()?;
        (self.told.as_ref() != Some(&now)).then(|| {
            self.told = Some(now.clone());
            now
        })
    }
}

/// Tracks the connection state of a node. Clones share it.
#[derive(Clone)]
pub(crate) struct ConnectionWatch {
    sightings: Arc<Mutex<ConnectionTracker>>,
    changes: Inbox<ConnectionState>,
    news: ChangeCounter,
    /// The attach modes of sessions that are not the node's current session yet.
    ways: Arc<Mutex<Vec<(String, AttachMode)>>>,
}

/// The maximum number of changes waiting for the program: beyond it the network is flapping, and the newest ones
/// matter.
const CHANGES: usize = 64;
/// The maximum number of sessions in `ways`: the next one, and one that failed.
const WAYS: usize = 4;

impl ConnectionWatch {
    /// Creates a watch that notifies `news` of each change.
    pub(crate) fn new(news: ChangeCounter) -> Self {
        Self {
            sightings: Arc::default(),
            changes: Inbox::new(OverflowPolicy::DropOldest, CHANGES),
            news,
            ways: Arc::default(),
        }
    }

    /// Returns the queue of changes for the program.
    pub(crate) const fn changes(&self) -> &Inbox<ConnectionState> {
        &self.changes
    }

    /// Returns the current state.
    pub(crate) fn now(&self) -> ConnectionState {
        // Before the first session is declared, the node has just joined.
        self.sightings()
            .now()
            .unwrap_or(ConnectionState::Connected { way: AttachMode::WithoutDaemon })
    }

    /// Returns the attach mode of the current session; `None` before there is one.
    pub(crate) fn way(&self) -> Option<AttachMode> {
        self.sightings().session.as_ref().map(|(_, way)| *way)
    }

    fn sightings(&self) -> MutexGuard<'_, ConnectionTracker> {
        self.sightings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, see: impl FnOnce(&mut ConnectionTracker)) {
        let mut sightings = self.sightings();
        see(&mut sightings);
        // Queued before the next observation is processed, so that changes stay in order.
        if let Some(change) = sightings.news() {
            self.changes.push("", change);
            self.news.tell();
        }
    }

    /// Records the attach mode of a session that will become the node's current one.
    pub(crate) fn expect(&self, session: &Session, way: AttachMode) {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if ways.len() >= WAYS {
            ways.remove(0);
        }
        ways.push((session.zid().to_string(), way));
    }

    fn take_way(&self, session: &str) -> AttachMode {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        let known = ways.iter().position(|(expected, _)| expected == session);
        let way = known.map_or(AttachMode::WithoutDaemon, |known| ways.swap_remove(known).1);
        drop(ways);
        way
    }

    /// Tracks the connections of each session of the worker.
    pub(crate) fn start(&self, worker: &SessionWorker) -> RegistrationGuard {
        let watch = self.clone();
        worker.declare("connection", move |session| {
            let own = session.zid().to_string();
            let way = watch.take_way(&own);
            let info = session.info();
            // Reads all connections at once, so that a new session does not start out without its daemon.
            let there: Vec<String> =
                info.transports().wait().map(|of| of.zid().to_string()).collect();
            watch.tell(|sightings| {
                sightings.sits(&own, way);
                for who in &there {
                    sightings.neighbour(&own, who, true);
                }
            });
            let of_callback = watch.clone();
            let listener = info
                .transport_events_listener()
                .history(true)
                .callback(move |event| {
                    let who = event.transport().zid().to_string();
                    let is_there = event.kind() == SampleKind::Put;
                    of_callback.tell(|sightings| sightings.neighbour(&own, &who, is_there));
                })
                .wait()?;
            Ok(Box::new(listener))
        })
    }

    /// Returns whether the current session is connected to the session with this id.
    pub(crate) fn is_connected_to(&self, session: &str) -> bool {
        self.sightings().neighbours.contains(session)
    }

    /// Records whether the machine has an address that other machines can reach.
    pub(crate) fn has_network(&self, has_network: bool) {
        self.tell(|sightings| sightings.has_no_network = !has_network);
    }

    /// Records that the program leaves.
    pub(crate) fn leaves(&self) {
        self.tell(|sightings| {
            let reason = || (DisconnectedBy::Us, "the program left".into());
            sightings.ended.get_or_insert_with(reason);
        });
    }

    /// Records that the node left the mesh because another node has its id.
    pub(crate) fn gives_way(&self, rival: &IdConflict) {
        self.tell(|sightings| sightings.ended = Some((DisconnectedBy::Peer, rival.to_string())));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const THROUGH: ConnectionState = ConnectionState::Connected { way: AttachMode::ThroughDaemon };
    const WITHOUT: ConnectionState = ConnectionState::Connected { way: AttachMode::WithoutDaemon };

    /// A tracker of a node attached through its daemon.
    fn client() -> ConnectionTracker {
        let mut seen = ConnectionTracker::default();
        seen.sits("a", AttachMode::ThroughDaemon);
        seen.neighbour("a", "daemon", true);
        assert_eq!(seen.news(), Some(THROUGH));
        seen
    }

    #[test]
    fn a_daemon_that_goes_and_comes_is_told_once_each() {
        let mut seen = client();
        assert_eq!(seen.news(), None);
        seen.neighbour("a", "daemon", false);
        assert_eq!(seen.news(), Some(ConnectionState::DaemonLost));
        seen.neighbour("a", "daemon", false);
        assert_eq!(seen.news(), None);
        seen.neighbour("a", "another daemon", true);
        assert_eq!(seen.news(), Some(THROUGH));
    }

    #[test]
    fn what_the_session_before_says_while_it_is_closed_does_not_count() {
        let mut seen = client();
        seen.neighbour("a", "daemon", false);
        assert_eq!(seen.news(), Some(ConnectionState::DaemonLost));
        seen.sits("b", AttachMode::WithoutDaemon);
        assert_eq!(seen.news(), Some(WITHOUT));
        seen.sits("c", AttachMode::ThroughDaemon);
        seen.neighbour("c", "daemon", true);
        assert_eq!(seen.news(), Some(THROUGH));
        seen.neighbour("b", "somebody", false);
        seen.neighbour("a", "daemon", false);
        assert_eq!(seen.news(), None);
    }

    #[test]
    fn a_node_without_daemon_is_on_the_mesh_while_there_is_a_network_and_one_behind_it_always() {
        let mut seen = ConnectionTracker { has_no_network: true, ..ConnectionTracker::default() };
        assert_eq!(seen.news(), None, "it has not joined");
        seen.sits("a", AttachMode::WithoutDaemon);
        let lost = seen.news().unwrap();
        assert!(
            matches!(lost, ConnectionState::Disconnected { by: DisconnectedBy::Error, .. }),
            "{lost}"
        );
        seen.has_no_network = false;
        assert_eq!(seen.news(), Some(WITHOUT));
        let mut seen = client();
        seen.has_no_network = true;
        assert_eq!(seen.news(), None);
    }

    #[test]
    fn once_it_has_ended_nothing_else_is_told() {
        let mut seen = client();
        seen.ended = Some((DisconnectedBy::Us, "the program left".into()));
        assert!(matches!(
            seen.news(),
            Some(ConnectionState::Disconnected { by: DisconnectedBy::Us, .. })
        ));
        seen.neighbour("a", "daemon", false);
        assert_eq!(seen.news(), None);
    }
}
