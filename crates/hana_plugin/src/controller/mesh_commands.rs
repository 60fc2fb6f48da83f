use std::collections::HashMap;
use std::time::Duration;

use bevy_app::{App, PreUpdate};
use bevy_ecs::prelude::*;
use bevy_ecs::system::SystemParam;
use hana_console::CommandSender;
use hana_engine::ownership::ClaimManager;
use hana_network::{CommandError, OwnershipClient, Pending, PlaySession};
use hana_protocol::contract::routes::Route;
use hana_protocol::id::role::{NodeRole, Role};
use hana_protocol::id::{NodeId, TopicName, role};
use hana_protocol::message::{
    Acknowledge, Blackout, Command, Control, Freeze, Kill, PlayStatus, Priority, Restart, Resume,
    SendCheckError, Set, Shutdown, Start, Stop,
};
use hana_protocol::parameter::{ParameterError, ParameterName};
use hana_time::ScheduleAt;
use serde_json::Value;

use crate::controller::nodes::Nodes;
use crate::controller::operators::OwnOperator;
use crate::session::MeshSession;
use crate::sets::HanaSystems;
use crate::topics::pending_sends::PendingSends;
use crate::topics::topic_writer::REPLY_TIMEOUT;

/// The commands that an app sends to other nodes: start, stop, set, play.
///
/// A system parameter; no method blocks. [`CommandCompleted`] reports the outcome of a command.
#[derive(SystemParam)]
pub struct MeshCommands<'w> {
    link: Res<'w, MeshSession<role::App>>,
    desk: ResMut<'w, PendingCommands>,
    nodes: Res<'w, Nodes>,
    sendings: Res<'w, PendingSends>,
    operator: ResMut<'w, OwnOperator>,
}

/// A command was answered, or will not be.
#[derive(Event, Debug, Clone)]
pub struct CommandCompleted {
    /// The node that the command was sent to.
    pub node: NodeId,
    /// The command.
    pub command: Control,
    /// `Ok` if the command was carried out, else the reason.
    pub outcome: Result<(), CommandError>,
}

type Outcome = Box<dyn Fn() -> Option<Result<(), CommandError>> + Send + Sync>;

/// Commands under way, and the streams of played values.
#[derive(Resource, Default)]
pub(crate) struct PendingCommands {
    under_way: Vec<(NodeId, Control, Outcome)>,
    played: HashMap<NodeId, Played>,
}

/// A visualization that is played, and the last problem with it, which is reported once, not in each frame.
struct Played {
    session: PlaySession,
    told: Option<ParameterError>,
    /// Whether the visualization was ever on the mesh.
    was_known: bool,
}

/// Ending a process may take three deadlines in a row; a reply takes a moment.
const DEADLINE: Duration = Duration::from_secs(10);

