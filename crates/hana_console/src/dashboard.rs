use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use hana_engine::roster::NodeView;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;

/// The state of a show as the operator sees it, in the terminal and in the app.
///
/// It holds the nodes by host, faulty ones first, the recent frame times, and the recent automatic restarts. Pure: it
/// takes the nodes and the time.
#[derive(Debug, Default)]
pub struct Dashboard {
    views: Vec<NodeView>,
    /// The longest frame time of each sample, in microseconds, the newest last.
    frame_times: BTreeMap<NodeId, VecDeque<u64>>,
    sampled_at: Option<Instant>,
    recoveries: Vec<AutoRecovery>,
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
    pub const MAX_FRAME_TIMES: usize = 40;
    /// The time for which an automatic restart is shown.
    pub const RECOVERY_SHOWN: Duration = Duration::from_secs(6);
    /// The interval between two samples of the frame times.
    const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

    /// Updates the dashboard with the current nodes.
    pub fn update(&mut self, mut views: Vec<NodeView>, now: Instant) {
        let faulty_hosts: Vec<Option<NodeId>> =
            views.iter().filter(|view| view.is_alarm()).map(|view| view.host.clone()).collect();
        // Faulty nodes come first, so they are visible even on a small screen.
        views.sort_by_key(|view| {
            (
                !faulty_hosts.contains(&view.host),
                view.host.clone(),
                view.role != Role::Daemon,
                !view.is_alarm(),
                view.node.clone(),
            )
        });
        for view in &views {
            let before = self.views.iter().find(|before| before.node == view.node);
            if before.is_some_and(|before| view.restarts > before.restarts) {
                self.recoveries.retain(|recovery| recovery.node != view.node);
                let (node, restarts) = (view.node.clone(), view.restarts);
                self.recoveries.push(AutoRecovery { node, restarts, at: now });
            }
        }
        self.recoveries
            .retain(|recovery| now.saturating_duration_since(recovery.at) < Self::RECOVERY_SHOWN);
        if self
            .sampled_at
            .is_none_or(|at| now.saturating_duration_since(at) >= Self::SAMPLE_INTERVAL)
        {
            self.sampled_at = Some(now);
            self.sample(&views);
        }
        self.views = views;
    }

    fn sample(&mut self, views: &[NodeView]) {
        self.frame_times.retain(|node, _| views.iter().any(|view| view.node == *node));
        for view in views {
            // The frame time of a node that does not draw is out of date.
            let Some(longest) = view.frame_max_us.filter(|_| view.is_drawing()) else { continue };
            let times = self.frame_times.entry(view.node.clone()).or_default();
            if times.len() >= Self::MAX_FRAME_TIMES {
                times.pop_front();
            }
            times.push_back(longest);
        }
    }

    /// Returns all nodes, in the order of the rows.
    #[must_use]
    pub fn views(&self) -> &[NodeView] {
        &self.views
    }

    /// Returns the view of a node, if the node is known.
    #[must_use]
    pub fn view(&self, node: &NodeId) -> Option<&NodeView> {
        self.views.iter().find(|view| view.node == *node)
    }

    /// Returns the rows of the nodes for which `is_wanted` is true, each host above its nodes.
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
        self.frame_times.get(node).into_iter().flatten().copied()
    }

    /// Returns the nodes that need attention and whose faults are not acknowledged.
    pub fn alarms(&self) -> impl Iterator<Item = &NodeView> {
        self.views.iter().filter(|view| view.is_alarm())
    }

    /// Describes the state of the show: the number of faults, or that there are none.
    #[must_use]
    pub fn summary(&self) -> String {
        match self.alarms().count() {
            0 => "all is well".into(),
            faults => format!("{faults} in trouble"),
        }
    }

    /// Returns the recent automatic restarts, the newest last.
    #[must_use]
    pub fn recoveries(&self) -> &[AutoRecovery] {
        &self.recoveries
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

/// Returns the node that is `by` rows below the selected one, or above it if `by` is negative.
///
/// Counts from the first node if no node is selected, and stops at the first and the last node.
#[must_use]
pub fn adjacent_row(
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
    /// Describes the restart.
    #[must_use]
    pub fn describe(&self) -> String {
        let Self { node, restarts, .. } = self;
        let times = if *restarts == 1 { "once".into() } else { format!("{restarts} times") };
        format!("{node} crashed and restarted automatically ({times} so far)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hana_protocol::message::ProcessState;

    use super::*;
    use crate::test_views::view;

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

    fn names(dashboard: &Dashboard) -> Vec<String> {
        let name = |row: DashboardRow<'_>| match row {
            DashboardRow::Host(host, _) => format!("[{host}]"),
            DashboardRow::Node(view) => view.node.to_string(),
        };
        dashboard.rows(|_| true).into_iter().map(name).collect()
    }

    #[test]
    fn faulty_hosts_and_nodes_come_first() {
        let mut dashboard = Dashboard::default();
        dashboard.update(show(), Instant::now());
        assert_eq!(names(&dashboard), ["[h2]", "c", "b", "[h1]", "a"]);
        assert_eq!(dashboard.summary(), "1 in trouble");
        let words: Vec<String> = dashboard.alarms().map(NodeView::trouble_in_words).collect();
        assert_eq!(words, ["c is unresponsive: because"]);
    }

    #[test]
    fn acknowledged_faults_raise_no_alarm() {
        let mut dashboard = Dashboard::default();
        let mut views = show();
        views[4].acknowledged = true;
        dashboard.update(views, Instant::now());
        assert_eq!(dashboard.alarms().count(), 0);
        assert_eq!(dashboard.summary(), "all is well");
        assert_eq!(names(&dashboard), ["[h1]", "a", "[h2]", "b", "c"]);
    }

    #[test]
    fn automatic_restarts_are_listed_for_a_while() {
        let now = Instant::now();
        let mut dashboard = Dashboard::default();
        dashboard.update(show(), now);
        let mut views = show();
        views[1].restarts = 2;
        dashboard.update(views.clone(), now);
        assert!(dashboard.recoveries()[0].describe().contains("(2 times so far)"));
        dashboard.update(views, now + Dashboard::RECOVERY_SHOWN);
        assert_eq!(dashboard.recoveries(), []);
    }

    #[test]
    fn frame_times_are_sampled_bounded_and_of_drawing_nodes() {
        let now = Instant::now();
        let mut dashboard = Dashboard::default();
        let updates = u32::try_from(Dashboard::MAX_FRAME_TIMES).unwrap() * 3;
        for update in 0..updates {
            dashboard.update(show(), now + Dashboard::SAMPLE_INTERVAL / 2 * update);
        }
        let count = |node: &str| dashboard.frame_times(&NodeId::new(node).unwrap()).count();
        assert_eq!((count("a"), count("c"), count("absent")), (Dashboard::MAX_FRAME_TIMES, 0, 0));
    }

    #[test]
    fn adjacent_row_stops_at_the_ends() {
        let mut dashboard = Dashboard::default();
        dashboard.update(show(), Instant::now());
        let rows = dashboard.rows(|_| true);
        let a = NodeId::new("a").unwrap();
        let next = |from: &NodeId, by| adjacent_row(&rows, Some(from), by).unwrap().to_string();
        assert_eq!(
            (next(&a, 1), next(&a, -1), next(&a, isize::MIN)),
            ("a".into(), "h1".into(), "h2".into())
        );
        assert_eq!(adjacent_row(&[], Some(&a), 1), None);
    }
}
