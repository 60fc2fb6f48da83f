use std::marker::PhantomData;
use std::time::{Duration, Instant};

use bevy_app::{App, PreUpdate};
use bevy_ecs::prelude::*;
use hana_network::{
    ChangeCounter, ConfigError, ConnectionState, DisconnectedBy, Inbox, JoinError, Node,
    NodeConfig, Pending, SetError, local_us,
};
use hana_protocol::id::role::NodeRole;
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{Look, Set, SetReply};
use hana_protocol::wire::error_chain;

use crate::change_signal::ChangeSignal;
use crate::connectivity::{Connectivity, NodeConnectivity};
use crate::events;
use crate::events::{Connected, DaemonLost, Disconnected, IdTaken, JoinFailed, ShutdownRequested};
use crate::notices::notices::Notices;
use crate::sets::HanaSystems;
use crate::timeline::frame_clock::{FrameClock, PresentedAt};
use crate::timeline::timeline;
use crate::timeline::timeline::Timeline;
use crate::topics::pending_sends::PendingSends;

/// The program's node on the mesh, once it has joined.
///
/// A program that starts without a network joins as soon as it can. Until then, [`node`](Self::node) is `None`; the
/// program draws nevertheless.
#[derive(Resource)]
pub struct MeshSession<R: NodeRole> {
    /// Boxed, so that the fields used in each frame lie together.
    config: Box<Result<NodeConfig, ConfigError>>,
    node: Option<Node<R>>,
    joining: Option<Pending<Result<Node<R>, JoinError>>>,
    /// The time of the next attempt to join.
    retry_at: Option<Instant>,
    /// The reason why the last attempt to join failed. A repeated reason is reported only once.
    reported_problem: Option<String>,
    /// The connection changes of the current or last node that are not reported yet.
    connection_changes: Option<(NodeId, Inbox<ConnectionState>)>,
    /// Whether the program left before it had joined, so that no node exists to report this.
    left: bool,
    /// Whether [`ShutdownRequested`] has been triggered.
    shutdown_reported: bool,
    /// The counter of incoming changes, which each frame compares with `seen_changes`.
    change_signal: ChangeCounter,
    seen_changes: u64,
    pub(crate) frame_clock: FrameClock,
}

/// The program has joined or rejoined in the role `R`: [`MeshSession::node`] returns its new node.
#[derive(Event)]
pub(crate) struct Joined<R: NodeRole>(PhantomData<fn(R)>);

/// Interval between two attempts to join.
const JOIN_RETRY_INTERVAL: Duration = Duration::from_secs(2);

impl<R: NodeRole> MeshSession<R> {
    /// Returns the node; `None` while it has not joined.
    #[must_use]
    pub const fn node(&self) -> Option<&Node<R>> {
        self.node.as_ref()
    }

    /// Leaves the mesh cleanly. The program continues to run, and does not rejoin automatically.
    ///
    /// Does not block. [`Disconnected`] reports that the program has left.
    pub fn leave(&mut self) {
        self.left = self.connection_changes.is_none();
        if let Some(node) = self.take_node() {
            drop(node.leave());
        }
    }

    /// Rejoins, after [`leave`](Self::leave) or when the id was taken.
    ///
    /// Does not block, and does nothing while the program is on the mesh or joining. [`Connected`] or
    /// [`JoinFailed`] reports the outcome.
    pub fn rejoin(&mut self) {
        let is_there = self.node.as_ref().is_some_and(|node| {
            !matches!(
                node.connection(),
                ConnectionState::Disconnected {
                    by: DisconnectedBy::LocalLeave | DisconnectedBy::IdConflict,
                    ..
                }
            )
        });
        if !is_there && self.joining.is_none() {
            self.node = None;
            self.retry_at = Some(Instant::now());
            self.change_signal.increment();
        }
    }

    /// Takes the node out of the session, so that the caller can close it. The program does not rejoin automatically.
    pub(crate) fn take_node(&mut self) -> Option<Node<R>> {
        self.change_signal.increment();
        self.retry_at = None;
        self.joining = None;
        self.node.take()
    }

