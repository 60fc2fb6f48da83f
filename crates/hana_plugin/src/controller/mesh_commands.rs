use std::collections::HashMap;
use std::time::Duration;

use bevy_app::{App, PreUpdate};
use bevy_ecs::prelude::*;
use bevy_ecs::system::SystemParam;
use bevy_reflect::Reflect;
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
/// A system parameter. No method blocks: each command returns an id, and [`CommandCompleted`] reports its outcome
/// under the same id.
#[derive(SystemParam)]
pub struct MeshCommands<'w> {
    session: Res<'w, MeshSession<role::App>>,
    pending: ResMut<'w, PendingCommands>,
    nodes: Res<'w, Nodes>,
    pending_sends: Res<'w, PendingSends>,
    operator: ResMut<'w, OwnOperator>,
}

/// The id of a command of this app, which [`MeshCommands`] returns and [`CommandCompleted`] repeats.
#[derive(Reflect, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CommandId(u64);

/// A command has received its reply, or can no longer receive one.
#[derive(Event, Debug, Clone)]
pub struct CommandCompleted {
    /// The id that [`MeshCommands`] returned.
    pub id: CommandId,
    /// The node that the command was sent to.
    pub node: NodeId,
    /// The command.
    pub command: Control,
    /// `Ok` if the command was carried out, else the reason.
    pub outcome: Result<(), CommandError>,
}

type Outcome = Box<dyn Fn() -> Option<Result<(), CommandError>> + Send + Sync>;

/// The commands that wait for a reply, and the play sessions.
#[derive(Resource, Default)]
pub(crate) struct PendingCommands {
    commands: Vec<PendingCommand>,
    last_id: u64,
    played: HashMap<NodeId, PlayedNode>,
}

struct PendingCommand {
    id: CommandId,
    node: NodeId,
    command: Control,
    outcome: Outcome,
}

/// A visualization that this app plays, and its last problem, which is reported once instead of in each frame.
struct PlayedNode {
    session: PlaySession,
    reported: Option<ParameterError>,
    /// Whether the visualization was ever on the mesh.
    was_known: bool,
}

/// Time limit for the reply to a command. Ending a process may take three deadlines of the daemon in a row.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

