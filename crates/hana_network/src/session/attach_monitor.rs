//! Monitors how a node is attached to the mesh: through the daemon of its machine, or as a peer without a daemon.
//!
//! Switches the attach mode when the daemon appears or disappears. A daemon or a peer reopens its session when other
//! nodes could otherwise no longer find it.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use zenoh::Wait;

use crate::session::attach_mode::AttachMode;
use crate::session::attach_policy::AttachPolicy;
use crate::session::attachment::Attachment;
use crate::session::discovery::scouting;
use crate::session::local_addresses::{LocalAddresses, Renewal};
use crate::session::session_kind::{SessionKind, is_listening};
use crate::session::socket_linger::LingerReset;

/// The interval between checks.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// The interval between attempts to use a port that the previous session has just released.
const PORT_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Monitors the attach mode of a node until the node is dropped.
pub(crate) struct AttachMonitor {
    policy: Option<AttachPolicy>,
    renewal: Renewal,
    announced: LocalAddresses,
    on_new_addresses: Box<dyn Fn(&LocalAddresses) + Send>,
}

impl AttachMonitor {
    /// Creates the monitor of a node that joined with a session of `kind` when the machine had these addresses.
    ///
    /// The monitor calls `on_new_addresses` each time the addresses change.
    pub(crate) fn new(
        kind: &SessionKind,
        addresses: LocalAddresses,
        relies_on_gossip: bool,
        on_new_addresses: impl Fn(&LocalAddresses) + Send + 'static,
    ) -> Self {
        let policy = match kind {
            SessionKind::Client => Some(AttachPolicy::new(AttachMode::ViaDaemon)),
            SessionKind::Peer { .. } => Some(AttachPolicy::new(AttachMode::Peer)),
            SessionKind::Daemon { .. }
            | SessionKind::DirectListener { .. }
            | SessionKind::DirectDialer { .. } => None,
        };
        let renewal = Renewal::new(addresses.clone(), relies_on_gossip);
        let on_new_addresses = Box::new(on_new_addresses);
        Self { policy, renewal, announced: addresses, on_new_addresses }
    }

    pub(crate) fn start(mut self, attachment: Weak<Attachment>) -> std::io::Result<()> {
        thread::Builder::new().name("hana attach".into()).spawn(move || {
            let mut linger = LingerReset::default();
            loop {
                thread::sleep(CHECK_INTERVAL);
                let Some(attachment) = attachment.upgrade() else { return };
                linger.reset();
                self.check(&attachment);
            }
        })?;
        Ok(())
    }

    fn check(&mut self, attachment: &Arc<Attachment>) {
        let now = Instant::now();
        let current = LocalAddresses::now(attachment.config.network.interface.as_deref());
        let must_reopen = self.renewal.poll(&current);
        attachment.connection.has_network(!current.is_empty());
        if let Some(policy) = &mut self.policy {
            let daemon = match policy.mode {
                AttachMode::ViaDaemon => is_connected(attachment),
                AttachMode::Peer => is_listening(attachment.config.daemon),
            };
            if let Some(mode) = policy.poll(daemon, now) {
                switch_mode(attachment, policy, mode, &current);
                self.renewal.opened_with(&current);
            } else if must_reopen && policy.mode == AttachMode::Peer {
                switch_mode(attachment, policy, AttachMode::Peer, &current);
            }
        } else if must_reopen {
            tracing::info!("all addresses known to other nodes are gone; joining the mesh again");
            reopen_daemon(attachment, current.clone());
        }
        if current != self.announced && !current.is_empty() {
            (self.on_new_addresses)(&current);
            self.announced = current;
        }
    }
}

/// Returns whether a client's session is connected to its daemon.
fn is_connected(attachment: &Attachment) -> bool {
    let Some(active) = attachment.worker.current() else { return true };
    let info = active.session.info();
    info.peers_zid().wait().next().is_some() || info.routers_zid().wait().next().is_some()
}

/// Switches the attach mode. The old session stays open until the new one is open.
fn switch_mode(
    attachment: &Arc<Attachment>,
    policy: &mut AttachPolicy,
    mode: AttachMode,
    addresses: &LocalAddresses,
) {
    let kind = match mode {
        AttachMode::ViaDaemon => SessionKind::Client,
        AttachMode::Peer => SessionKind::Peer { addresses: Some(addresses.clone()) },
    };
    match kind.open(&attachment.config) {
        Ok(session) => {
            tracing::info!(
                "{}",
                match mode {
                    AttachMode::ViaDaemon =>
                        "the daemon of this machine is running; attached to the mesh through it",
                    AttachMode::Peer => "attached to the mesh without a daemon",
                }
            );
            attachment.connection.register_session(&session, mode);
            attachment.worker.migrate_to(session);
            if mode == AttachMode::Peer {
                scouting::ensure(attachment);
            }
            policy.changed(mode, Instant::now());
        },
        Err(problem) => {
            let problem = problem.to_string();
            if policy.reported.as_ref() != Some(&problem) {
                tracing::warn!("cannot change how this node is attached to the mesh: {problem}");
                policy.reported = Some(problem);
            }
            policy.failed(Instant::now());
        },
    }
}

/// Reopens the daemon's session. The old session must first release the port.
fn reopen_daemon(attachment: &Arc<Attachment>, addresses: LocalAddresses) {
    let (config, alive) = (Arc::clone(&attachment.config), Arc::downgrade(attachment));
    attachment.worker.reopen_with(move || {
        let kind = SessionKind::Daemon { addresses: Some(addresses) };
        let mut reported = false;
        loop {
            match kind.open(&config) {
                Ok(session) => return Some(session),
                Err(problem) if !reported => {
                    tracing::warn!("{problem}; trying again");
                    reported = true;
                },
                Err(_) => {},
            }
            alive.upgrade()?;
            thread::sleep(PORT_RETRY_INTERVAL);
        }
    });
}