    /// Keeps the id that the program specifies. If a daemon assigned another id, the program's other node gets that
    /// id.
    pub(crate) fn keep_own_id(&mut self) {
        self.configure(NodeConfig::with_own_id);
    }

    /// Returns the id under which the program joins, unless the settings of the machine are invalid.
    pub(crate) fn id(&self) -> Option<&NodeId> {
        (*self.config).as_ref().ok().map(NodeConfig::id)
    }

    /// Returns the last look of an earlier instance.
    pub(crate) fn last_look(&self) -> Option<&Look> {
        (*self.config).as_ref().ok().and_then(NodeConfig::last_look)
    }

    /// Changes the configuration with which the program joins.
    pub(crate) fn configure(&mut self, change: impl FnOnce(NodeConfig) -> NodeConfig) {
        if let Ok(config) = &mut *self.config {
            *config = change(config.clone());
        }
    }

    /// Joins in the background, as `config` specifies.
    pub(crate) fn build(app: &mut App, config: Result<NodeConfig, ConfigError>) {
        timeline::build(app);
        let change_signal = ChangeSignal::of(app.world_mut());
        // Triggers the join.
        change_signal.increment();
        let presented = app.world_mut().get_resource_or_init::<PresentedAt>().clone();
        app.insert_resource(Self {
            config: Box::new(
                config.map(|config| config.with_change_counter(change_signal.clone())),
            ),
            node: None,
            joining: None,
            retry_at: Some(Instant::now()),
            reported_problem: None,
            connection_changes: None,
            left: false,
            shutdown_reported: false,
            change_signal,
            seen_changes: 0,
            frame_clock: FrameClock::new(presented),
        })
        .init_resource::<NodeConnectivity<R>>()
        .init_resource::<PendingSends>()
        .configure_sets(PreUpdate, HanaSystems::Receive);
    }
}

/// Begins a frame.
///
/// Piped into other systems that begin the frame, since running a system costs Bevy about as much as most of these
/// systems themselves.
pub(crate) fn begin_frame<R: NodeRole>(
    mut session: ResMut<MeshSession<R>>,
    mut timeline: ResMut<Timeline>,
    mut commands: Commands,
) {
    let session = &mut *session;
    let count = session.change_signal.count();
    if std::mem::replace(&mut session.seen_changes, count) != count {
        commands.run_system_cached(follow::<R>);
    }
    session.frame_clock.begins(local_us());
    timeline.follow::<R>(session.node.as_ref(), &session.frame_clock);
}

impl MeshSession<role::Visualization> {
    /// Changes the program's own parameters, now or at a beat, as if the change had come over the network.
    ///
    /// Sets values and attaches modulators. Returns `None` while the program is not on the mesh.
    ///
    /// # Errors
    ///
    /// When a parameter cannot be set (the error names the first one), or too many changes wait. No parameter changes
    /// then.
    #[must_use]
    pub fn change(&self, set: &Set) -> Option<Result<SetReply, SetError>> {
        self.node().map(|node| node.parameters().change(set))
    }
}

/// Reports changes of the node's connection, the results of its sends, and its problems.
fn follow<R: NodeRole>(
    mut session: ResMut<MeshSession<R>>,
    mut connectivity: ResMut<NodeConnectivity<R>>,
    pending_sends: Res<PendingSends>,
    mut notices: ResMut<Notices>,
    mut commands: Commands,
) {
    join(&mut session, &mut connectivity.reborrow(), &mut commands);
    report_changes(&mut session, &mut connectivity.reborrow(), &mut commands);
    let has_more = pending_sends.report(&mut commands);
    let is_showing = notices.follow(R::ROLE, &connectivity, connectivity.is_changed());
    if session.node.is_none() || has_more || is_showing {
        // Makes this system run again in the next frame.
        session.change_signal.increment();
    }
}