impl MeshCommands<'_> {
    /// Launches a program from `host`'s catalogue. Its id is the name, with a number appended if the name is taken.
    pub fn start(&mut self, host: &NodeId, name: &str) -> CommandId {
        self.issue::<role::Daemon, _>(
            host,
            Start { name: name.into(), id: None, at: ScheduleAt::Now },
        )
    }

    /// Stops a process that the daemon of `host` launched.
    pub fn stop(&mut self, host: &NodeId, node: &NodeId) -> CommandId {
        self.issue::<role::Daemon, _>(host, Stop { node: node.clone() })
    }

    /// Stops a process and starts it again with the same id.
    pub fn restart(&mut self, host: &NodeId, node: &NodeId) -> CommandId {
        self.issue::<role::Daemon, _>(host, Restart { node: node.clone() })
    }

    /// Immediately kills a process and all its children.
    pub fn kill(&mut self, host: &NodeId, node: &NodeId) -> CommandId {
        self.issue::<role::Daemon, _>(host, Kill { node: node.clone() })
    }

    /// Acknowledges a fault: the daemon takes no action and raises no alarm until the node's state changes.
    pub fn acknowledge(&mut self, host: &NodeId, node: &NodeId) -> CommandId {
        self.issue::<role::Daemon, _>(host, Acknowledge { node: node.clone() })
    }

    /// Freezes the visualization's look until [`resume`](Self::resume), whatever is played.
    pub fn freeze(&mut self, node: &NodeId) -> CommandId {
        self.issue::<role::Visualization, _>(node, Freeze {})
    }

    /// Makes the visualization draw black until [`resume`](Self::resume).
    pub fn blackout(&mut self, node: &NodeId) -> CommandId {
        self.issue::<role::Visualization, _>(node, Blackout {})
    }

    /// Ends [`freeze`](Self::freeze) or [`blackout`](Self::blackout): the visualization shows played values again.
    pub fn resume(&mut self, node: &NodeId) -> CommandId {
        self.issue::<role::Visualization, _>(node, Resume {})
    }

    /// Requests a clean exit from the node itself, for nodes that no daemon launched.
    pub fn shut_down(&mut self, node: &NodeId) -> CommandId {
        self.issue::<role::Visualization, _>(node, Shutdown {})
    }

    /// Sets parameters of a visualization, all or none, and reports whether they were accepted.
    pub fn set(
        &mut self,
        node: &NodeId,
        values: impl IntoIterator<Item = (ParameterName, f32)>,
    ) -> CommandId {
        self.change(node, Set { parameters: values.into_iter().collect(), ..Set::default() })
    }

    /// Sets values and modulators of a visualization, all or none, now or at a beat, and reports the outcome.
    pub fn change(&mut self, node: &NodeId, set: Set) -> CommandId {
        self.issue::<role::Visualization, _>(node, set)
    }

    /// Moves a parameter of a visualization, as often as every frame.
    ///
    /// Only the newest value counts; values are not acknowledged. The first call opens a play session
    /// ([`PlaySession`]), which then chooses its path automatically.
    pub fn play(&mut self, node: &NodeId, parameter: &ParameterName, value: f32) {
        let Some(own) = self.session.node() else { return };
        if !self.pending.played.contains_key(node) {
            let info = self.nodes.info(node).filter(|info| info.role == Role::Visualization);
            let session = info
                .map_or_else(|| own.play_session(node), |info| own.play_session_with_info(info));
            let played = PlayedNode { session, reported: None, was_known: false };
            self.pending.played.insert(node.clone(), played);
        }
        let Some(played) = self.pending.played.get_mut(node) else { return };
        if let Err(problem) = played.session.set(parameter, value)
            && played.reported.as_ref() != Some(&problem)
        {
            tracing::warn!("cannot play '{node}': {problem}");
            played.reported = Some(problem);
        }
    }

    /// Returns the status of this app's play session with a visualization; `None` if the app does not play it.
    #[must_use]
    pub fn play_session(&self, node: &NodeId) -> Option<PlayStatus> {
        self.pending.played.get(node).map(|played| played.session.status())
    }

    /// Claims parameters of a visualization until this app releases them or another controller preempts them.
    ///
    /// Does nothing before this app has joined. [`OwnerChanged`](crate::controller::operators::OwnerChanged) reports
    /// that a claim succeeded, [`ClaimRejected`](crate::controller::operators::ClaimRejected) the reason why it was
    /// refused, and [`ClaimLost`](crate::controller::operators::ClaimLost) the controller that owns a parameter
    /// instead.
    pub fn claim(&mut self, node: &NodeId, parameters: impl IntoIterator<Item = ParameterName>) {
        if let Some(operator) = &mut self.operator.0 {
            operator.take(node, parameters);
        }
    }

    /// Releases parameters of a visualization that this app has claimed or plays.
    pub fn release(&mut self, node: &NodeId, parameters: impl IntoIterator<Item = ParameterName>) {
        if let Some(operator) = &mut self.operator.0 {
            operator.release(node, parameters);
        }
    }

    /// Claims every parameter that `app` owns, has claimed, or owned when it vanished. Returns the number of
    /// parameters.
    pub fn take_over(&mut self, app: &NodeId) -> usize {
        self.operator.0.as_mut().map_or(0, |operator| operator.take_over(app))
    }

    /// Sets the priority of this app's claims over those of other controllers.
    pub fn set_priority(&mut self, priority: Priority) {
        if let Some(operator) = &mut self.operator.0 {
            operator.set_priority(priority);
        }
    }

    /// Publishes a note to all operators, which replaces this app's last note; an empty text withdraws the note.
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
    /// When the node does not subscribe to that topic, or the message does not fit; the error names the field. If the
    /// node is not known yet, only the node itself checks the message.
    pub fn send_value(
        &mut self,
        node: &NodeId,
        topic: &TopicName,
        message: &Value,
    ) -> Result<(), SendCheckError> {
        if let Some(info) = self.nodes.info(node) {
            info.check_message(topic, message)?;
        }
        let reply =
            self.session.node().map(|own| own.send_json(node, topic, message, REPLY_TIMEOUT));
        self.pending_sends.add(node, topic.clone(), reply);
        Ok(())
    }

    /// Sends a custom message to all nodes of a kind, without replies, and returns the number of addressees.
    ///
    /// # Errors
    ///
    /// When no node of that kind subscribes to the topic, or the message does not fit the schema of a node that does.
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
        let handed =
            self.session.node().map(|own| own.send_json_to_kind(kind, topic, lane, message));
        // A message to a kind is not acknowledged. Only a failed hand-over to the network is reported, as if it were
        // a reply.
        self.pending_sends.add(kind, topic.clone(), handed);
        Ok(count)
    }

    fn issue<To: NodeRole, C: Command + Route<role::App, To> + Clone>(
        &mut self,
        node: &NodeId,
        command: C,
    ) -> CommandId {
        let outcome: Outcome = match self.session.node() {
            Some(own) => {
                Self::outcome(own.command::<To, C>(node, command.clone(), COMMAND_TIMEOUT))
            },
            None => Box::new(|| {
                Some(Err(CommandError::NotSent {
                    problem: "this app is not on the mesh yet".into(),
                }))
            }),
        };
        let pending = &mut self.pending;
        pending.last_id += 1;
        let id = CommandId(pending.last_id);
        pending.commands.push(PendingCommand {
            id,
            node: node.clone(),
            command: command.into(),
            outcome,
        });
        id
    }

    fn outcome<T: Send + 'static>(pending: Pending<Result<T, CommandError>>) -> Outcome {
        Box::new(move || {
            if let Some(answer) = pending.try_recv() {
                return Some(answer.map(|_| ()));
            }
            let problem = hana_network::Cancelled.to_string();
            pending.is_cancelled().then_some(Err(CommandError::NotSent { problem }))
        })
    }
}

