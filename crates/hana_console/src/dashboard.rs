use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use hana_engine::roster::NodeView;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;

/// The state of a show as the operator sees it, in the terminal and in the app.
///
/// It holds the nodes by host, faulty ones first, the recent frame times, and recent failures. Pure: it takes the
/// nodes and the time.
#[derive(Debug, Default)]
pub struct Dashboard {
    views: Vec<NodeView>,
    /// The longest frame times in microseconds, the newest last.
    frames: BTreeMap<NodeId, VecDeque<u64>>,
    sampled: Option<Instant>,
    mended: Vec<AutoRecovery>,
}

/// A row of a [`Dashboard`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DashboardRow<'a> {
    /// A host, with its daemon if it is known.
    Host(&'a NodeId, Option<&'a NodeView>),
    /// A node on the host above.
    Node(&'a NodeView),
}

/// A crash that was repaired by an automatic restart; shown briefly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoRecovery {
    /// The node.
    pub node: NodeId,
    /// The number of restarts so far.
    pub restarts: u32,
    /// The time at which the restart was noticed.
    pub at: Instant,
}

impl Dashboard {
    /// The number of frame times kept for each node.
    pub const SAMPLES: usize = 40;
    /// The time for which an automatic restart is shown.
    pub const MENDED: Duration = Duration::from_secs(6);
    /// The interval between two frame times.
    const SAMPLE: Duration = Duration::from_millis(250);

    /// Updates the dashboard with the current nodes.
    pub fn see(&mut self, mut views: Vec<NodeView>, now: Instant) {
        let hosts_in_trouble: Vec<Option<NodeId>> =
            views.iter().filter(|view| view.is_alarm()).map(|view| view.host.clone()).collect();
        // Faulty nodes come first, so they are visible even on a small screen.
        views.sort_by_key(|view| {
            (
                !hosts_in_trouble.contains(&view.host),
                view.host.clone(),
                view.role != Role::Daemon,
                !view.is_alarm(),
                view.node.clone(),
            )
        });
        for view in &views {
            let before = self.views.iter().find(|before| before.node == view.node);
            if before.is_some_and(|before| view.restarts > before.restarts) {
                self.mended.retain(|mended| mended.node != view.node);
                let (node, restarts) = (view.node.clone(), view.restarts);
                self.mended.push(AutoRecovery { node, restarts, at: now });
            }
        }
        self.mended.retain(|mended| now.saturating_duration_since(mended.at) < Self::MENDED);
        if self.sampled.is_none_or(|at| now.saturating_duration_since(at) >= Self::SAMPLE) {
            self.sampled = Some(now);
            self.sample(&views);
        }
        self.views = views;
    }

    fn sample(&mut self, views: &[NodeView]) {
        self.frames.retain(|node, _| views.iter().any(|view| view.node == *node));
        for view in views {
            // The frame time of a node that does not draw is out of date.
            let Some(longest) = view.frame_max_us.filter(|_| view.is_drawing()) else { continue };
            let frames = self.frames.entry(view.node.clone()).or_default();
            if frames.len() >= Self::SAMPLES {
                frames.pop_front();
            }
            frames.push_back(longest);
        }
    }

    /// Returns all nodes, in the order of the rows.
    #[must_use]
    pub fn views(&self) -> &[NodeView] {
        &self.views
    }

    /// Returns the node, if it is known.
    #[must_use]
    pub fn view(&self, node: &NodeId) -> Option<&NodeView> {
        self.views.iter().find(|view| view.node == *node)
    }

    /// Returns the rows of the selected nodes.
    #[must_use]
    pub fn rows(&self, is_wanted: impl Fn(&NodeView) -> bool) -> Vec<DashboardRow<'_>> {
        let mut rows = vec![];
        let mut last = None;
        for view in self.views.iter().filter(|view| is_wanted(view)) {
            let Some(host) = &view.host else {
                rows.push(DashboardRow::Node(view));
                continue;
            };
            if last != Some(host) {
                rows.push(DashboardRow::Host(host, self.view(host)));
                last = Some(host);
            }
            if view.role != Role::Daemon {
                rows.push(DashboardRow::Node(view));
            }
        }
        rows
    }

    /// Returns the frame times of a node in microseconds, the newest last.
    pub fn frame_times(&self, node: &NodeId) -> impl Iterator<Item = u64> {
        self.frames.get(node).into_iter().flatten().copied()
    }

    /// Returns the nodes that need attention and whose faults are not acknowledged.
    pub fn alarms(&self) -> impl Iterator<Item = &NodeView> {
        self.views.iter().filter(|view| view.is_alarm())
    }

    /// Returns the recent automatic restarts, the newest last.
    #[must_use]
    pub fn mended(&self) -> &[AutoRecovery] {
        &self.mended
    }
}

