use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use hana_protocol::NodeId;
use hana_protocol::NodeView;
use hana_protocol::ProcessState;
use hana_protocol::Remedy;
use hana_protocol::role::Role;

/// What the screen shows, and what a key does. Pure: it is told who is there, which key was pressed and what time it is.
#[derive(Debug, Default)]
pub(crate) struct Model {
    views: Vec<NodeView>,
    selected: Option<NodeId>,
    filter: String,
    pub(crate) mode: Mode,
    /// How long the longest frames were, the newest last, in microseconds.
    frames: BTreeMap<NodeId, VecDeque<u64>>,
    sampled: Option<Instant>,
    /// Who was started again by itself, and when that was noticed.
    restarted: Vec<(NodeId, u32, Instant)>,
    notice: Option<(String, Instant)>,
}

/// What keys are for right now.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// For the list.
    #[default]
    List,
    /// For a text that names in the list must have.
    Filter,
    /// For yes or no.
    Confirm(Remedy, NodeId),
    /// Any key ends it.
    Help,
    /// The whole screen is the log of the selected one.
    Log,
}

/// A key, as far as it means anything here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Char(char),
    Up,
    Down,
    Home,
    End,
    Enter,
    Escape,
    Backspace,
}

/// What a key makes the program do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    Quit,
    Do(Remedy, NodeId),
}

/// A line of the list.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Row<'a> {
    /// A host, with its daemon if that is known.
    Host(&'a NodeId, Option<&'a NodeView>),
    /// A node on the host above.
    Node(&'a NodeView),
}

/// Frame times kept of each.
pub(crate) const SAMPLES: usize = 40;
/// From one to the next.
const SAMPLE: Duration = Duration::from_millis(250);
/// How long a notice stands.
const NOTICE: Duration = Duration::from_secs(6);

impl Model {
    /// Takes in who is there.
    pub(crate) fn see(&mut self, mut views: Vec<NodeView>, now: Instant) {
        // Trouble first, so that it is on the screen however small that is.
        let hosts_in_trouble: Vec<Option<NodeId>> =
            views.iter().filter(|view| is_alarm(view)).map(|view| view.host.clone()).collect();
        views.sort_by_key(|view| {
            (
                !hosts_in_trouble.contains(&view.host),
                view.host.clone(),
                view.role != Role::Daemon,
                !is_alarm(view),
                view.node.clone(),
            )
        });
        for view in &views {
            let before = self.views.iter().find(|before| before.node == view.node);
            if before.is_some_and(|before| view.restarts > before.restarts) {
                self.restarted.retain(|(node, ..)| *node != view.node);
                self.restarted.push((view.node.clone(), view.restarts, now));
            }
        }
        self.restarted.retain(|(.., at)| now.saturating_duration_since(*at) < NOTICE);
        if self.sampled.is_none_or(|at| now.saturating_duration_since(at) >= SAMPLE) {
            self.sampled = Some(now);
            self.sample(&views);
        }
        self.views = views;
        if self.notice.as_ref().is_some_and(|(_, until)| now >= *until) {
            self.notice = None;
        }
        // Whoever was selected stays so, wherever the list has it now.
        if self.selected().is_none() {
            let first = self.shown().next().map(|view| view.node.clone());
            self.selected = first;
        }
    }

    fn sample(&mut self, views: &[NodeView]) {
        self.frames.retain(|node, _| views.iter().any(|view| view.node == *node));
        for view in views {
            // One that does not draw has said how long its last frames were, and nothing since.
            let Some(longest) = view.frame_max_us.filter(|_| is_drawing(view)) else { continue };
            let frames = self.frames.entry(view.node.clone()).or_default();
            if frames.len() >= SAMPLES {
                frames.pop_front();
            }
            frames.push_back(longest);
        }
    }

    /// Says something in passing.
    pub(crate) fn notice(&mut self, text: String, now: Instant) {
        self.notice = Some((text, now + NOTICE));
    }

    /// What is said in passing.
    pub(crate) fn noticed(&self) -> Option<&str> {
        self.notice.as_ref().map(|(text, _)| text.as_str())
    }

    /// The frame times of a node, the newest last, in microseconds.
    pub(crate) fn frame_times(&self, node: &NodeId) -> impl Iterator<Item = u64> {
        self.frames.get(node).into_iter().flatten().copied()
    }

    fn shown(&self) -> impl Iterator<Item = &NodeView> {
        self.views.iter().filter(|view| {
            let matches = |text: &str| text.contains(&self.filter);
            matches(view.node.as_str())
                || view.host.as_ref().is_some_and(|host| matches(host.as_str()))
        })
    }

