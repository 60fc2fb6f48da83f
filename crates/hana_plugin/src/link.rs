use std::time::Duration;
use std::time::Instant;

use bevy_app::App;
use bevy_app::PreUpdate;
use bevy_ecs::prelude::*;
use hana_network::ConfigError;
use hana_network::JoinError;
use hana_network::Node;
use hana_network::NodeConfig;
use hana_network::Pending;
use hana_network::Rival;
use hana_protocol::NodeId;
use hana_protocol::in_full;
use hana_protocol::role::NodeRole;

use crate::HanaSystems;

/// The program's node on the mesh, once it has joined. A program that starts with no network at all joins
/// when it can; until then [`node`](Self::node) is none, and the program draws.
#[derive(Resource)]
pub struct MeshLink<R: NodeRole> {
    config: Result<NodeConfig, ConfigError>,
    node: Option<Node<R>>,
    joining: Option<Pending<Result<Node<R>, JoinError>>>,
    again: Option<Instant>,
    /// Why it could not join the last time it tried; said once, however often it tries.
    problem: Option<String>,
}

/// The program has joined the mesh.
#[derive(Event, Debug, Clone)]
pub struct Joined {
    /// The id it has there.
    pub node: NodeId,
}

/// The program could not join the mesh. It tries again by itself, unless that cannot help, as when its id
/// is taken.
#[derive(Event, Debug, Clone)]
pub struct JoinFailed {
    /// Why, and what to do, in plain words.
    pub reason: String,
    /// Whether it tries again by itself.
    pub tries_again: bool,
}

const TRY_AGAIN: Duration = Duration::from_secs(2);

impl<R: NodeRole> MeshLink<R> {
    /// The node; none while it has not joined.
    #[must_use]
    pub const fn node(&self) -> Option<&Node<R>> {
        self.node.as_ref()
    }

    /// The node, to leave with; the program does not join again by itself.
    pub(crate) fn take_node(&mut self) -> Option<Node<R>> {
        self.again = None;
        self.joining = None;
        self.node.take()
    }

    /// Joins as `config` says, in the background.
    pub(crate) fn build(app: &mut App, config: Result<NodeConfig, ConfigError>) {
        app.insert_resource(Self {
            config,
            node: None,
            joining: None,
            again: Some(Instant::now()),
            problem: None,
        })
        .configure_sets(PreUpdate, HanaSystems::Receive)
        .add_systems(PreUpdate, join::<R>.before(HanaSystems::Receive));
    }
}

/// Begins to join, and looks whether it has happened.
fn join<R: NodeRole>(mut link: ResMut<MeshLink<R>>, mut commands: Commands) {
    if let Some(node) = &link.node {
        // The network layer has said it, and has left; the program goes on.
        if let Some(Rival { node, holder }) = node.displaced().try_recv() {
            let reason = in_full(&JoinError::IdTaken(Rival { node, holder }));
            commands.trigger(JoinFailed { reason, tries_again: false });
        }
        return;
    }
    if link.again.is_some_and(|at| at <= Instant::now()) {
        link.again = None;
        match &link.config {
            Ok(config) => link.joining = Some(Node::join(config.clone())),
            Err(error) => {
                tracing::error!("not on the mesh: {}", in_full(error));
                commands.trigger(JoinFailed { reason: in_full(error), tries_again: false });
            },
        }
    }
    let Some(outcome) = link.joining.as_ref().and_then(Pending::take) else { return };
    link.joining = None;
    match outcome {
        Ok(node) => {
            tracing::info!("'{}' is on the mesh", node.id());
            commands.trigger(Joined { node: node.id().clone() });
            link.node = Some(node);
        },
        Err(error) => {
            let tries_again = !matches!(error, JoinError::IdTaken { .. } | JoinError::Info { .. });
            link.again = tries_again.then(|| Instant::now() + TRY_AGAIN);
            let reason = in_full(&error);
            if link.problem.as_ref() != Some(&reason) {
                let again =
                    if tries_again { "; it goes on, and tries again and again" } else { "" };
                tracing::error!("not on the mesh: {reason}{again}");
                link.problem = Some(reason.clone());
            }
            commands.trigger(JoinFailed { reason, tries_again });
        },
    }
}

/// A run condition: the program is on the mesh in the role `R`, and was not in the frame before.
pub(crate) fn has_just_joined<R: NodeRole>(
    link: Res<MeshLink<R>>,
    mut was_there: Local<bool>,
) -> bool {
    let before = *was_there;
    *was_there = link.node.is_some();
    *was_there && !before
}
