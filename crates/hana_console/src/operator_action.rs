use hana_engine::roster::NodeView;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::message::{Override, ProcessState};

/// An action of the operator on a node; each has one key, which is the same in the terminal and in the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperatorAction {
    /// Restart the node: a new process with the same id continues from the last state.
    Restart,
    /// Stop the node, gracefully at first.
    Stop,
    /// Acknowledge the fault of the node: suspend its policy and silence its alarms.
    Acknowledge,
    /// Show the log of the node.
    Log,
    /// Freeze the current look of the node.
    Freeze,
    /// Draw black.
    Blackout,
    /// Show the played values again.
    Resume,
}

/// The consequence of the operator's request for an action on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionRequest {
    /// The action is not available, for this reason.
    Rejected(String),
    /// The screen shows the node's log.
    ShowLog,
    /// The operator must confirm the action first ([`OperatorAction::question`]).
    Confirm,
    /// The action is dispatched at once.
    Dispatch,
}

/// The notice when the operator does not confirm an action.
pub const CANCELLED: &str = "cancelled";

impl OperatorAction {
    /// All actions, in the order in which they are shown.
    pub const ALL: [Self; 7] = [
        Self::Restart,
        Self::Stop,
        Self::Acknowledge,
        Self::Log,
        Self::Freeze,
        Self::Blackout,
        Self::Resume,
    ];

    /// Returns the key of the action.
    #[must_use]
    pub const fn key(self) -> char {
        match self {
            Self::Restart => 'r',
            Self::Stop => 's',
            Self::Acknowledge => 'i',
            Self::Log => 'l',
            Self::Freeze => 'h',
            Self::Blackout => 'b',
            Self::Resume => 'u',
        }
    }

    /// Returns the action of a key.
    #[must_use]
    pub fn from_key(key: char) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.key() == key)
    }

    /// Returns the name, a single word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Acknowledge => "acknowledge",
            Self::Log => "log",
            Self::Freeze => "freeze",
            Self::Blackout => "blackout",
            Self::Resume => "resume",
        }
    }

    /// Returns whether the action is useful for this node and would be accepted.
    #[must_use]
    pub const fn is_available(self, view: &NodeView) -> bool {
        let is_reachable = is_reachable(view.state);
        let draws = matches!(view.role, Role::Visualization);
        match self {
            Self::Restart => {
                view.launched
                    && !matches!(view.state, ProcessState::Stopping | ProcessState::Unreachable)
            },
            Self::Stop => draws && (is_reachable || matches!(view.state, ProcessState::Restarting)),
            Self::Acknowledge => view.launched && !view.acknowledged && is_fault(view.state),
            Self::Log => view.launched || matches!(view.role, Role::Daemon),
            Self::Freeze => {
                draws && is_reachable && !matches!(view.in_force, Some(Override::Freeze))
            },
            Self::Blackout => {
                draws && is_reachable && !matches!(view.in_force, Some(Override::Blackout))
            },
            Self::Resume => draws && is_reachable && view.in_force.is_some(),
        }
    }

    /// Returns the actions that are available for this node, in the order in which they are shown.
    pub fn available(view: &NodeView) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|action| action.is_available(view))
    }

    /// Returns whether the action makes sense for all visualizations at once, because one key reverts it.
    #[must_use]
    pub const fn is_for_all(self) -> bool {
        matches!(self, Self::Freeze | Self::Blackout | Self::Resume)
    }

    /// Returns the consequence of the operator's request for the action on a node.
    #[must_use]
    pub fn request(self, view: &NodeView) -> ActionRequest {
        if !self.is_available(view) {
            let what = if self == Self::Log { "show the log of" } else { self.name() };
            let (node, obstacle) = (&view.node, self.obstacle(view));
            return ActionRequest::Rejected(format!("cannot {what} {node}: {obstacle}"));
        }
        if self == Self::Log {
            return ActionRequest::ShowLog;
        }
        if self.needs_confirmation(view) { ActionRequest::Confirm } else { ActionRequest::Dispatch }
    }

    /// Returns the reason why the action is not available.
    fn obstacle(self, view: &NodeView) -> String {
        let is_reachable = is_reachable(view.state);
        match self {
            Self::Restart | Self::Acknowledge | Self::Log if !view.launched => {
                "no daemon launched it".into()
            },
            Self::Stop | Self::Freeze | Self::Blackout | Self::Resume
                if !matches!(view.role, Role::Visualization) =>
            {
                "it is not a visualization".into()
            },
            Self::Acknowledge if view.acknowledged => "it is already acknowledged".into(),
            Self::Freeze if is_reachable => "it is already frozen".into(),
            Self::Blackout if is_reachable => "it is already black".into(),
            Self::Resume if is_reachable => "it is neither frozen nor black".into(),
            _ => format!("it is {}", view.state.as_str().replace('_', " ")),
        }
    }

    /// Returns the question before an action that ends a running node.
    #[must_use]
    pub fn question(self, node: &NodeId) -> String {
        format!("{} {node}? It is running.", self.name())
    }

    /// Returns whether the action interrupts the output by ending a process, so that it needs more than one
    /// keystroke.
    #[must_use]
    pub const fn needs_confirmation(self, view: &NodeView) -> bool {
        let is_seen = matches!(view.state, ProcessState::Running | ProcessState::Slow);
        matches!(self, Self::Restart | Self::Stop) && is_seen
    }
}

/// Returns whether a process exists that receives commands.
const fn is_reachable(state: ProcessState) -> bool {
    state.is_alive() && !matches!(state, ProcessState::Unreachable)
}