    /// The lines of the list.
    pub(crate) fn rows(&self) -> Vec<Row<'_>> {
        let mut rows = vec![];
        let mut last = None;
        for view in self.shown() {
            let Some(host) = &view.host else {
                rows.push(Row::Node(view));
                continue;
            };
            if last != Some(host) {
                let daemon =
                    self.views.iter().find(|of| of.role == Role::Daemon && of.node == *host);
                rows.push(Row::Host(host, daemon));
                last = Some(host);
            }
            if view.role != Role::Daemon {
                rows.push(Row::Node(view));
            }
        }
        rows
    }

    /// Who is selected, if still there.
    pub(crate) fn selected(&self) -> Option<&NodeView> {
        self.shown().find(|view| Some(&view.node) == self.selected.as_ref())
    }

    /// The text that names must have.
    pub(crate) fn filter(&self) -> &str {
        &self.filter
    }

    /// How many nodes there are, and how many need somebody.
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.views.len(), self.views.iter().filter(|view| is_alarm(view)).count())
    }

    /// What should be looked at first: the newest trouble that nobody wants ignored, in words.
    pub(crate) fn alert(&self) -> Option<(&NodeView, String)> {
        let newest =
            self.views.iter().filter(|view| is_alarm(view)).max_by_key(|view| view.since_ms);
        if let Some(view) = newest {
            let is = match view.state {
                ProcessState::Crashed => "crashed",
                ProcessState::CrashLoop => "crashes again and again",
                ProcessState::Slow => "is slow",
                ProcessState::Restarting => "is about to be started again",
                ProcessState::Unreachable => "is unreachable",
                _ => "is unresponsive",
            };
            return Some((view, format!("{} {is}: {}", view.node, view.reason)));
        }
        let (node, times, _) = self.restarted.last()?;
        let view = self.views.iter().find(|view| view.node == *node)?;
        let times = if *times == 1 { "once".into() } else { format!("{times} times") };
        Some((view, format!("{node} crashed and was started again by itself ({times} by now)")))
    }

    /// A key was pressed.
    pub(crate) fn press(&mut self, key: Key, now: Instant) -> Option<Deed> {
        match &self.mode {
            Mode::Help => self.mode = Mode::List,
            Mode::Confirm(remedy, node) => {
                let deed = Deed::Do(*remedy, node.clone());
                self.mode = Mode::List;
                if key == Key::Char('y') {
                    return Some(deed);
                }
                self.notice("left as it is".into(), now);
            },
            Mode::Filter => match key {
                Key::Char(letter) => self.filter.push(letter),
                Key::Backspace => drop(self.filter.pop()),
                Key::Escape => {
                    self.filter.clear();
                    self.mode = Mode::List;
                },
                _ => self.mode = Mode::List,
            },
            Mode::Log if matches!(key, Key::Escape | Key::Enter | Key::Char('l' | 'q')) => {
                self.mode = Mode::List;
            },
            Mode::Log | Mode::List => return self.press_in_list(key, now),
        }
        None
    }

    fn press_in_list(&mut self, key: Key, now: Instant) -> Option<Deed> {
        match key {
            Key::Char('q') | Key::Escape if self.filter.is_empty() => return Some(Deed::Quit),
            Key::Escape => self.filter.clear(),
            Key::Char('?') => self.mode = Mode::Help,
            Key::Char('/') => self.mode = Mode::Filter,
            Key::Enter => self.mode = Mode::Log,
            Key::Up | Key::Char('k') => self.move_by(-1),
            Key::Down | Key::Char('j') => self.move_by(1),
            Key::Home => self.move_by(isize::MIN),
            Key::End => self.move_by(isize::MAX),
            Key::Char(letter) => {
                let remedy = Remedy::of_key(letter)?;
                let view = self.selected()?.clone();
                if !remedy.is_offered(&view) {
                    let (name, state) = (remedy.name(), view.state);
                    self.notice(
                        format!("{name} is of no use for {}, which is {state}", view.node),
                        now,
                    );
                } else if remedy == Remedy::Log {
                    self.mode = Mode::Log;
                } else if remedy.needs_confirmation(&view) {
                    self.mode = Mode::Confirm(remedy, view.node);
                } else {
                    return Some(Deed::Do(remedy, view.node));
                }
            },
            Key::Backspace => {},
        }
        None
    }

    fn move_by(&mut self, by: isize) {
        let ids: Vec<NodeId> = self
            .rows()
            .into_iter()
            .filter_map(|row| match row {
                Row::Host(_, daemon) => daemon.map(|view| view.node.clone()),
                Row::Node(view) => Some(view.node.clone()),
            })
            .collect();
        let at = ids.iter().position(|id| Some(id) == self.selected.as_ref()).unwrap_or(0);
        let to = at.saturating_add_signed(by).min(ids.len().saturating_sub(1));
        self.selected = ids.get(to).cloned();
    }
}

