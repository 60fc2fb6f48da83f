use std::collections::HashMap;
use std::time::Duration;

use bevy_app::{App, PreUpdate};
use bevy_ecs::prelude::*;
use bevy_ecs::system::SystemParam;
use hana_console::OperatorAction;
use hana_engine::ownership::ClaimManager;
use hana_engine::roster::NodeView;
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
use crate::topics::topics::DEADLINE as MESSAGE_DEADLINE;

/// What an app does to others: start, stop, set, play. A system parameter; nothing of it blocks. How a
/// command ended is told by [`CommandCompleted`].
#[derive(SystemParam)]
pub struct MeshCommands<'w> {
    link: Res<'w, MeshSession<role::App>>,
    desk: ResMut<'w, PendingCommands>,
    nodes: Res<'w, Nodes>,
    sendings: Res<'w, PendingSends>,
    operator: ResMut<'w, OwnOperator>,
}

/// A command has been answered, or will not be.
#[derive(Event, Debug, Clone)]
pub struct CommandCompleted {
    /// Whom it was given.
    pub node: NodeId,
    /// The command.
    pub command: Control,
    /// Whether it was carried out, or why not.
    pub outcome: Result<(), CommandError>,
}

type Outcome = Box<dyn Fn() -> Option<Result<(), CommandError>> + Send + Sync>;

/// Commands under way, and the streams of what is played.
#[derive(Resource, Default)]
pub(crate) struct PendingCommands {
    under_way: Vec<(NodeId, Control, Outcome)>,
    played: HashMap<NodeId, Played>,
}

/// A visualization that is played, and what was wrong with that last: said once, not in each frame.
struct Played {
    session: PlaySession,
    told: Option<ParameterError>,
    /// Whether it was ever there.
    was_known: bool,
}

/// Ending a process may take three deadlines one after the other; answering takes a moment.
const DEADLINE: Duration = Duration::from_secs(10);

