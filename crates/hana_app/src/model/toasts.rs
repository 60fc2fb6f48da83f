use std::time::{Duration, Instant};

use hana_console::Dashboard;
use hana_engine::roster::NodeView;
use hana_protocol::id::NodeId;
use hana_protocol::message::ProcessState;

/// The pop-up messages about faults, the newest first. Pure.
///
/// Each node in trouble has a toast, which follows the node's state and disappears a few seconds after the fault is
/// over. A dismissed toast returns only when the state changes.
#[derive(Debug, Default)]
pub(crate) struct Toasts {
    toasts: Vec<Toast>,
    /// The nodes whose toasts were dismissed, each with its state at that time.
    dismissed: Vec<(NodeId, ProcessState)>,
}

/// A pop-up message about one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Toast {
    /// The node in trouble, or formerly in trouble.
    pub(crate) node: NodeId,
    /// The description of the fault, in a sentence.
    pub(crate) text: String,
    /// The time at which the fault ended, if it has.
    pub(crate) resolved_at: Option<Instant>,
}

/// How long a toast stays after its fault is over.
const RESOLVED_SHOWN: Duration = Duration::from_secs(5);

impl Toasts {
    /// Updates the toasts from the state of all nodes.
    pub(crate) fn update(&mut self, dashboard: &Dashboard, now: Instant) {
        self.dismissed.retain(|(node, state)| {
            dashboard.view(node).is_some_and(|view| view.state == *state && view.is_alarm())
        });
        for view in dashboard.alarms() {
            let is_dismissed =
                |(node, state): &(NodeId, ProcessState)| *node == view.node && *state == view.state;
            if !self.dismissed.iter().any(is_dismissed) {
                self.show(&view.node, view.trouble_in_words(), None);
            }
        }
        for recovery in dashboard.recoveries().iter().filter(|recovery| recovery.at == now) {
            self.show(&recovery.node, recovery.describe(), Some(now));
        }
        self.toasts.retain_mut(|toast| toast.update(dashboard.view(&toast.node), now));
    }

    fn show(&mut self, node: &NodeId, text: String, resolved_at: Option<Instant>) {
        if let Some(toast) = self.toasts.iter_mut().find(|toast| toast.node == *node) {
            toast.text = text;
            toast.resolved_at = resolved_at;
        } else {
            self.toasts.insert(0, Toast { node: node.clone(), text, resolved_at });
        }
    }

    /// Dismisses the newest toast, if there is one.
    pub(crate) fn dismiss(&mut self, dashboard: &Dashboard) {
        if self.toasts.is_empty() {
            return;
        }
        let toast = self.toasts.remove(0);
        if let Some(view) = dashboard.view(&toast.node) {
            self.dismissed.push((toast.node, view.state));
        }
    }

    /// Returns all toasts, the newest first.
    pub(crate) fn all(&self) -> &[Toast] {
        &self.toasts
    }

    /// Returns the newest toast that still needs an operator, on which the keys act.
    pub(crate) fn active(&self) -> Option<&Toast> {
        self.toasts.iter().find(|toast| toast.resolved_at.is_none())
    }
}

