//! Watches how a node is attached to the mesh: through the daemon of its machine, or as a peer if there is none.
//!
//! Switches the attach mode when the daemon comes or goes. A daemon and a peer reopen their session when other nodes
//! could no longer find them otherwise.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use zenoh::Wait;

use crate::node::node::NodeContext;
use crate::session::connection::AttachMode;
use crate::session::local_addresses::{LocalAddresses, Renewal};
use crate::session::open::{SessionKind, is_listening};
use crate::session::scouting;
use crate::session::socket_linger::LingerReset;

/// Decides when to switch the attach mode. Pure: receives observations and the current time.
#[derive(Debug)]
struct AttachPolicy {
    way: AttachMode,
    /// The time at which the daemon disappeared.
    alone_since: Option<Instant>,
    /// The earliest time to try the daemon's port again, after the listener there turned out not to be our daemon.
    not_before: Option<Instant>,
    /// The cause of the last failed switch; logged once, however many attempts follow.
    told: Option<String>,
    /// The time of the last switch to running without the daemon.
    left_at: Option<Instant>,
    /// How many times in a row the daemon was lost again soon after it returned.
    relapses: u32,
    /// The time since which a daemon has been listening.
    listening_since: Option<Instant>,
}

/// A daemon that is lost again within this time is flapping.
const FLAPPING: Duration = Duration::from_mins(2);
/// How long a daemon that flapped once must listen before it is trusted; doubled for each further time.
const TRUST: Duration = Duration::from_secs(4);
/// The maximum number of doublings.
const MOST_DOUBLINGS: u32 = 3;

/// The time after which the node stops waiting for a lost daemon. A restarted daemon is back sooner.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause after a listener on the daemon's port did not respond like a daemon.
const NO_DAEMON: Duration = Duration::from_secs(10);
/// The interval between checks.
const LOOK: Duration = Duration::from_millis(250);
/// The wait for a port that the previous session has just released.
const PORT: Duration = Duration::from_millis(100);

impl AttachPolicy {
    const fn new(way: AttachMode) -> Self {
        Self {
            way,
            alone_since: None,
            not_before: None,
            told: None,
            left_at: None,
            relapses: 0,
            listening_since: None,
        }
    }

    /// Returns the attach mode to switch to, if any.
    ///
    /// `daemon` is whether there is a daemon: connected, for a client; listening, for a peer.
    fn look(&mut self, daemon: bool, now: Instant) -> Option<AttachMode> {
        match self.way {
            AttachMode::ThroughDaemon if daemon => {
                self.alone_since = None;
                None
            },
            AttachMode::ThroughDaemon => {
                let since = *self.alone_since.get_or_insert(now);
                (now.saturating_duration_since(since) >= PATIENCE)
                    .then_some(AttachMode::WithoutDaemon)
            },
            AttachMode::WithoutDaemon => {
                let may = self.not_before.is_none_or(|at| now >= at);
                if !daemon {
                    self.listening_since = None;
                    return None;
                }
                let since = *self.listening_since.get_or_insert(now);
                let is_trusted = now.saturating_duration_since(since) >= self.trial();
                (may && is_trusted).then_some(AttachMode::ThroughDaemon)
            },
        }
    }

    /// Returns how long a daemon must listen before it is trusted: longer the more often it flapped.
    fn trial(&self) -> Duration {
        match self.relapses {
            0 => Duration::ZERO,
            relapses => TRUST * 2_u32.pow((relapses - 1).min(MOST_DOUBLINGS)),
        }
    }

    fn changed(&mut self, way: AttachMode, now: Instant) {
        let (mut left_at, mut relapses) = (self.left_at, self.relapses);
        if self.way == AttachMode::ThroughDaemon && way == AttachMode::WithoutDaemon {
            let soon = |at| now.saturating_duration_since(at) < FLAPPING;
            relapses = if left_at.is_some_and(soon) { relapses.saturating_add(1) } else { 0 };
            left_at = Some(now);
        }
        *self = Self { left_at, relapses, ..Self::new(way) };
    }

    fn failed(&mut self, now: Instant) {
        self.alone_since = None;
        self.not_before = Some(now + NO_DAEMON);
    }
}

/// Watches the attach mode of a node until the node is dropped.
pub(crate) struct AttachMonitor {
    switch: Option<AttachPolicy>,
    renewal: Renewal,
    announced: LocalAddresses,
}

impl AttachMonitor {
    /// Creates the monitor of a node that joined as `part` when the machine had these addresses.
    pub(crate) fn new(
        part: &SessionKind,
        addresses: LocalAddresses,
        relies_on_gossip: bool,
    ) -> Self {
        let switch = match part {
            SessionKind::Client => Some(AttachPolicy::new(AttachMode::ThroughDaemon)),
            SessionKind::Peer { .. } => Some(AttachPolicy::new(AttachMode::WithoutDaemon)),
            SessionKind::Daemon { .. }
            | SessionKind::Played { .. }
            | SessionKind::Player { .. } => None,
        };
        let renewal = Renewal::new(addresses.clone(), relies_on_gossip);
        Self { switch, renewal, announced: addresses }
    }

    pub(crate) fn start(mut self, core: Weak<NodeContext>) -> std::io::Result<()> {
        thread::Builder::new().name("hana way".into()).spawn(move || {
            let mut linger = LingerReset::default();
            loop {
                thread::sleep(LOOK);
                let Some(core) = core.upgrade() else { return };
                linger.take_back();
                self.look(&core);
            }
        })?;
        Ok(())
    }

