//! The connection state of a node: whether it is on the mesh, and its attach mode.
//!
//! Combines the connections of the node, the addresses of its machine and its shutdown into one state, and reports
//! each change of this state.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::sync::lock::{Mutex, MutexGuard};
use zenoh::sample::SampleKind;
use zenoh::{Session, Wait};

use crate::session::attach_mode::AttachMode;
use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::sync::change_counter::ChangeCounter;
use crate::sync::inbox::{Inbox, OverflowPolicy};

/// The connection state of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionState {
    /// The node is on the mesh.
    Connected {
        /// The attach mode.
        mode: AttachMode,
    },
    /// The daemon through which the node was attached is gone.
    ///
    /// The node waits five seconds for the daemon, then continues without it. Values sent over direct links still
    /// arrive.
    DaemonLost,
    /// The node is off the mesh.
    Disconnected {
        /// The party that ended the connection.
        by: DisconnectedBy,
        /// The cause and the remedy, as text for the operator.
        reason: String,
    },
}

/// The party that ended a node's connection to the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DisconnectedBy {
    /// The program left. The node does not reconnect.
    LocalLeave,
    /// An older node has the same id. The node does not reconnect.
    IdConflict,
    /// The machine has no network. The node reconnects when the machine has one again.
    NoNetwork,
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
            Self::Connected { mode: AttachMode::ViaDaemon } => f.write_str("connected"),
            Self::Connected { mode: AttachMode::Peer } => f.write_str("connected, without daemon"),
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
    connections: BTreeSet<String>,
    has_no_network: bool,
    /// The final cause. Once it is set, it determines the state.
    ended: Option<(DisconnectedBy, String)>,
    reported: Option<ConnectionState>,
}

impl ConnectionTracker {
    /// Handles a new session that replaced the previous one.
    fn session_opened(&mut self, session: &str, mode: AttachMode) {
        self.session = Some((session.into(), mode));
        self.connections.clear();
    }

    /// Handles a connection of a session that opened or closed.
    fn connection_changed(&mut self, session: &str, peer: &str, is_there: bool) {
        if self.session.as_ref().is_none_or(|(own, _)| own != session) {
            // This is an event of the previous session, which is closing.
            return;
        }
        if is_there {
            self.connections.insert(peer.into());
        } else {
            self.connections.remove(peer);
        }
    }

    fn now(&self) -> Option<ConnectionState> {
        if let Some((by, reason)) = &self.ended {
            return Some(ConnectionState::Disconnected { by: *by, reason: reason.clone() });
        }
        let (_, mode) = self.session.as_ref()?;
        Some(match mode {
            AttachMode::ViaDaemon if self.connections.is_empty() => ConnectionState::DaemonLost,
            AttachMode::Peer if self.has_no_network => ConnectionState::Disconnected {
                by: DisconnectedBy::NoNetwork,
                reason: "this machine has no network; the node reconnects when it has one".into(),
            },
            mode => ConnectionState::Connected { mode: *mode },
        })
    }

    /// Returns the current state if it differs from the last reported one.
    fn take_change(&mut self) -> Option<ConnectionState> {
        let now = self.now()?;
        (self.reported.as_ref() != Some(&now)).then(|| {
            self.reported = Some(now.clone());
            now
        })
    }
}

/// Tracks the connection state of a node. Clones share it.
#[derive(Clone)]
pub(crate) struct ConnectionWatch {
    tracker: Arc<Mutex<ConnectionTracker>>,
    changes: Inbox<ConnectionState>,
    change_counter: ChangeCounter,
    /// The attach modes of sessions that will become the current session of the node.
    expected_modes: Arc<Mutex<Vec<(String, AttachMode)>>>,
}

/// The maximum number of changes waiting for the program; beyond it, the oldest are dropped.
const MAX_CHANGES: usize = 64;
/// The maximum length of `expected_modes`: the next session, and sessions that failed to open.
const MAX_EXPECTED: usize = 4;

impl ConnectionWatch {
    /// Creates a watch that increments `change_counter` for each change.
    pub(crate) fn new(change_counter: ChangeCounter) -> Self {
        Self {
            tracker: Arc::default(),
            changes: Inbox::new(OverflowPolicy::DropOldest, MAX_CHANGES),
            change_counter,
            expected_modes: Arc::default(),
        }
    }

    /// Returns the inbox of changes for the program.
    pub(crate) const fn changes(&self) -> &Inbox<ConnectionState> {
        &self.changes
    }

    /// Returns the current state.
    pub(crate) fn now(&self) -> ConnectionState {
        // Until the first session is declared, the node counts as a connected peer.
        self.tracker().now().unwrap_or(ConnectionState::Connected { mode: AttachMode::Peer })
    }

    /// Returns the attach mode of the current session; `None` before there is one.
    pub(crate) fn mode(&self) -> Option<AttachMode> {
        self.tracker().session.as_ref().map(|(_, mode)| *mode)
    }

