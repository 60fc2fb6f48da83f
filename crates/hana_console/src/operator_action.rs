use hana_engine::roster::NodeView;
use hana_protocol::id::role::Role;
use hana_protocol::message::{Override, ProcessState};

/// An action of the operator on a node: one key each, the same in the terminal and in the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperatorAction {
    /// Restart it: a new process with the same id continues from the last state.
    Restart,
    /// Stop it, gracefully at first.
    Stop,
    /// Acknowledge its fault: suspend its policy and silence its alarms.
    Acknowledge,
    /// Show its log.
    Log,
    /// Freeze its current look.
    Freeze,
    /// Draw black.
    Blackout,
    /// Show the played values again.
    Resume,
}

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
    pub fn of_key(key: char) -> Option<Self> {
        Self::ALL.into_iter().find(|remedy| remedy.key() == key)
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
    pub const fn is_offered(self, view: &NodeView) -> bool {
        let alive = view.state.is_alive() && !matches!(view.state, ProcessState::Unreachable);
        let draws = matches!(view.role, Role::Visualization);
        match self {
            Self::Restart => {
                view.launched
                    && !matches!(view.state, ProcessState::Stopping | ProcessState::Unreachable)
            },
            Self::Stop => draws && (alive || matches!(view.state, ProcessState::Restarting)),
            Self::Acknowledge => view.launched && !view.acknowledged && is_trouble(view.state),
            Self::Log => view.launched || matches!(view.role, Role::Daemon),
            Self::Freeze => draws && alive && !matches!(view.in_force, Some(Override::Freeze)),
            Self::Blackout => draws && alive && !matches!(view.in_force, Some(Override::Blackout)),
            Self::Resume => draws && alive && view.in_force.is_some(),
        }
    }

    /// Returns whether the action makes sense for all visualizations at once: one key reverts it.
    #[must_use]
    pub const fn is_for_all(self) -> bool {
        matches!(self, Self::Freeze | Self::Blackout | Self::Resume)
    }

    /// Returns whether the action interrupts the output by ending a process, so that it needs more than one
    /// keystroke.
    #[must_use]
    pub const fn needs_confirmation(self, view: &NodeView) -> bool {
        let is_seen = matches!(view.state, ProcessState::Running | ProcessState::Slow);
        matches!(self, Self::Restart | Self::Stop) && is_seen
    }
}

/// Returns whether the state is a fault that raises an alarm, which the operator can acknowledge.
const fn is_trouble(state: ProcessState) -> bool {
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

    use hana_protocol::id::NodeId;

    use super::*;

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

    fn view(state: ProcessState) -> NodeView {
        NodeView {
            node: NodeId::new("ripples").unwrap(),
            role: Role::Visualization,
            host: None,
            state,
            reason: String::new(),
            since_ms: 0,
            pid: None,
            uptime_s: 0,
            frame: None,
            fps: None,
            frame_max_us: None,
            restarts: 0,
            launched: true,
            acknowledged: false,
            in_force: None,
            owners: vec![],
            mixed: [].into(),
            note: None,
            plays: [].into(),
            played_by: [].into(),
            counters: None,
            lanes: [].into(),
            troubles: vec![],
            parameters: None,
            playing: vec![],
        }
    }

    fn offered(view: &NodeView) -> BTreeSet<OperatorAction> {
        OperatorAction::ALL.into_iter().filter(|remedy| remedy.is_offered(view)).collect()
    }

    #[test]
    fn each_has_a_key_of_its_own_and_each_state_has_words() {
        let keys: BTreeSet<char> =
            OperatorAction::ALL.into_iter().map(OperatorAction::key).collect();
        assert_eq!(keys.len(), OperatorAction::ALL.len());
        assert!(
            OperatorAction::ALL
                .into_iter()
                .all(|remedy| OperatorAction::of_key(remedy.key()) == Some(remedy))
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
    fn whoever_is_in_trouble_can_be_helped() {
        for state in STATES.into_iter().filter(|state| state.is_alarming()) {
            let offered = offered(&view(state));
            let unreachable = state == ProcessState::Unreachable;
            assert_eq!(
                offered.contains(&OperatorAction::Restart),
                !unreachable,
                "{state}: {offered:?}"
            );
            assert!(offered.contains(&OperatorAction::Log), "{state}");
        }
        assert!(offered(&view(ProcessState::Unresponsive)).contains(&OperatorAction::Acknowledge));
        let ignored = NodeView { acknowledged: true, ..view(ProcessState::Unresponsive) };
        assert!(!offered(&ignored).contains(&OperatorAction::Acknowledge));
    }

    #[test]
    fn only_what_interrupts_a_show_is_asked_twice() {
        for state in STATES {
            let view = view(state);
            for remedy in OperatorAction::ALL {
                let interrupts = matches!(remedy, OperatorAction::Restart | OperatorAction::Stop)
                    && matches!(state, ProcessState::Running | ProcessState::Slow);
                assert_eq!(remedy.needs_confirmation(&view), interrupts, "{remedy:?} of {state}");
            }
        }
    }

    #[test]
    fn what_no_daemon_launched_is_stopped_and_held_but_not_restarted() {
        let alone = NodeView { launched: false, ..view(ProcessState::Running) };
        assert_eq!(
            offered(&alone),
            [OperatorAction::Stop, OperatorAction::Freeze, OperatorAction::Blackout].into()
        );
        let black = NodeView { in_force: Some(Override::Blackout), ..alone };
        assert_eq!(
            offered(&black),
            [OperatorAction::Stop, OperatorAction::Freeze, OperatorAction::Resume].into()
        );
    }
}