/// Begins to join, and checks whether the join has completed.
fn join<R: NodeRole>(
    session: &mut MeshSession<R>,
    connectivity: &mut Mut<NodeConnectivity<R>>,
    commands: &mut Commands,
) {
    if session.node.is_some() {
        return;
    }
    let mut report_failure = |reason: String, by, retries| {
        let now = Connectivity::Disconnected { by, reason: reason.clone() };
        NodeConnectivity::set(connectivity, now);
        commands.trigger(JoinFailed { role: R::ROLE, reason, retries });
    };
    if session.retry_at.is_some_and(|at| at <= Instant::now()) {
        session.retry_at = None;
        match &*session.config {
            Ok(config) => session.joining = Some(Node::join(config.clone())),
            Err(error) => {
                let reason = error_chain(error);
                tracing::error!("cannot join the mesh: {reason}");
                report_failure(reason, DisconnectedBy::NoNetwork, false);
            },
        }
    }
    let Some(outcome) = session.joining.as_ref().and_then(Pending::try_recv) else { return };
    session.joining = None;
    match outcome {
        Ok(node) => {
            tracing::info!("'{}' is on the mesh", node.id());
            session.connection_changes =
                Some((node.id().clone(), node.connection_changes().clone()));
            session.reported_problem = None;
            session.node = Some(node);
            commands.trigger(Joined::<R>(PhantomData));
        },
        Err(error) => {
            let retries = !matches!(error, JoinError::IdTaken(_) | JoinError::Info { .. });
            session.retry_at = retries.then(|| Instant::now() + JOIN_RETRY_INTERVAL);
            let reason = error_chain(&error);
            if session.reported_problem.as_ref() != Some(&reason) {
                let note = if retries { "; the program retries every 2 s" } else { "" };
                tracing::error!("cannot join the mesh: {reason}{note}");
                session.reported_problem = Some(reason.clone());
            }
            match error {
                JoinError::IdTaken(rival) => {
                    report_failure(reason, DisconnectedBy::IdConflict, retries);
                    commands.trigger(IdTaken::by(rival, R::ROLE));
                },
                _ => report_failure(reason, DisconnectedBy::NoNetwork, retries),
            }
        },
    }
}

/// Reports the changes and problems that the network layer has detected since the last frame.
fn report_changes<R: NodeRole>(
    session: &mut MeshSession<R>,
    connectivity: &mut Mut<NodeConnectivity<R>>,
    commands: &mut Commands,
) {
    let has_changed =
        session.left || session.connection_changes.as_ref().is_some_and(|(_, of)| !of.is_empty());
    if has_changed {
        let left = std::mem::take(&mut session.left).then(|| ConnectionState::Disconnected {
            by: DisconnectedBy::LocalLeave,
            reason: "the program left before it had joined".into(),
        });
        let of_node = session.connection_changes.as_ref();
        let changes = of_node.into_iter().flat_map(|(node, changes)| {
            std::iter::from_fn(|| changes.try_recv()).map(move |change| (Some(node), change))
        });
        for (node, change) in changes.chain(left.map(|left| (None, left))) {
            NodeConnectivity::set(connectivity, change.clone().into());
            match (change, node) {
                (ConnectionState::Connected { mode }, Some(node)) => {
                    let node = node.clone();
                    commands.trigger(Connected { role: R::ROLE, node, attach_mode: mode });
                },
                (ConnectionState::DaemonLost, _) => commands.trigger(DaemonLost { role: R::ROLE }),
                (ConnectionState::Disconnected { by, reason }, _) => {
                    commands.trigger(Disconnected { role: R::ROLE, by, reason });
                },
                (ConnectionState::Connected { .. }, None) => {},
            }
        }
    }
    let Some(node) = &session.node else { return };
    // The network layer has reported the conflict and left the mesh; the program continues to run.
    if let Some(rival) = node.id_conflicts().try_recv() {
        commands.trigger(IdTaken::by(rival, R::ROLE));
    }
    if events::report_problems(node.diagnostics(), commands) {
        session.change_signal.increment();
    }
    if !session.shutdown_reported && node.is_shutdown_requested() {
        session.shutdown_reported = true;
        commands.trigger(ShutdownRequested);
    }
}