impl MeshCommands<'_> {
    /// Launches a program from `host`'s catalogue; its id is the name, with a number if the name is taken.
    pub fn start(&mut self, host: &NodeId, name: &str) {
        self.give::<role::Daemon, _>(
            host,
            Start { name: name.into(), id: None, at: ScheduleAt::Now },
        );
    }

    /// Ends a process that the daemon of `host` launched.
    pub fn stop(&mut self, host: &NodeId, node: &NodeId) {
        self.give::<role::Daemon, _>(host, Stop { node: node.clone() });
    }

    /// Stops a process and starts it again with the same id.
    pub fn restart(&mut self, host: &NodeId, node: &NodeId) {
        self.give::<role::Daemon, _>(host, Restart { node: node.clone() });
    }

    /// Kills a process at once, with all its children.
    pub fn kill(&mut self, host: &NodeId, node: &NodeId) {
        self.give::<role::Daemon, _>(host, Kill { node: node.clone() });
    }

    /// Acknowledges a fault: the daemon takes no action and raises no alarm until the node's state changes.
    pub fn ignore(&mut self, host: &NodeId, node: &NodeId) {
        self.give::<role::Daemon, _>(host, Acknowledge { node: node.clone() });
    }

    /// Freezes the visualization's look, whatever is played, until [`resume`](Self::resume).
    pub fn hold(&mut self, node: &NodeId) {
        self.give::<role::Visualization, _>(node, Freeze {});
    }

    /// Makes the visualization draw black until [`resume`](Self::resume).
    pub fn blackout(&mut self, node: &NodeId) {
        self.give::<role::Visualization, _>(node, Blackout {});
    }

    /// Makes the visualization show what is played again, after [`hold`](Self::hold) or [`blackout`](Self::blackout).
    pub fn resume(&mut self, node: &NodeId) {
        self.give::<role::Visualization, _>(node, Resume {});
    }

    /// Asks the node itself to exit cleanly, for nodes that no daemon launched.
    pub fn shut_down(&mut self, node: &NodeId) {
        self.give::<role::Visualization, _>(node, Shutdown {});
    }

    /// Sets parameters of a visualization, all or none, and reports whether they were accepted.
    pub fn set(&mut self, node: &NodeId, values: impl IntoIterator<Item = (ParameterName, f32)>) {
        self.change(node, Set { parameters: values.into_iter().collect(), ..Set::default() });
    }

    /// Sets values and modulators of a visualization, all or none, now or at a beat, and reports the outcome.
    pub fn change(&mut self, node: &NodeId, set: Set) {
        self.give::<role::Visualization, _>(node, set);
    }

    /// Moves a parameter of a visualization, as often as every frame.
    ///
    /// The newest value counts, and none is acknowledged. The first call opens a play session
    /// ([`PlaySession`]), which chooses its path by itself from then on.
    pub fn play(&mut self, node: &NodeId, parameter: &ParameterName, value: f32) {
        let Some(own) = self.link.node() else { return };
        if !self.desk.played.contains_key(node) {
            let info = self.nodes.info(node).filter(|info| info.role == Role::Visualization);
            let session =
                info.map_or_else(|| own.play_session(node), |info| own.play_session_of(info));
            let played = Played { session, told: None, was_known: false };
            self.desk.played.insert(node.clone(), played);
        }
        let Some(played) = self.desk.played.get_mut(node) else { return };
        if let Err(problem) = played.session.set(parameter, value)
            && played.told.as_ref() != Some(&problem)
        {
            tracing::warn!("'{node}' is not played: {problem}");
            played.told = Some(problem);
        }
    }

    /// Returns how this app plays a visualization, or `None` if it does not.
    #[must_use]
    pub fn play_session(&self, node: &NodeId) -> Option<PlayStatus> {
        self.desk.played.get(node).map(|played| played.session.status())
    }

    /// Claims parameters of a visualization until this app releases them or another controller preempts them.
    ///
    /// Does nothing before this app has joined. [`OwnerChanged`](crate::controller::operators::OwnerChanged)
    /// reports success, [`ClaimRejected`](crate::controller::operators::ClaimRejected) a refusal and its
    /// reason, [`ClaimLost`](crate::controller::operators::ClaimLost) the controller that owns them instead.
    pub fn take(&mut self, node: &NodeId, parameters: impl IntoIterator<Item = ParameterName>) {
        if let Some(operator) = &mut self.operator.0 {
            operator.take(node, parameters);
        }
    }

    /// Releases parameters.
    pub fn release(&mut self, node: &NodeId, parameters: impl IntoIterator<Item = ParameterName>) {
        if let Some(operator) = &mut self.operator.0 {
            operator.release(node, parameters);
        }
    }

    /// Claims every parameter that another app owns, has claimed, or owned when it vanished, and returns
    /// their number.
    pub fn take_over(&mut self, app: &NodeId) -> usize {
        self.operator.0.as_mut().map_or(0, |operator| operator.take_over(app))
    }

    /// Sets the priority of this app's claims over those of other controllers.
    pub fn set_priority(&mut self, priority: Priority) {
        if let Some(operator) = &mut self.operator.0 {
            operator.set_priority(priority);
        }
    }

    /// Publishes a note to all operators, replacing this app's last one; an empty text withdraws it.
    pub fn note(&mut self, text: &str) {
        if let Some(operator) = &mut self.operator.0 {
            operator.note(text);
        }
    }

    /// Returns the known owners, claims and abandoned parameters, or `None` before this app has joined.
    #[must_use]
    pub fn claims(&self) -> Option<&ClaimManager> {
        self.operator.0.as_ref().map(OwnershipClient::claims)
    }

    /// Sends a custom message of a type that this app need not define, checked against the node's announcement.
    ///
    /// [`MessageDelivered`](crate::topics::pending_sends::MessageDelivered) reports whether it was accepted.
    ///
    /// # Errors
    ///
    /// When the node does not subscribe to that topic, or the message does not fit; the error names the
    /// field. A message to a node that is not known yet is checked only by that node.
    pub fn send_value(
        &mut self,
        node: &NodeId,
        topic: &TopicName,
        message: &Value,
    ) -> Result<(), SendCheckError> {
        if let Some(info) = self.nodes.info(node) {
            info.check_message(topic, message)?;
        }
        let question =
            self.link.node().map(|own| own.send_value(node, topic, message, REPLY_TIMEOUT));
        self.sendings.add(node, topic.clone(), question);
        Ok(())
    }

    /// Sends such a message to all nodes of a kind, without replies, and returns the number of addressees.
    ///
    /// # Errors
    ///
    /// When no node of that kind subscribes to the topic, or the message does not fit one of those that do.
    pub fn send_value_to_kind(
        &mut self,
        kind: &NodeId,
        topic: &TopicName,
        message: &Value,
    ) -> Result<usize, SendCheckError> {
        let mut lane = None;
        let mut refused = None;
        let mut count = 0;
        for info in self.nodes.of_kind(kind) {
            match info.check_message(topic, message) {
                Ok(known) => {
                    lane = Some(known.lane);
                    count += 1;
                },
                Err(unsendable @ SendCheckError::Misfit { .. }) => return Err(unsendable),
                Err(unsendable) => refused = Some(unsendable),
            }
        }
        let Some(lane) = lane else {
            let (node, topic) = (kind.clone(), topic.clone());
            return Err(refused.unwrap_or(SendCheckError::NotSubscribed {
                node,
                topic,
                heard: vec![],
            }));
        };
        let handed = self.link.node().map(|own| own.send_value_to_kind(kind, topic, lane, message));
        // Such a message is not acknowledged: only a failed hand-over is reported, in the form of a reply.
        self.sendings.add(kind, topic.clone(), handed);
        Ok(count)
    }

    fn give<To: NodeRole, C: Command + Route<role::App, To> + Clone>(
        &mut self,
        node: &NodeId,
        command: C,
    ) {
        let outcome: Outcome = match self.link.node() {
            Some(own) => Self::outcome(own.command::<To, C>(node, command.clone(), DEADLINE)),
            None => Box::new(|| {
                Some(Err(CommandError::NotSent {
                    problem: "this app is not on the mesh yet".into(),
                }))
            }),
        };
        self.desk.under_way.push((node.clone(), command.into(), outcome));
    }

    fn outcome<T: Send + 'static>(pending: Pending<Result<T, CommandError>>) -> Outcome {
        Box::new(move || {
            if let Some(answer) = pending.take() {
                return Some(answer.map(|_| ()));
            }
            let problem = hana_network::Cancelled.to_string();
            pending.is_abandoned().then_some(Err(CommandError::NotSent { problem }))
        })
    }
}

