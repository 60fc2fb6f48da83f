use std::time::Instant;

use hana_console::{
    ActionRequest, AutoRecovery, CANCELLED, Dashboard, DashboardRow, OperatorAction, TimedNotice,
    adjacent_row,
};
use hana_engine::roster::NodeView;
use hana_protocol::id::NodeId;

/// The content of the screen, and the effects of keys. Pure: its input is the nodes, the pressed key and the time.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) dashboard: Dashboard,
    selected: Option<NodeId>,
    filter: String,
    pub(crate) mode: Mode,
    notice: TimedNotice,
}

/// The mode of the screen, which determines the meaning of keys.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Keys move in the list.
    #[default]
    List,
    /// Keys enter a text; the list shows only nodes whose names contain it.
    Filter,
    /// Keys answer yes or no.
    Confirm(OperatorAction, NodeId),
    /// Any key closes the help.
    Help,
    /// The log of the selected node fills the screen.
    Log,
}

/// A key with a meaning on this screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyPress {
    Char(char),
    Up,
    Down,
    Home,
    End,
    Enter,
    Escape,
    Backspace,
}

/// The effect of a key on the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    Quit,
    Do(OperatorAction, NodeId),
}

impl Model {
    /// Updates the list of nodes.
    pub(crate) fn see(&mut self, views: Vec<NodeView>, now: Instant) {
        self.dashboard.update(views, now);
        self.notice.expire(now);
        // A selected node stays selected, even if its position in the list has changed.
        if self.selected().is_none() {
            self.move_by(isize::MIN);
        }
    }

    /// Shows a temporary notice.
    pub(crate) fn notice(&mut self, text: String, now: Instant) {
        self.notice.show(text, now);
    }

    /// Returns the temporary notice.
    pub(crate) fn noticed(&self) -> Option<&str> {
        self.notice.text()
    }

    fn is_shown(&self, view: &NodeView) -> bool {
        let matches = |id: &NodeId| id.as_str().contains(&self.filter);
        matches(&view.node) || view.host.as_ref().is_some_and(matches)
    }