/// An app sends the action that the operator chose:
/// [`OperatorAction::dispatch`](hana_console::OperatorAction::dispatch).
impl CommandSender for MeshCommands<'_> {
    type Sent = CommandId;

    fn send<To: NodeRole, C: Command + Route<role::App, To> + Clone>(
        &mut self,
        node: &NodeId,
        command: C,
    ) -> CommandId {
        self.issue::<To, C>(node, command)
    }
}

pub(crate) fn build(app: &mut App) {
    app.init_resource::<PendingCommands>()
        .add_systems(PreUpdate, report_replies.in_set(HanaSystems::Receive));
}

fn report_replies(
    session: Res<MeshSession<role::App>>,
    nodes: Res<Nodes>,
    mut pending: ResMut<PendingCommands>,
    mut commands: Commands,
) {
    if session.node().is_none() {
        // The play sessions belong to a node that has left the mesh.
        pending.played.clear();
    }
    pending.played.retain(|node, played| {
        let is_known = nodes.info(node).is_some();
        played.was_known |= is_known;
        // A node stays known while it is restarted. A node that answers is present, even if the roster does not list
        // it.
        is_known || !played.was_known || played.session.status().is_answered()
    });
    pending.commands.retain(|PendingCommand { id, node, command, outcome }| {
        let Some(outcome) = outcome() else { return true };
        if let Err(problem) = &outcome {
            tracing::warn!("{} {node}: {problem}", command.name());
        }
        commands.trigger(CommandCompleted {
            id: *id,
            node: node.clone(),
            command: command.clone(),
            outcome,
        });
        false
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bevy_ecs::system::RunSystemOnce;

    use super::*;
    use crate::ControllerPlugin;

    #[derive(Resource, Default)]
    struct Completed(Vec<(CommandId, bool)>);

    #[test]
    fn a_command_is_completed_under_the_id_that_it_returned() {
        let mut app = App::new();
        app.add_plugins(ControllerPlugin::new("desk")).init_resource::<Completed>().add_observer(
            |of: On<CommandCompleted>, mut completed: ResMut<Completed>| {
                completed.0.push((of.id, of.outcome.is_ok()));
            },
        );
        let node = NodeId::new("ripples").unwrap();
        let send = move |mut mesh: MeshCommands| [mesh.freeze(&node), mesh.resume(&node)];
        let [freeze, resume] = app.world_mut().run_system_once(send).unwrap();
        assert_ne!(freeze, resume);
        app.world_mut().run_system_once(report_replies).unwrap();
        // The app has not joined, so neither command is carried out.
        assert_eq!(app.world().resource::<Completed>().0, [(freeze, false), (resume, false)]);
    }
}
