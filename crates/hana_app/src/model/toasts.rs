use std::time::{Duration, Instant};

use hana_console::Dashboard;
use hana_engine::roster::NodeView;
use hana_protocol::id::NodeId;
use hana_protocol::message::ProcessState;

/// The pop-up messages about faults, the newest first. Pure.
///
/// Each node in trouble has one. It follows the node's state, and disappears a few seconds after the fault is
/// over. A dismissed toast returns only when the state changes.
#[derive(Debug, Default)]
pub(crate) struct Toasts {
    toasts: Vec<Toast>,
    aside: Vec<(NodeId, ProcessState)>,
}

/// A pop-up message about one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Toast {
    /// The node in trouble, or formerly in trouble.
    pub(crate) node: NodeId,
    /// The description of the fault, in a sentence.
    pub(crate) text: String,
    /// When the fault ended, if it has.
    pub(crate) solved: Option<Instant>,
}

/// How long a toast stays after its fault is over.
const SOLVED: Duration = Duration::from_secs(5);

impl Toasts {
    /// Updates the toasts from the state of all nodes.
    pub(crate) fn see(&mut self, overview: &Dashboard, now: Instant) {
        self.aside.retain(|(node, state)| {
            overview.view(node).is_some_and(|view| view.state == *state && view.is_alarm())
        });
        for view in overview.alarms() {
            let is_aside =
                |(node, state): &(NodeId, ProcessState)| *node == view.node && *state == view.state;
            if !self.aside.iter().any(is_aside) {
                self.put(&view.node, view.trouble_in_words(), None);
            }
        }
        for mended in overview.mended().iter().filter(|mended| mended.at == now) {
            self.put(&mended.node, mended.in_words(), Some(now));
        }
        self.toasts.retain_mut(|toast| toast.goes_on(overview.view(&toast.node), now));
    }

    fn put(&mut self, node: &NodeId, text: String, solved: Option<Instant>) {
        if let Some(toast) = self.toasts.iter_mut().find(|toast| toast.node == *node) {
            toast.text = text;
            toast.solved = solved;
        } else {
            self.toasts.insert(0, Toast { node: node.clone(), text, solved });
        }
    }

    /// Dismisses the newest toast. Returns whether there was one.
    pub(crate) fn put_aside(&mut self, overview: &Dashboard) -> bool {
        if self.toasts.is_empty() {
            return false;
        }
        let toast = self.toasts.remove(0);
        if let Some(view) = overview.view(&toast.node) {
            self.aside.push((toast.node, view.state));
        }
        true
    }

    /// Returns all toasts, the newest first.
    pub(crate) fn all(&self) -> &[Toast] {
        &self.toasts
    }

    /// Returns the newest toast that still needs an operator: the one that the keys act on.
    pub(crate) fn pressing(&self) -> Option<&Toast> {
        self.toasts.iter().find(|toast| toast.solved.is_none())
    }
}

