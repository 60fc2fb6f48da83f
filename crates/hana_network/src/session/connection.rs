//! Whether a node is on the mesh, and by which way: what its connections, the addresses of its machine and its
//! own end say, as one state that changes.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zenoh::sample::SampleKind;
use zenoh::{Session, Wait};

use crate::change_counter::ChangeCounter;
use crate::presence::id_conflict::IdConflict;
use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::transport::inbox::{Inbox, OverflowPolicy};

/// The way onto the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttachMode {
    /// Behind the daemon of this machine.
    ThroughDaemon,
    /// Among all others, without a daemon; a daemon itself too.
    WithoutDaemon,
}

/// What the connection of a node to the mesh is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionState {
    /// It is on the mesh.
    Connected {
        /// By this way.
        way: AttachMode,
    },
    /// The daemon that it was behind is gone. It waits for it for five seconds, then goes on without it; what is
    /// played over play links arrives meanwhile.
    DaemonLost,
    /// It is off the mesh.
    Disconnected {
        /// Whose doing it is.
        by: DisconnectedBy,
        /// Why, and what to do, in plain words.
        reason: String,
    },
}

/// Whose doing it is that a node is off the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DisconnectedBy {
    /// The program left. It does not come back by itself.
    Us,
    /// Another node has its id, and had it first. It does not come back by itself.
    Peer,
    /// The machine has no network. It comes back by itself when there is one.
    Error,
}

impl ConnectionState {
    /// Whether it is on the mesh.
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

/// Puts what was seen together. Pure.
#[derive(Debug, Default)]
struct ConnectionTracker {
    /// The session that the node has, by its name, and the way that it takes.
    session: Option<(String, AttachMode)>,
    /// Whom that session is connected to.
    neighbours: BTreeSet<String>,
    has_no_network: bool,
    /// Once it has ended, nothing else counts.
    ended: Option<(DisconnectedBy, String)>,
    told: Option<ConnectionState>,
}

impl ConnectionTracker {
    /// A session has taken the place of the one before.
    fn sits(&mut self, session: &str, way: AttachMode) {
        self.session = Some((session.into(), way));
        self.neighbours.clear();
    }

    /// A connection of a session came, or went.
    fn neighbour(&mut self, session: &str, who: &str, is_there: bool) {
        if self.session.as_ref().is_none_or(|(own, _)| own != session) {
            // Of the session before, which is being closed.
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

    /// What to tell, if it is another than what was told last.
    fn news(&mut self) -> Option<ConnectionState> {
        let now = self.now()?;
        (self.told.as_ref() != Some(&now)).then(|| {
            self.told = Some(now.clone());
            now
        })
    }
}

/// Follows what the connection of a node is. Clones share it.
#[derive(Clone)]
pub(crate) struct ConnectionWatch {
    sightings: Arc<Mutex<ConnectionTracker>>,
    changes: Inbox<ConnectionState>,
    news: ChangeCounter,
    /// The ways that sessions take which are not the node's yet.
    ways: Arc<Mutex<Vec<(String, AttachMode)>>>,
}

/// Changes that wait for the program: more of them is a network that flickers, where the newest count.
const CHANGES: usize = 64;
/// Sessions that are known and not the node's: the one that it goes over to, and one that failed.
const WAYS: usize = 4;

impl ConnectionWatch {
    /// Tells `news` of each change.
    pub(crate) fn new(news: ChangeCounter) -> Self {
        Self {
            sightings: Arc::default(),
            changes: Inbox::new(OverflowPolicy::DropOldest, CHANGES),
            news,
            ways: Arc::default(),
        }
    }

    /// The changes, to be taken by the program.
    pub(crate) const fn changes(&self) -> &Inbox<ConnectionState> {
        &self.changes
    }

    /// What it is now.
    pub(crate) fn now(&self) -> ConnectionState {
        // Without a session it has not been declared yet: it has just joined.
        self.sightings()
            .now()
            .unwrap_or(ConnectionState::Connected { way: AttachMode::WithoutDaemon })
    }

    /// The way that the session takes which the node has; none before it has one.
    pub(crate) fn way(&self) -> Option<AttachMode> {
        self.sightings().session.as_ref().map(|(_, way)| *way)
    }

    fn sightings(&self) -> MutexGuard<'_, ConnectionTracker> {
        self.sightings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, see: impl FnOnce(&mut ConnectionTracker)) {
        let mut sightings = self.sightings();
        see(&mut sightings);
        // Put in before the next one sees something: changes are in order.
        if let Some(change) = sightings.news() {
            self.changes.push("", change);
            self.news.tell();
        }
    }

    /// The session will be the node's, and takes that way.
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

    /// Follows the connections of each session that the worker has.
    pub(crate) fn start(&self, worker: &SessionWorker) -> RegistrationGuard {
        let watch = self.clone();
        worker.declare("connection", move |session| {
            let own = session.zid().to_string();
            let way = watch.take_way(&own);
            let info = session.info();
            // All at once: a session that has just begun is not without its daemon.
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

    /// Whether the session that the node has is connected to the one of this name.
    pub(crate) fn is_connected_to(&self, session: &str) -> bool {
        self.sightings().neighbours.contains(session)
    }

    /// Whether the machine has an address that others can reach.
    pub(crate) fn has_network(&self, has_network: bool) {
        self.tell(|sightings| sightings.has_no_network = !has_network);
    }

    /// The program leaves.
    pub(crate) fn leaves(&self) {
        self.tell(|sightings| {
            let reason = || (DisconnectedBy::Us, "the program left".into());
            sightings.ended.get_or_insert_with(reason);
        });
    }

    /// The node has given way to another with its id.
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

    /// A node behind its daemon.
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