impl Toast {
    /// Updates the toast from the node's state. Returns whether the toast stays.
    fn update(&mut self, view: Option<&NodeView>, now: Instant) -> bool {
        let Some(view) = view else { return false };
        if view.is_alarm() {
            return true;
        }
        if view.acknowledged {
            return false;
        }
        match view.state {
            ProcessState::Running if self.resolved_at.is_none() => {
                self.text = format!("{} is running again", self.node);
                self.resolved_at = Some(now);
            },
            // The node is in transition: the toast reports the outcome later.
            ProcessState::Starting | ProcessState::Stopping if self.resolved_at.is_none() => {
                self.text = format!("{} is {}", self.node, view.state);
                return true;
            },
            _ => {},
        }
        // An instance that a person stopped or closed needs no further notice.
        self.resolved_at.is_some_and(|at| now.saturating_duration_since(at) < RESOLVED_SHOWN)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::test_views::{id, view};

    struct ToastTest {
        dashboard: Dashboard,
        toasts: Toasts,
        now: Instant,
    }

    impl ToastTest {
        fn new() -> Self {
            Self { dashboard: Dashboard::default(), toasts: Toasts::default(), now: Instant::now() }
        }

        fn update(&mut self, after: Duration, views: Vec<NodeView>) -> Vec<String> {
            self.now += after;
            self.dashboard.update(views, self.now);
            self.toasts.update(&self.dashboard, self.now);
            self.toasts.all().iter().map(|toast| toast.text.clone()).collect()
        }

        fn set_state(&mut self, state: ProcessState) -> Vec<String> {
            self.update(Duration::from_millis(100), vec![view("a", state)])
        }
    }

    #[test]
    fn toasts_follow_the_state_until_the_fault_is_over() {
        let mut test = ToastTest::new();
        assert!(test.set_state(ProcessState::Running).is_empty());
        assert_eq!(test.set_state(ProcessState::Unresponsive), ["a is unresponsive: because"]);
        assert_eq!(test.set_state(ProcessState::Stopping), ["a is stopping"]);
        assert_eq!(test.set_state(ProcessState::Starting), ["a is starting"]);
        assert_eq!(test.toasts.active().map(|toast| &toast.node), Some(&id("a")));
        assert_eq!(test.set_state(ProcessState::Running), ["a is running again"]);
        assert_eq!(test.toasts.active(), None, "a resolved fault needs no operator");
        assert!(test.update(RESOLVED_SHOWN, vec![view("a", ProcessState::Running)]).is_empty());
    }

    #[test]
    fn automatic_restarts_show_a_passing_toast() {
        let mut test = ToastTest::new();
        test.set_state(ProcessState::Running);
        let again = NodeView { restarts: 1, ..view("a", ProcessState::Running) };
        let texts = test.update(Duration::from_millis(100), vec![again.clone()]);
        assert_eq!(texts, ["a crashed and restarted automatically (once so far)"]);
        assert_eq!(test.update(Duration::from_secs(1), vec![again.clone()]), texts);
        assert!(test.update(RESOLVED_SHOWN, vec![again]).is_empty());
    }

    #[test]
    fn dismissed_toasts_return_only_with_a_new_state() {
        let mut test = ToastTest::new();
        test.set_state(ProcessState::Slow);
        test.toasts.dismiss(&test.dashboard);
        assert_eq!(test.toasts.all(), []);
        assert!(test.set_state(ProcessState::Slow).is_empty());
        assert_eq!(test.set_state(ProcessState::Crashed), ["a crashed: because"]);
        test.set_state(ProcessState::Running);
        test.update(RESOLVED_SHOWN, vec![view("a", ProcessState::Running)]);
        assert_eq!(test.set_state(ProcessState::Slow), ["a is slow: because"], "a new fault");
    }

    #[test]
    fn acknowledged_stopped_and_forgotten_nodes_have_no_toast() {
        for last in [
            Some(NodeView { acknowledged: true, ..view("a", ProcessState::Unresponsive) }),
            Some(view("a", ProcessState::Stopped)),
            Some(view("a", ProcessState::Closed)),
            None,
        ] {
            let mut test = ToastTest::new();
            test.set_state(ProcessState::Unresponsive);
            let views: Vec<NodeView> = last.into_iter().collect();
            assert!(test.update(Duration::from_millis(100), views.clone()).is_empty(), "{views:?}");
        }
    }

    #[test]
    fn newest_toast_comes_first() {
        let mut test = ToastTest::new();
        let (a, b) = (view("a", ProcessState::Slow), view("b", ProcessState::Crashed));
        test.update(Duration::ZERO, vec![a.clone(), view("b", ProcessState::Running)]);
        let texts = test.update(Duration::from_secs(1), vec![a, b]);
        assert_eq!(texts, ["b crashed: because", "a is slow: because"]);
    }
}
