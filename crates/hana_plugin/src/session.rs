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
/// A program that starts without any network joins when it can; until then [`node`](Self::node) is `None`,
/// and the program draws.
#[derive(Resource)]
pub struct MeshSession<R: NodeRole> {
    /// Boxed, so that the fields used in each frame lie together.
    config: Box<Result<NodeConfig, ConfigError>>,
    node: Option<Node<R>>,
    joining: Option<Pending<Result<Node<R>, JoinError>>>,
    again: Option<Instant>,
    /// Why the last attempt to join failed; a repeated reason is reported only once.
    problem: Option<String>,
    /// The connection changes of the current or last node that are not reported yet.
    changes: Option<(NodeId, Inbox<ConnectionState>)>,
    /// Whether the program left before it had joined, which no node can report.
    left: bool,
    /// Whether the request to end has been passed on to the program.
    told_to_end: bool,
    /// Counts incoming changes, to find out what is new.
    news: ChangeCounter,
    known: u64,
    pub(crate) frame_clock: FrameClock,
}

/// The program has joined or rejoined in the role `R`: [`MeshSession::node`] returns its new node.
#[derive(Event)]
pub(crate) struct Joined<R: NodeRole>(PhantomData<fn(R)>);

const TRY_AGAIN: Duration = Duration::from_secs(2);

impl<R: NodeRole> MeshSession<R> {
    /// Returns the node; `None` while it has not joined.
    #[must_use]
    pub const fn node(&self) -> Option<&Node<R>> {
        self.node.as_ref()
    }

    /// Leaves the mesh cleanly. The program goes on, and does not rejoin by itself.
    ///
    /// Does not block. [`Disconnected`] reports when it has left.
    pub fn leave(&mut self) {
        self.left = self.changes.is_none();
        if let Some(node) = self.take_node() {
            drop(node.leave());
        }
    }

    /// Rejoins, after [`leave`](Self::leave) or when the id was taken.
    ///
    /// Does not block, and does nothing while the program is on the mesh or joining. [`Connected`] or
    /// [`JoinFailed`] reports the outcome.
    pub fn join_again(&mut self) {
        let is_there = self.node.as_ref().is_some_and(|node| {
            !matches!(
                node.connection(),
                ConnectionState::Disconnected { by: DisconnectedBy::Us | DisconnectedBy::Peer, .. }
            )
        });
        if !is_there && self.joining.is_none() {
            self.node = None;
            self.again = Some(Instant::now());
            self.news.tell();
        }
    }

    /// Takes the node out, to leave with it; the program does not rejoin by itself.
    pub(crate) fn take_node(&mut self) -> Option<Node<R>> {
        self.news.tell();
        self.again = None;
        self.joining = None;
        self.node.take()
    }

    /// Keeps the id written in the program, even if a daemon assigned another: that one goes to the program's
    /// other node.
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
        let news = ChangeSignal::of(app.world_mut());
        // Triggers the join.
        news.tell();
        let presented = app.world_mut().get_resource_or_init::<PresentedAt>().clone();
        app.insert_resource(Self {
            config: Box::new(config.map(|config| config.with_news(news.clone()))),
            node: None,
            joining: None,
            again: Some(Instant::now()),
            problem: None,
            changes: None,
            left: false,
            told_to_end: false,
            news,
            known: 0,
            frame_clock: FrameClock::new(presented),
        })
        .init_resource::<NodeConnectivity<R>>()
        .init_resource::<PendingSends>()
        .configure_sets(PreUpdate, HanaSystems::Receive);
    }
}

/// Begins a frame.
///
/// Piped into other systems that begin it: Bevy's cost of running a system is about as high as that of most of them.
pub(crate) fn begin_frame<R: NodeRole>(
    mut link: ResMut<MeshSession<R>>,
    mut timeline: ResMut<Timeline>,
    mut commands: Commands,
) {
    let link = &mut *link;
    let count = link.news.count();
    if std::mem::replace(&mut link.known, count) != count {
        commands.run_system_cached(follow::<R>);
    }
    link.frame_clock.begins(local_us());
    timeline.follow::<R>(link.node.as_ref(), &link.frame_clock);
}

impl MeshSession<role::Visualization> {
    /// Changes the program's own parameters, now or at a beat, as if the change had come over the network.
    ///
    /// Sets values, and modulators that move them. Returns `None` while the program is not on the mesh.
    ///
    /// # Errors
    ///
    /// Names the first parameter that cannot be set, or reports that too many changes wait. In both cases
    /// nothing has changed.
    #[must_use]
    pub fn change(&self, set: &Set) -> Option<Result<SetReply, SetError>> {
        self.node().map(|node| node.board().change(set))
    }
}