    fn look(&mut self, core: &Arc<NodeContext>) {
        let now = Instant::now();
        let current = LocalAddresses::now(core.config.network.interface.as_deref());
        let opens_anew = self.renewal.look(&current);
        core.connection.has_network(!current.is_empty());
        if let Some(switch) = &mut self.switch {
            let daemon = match switch.way {
                AttachMode::ThroughDaemon => is_connected(core),
                AttachMode::WithoutDaemon => is_listening(core.config.daemon),
            };
            if let Some(way) = switch.look(daemon, now) {
                change(core, switch, way, &current);
                self.renewal.opened_with(&current);
            } else if opens_anew && switch.way == AttachMode::WithoutDaemon {
                change(core, switch, AttachMode::WithoutDaemon, &current);
            }
        } else if opens_anew {
            tracing::info!(
                "this machine has none of the addresses any more that others know; joining the mesh anew"
            );
            exchange(core, current.clone());
        }
        if current != self.announced && !current.is_empty() {
            core.say_addresses(&current);
            self.announced = current;
        }
    }
}

/// Returns whether a client's session is connected to its daemon.
fn is_connected(core: &NodeContext) -> bool {
    let Some(seat) = core.worker.seat() else { return true };
    let info = seat.session.info();
    info.peers_zid().wait().next().is_some() || info.routers_zid().wait().next().is_some()
}

/// Switches the attach mode; the old session stays until the new one is open.
fn change(
    core: &Arc<NodeContext>,
    switch: &mut AttachPolicy,
    way: AttachMode,
    addresses: &LocalAddresses,
) {
    let part = match way {
        AttachMode::ThroughDaemon => SessionKind::Client,
        AttachMode::WithoutDaemon => SessionKind::Peer { addresses: Some(addresses.clone()) },
    };
    match part.open(&core.config) {
        Ok(session) => {
            tracing::info!(
                "{}",
                match way {
                    AttachMode::ThroughDaemon =>
                        "the daemon of this machine is there; on the mesh through it",
                    AttachMode::WithoutDaemon => "on the mesh without a daemon",
                }
            );
            core.connection.expect(&session, way);
            core.worker.move_to(session);
            if way == AttachMode::WithoutDaemon {
                scouting::ensure(core);
            }
            switch.changed(way, Instant::now());
        },
        Err(problem) => {
            let problem = problem.to_string();
            if switch.told.as_ref() != Some(&problem) {
                tracing::warn!("the way onto the mesh stays as it is: {problem}");
                switch.told = Some(problem);
            }
            switch.failed(Instant::now());
        },
    }
}

/// Reopens the daemon's session. The old one must release its port first.
fn exchange(core: &Arc<NodeContext>, addresses: LocalAddresses) {
    let (config, alive) = (core.config.clone(), Arc::downgrade(core));
    core.worker.exchange(move || {
        let part = SessionKind::Daemon { addresses: Some(addresses) };
        let mut told = false;
        loop {
            match part.open(&config) {
                Ok(session) => return Some(session),
                Err(problem) if !told => {
                    tracing::warn!("{problem}; trying again");
                    told = true;
                },
                Err(_) => {},
            }
            alive.upgrade()?;
            thread::sleep(PORT);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_waits_five_seconds_for_its_daemon_and_goes_back_when_there_is_one() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut switch = AttachPolicy::new(AttachMode::ThroughDaemon);
        assert_eq!(switch.look(true, start), None);
        assert_eq!(switch.look(false, after(1000)), None);
        assert_eq!(switch.look(true, after(4000)), None, "it was restarted");
        assert_eq!(switch.look(false, after(5000)), None);
        assert_eq!(switch.look(false, after(9900)), None);
        assert_eq!(switch.look(false, after(10_000)), Some(AttachMode::WithoutDaemon));
        switch.changed(AttachMode::WithoutDaemon, after(10_000));
        assert_eq!(switch.look(false, after(11_000)), None);
        assert_eq!(switch.look(true, after(12_000)), Some(AttachMode::ThroughDaemon));
    }

    #[test]
    fn a_daemon_that_comes_and_goes_is_followed_less_and_less_often() {
        let start = Instant::now();
        let mut switch = AttachPolicy::new(AttachMode::ThroughDaemon);
        let mut changes = 0;
        // Ten minutes with four checks a second: the daemon is there for six seconds, then gone for six.
        for look in 0..2_400_u32 {
            let now = start + LOOK * look;
            let daemon = look % 48 < 24;
            if let Some(way) = switch.look(daemon, now) {
                switch.changed(way, now);
                changes += 1;
            }
        }
        assert!(changes <= 6, "{changes} changes in ten minutes");
        // A daemon that stays is trusted in the end.
        let trusted = (2_400..2_600).find_map(|look| switch.look(true, start + LOOK * look));
        assert_eq!(trusted, Some(AttachMode::ThroughDaemon));
    }

    #[test]
    fn what_listens_but_is_no_daemon_is_not_asked_again_at_once() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut switch = AttachPolicy::new(AttachMode::WithoutDaemon);
        assert_eq!(switch.look(true, start), Some(AttachMode::ThroughDaemon));
        switch.failed(start);
        assert_eq!(switch.look(true, after(9000)), None);
        assert_eq!(switch.look(true, after(10_000)), Some(AttachMode::ThroughDaemon));
    }
}