/// An app sends the action that the operator chose:
/// [`OperatorAction::dispatch`](hana_console::OperatorAction::dispatch).
impl CommandSender for MeshCommands<'_> {
    /// [`CommandCompleted`] reports the outcome.
    type Sent = ();

    fn send<To: NodeRole, C: Command + Route<role::App, To> + Clone>(
        &mut self,
        node: &NodeId,
        command: C,
    ) {
        self.give::<To, C>(node, command);
    }
}

pub(crate) fn build(app: &mut App) {
    app.init_resource::<PendingCommands>()
        .add_systems(PreUpdate, take_answers.in_set(HanaSystems::Receive));
}

fn take_answers(
    link: Res<MeshSession<role::App>>,
    nodes: Res<Nodes>,
    mut desk: ResMut<PendingCommands>,
    mut commands: Commands,
) {
    if link.node().is_none() {
        // These belong to a node that has left.
        desk.played.clear();
    }
    desk.played.retain(|node, played| {
        let is_known = nodes.info(node).is_some();
        played.was_known |= is_known;
        // A node that is restarted stays known throughout, and one that answers is there, whatever the roster shows.
        is_known || !played.was_known || played.session.status().is_answered()
    });
    desk.under_way.retain(|(node, command, outcome)| {
        let Some(outcome) = outcome() else { return true };
        if let Err(problem) = &outcome {
            tracing::warn!("{} {node}: {problem}", command.name());
        }
        commands.trigger(CommandCompleted {
            node: node.clone(),
            command: command.clone(),
            outcome,
        });
        false
    });
}