impl Toast {
    /// Follows the node's state. Returns whether the toast stays.
    fn goes_on(&mut self, view: Option<&NodeView>, now: Instant) -> bool {
        let Some(view) = view else { return false };
        if view.is_alarm() {
            return true;
        }
        if view.acknowledged {
            return false;
        }
        match view.state {
            ProcessState::Running if self.solved.is_none() => {
                self.text = format!("{} is running again", self.node);
                self.solved = Some(now);
            },
            // In transition: the toast reports the outcome later.
            ProcessState::Starting | ProcessState::Stopping if self.solved.is_none() => {
                self.text = format!("{} is {}", self.node, view.state);
                return true;
            },
            _ => {},
        }
        // An instance that a person stopped or closed needs no further notice.
        self.solved.is_some_and(|at| now.saturating_duration_since(at) < SOLVED)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use hana_protocol::id::role::Role;

    use super::*;

    pub(crate) fn id(id: &str) -> NodeId {
        NodeId::new(id).unwrap()
    }

    pub(crate) fn view(node: &str, state: ProcessState) -> NodeView {
        NodeView {
            node: id(node),
            role: if node == "h1" { Role::Daemon } else { Role::Visualization },
            host: Some(id("h1")),
            state,
            reason: "because".into(),
            since_ms: 0,
            pid: Some(1),
            uptime_s: 0,
            frame: Some(1),
            fps: Some(60.0),
            frame_max_us: Some(17_000),
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

    struct Room {
        overview: Dashboard,
        toasts: Toasts,
        now: Instant,
    }

    impl Room {
        fn new() -> Self {
            Self { overview: Dashboard::default(), toasts: Toasts::default(), now: Instant::now() }
        }

        fn see(&mut self, after: Duration, views: Vec<NodeView>) -> Vec<String> {
            self.now += after;
            self.overview.see(views, self.now);
            self.toasts.see(&self.overview, self.now);
            self.toasts.all().iter().map(|toast| toast.text.clone()).collect()
        }

        fn is(&mut self, state: ProcessState) -> Vec<String> {
            self.see(Duration::from_millis(100), vec![view("a", state)])
        }
    }

    #[test]
    fn trouble_pops_up_follows_its_node_and_goes_when_all_is_well() {
        let mut room = Room::new();
        assert!(room.is(ProcessState::Running).is_empty());
        assert_eq!(room.is(ProcessState::Unresponsive), ["a is unresponsive: because"]);
        assert_eq!(room.is(ProcessState::Stopping), ["a is stopping"]);
        assert_eq!(room.is(ProcessState::Starting), ["a is starting"]);
        assert_eq!(room.toasts.pressing().map(|toast| &toast.node), Some(&id("a")));
        assert_eq!(room.is(ProcessState::Running), ["a is running again"]);
        assert_eq!(room.toasts.pressing(), None, "what is over needs nobody");
        assert!(room.see(SOLVED, vec![view("a", ProcessState::Running)]).is_empty());
    }

    #[test]
    fn a_crash_that_was_mended_at_once_is_told_and_goes_by_itself() {
        let mut room = Room::new();
        room.is(ProcessState::Running);
        let again = NodeView { restarts: 1, ..view("a", ProcessState::Running) };
        let told = room.see(Duration::from_millis(100), vec![again.clone()]);
        assert_eq!(told, ["a crashed and was started again by itself (once by now)"]);
        assert_eq!(room.see(Duration::from_secs(1), vec![again.clone()]), told);
        assert!(room.see(SOLVED, vec![again]).is_empty());
    }

    #[test]
    fn what_is_put_aside_comes_back_only_as_something_else() {
        let mut room = Room::new();
        room.is(ProcessState::Slow);
        assert!(room.toasts.put_aside(&room.overview));
        assert!(!room.toasts.put_aside(&room.overview), "there is no other");
        assert!(room.is(ProcessState::Slow).is_empty());
        assert_eq!(room.is(ProcessState::Crashed), ["a crashed: because"]);
        room.is(ProcessState::Running);
        room.see(SOLVED, vec![view("a", ProcessState::Running)]);
        assert_eq!(room.is(ProcessState::Slow), ["a is slow: because"], "it was well in between");
    }

    #[test]
    fn what_a_person_ignores_ends_or_loses_needs_no_words() {
        for last in [
            Some(NodeView { acknowledged: true, ..view("a", ProcessState::Unresponsive) }),
            Some(view("a", ProcessState::Stopped)),
            Some(view("a", ProcessState::Closed)),
            None,
        ] {
            let mut room = Room::new();
            room.is(ProcessState::Unresponsive);
            let views: Vec<NodeView> = last.into_iter().collect();
            assert!(room.see(Duration::from_millis(100), views.clone()).is_empty(), "{views:?}");
        }
    }

    #[test]
    fn the_newest_comes_first() {
        let mut room = Room::new();
        let (a, b) = (view("a", ProcessState::Slow), view("b", ProcessState::Crashed));
        room.see(Duration::ZERO, vec![a.clone(), view("b", ProcessState::Running)]);
        let told = room.see(Duration::from_secs(1), vec![a, b]);
        assert_eq!(told, ["b crashed: because", "a is slow: because"]);
    }
}