impl DashboardRow<'_> {
    /// Returns the node of the row; `None` for a host whose daemon is not known.
    #[must_use]
    pub fn node(&self) -> Option<&NodeId> {
        match self {
            Self::Host(_, daemon) => daemon.map(|view| &view.node),
            Self::Node(view) => Some(&view.node),
        }
    }
}

/// Returns the node that is `by` rows below the selected one, or above it if negative.
///
/// Counts from the first node if none is selected, and stops at the first and the last node.
#[must_use]
pub fn neighbour(
    rows: &[DashboardRow<'_>],
    selected: Option<&NodeId>,
    by: isize,
) -> Option<NodeId> {
    let ids: Vec<&NodeId> = rows.iter().filter_map(DashboardRow::node).collect();
    let at = ids.iter().position(|id| Some(*id) == selected).unwrap_or(0);
    let to = at.saturating_add_signed(by).min(ids.len().saturating_sub(1));
    ids.get(to).map(|&id| id.clone())
}

impl AutoRecovery {
    /// Returns a description of the restart.
    #[must_use]
    pub fn in_words(&self) -> String {
        let Self { node, restarts, .. } = self;
        let times = if *restarts == 1 { "once".into() } else { format!("{restarts} times") };
        format!("{node} crashed and was started again by itself ({times} by now)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use hana_protocol::message::ProcessState;

    use super::*;

    pub(crate) fn view(node: &str, host: &str, state: ProcessState) -> NodeView {
        NodeView {
            node: NodeId::new(node).unwrap(),
            role: if node == host { Role::Daemon } else { Role::Visualization },
            host: Some(NodeId::new(host).unwrap()),
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
            mixed: BTreeMap::new(),
            note: None,
            plays: [].into(),
            played_by: [].into(),
            counters: None,
            lanes: BTreeMap::new(),
            troubles: vec![],
            parameters: None,
            playing: vec![],
        }
    }

    fn show() -> Vec<NodeView> {
        let running = ProcessState::Running;
        vec![
            view("h1", "h1", running),
            view("a", "h1", running),
            view("h2", "h2", running),
            view("b", "h2", running),
            view("c", "h2", ProcessState::Unresponsive),
        ]
    }

    fn names(overview: &Dashboard) -> Vec<String> {
        let name = |row: DashboardRow<'_>| match row {
            DashboardRow::Host(host, _) => format!("[{host}]"),
            DashboardRow::Node(view) => view.node.to_string(),
        };
        overview.rows(|_| true).into_iter().map(name).collect()
    }

    #[test]
    fn trouble_comes_first_host_and_node() {
        let mut overview = Dashboard::default();
        overview.see(show(), Instant::now());
        assert_eq!(names(&overview), ["[h2]", "c", "b", "[h1]", "a"]);
        let words: Vec<String> = overview.alarms().map(NodeView::trouble_in_words).collect();
        assert_eq!(words, ["c is unresponsive: because"]);
    }

    #[test]
    fn what_a_person_wants_ignored_is_no_alarm() {
        let mut overview = Dashboard::default();
        let mut views = show();
        views[4].acknowledged = true;
        overview.see(views, Instant::now());
        assert_eq!(overview.alarms().count(), 0);
        assert_eq!(names(&overview), ["[h1]", "a", "[h2]", "b", "c"]);
    }

    #[test]
    fn a_crash_that_was_mended_by_itself_is_told_for_a_while() {
        let now = Instant::now();
        let mut overview = Dashboard::default();
        overview.see(show(), now);
        let mut views = show();
        views[1].restarts = 2;
        overview.see(views.clone(), now);
        assert!(overview.mended()[0].in_words().contains("(2 times by now)"));
        overview.see(views, now + Dashboard::MENDED);
        assert_eq!(overview.mended(), []);
    }

    #[test]
    fn frame_times_are_bounded_sampled_and_of_those_that_draw() {
        let now = Instant::now();
        let mut overview = Dashboard::default();
        let beats = u32::try_from(Dashboard::SAMPLES).unwrap() * 3;
        for beat in 0..beats {
            overview.see(show(), now + Dashboard::SAMPLE / 2 * beat);
        }
        let count = |node: &str| overview.frame_times(&NodeId::new(node).unwrap()).count();
        assert_eq!((count("a"), count("c"), count("nobody")), (Dashboard::SAMPLES, 0, 0));
    }

    #[test]
    fn the_neighbour_of_the_last_is_itself_and_nobody_has_none() {
        let mut overview = Dashboard::default();
        overview.see(show(), Instant::now());
        let rows = overview.rows(|_| true);
        let a = NodeId::new("a").unwrap();
        let next = |from: &NodeId, by| neighbour(&rows, Some(from), by).unwrap().to_string();
        assert_eq!(
            (next(&a, 1), next(&a, -1), next(&a, isize::MIN)),
            ("a".into(), "h1".into(), "h2".into())
        );
        assert_eq!(neighbour(&[], Some(&a), 1), None);
    }
}
