use std::error::Error;

use hana_engine::roster::NodeView;
use hana_protocol::contract::routes::Route;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::{self, NodeRole};
use hana_protocol::message::{
    Acknowledge, Blackout, Command, Freeze, Restart, Resume, Shutdown, Stop,
};
use hana_protocol::wire::error_chain;

use crate::operator_action::OperatorAction;

/// The interface through which a screen sends commands; `hana top` and the Bevy plugin implement it.
pub trait CommandSender {
    /// A command that was sent, and whose outcome is not known yet.
    type Sent;

    /// Sends a command to a node of the role `To`.
    fn send<To: NodeRole, C: Command + Route<role::App, To> + Clone>(
        &mut self,
        node: &NodeId,
        command: C,
    ) -> Self::Sent;
}

impl OperatorAction {
    /// Sends the command of this action on a node: to the daemon that launched it, or else to the node itself.
    ///
    /// Returns `None` if there is nothing to send: the screen itself shows a log, and without a daemon a node
    /// can be neither restarted nor acknowledged.
    pub fn dispatch<S: CommandSender>(self, view: &NodeView, sender: &mut S) -> Option<S::Sent> {
        let id = &view.node;
        let node = || id.clone();
        let launcher = view.host.as_ref().filter(|_| view.launched);
        Some(match (self, launcher) {
            (Self::Restart, Some(host)) => {
                sender.send::<role::Daemon, _>(host, Restart { node: node() })
            },
            (Self::Stop, Some(host)) => sender.send::<role::Daemon, _>(host, Stop { node: node() }),
            (Self::Acknowledge, Some(host)) => {
                sender.send::<role::Daemon, _>(host, Acknowledge { node: node() })
            },
            (Self::Stop, None) => sender.send::<role::Visualization, _>(id, Shutdown {}),
            (Self::Freeze, _) => sender.send::<role::Visualization, _>(id, Freeze {}),
            (Self::Blackout, _) => sender.send::<role::Visualization, _>(id, Blackout {}),
            (Self::Resume, _) => sender.send::<role::Visualization, _>(id, Resume {}),
            (Self::Restart | Self::Acknowledge, None) | (Self::Log, _) => return None,
        })
    }
}

/// Describes the outcome of a command on a node.
#[must_use]
pub fn describe_outcome<E: Error + 'static>(
    command: &str,
    node: &NodeId,
    outcome: &Result<(), E>,
) -> String {
    match outcome {
        Ok(()) => format!("{command} {node}: done"),
        Err(error) => format!("{command} {node}: {}", error_chain(error)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hana_protocol::message::{Control, ProcessState};

    use super::*;
    use crate::test_views::view;

    /// A sender that returns the name of each command, the role and the node it is sent to.
    struct Recorder;

    impl CommandSender for Recorder {
        type Sent = String;

        fn send<To: NodeRole, C: Command + Route<role::App, To> + Clone>(
            &mut self,
            node: &NodeId,
            command: C,
        ) -> String {
            let control: Control = command.into();
            format!("{} to {:?} {node}", control.name(), To::ROLE)
        }
    }

    fn sent(view: &NodeView) -> Vec<String> {
        OperatorAction::ALL
            .into_iter()
            .filter_map(|action| action.dispatch(view, &mut Recorder))
            .collect()
    }

    #[test]
    fn actions_on_launched_nodes_go_to_their_daemon() {
        assert_eq!(
            sent(&view("a", "h1", ProcessState::Running)),
            [
                "restart to Daemon h1",
                "stop to Daemon h1",
                "acknowledge to Daemon h1",
                "freeze to Visualization a",
                "blackout to Visualization a",
                "resume to Visualization a",
            ]
        );
    }

    #[test]
    fn nodes_without_daemon_are_shut_down_but_not_restarted() {
        let view = NodeView { launched: false, ..view("a", "h1", ProcessState::Running) };
        assert_eq!(
            sent(&view),
            [
                "shutdown to Visualization a",
                "freeze to Visualization a",
                "blackout to Visualization a",
                "resume to Visualization a",
            ]
        );
    }

    #[test]
    fn outcomes_name_command_node_and_cause() {
        let node = NodeId::new("a").unwrap();
        let done: Result<(), std::fmt::Error> = Ok(());
        assert_eq!(describe_outcome("stop", &node, &done), "stop a: done");
        let failed = Err(std::io::Error::other("no reply within 10 s"));
        assert_eq!(describe_outcome("stop", &node, &failed), "stop a: no reply within 10 s");
    }
}