impl MeshCommands<'_> {
    /// Launches a program of `host`'s catalogue; its id is the name, or the name with a number.
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

    /// Stops it and starts it again with the same id.
    pub fn restart(&mut self, host: &NodeId, node: &NodeId) {
        self.give::<role::Daemon, _>(host, Restart { node: node.clone() });
    }

    /// Ends it at once, with all that it started.
    pub fn kill(&mut self, host: &NodeId, node: &NodeId) {
        self.give::<role::Daemon, _>(host, Kill { node: node.clone() });
    }

    /// Has its daemon do nothing about the trouble it is in, and tell nobody any more, until its state changes.
    pub fn ignore(&mut self, host: &NodeId, node: &NodeId) {
        self.give::<role::Daemon, _>(host, Acknowledge { node: node.clone() });
    }

    /// Lets its look stay as it is, whatever is played, until [`resume`](Self::resume).
    pub fn hold(&mut self, node: &NodeId) {
        self.give::<role::Visualization, _>(node, Freeze {});
    }

    /// Has it draw black until [`resume`](Self::resume).
    pub fn blackout(&mut self, node: &NodeId) {
        self.give::<role::Visualization, _>(node, Blackout {});
    }

    /// Has it show again what is played, after [`hold`](Self::hold) or [`blackout`](Self::blackout).
    pub fn resume(&mut self, node: &NodeId) {
        self.give::<role::Visualization, _>(node, Resume {});
    }

    /// Asks it itself to end in good order: for what no daemon launched.
    pub fn shut_down(&mut self, node: &NodeId) {
        self.give::<role::Visualization, _>(node, Shutdown {});
    }

    /// Has a remedy carried out: what a person chose from what is offered for a node. [`OperatorAction::Log`] is for the
    /// app itself to show.
    pub fn remedy(&mut self, remedy: OperatorAction, view: &NodeView) {
        let NodeView { node, .. } = view;
        let host = view.host.as_ref().filter(|_| view.launched);
        match (remedy, host) {
            (OperatorAction::Restart, Some(host)) => self.restart(host, node),
            (OperatorAction::Stop, Some(host)) => self.stop(host, node),
            (OperatorAction::Acknowledge, Some(host)) => self.ignore(host, node),
            (OperatorAction::Stop, None) => self.shut_down(node),
            (OperatorAction::Freeze, _) => self.hold(node),
            (OperatorAction::Blackout, _) => self.blackout(node),
            (OperatorAction::Resume, _) => self.resume(node),
            // No daemon launched it, so that none can start it again or watch over it.
            (OperatorAction::Restart | OperatorAction::Acknowledge, None)
            | (OperatorAction::Log, _) => {},
        }
    }

    /// Sets parameters of a visualization, all or none, and hears whether it took them.
    pub fn set(&mut self, node: &NodeId, values: impl IntoIterator<Item = (ParameterName, f32)>) {
        self.change(node, Set { parameters: values.into_iter().collect(), ..Set::default() });
    }

    /// Sets values and recipes of a visualization, all or none, now or at a beat, and hears whether it took them.
    pub fn change(&mut self, node: &NodeId, set: Set) {
        self.give::<role::Visualization, _>(node, set);
    }

    /// Moves a parameter of a visualization, as often as every frame: the newest value counts, none is
    /// confirmed. The first time opens a play session ([`PlaySession`]), which finds its way by itself from then on.
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

    /// How a visualization is played by this app, if it is.
    #[must_use]
    pub fn play_session(&self, node: &NodeId) -> Option<PlayStatus> {
        self.desk.played.get(node).map(|played| played.session.status())
    }

    /// Takes parameters of a visualization, from whoever has them, until they are released or somebody else takes them.
    /// Nothing happens before this app has joined. [`OwnerChanged`](crate::controller::operators::OwnerChanged) tells that it has them,
    /// [`ClaimRejected`](crate::controller::operators::ClaimRejected) why not, [`ClaimLost`](crate::controller::operators::ClaimLost) who has them instead.
    pub fn take(&mut self, node: &NodeId, parameters: impl IntoIterator<Item = ParameterName>) {
        if let Some(operator) = &mut self.operator.0 {
            operator.take(node, parameters);
        }
    }

    /// Lets parameters go.
    pub fn release(&mut self, node: &NodeId, parameters: impl IntoIterator<Item = ParameterName>) {
        if let Some(operator) = &mut self.operator.0 {
            operator.release(node, parameters);
        }
    }

    /// Takes all that another app holds, wishes to hold, or had when it vanished. How many parameters that is.
    pub fn take_over(&mut self, app: &NodeId) -> usize {
        self.operator.0.as_mut().map_or(0, |operator| operator.take_over(app))
    }

    /// Makes the word of this app count more, or less, than that of others.
    pub fn set_priority(&mut self, priority: Priority) {
        if let Some(operator) = &mut self.operator.0 {
            operator.set_priority(priority);
        }
    }

    /// Writes a note for all operators, in place of the last one of this app; an empty one takes it back.
    pub fn note(&mut self, text: &str) {
        if let Some(operator) = &mut self.operator.0 {
            operator.note(text);
        }
    }

    /// What is known of who has taken what, and left what behind; none before this app has joined.
    #[must_use]
    pub fn wishes(&self) -> Option<&ClaimManager> {
        self.operator.0.as_ref().map(OwnershipClient::wishes)
    }

    /// Sends a custom message of a type that this app need not have, checked against what the node announces.
    /// [`MessageDelivered`](crate::topics::pending_sends::MessageDelivered) tells whether it was taken.
    ///
    /// # Errors
    ///
    /// When the node hears nothing on that topic, or the message does not fit; says which field. A node that is
    /// not known yet has the last word itself.
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
            self.link.node().map(|own| own.send_value(node, topic, message, MESSAGE_DEADLINE));
        self.sendings.add(node, topic.clone(), question);
        Ok(())
    }

    /// Sends such a message to all nodes of a kind; how many it is meant for. Nobody answers.
    ///
    /// # Errors
    ///
    /// When no node of that kind hears the topic, or the message does not fit one of those who do.
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
            return Err(refused.unwrap_or(SendCheckError::NotHeard { node, topic, heard: vec![] }));
        };
        let handed = self.link.node().map(|own| own.send_value_to_kind(kind, topic, lane, message));
        // Whether it is on its way is all that can be known of it; what is not is told like an answer.
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
        // They are of a node that has left.
        desk.played.clear();
    }
    desk.played.retain(|node, played| {
        let is_known = nodes.info(node).is_some();
        played.was_known |= is_known;
        // One that is started again is known all the while, and one that answers is there, whatever the mesh knows of it.
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