/// Whether a person should look at it, and nobody has said to leave it.
pub(crate) const fn is_alarm(view: &NodeView) -> bool {
    view.state.is_alarming() && !view.ignored
}

/// Whether there are new frames of it, whose rate is worth telling.
pub(crate) const fn is_drawing(view: &NodeView) -> bool {
    matches!(view.state, ProcessState::Running | ProcessState::Slow)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn view(node: &str, host: &str, state: ProcessState) -> NodeView {
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
            ignored: false,
            in_force: None,
            counters: None,
            parameters: None,
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

    fn names(model: &Model) -> Vec<String> {
        model
            .rows()
            .into_iter()
            .map(|row| match row {
                Row::Host(host, _) => format!("[{host}]"),
                Row::Node(view) => view.node.to_string(),
            })
            .collect()
    }

    fn select(model: &mut Model, node: &str, now: Instant) {
        model.press(Key::Home, now);
        while model.selected().unwrap().node.as_str() != node {
            let before = model.selected.clone();
            model.press(Key::Down, now);
            assert_ne!(model.selected, before, "there is no {node}");
        }
    }

    fn seen() -> (Model, Instant) {
        let now = Instant::now();
        let mut model = Model::default();
        model.see(show(), now);
        (model, now)
    }

    #[test]
    fn trouble_comes_first_and_the_selection_stays_with_its_node() {
        let (mut model, now) = seen();
        assert_eq!(names(&model), ["[h2]", "c", "b", "[h1]", "a"]);
        assert!(model.alert().unwrap().1.contains("c is unresponsive: because"));
        select(&mut model, "a", now);
        let mut views = show();
        views[4].state = ProcessState::Running;
        views[1].state = ProcessState::Crashed;
        model.see(views, now);
        assert_eq!(names(&model), ["[h1]", "a", "[h2]", "b", "c"]);
        assert_eq!(model.selected().unwrap().node.as_str(), "a");
    }

    #[test]
    fn what_runs_is_ended_only_after_a_yes_and_what_hangs_at_once() {
        let (mut model, now) = seen();
        select(&mut model, "b", now);
        let node = NodeId::new("b").unwrap();
        assert_eq!(model.press(Key::Char('s'), now), None);
        assert_eq!(model.mode, Mode::Confirm(Remedy::Stop, node.clone()));
        assert_eq!(model.press(Key::Char('x'), now), None);
        assert_eq!(model.mode, Mode::List);
        model.press(Key::Char('s'), now);
        assert_eq!(model.press(Key::Char('y'), now), Some(Deed::Do(Remedy::Stop, node)));
        select(&mut model, "c", now);
        let node = NodeId::new("c").unwrap();
        assert_eq!(model.press(Key::Char('r'), now), Some(Deed::Do(Remedy::Restart, node)));
    }

    #[test]
    fn what_is_of_no_use_is_said_and_not_done() {
        let (mut model, now) = seen();
        select(&mut model, "b", now);
        assert_eq!(model.press(Key::Char('i'), now), None);
        assert!(model.noticed().unwrap().contains("of no use"));
        model.see(show(), now + NOTICE);
        assert_eq!(model.noticed(), None);
    }

    #[test]
    fn what_a_person_wants_ignored_is_no_alert() {
        let (mut model, now) = seen();
        let mut views = show();
        views[4].ignored = true;
        model.see(views, now);
        assert!(model.alert().is_none());
        assert_eq!(model.count(), (5, 0));
    }

    #[test]
    fn a_crash_that_was_mended_by_itself_is_told_for_a_while() {
        let (mut model, now) = seen();
        let mut views = show();
        views[4].state = ProcessState::Running;
        views[1].restarts = 1;
        model.see(views.clone(), now);
        assert!(model.alert().unwrap().1.contains("a crashed and was started again"));
        model.see(views, now + NOTICE);
        assert!(model.alert().is_none());
    }

    #[test]
    fn the_filter_narrows_the_list_and_escape_takes_it_back_before_it_quits() {
        let (mut model, now) = seen();
        for key in [Key::Char('/'), Key::Char('h'), Key::Char('1'), Key::Enter] {
            assert_eq!(model.press(key, now), None);
        }
        assert_eq!(names(&model), ["[h1]", "a"]);
        assert_eq!(model.press(Key::Escape, now), None);
        assert_eq!(names(&model).len(), 5);
        assert_eq!(model.press(Key::Escape, now), Some(Deed::Quit));
    }

    #[test]
    fn nobody_at_all_is_no_trouble() {
        let now = Instant::now();
        let mut model = Model::default();
        model.see(vec![], now);
        for key in [Key::Up, Key::Down, Key::End, Key::Char('r'), Key::Enter] {
            assert_eq!(model.press(key, now), None);
        }
    }
}