/// Follows the node's connection, the results of its sends, and its problems.
fn follow<R: NodeRole>(
    mut link: ResMut<MeshSession<R>>,
    mut connectivity: ResMut<NodeConnectivity<R>>,
    sendings: Res<PendingSends>,
    mut notices: ResMut<Notices>,
    mut commands: Commands,
) {
    join(&mut link, &mut connectivity.reborrow(), &mut commands);
    tell(&mut link, &mut connectivity.reborrow(), &mut commands);
    let has_more = sendings.tell(&mut commands);
    let is_showing = notices.follow(R::ROLE, &connectivity, connectivity.is_changed());
    if link.node.is_none() || has_more || is_showing {
        // Looks at it again in the next frame.
        link.news.tell();
    }
}

/// Begins to join, and checks whether the join has completed.
fn join<R: NodeRole>(
    link: &mut MeshSession<R>,
    connectivity: &mut Mut<NodeConnectivity<R>>,
    commands: &mut Commands,
) {
    if link.node.is_some() {
        return;
    }
    let mut fails = |reason: String, by, tries_again| {
        let now = Connectivity::Disconnected { by, reason: reason.clone() };
        NodeConnectivity::set(connectivity, now);
        commands.trigger(JoinFailed { role: R::ROLE, reason, tries_again });
    };
    if link.again.is_some_and(|at| at <= Instant::now()) {
        link.again = None;
        match &*link.config {
            Ok(config) => link.joining = Some(Node::join(config.clone())),
            Err(error) => {
                let reason = error_chain(error);
                tracing::error!("not on the mesh: {reason}");
                fails(reason, DisconnectedBy::Error, false);
            },
        }
    }
    let Some(outcome) = link.joining.as_ref().and_then(Pending::take) else { return };
    link.joining = None;
    match outcome {
        Ok(node) => {
            tracing::info!("'{}' is on the mesh", node.id());
            link.changes = Some((node.id().clone(), node.connection_changes().clone()));
            link.problem = None;
            link.node = Some(node);
            commands.trigger(Joined::<R>(PhantomData));
        },
        Err(error) => {
            let tries_again = !matches!(error, JoinError::IdTaken(_) | JoinError::Info { .. });
            link.again = tries_again.then(|| Instant::now() + TRY_AGAIN);
            let reason = error_chain(&error);
            if link.problem.as_ref() != Some(&reason) {
                let again =
                    if tries_again { "; it goes on, and tries again and again" } else { "" };
                tracing::error!("not on the mesh: {reason}{again}");
                link.problem = Some(reason.clone());
            }
            match error {
                JoinError::IdTaken(rival) => {
                    fails(reason, DisconnectedBy::Peer, tries_again);
                    commands.trigger(IdTaken::by(rival, R::ROLE));
                },
                _ => fails(reason, DisconnectedBy::Error, tries_again),
            }
        },
    }
}

/// Reports what the network layer has found out since the last frame.
fn tell<R: NodeRole>(
    link: &mut MeshSession<R>,
    connectivity: &mut Mut<NodeConnectivity<R>>,
    commands: &mut Commands,
) {
    let has_news = link.left || link.changes.as_ref().is_some_and(|(_, of)| !of.is_empty());
    if has_news {
        let left = std::mem::take(&mut link.left).then(|| ConnectionState::Disconnected {
            by: DisconnectedBy::Us,
            reason: "the program left before it had joined".into(),
        });
        let of_node = link.changes.as_ref();
        let changes = of_node.into_iter().flat_map(|(node, changes)| {
            std::iter::from_fn(|| changes.try_recv()).map(move |change| (Some(node), change))
        });
        for (node, change) in changes.chain(left.map(|left| (None, left))) {
            NodeConnectivity::set(connectivity, change.clone().into());
            match (change, node) {
                (ConnectionState::Connected { way }, Some(node)) => {
                    commands.trigger(Connected { role: R::ROLE, node: node.clone(), way });
                },
                (ConnectionState::DaemonLost, _) => commands.trigger(DaemonLost { role: R::ROLE }),
                (ConnectionState::Disconnected { by, reason }, _) => {
                    commands.trigger(Disconnected { role: R::ROLE, by, reason });
                },
                (ConnectionState::Connected { .. }, None) => {},
            }
        }
    }
    let Some(node) = &link.node else { return };
    // The network layer has reported it, and has left; the program goes on.
    if let Some(rival) = node.displaced().try_recv() {
        commands.trigger(IdTaken::by(rival, R::ROLE));
    }
    if events::tell_problems(node.problems(), commands) {
        link.news.tell();
    }
    if !link.told_to_end && node.is_shutdown_requested() {
        link.told_to_end = true;
        commands.trigger(ShutdownRequested);
    }
}