/// Returns whether the state is a fault that raises an alarm, which the operator can acknowledge.
const fn is_fault(state: ProcessState) -> bool {
    matches!(
        state,
        ProcessState::Starting
            | ProcessState::Slow
            | ProcessState::Unresponsive
            | ProcessState::Crashed
            | ProcessState::CrashLoop
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::test_views::view;

    const STATES: [ProcessState; 11] = [
        ProcessState::Starting,
        ProcessState::Running,
        ProcessState::Slow,
        ProcessState::Unresponsive,
        ProcessState::Unreachable,
        ProcessState::Stopping,
        ProcessState::Stopped,
        ProcessState::Closed,
        ProcessState::Crashed,
        ProcessState::Restarting,
        ProcessState::CrashLoop,
    ];

    fn in_state(state: ProcessState) -> NodeView {
        view("ripples", "h1", state)
    }

    fn available(view: &NodeView) -> BTreeSet<OperatorAction> {
        OperatorAction::available(view).collect()
    }

    #[test]
    fn every_action_has_its_own_key_and_every_state_advice() {
        let keys: BTreeSet<char> =
            OperatorAction::ALL.into_iter().map(OperatorAction::key).collect();
        assert_eq!(keys.len(), OperatorAction::ALL.len());
        assert!(
            OperatorAction::ALL
                .into_iter()
                .all(|action| OperatorAction::from_key(action.key()) == Some(action))
        );
        for state in STATES {
            assert!(state.advice().ends_with('.'), "{state}");
        }
        let signs: BTreeSet<char> = STATES
            .into_iter()
            .filter(|state| state.is_alarming())
            .map(ProcessState::sign)
            .collect();
        assert!(!signs.contains(&ProcessState::Running.sign()));
    }

    #[test]
    fn faulty_nodes_can_be_restarted_and_acknowledged() {
        for state in STATES.into_iter().filter(|state| state.is_alarming()) {
            let available = available(&in_state(state));
            let unreachable = state == ProcessState::Unreachable;
            assert_eq!(
                available.contains(&OperatorAction::Restart),
                !unreachable,
                "{state}: {available:?}"
            );
            assert!(available.contains(&OperatorAction::Log), "{state}");
        }
        assert!(
            available(&in_state(ProcessState::Unresponsive)).contains(&OperatorAction::Acknowledge)
        );
        let ignored = NodeView { acknowledged: true, ..in_state(ProcessState::Unresponsive) };
        assert!(!available(&ignored).contains(&OperatorAction::Acknowledge));
    }

    #[test]
    fn only_interrupting_actions_need_confirmation() {
        for state in STATES {
            let view = in_state(state);
            for action in OperatorAction::ALL {
                let interrupts = matches!(action, OperatorAction::Restart | OperatorAction::Stop)
                    && matches!(state, ProcessState::Running | ProcessState::Slow);
                assert_eq!(action.needs_confirmation(&view), interrupts, "{action:?} of {state}");
            }
        }
    }

    #[test]
    fn nodes_without_daemon_can_be_stopped_but_not_restarted() {
        let alone = NodeView { launched: false, ..in_state(ProcessState::Running) };
        assert_eq!(
            available(&alone),
            [OperatorAction::Stop, OperatorAction::Freeze, OperatorAction::Blackout].into()
        );
        let black = NodeView { in_force: Some(Override::Blackout), ..alone };
        assert_eq!(
            available(&black),
            [OperatorAction::Stop, OperatorAction::Freeze, OperatorAction::Resume].into()
        );
    }

    #[test]
    fn requests_are_rejected_confirmed_or_dispatched() {
        let request = |action: OperatorAction, state| action.request(&in_state(state));
        assert_eq!(request(OperatorAction::Log, ProcessState::Running), ActionRequest::ShowLog);
        assert_eq!(request(OperatorAction::Stop, ProcessState::Running), ActionRequest::Confirm);
        assert_eq!(
            request(OperatorAction::Restart, ProcessState::Unresponsive),
            ActionRequest::Dispatch
        );
    }

    #[test]
    fn rejections_name_action_node_and_obstacle() {
        let running = in_state(ProcessState::Running);
        let alone = NodeView { launched: false, ..running.clone() };
        let black = NodeView { in_force: Some(Override::Blackout), ..running.clone() };
        let acknowledged = NodeView { acknowledged: true, ..in_state(ProcessState::Slow) };
        let daemon = view("h1", "h1", ProcessState::Running);
        for (action, view, reason) in [
            (OperatorAction::Restart, &alone, "cannot restart ripples: no daemon launched it"),
            (OperatorAction::Log, &alone, "cannot show the log of ripples: no daemon launched it"),
            (OperatorAction::Stop, &daemon, "cannot stop h1: it is not a visualization"),
            (OperatorAction::Blackout, &black, "cannot blackout ripples: it is already black"),
            (
                OperatorAction::Resume,
                &running,
                "cannot resume ripples: it is neither frozen nor black",
            ),
            (OperatorAction::Acknowledge, &running, "cannot acknowledge ripples: it is running"),
            (
                OperatorAction::Acknowledge,
                &acknowledged,
                "cannot acknowledge ripples: it is already acknowledged",
            ),
            (
                OperatorAction::Freeze,
                &in_state(ProcessState::Stopped),
                "cannot freeze ripples: it is stopped",
            ),
        ] {
            assert_eq!(action.request(view), ActionRequest::Rejected(reason.into()));
        }
    }
}