    fn tracker(&self) -> MutexGuard<'_, ConnectionTracker> {
        self.tracker.lock()
    }

    fn update(&self, observe: impl FnOnce(&mut ConnectionTracker)) {
        let mut tracker = self.tracker();
        observe(&mut tracker);
        // The change is queued while the tracker is locked, so that changes stay in order.
        if let Some(change) = tracker.take_change() {
            self.changes.push("", change);
            self.change_counter.increment();
        }
    }

    /// Records the attach mode of a session that will become the node's current one.
    pub(crate) fn register_session(&self, session: &Session, mode: AttachMode) {
        let mut expected_modes = self.expected_modes.lock();
        if expected_modes.len() >= MAX_EXPECTED {
            expected_modes.remove(0);
        }
        expected_modes.push((session.zid().to_string(), mode));
    }

    fn mode_of(&self, session: &str) -> AttachMode {
        let mut expected_modes = self.expected_modes.lock();
        let known = expected_modes.iter().position(|(expected, _)| expected == session);
        let mode = known.map_or(AttachMode::Peer, |known| expected_modes.swap_remove(known).1);
        drop(expected_modes);
        mode
    }

    /// Tracks the connections of each session that the worker opens.
    pub(crate) fn start(&self, worker: &SessionWorker) -> RegistrationGuard {
        let watch = self.clone();
        worker.declare("connection", move |session| {
            let own = session.zid().to_string();
            let mode = watch.mode_of(&own);
            let info = session.info();
            // All connections are read in one step, so that a new session is never reported without its daemon.
            let there: Vec<String> =
                info.transports().wait().map(|transport| transport.zid().to_string()).collect();
            watch.update(|tracker| {
                tracker.session_opened(&own, mode);
                for peer in &there {
                    tracker.connection_changed(&own, peer, true);
                }
            });
            let observer = watch.clone();
            let listener = info
                .transport_events_listener()
                .history(true)
                .callback(move |event| {
                    let peer = event.transport().zid().to_string();
                    let is_there = event.kind() == SampleKind::Put;
                    observer.update(|tracker| tracker.connection_changed(&own, &peer, is_there));
                })
                .wait()?;
            Ok(Box::new(listener))
        })
    }

    /// Returns whether the current session is connected to the session with this id.
    pub(crate) fn is_connected_to(&self, session: &str) -> bool {
        self.tracker().connections.contains(session)
    }

    /// Records whether the machine has an address at which other machines can reach it.
    pub(crate) fn has_network(&self, has_network: bool) {
        self.update(|tracker| tracker.has_no_network = !has_network);
    }

    /// Records that the program leaves.
    pub(crate) fn leaves(&self) {
        self.update(|tracker| {
            let reason = || (DisconnectedBy::LocalLeave, "the program left".into());
            tracker.ended.get_or_insert_with(reason);
        });
    }

    /// Records that the node left the mesh because another node has its id.
    pub(crate) fn gives_way(&self, reason: String) {
        self.update(|tracker| tracker.ended = Some((DisconnectedBy::IdConflict, reason)));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const THROUGH: ConnectionState = ConnectionState::Connected { mode: AttachMode::ViaDaemon };
    const WITHOUT: ConnectionState = ConnectionState::Connected { mode: AttachMode::Peer };

    /// Returns a tracker of a node that is attached through its daemon.
    fn client() -> ConnectionTracker {
        let mut tracker = ConnectionTracker::default();
        tracker.session_opened("a", AttachMode::ViaDaemon);
        tracker.connection_changed("a", "daemon", true);
        assert_eq!(tracker.take_change(), Some(THROUGH));
        tracker
    }

    #[test]
    fn lost_and_returned_daemon_is_reported_once_each() {
        let mut tracker = client();
        assert_eq!(tracker.take_change(), None);
        tracker.connection_changed("a", "daemon", false);
        assert_eq!(tracker.take_change(), Some(ConnectionState::DaemonLost));
        tracker.connection_changed("a", "daemon", false);
        assert_eq!(tracker.take_change(), None);
        tracker.connection_changed("a", "another daemon", true);
        assert_eq!(tracker.take_change(), Some(THROUGH));
    }

    #[test]
    fn events_of_the_closing_session_are_ignored() {
        let mut tracker = client();
        tracker.connection_changed("a", "daemon", false);
        assert_eq!(tracker.take_change(), Some(ConnectionState::DaemonLost));
        tracker.session_opened("b", AttachMode::Peer);
        assert_eq!(tracker.take_change(), Some(WITHOUT));
        tracker.session_opened("c", AttachMode::ViaDaemon);
        tracker.connection_changed("c", "daemon", true);
        assert_eq!(tracker.take_change(), Some(THROUGH));
        tracker.connection_changed("b", "somebody", false);
        tracker.connection_changed("a", "daemon", false);
        assert_eq!(tracker.take_change(), None);
    }

    #[test]
    fn peer_needs_a_network_and_client_does_not() {
        let mut tracker =
            ConnectionTracker { has_no_network: true, ..ConnectionTracker::default() };
        assert_eq!(tracker.take_change(), None, "it has not joined");
        tracker.session_opened("a", AttachMode::Peer);
        let lost = tracker.take_change().unwrap();
        assert!(
            matches!(lost, ConnectionState::Disconnected { by: DisconnectedBy::NoNetwork, .. }),
            "{lost}"
        );
        tracker.has_no_network = false;
        assert_eq!(tracker.take_change(), Some(WITHOUT));
        let mut tracker = client();
        tracker.has_no_network = true;
        assert_eq!(tracker.take_change(), None);
    }

    #[test]
    fn nothing_is_reported_after_the_end() {
        let mut tracker = client();
        tracker.ended = Some((DisconnectedBy::LocalLeave, "the program left".into()));
        assert!(matches!(
            tracker.take_change(),
            Some(ConnectionState::Disconnected { by: DisconnectedBy::LocalLeave, .. })
        ));
        tracker.connection_changed("a", "daemon", false);
        assert_eq!(tracker.take_change(), None);
    }
}