    /// Returns the lines of the list.
    pub(crate) fn rows(&self) -> Vec<DashboardRow<'_>> {
        self.dashboard.rows(|view| self.is_shown(view))
    }

    /// Returns the selected node, if it is still listed.
    pub(crate) fn selected(&self) -> Option<&NodeView> {
        self.dashboard.view(self.selected.as_ref()?).filter(|view| self.is_shown(view))
    }

    /// Returns the filter: the text that names must contain.
    pub(crate) fn filter(&self) -> &str {
        &self.filter
    }

    /// Returns the number of nodes, and how many of them need attention.
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.dashboard.views().len(), self.dashboard.alarms().count())
    }

    /// Returns the most urgent fault in words: the newest fault that is not acknowledged.
    pub(crate) fn alert(&self) -> Option<(&NodeView, String)> {
        if let Some(view) = self.dashboard.alarms().max_by_key(|view| view.since_ms) {
            return Some((view, view.trouble_in_words()));
        }
        let mended = self.dashboard.recoveries().last()?;
        Some((self.dashboard.view(&mended.node)?, AutoRecovery::describe(mended)))
    }

    /// Handles a key.
    pub(crate) fn press(&mut self, key: KeyPress, now: Instant) -> Option<Effect> {
        match &self.mode {
            Mode::Help => self.mode = Mode::List,
            Mode::Confirm(action, node) => {
                let effect = Effect::Do(*action, node.clone());
                self.mode = Mode::List;
                if key == KeyPress::Char('y') {
                    return Some(effect);
                }
                self.notice(CANCELLED.into(), now);
            },
            Mode::Filter => match key {
                KeyPress::Char(letter) => self.filter.push(letter),
                KeyPress::Backspace => drop(self.filter.pop()),
                KeyPress::Escape => {
                    self.filter.clear();
                    self.mode = Mode::List;
                },
                _ => self.mode = Mode::List,
            },
            Mode::Log
                if matches!(
                    key,
                    KeyPress::Escape | KeyPress::Enter | KeyPress::Char('l' | 'q')
                ) =>
            {
                self.mode = Mode::List;
            },
            Mode::Log | Mode::List => return self.press_in_list(key, now),
        }
        None
    }

    fn press_in_list(&mut self, key: KeyPress, now: Instant) -> Option<Effect> {
        match key {
            KeyPress::Char('q') | KeyPress::Escape if self.filter.is_empty() => {
                return Some(Effect::Quit);
            },
            KeyPress::Escape => self.filter.clear(),
            KeyPress::Char('?') => self.mode = Mode::Help,
            KeyPress::Char('/') => self.mode = Mode::Filter,
            KeyPress::Enter => self.mode = Mode::Log,
            KeyPress::Up | KeyPress::Char('k') => self.move_by(-1),
            KeyPress::Down | KeyPress::Char('j') => self.move_by(1),
            KeyPress::Home => self.move_by(isize::MIN),
            KeyPress::End => self.move_by(isize::MAX),
            KeyPress::Char(letter) => {
                let action = OperatorAction::from_key(letter)?;
                let view = self.selected()?.clone();
                match action.request(&view) {
                    ActionRequest::Rejected(reason) => self.notice(reason, now),
                    ActionRequest::ShowLog => self.mode = Mode::Log,
                    ActionRequest::Confirm => self.mode = Mode::Confirm(action, view.node),
                    ActionRequest::Dispatch => return Some(Effect::Do(action, view.node)),
                }
            },
            KeyPress::Backspace => {},
        }
        None
    }

    fn move_by(&mut self, by: isize) {
        let selected = adjacent_row(&self.rows(), self.selected.as_ref(), by);
        self.selected = selected;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hana_protocol::message::ProcessState;

    use super::*;
    use crate::inspect::top::fixture::show;

    fn names(model: &Model) -> Vec<String> {
        model
            .rows()
            .into_iter()
            .map(|row| match row {
                DashboardRow::Host(host, _) => format!("[{host}]"),
                DashboardRow::Node(view) => view.node.to_string(),
            })
            .collect()
    }

    fn select(model: &mut Model, node: &str, now: Instant) {
        model.press(KeyPress::Home, now);
        while model.selected().unwrap().node.as_str() != node {
            let before = model.selected.clone();
            model.press(KeyPress::Down, now);
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
    fn faults_come_first_and_the_selection_stays() {
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
    fn running_node_is_stopped_only_after_yes() {
        let (mut model, now) = seen();
        select(&mut model, "b", now);
        let node = NodeId::new("b").unwrap();
        assert_eq!(model.press(KeyPress::Char('s'), now), None);
        assert_eq!(model.mode, Mode::Confirm(OperatorAction::Stop, node.clone()));
        assert_eq!(model.press(KeyPress::Char('x'), now), None);
        assert_eq!(model.mode, Mode::List);
        model.press(KeyPress::Char('s'), now);
        assert_eq!(
            model.press(KeyPress::Char('y'), now),
            Some(Effect::Do(OperatorAction::Stop, node))
        );
        select(&mut model, "c", now);
        let node = NodeId::new("c").unwrap();
        assert_eq!(
            model.press(KeyPress::Char('r'), now),
            Some(Effect::Do(OperatorAction::Restart, node))
        );
    }

    #[test]
    fn useless_action_is_refused_with_a_notice() {
        let (mut model, now) = seen();
        select(&mut model, "b", now);
        assert_eq!(model.press(KeyPress::Char('i'), now), None);
        assert!(model.noticed().unwrap().contains("cannot acknowledge b: it is running"));
        model.see(show(), now + TimedNotice::DURATION);
        assert_eq!(model.noticed(), None);
    }

    #[test]
    fn acknowledged_fault_is_no_alert() {
        let (mut model, now) = seen();
        let mut views = show();
        views[4].acknowledged = true;
        model.see(views, now);
        assert!(model.alert().is_none());
        assert_eq!(model.count(), (5, 0));
    }

    #[test]
    fn automatic_recovery_is_shown_for_a_while() {
        let (mut model, now) = seen();
        let mut views = show();
        views[4].state = ProcessState::Running;
        views[1].restarts = 1;
        model.see(views.clone(), now);
        assert!(model.alert().unwrap().1.contains("a crashed and restarted automatically"));
        model.see(views, now + TimedNotice::DURATION);
        assert!(model.alert().is_none());
    }

    #[test]
    fn escape_clears_the_filter_before_it_quits() {
        let (mut model, now) = seen();
        for key in [KeyPress::Char('/'), KeyPress::Char('h'), KeyPress::Char('1'), KeyPress::Enter]
        {
            assert_eq!(model.press(key, now), None);
        }
        assert_eq!(names(&model), ["[h1]", "a"]);
        assert_eq!(model.press(KeyPress::Escape, now), None);
        assert_eq!(names(&model).len(), 5);
        assert_eq!(model.press(KeyPress::Escape, now), Some(Effect::Quit));
    }

    #[test]
    fn empty_mesh_accepts_all_keys() {
        let now = Instant::now();
        let mut model = Model::default();
        model.see(vec![], now);
        for key in
            [KeyPress::Up, KeyPress::Down, KeyPress::End, KeyPress::Char('r'), KeyPress::Enter]
        {
            assert_eq!(model.press(key, now), None);
        }
    }
}
