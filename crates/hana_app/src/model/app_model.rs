use std::time::{Duration, Instant};

use bevy::prelude::Resource;
use hana_console::{Dashboard, OperatorAction, neighbour};
use hana_engine::roster::NodeView;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::parameter::ParameterName;

use crate::model::effect::AppEffect;
use crate::model::key::{Key, Typed};
use crate::model::operators::Operators;
use crate::model::toasts::Toasts;

/// The operator's view: nodes, faults, the selection, and a pending question. Pure.
///
/// Its input is the list of nodes, the pressed key and the time.
#[derive(Resource, Default)]
pub(crate) struct AppModel {
    pub(crate) overview: Dashboard,
    pub(crate) toasts: Toasts,
    pub(crate) operators: Operators,
    /// The note that is being typed.
    pub(crate) writing: Option<String>,
    selected: Option<NodeId>,
    /// Whether the operator selected the node, rather than the app.
    is_chosen: bool,
    /// An action that would interrupt the picture, and needs a yes first.
    pub(crate) question: Option<(OperatorAction, NodeId)>,
    /// Whether the log fills the details area.
    pub(crate) is_log_open: bool,
    notice: Option<(String, Instant)>,
}

/// How long a notice is shown.
const NOTICE: Duration = Duration::from_secs(6);

impl AppModel {
    /// Updates the list of nodes.
    pub(crate) fn see(&mut self, views: Vec<NodeView>, now: Instant) {
        self.overview.see(views, now);
        self.toasts.see(&self.overview, now);
        if self.notice.as_ref().is_some_and(|(_, until)| now >= *until) {
            self.notice = None;
        }
        let is_chosen = self.is_chosen && self.selected().is_some();
        if !is_chosen && !self.selected().is_some_and(is_visualization) {
            self.is_chosen = false;
            let first = self.overview.views().iter().find(|view| is_visualization(view));
            let first = first.or_else(|| self.overview.views().first());
            self.selected = first.map(|view| view.node.clone());
        }
    }

    /// Shows a passing notice.
    pub(crate) fn notice(&mut self, text: String, now: Instant) {
        self.notice = Some((text, now + NOTICE));
    }

    /// Returns the passing notice.
    pub(crate) fn noticed(&self) -> Option<&str> {
        self.notice.as_ref().map(|(text, _)| text.as_str())
    }

    /// Returns the selected node, if it is still there.
    pub(crate) fn selected(&self) -> Option<&NodeView> {
        self.overview.view(self.selected.as_ref()?)
    }

    /// Selects a node, as by a click.
    pub(crate) fn select(&mut self, node: &NodeId) {
        self.selected = Some(node.clone());
        self.is_chosen = true;
    }

    /// Returns the node that the keys act on: the newest failed one, else the selected one.
    pub(crate) fn focus(&self) -> Option<&NodeView> {
        let failed = self.toasts.pressing().and_then(|toast| self.overview.view(&toast.node));
        failed.or_else(|| self.selected())
    }

    /// Handles a key.
    pub(crate) fn press(&mut self, key: Key, now: Instant) -> Option<AppEffect> {
        if let Some((remedy, node)) = self.question.take() {
            if key == Key::Letter('y') {
                let view = self.overview.view(&node)?.clone();
                return Some(AppEffect::Do(remedy, Box::new(view)));
            }
            self.notice("left as it is".into(), now);
            return None;
        }
        match key {
            Key::Step(by) => self.step(by),
            Key::Escape => {
                if self.is_log_open {
                    self.is_log_open = false;
                } else {
                    self.toasts.put_aside(&self.overview);
                }
            },
            Key::Letter('t') => return self.take_or_release(now),
            Key::Letter('o') => {
                let left: Vec<NodeId> = self.operators.left.keys().cloned().collect();
                if left.is_empty() {
                    self.notice("nobody has vanished and left something to take over".into(), now);
                    return None;
                }
                let who: Vec<&str> = left.iter().map(NodeId::as_str).collect();
                self.notice(format!("taking over from {}", who.join(", ")), now);
                return Some(AppEffect::TakeOver(left));
            },
            Key::Letter('n') => self.writing = Some(String::new()),
            Key::Letter(letter) => {
                let remedy = OperatorAction::of_key(letter)?;
                let view = self.focus()?.clone();
                return self.ask_for(remedy, view, now);
            },
            Key::ForAll(letter) => {
                let remedy = OperatorAction::of_key(letter).filter(|remedy| remedy.is_for_all())?;
                let views = self.overview.views().iter();
                let all: Vec<NodeView> =
                    views.filter(|view| remedy.is_offered(view)).cloned().collect();
                if all.is_empty() {
                    self.notice(format!("{}: there is nobody to tell", remedy.name()), now);
                    return None;
                }
                return Some(AppEffect::ForAll(remedy, all));
            },
        }
        None
    }

    /// Handles a request for a remedy, by key or click.
    pub(crate) fn ask_for(
        &mut self,
        remedy: OperatorAction,
        view: NodeView,
        now: Instant,
    ) -> Option<AppEffect> {
        if !remedy.is_offered(&view) {
            let (name, state) = (remedy.name(), view.state);
            self.notice(format!("{name} is of no use for {}, which is {state}", view.node), now);
            return None;
        }
        if remedy == OperatorAction::Log {
            self.select(&view.node);
            self.is_log_open = !self.is_log_open;
            return None;
        }
        if remedy.needs_confirmation(&view) {
            self.question = Some((remedy, view.node));
            return None;
        }
        Some(AppEffect::Do(remedy, Box::new(view)))
    }

    /// Claims all parameters of the selected visualization, or releases them if this app already owns them all.
    fn take_or_release(&mut self, now: Instant) -> Option<AppEffect> {
        let view = self.selected().filter(|view| is_visualization(view) && view.state.is_alive());
        let Some(view) = view else {
            self.notice("only what runs and draws can be taken".into(), now);
            return None;
        };
        let mixed = &view.mixed;
        let names = view.parameters.iter().flatten().map(|(name, _)| name);
        let names: Vec<ParameterName> =
            names.filter(|name| !mixed.contains_key(name)).cloned().collect();
        let is_own = |name: &ParameterName| {
            self.operators.own.is_some() && view.taken_by(name) == self.operators.own.as_ref()
        };
        let node = view.node.clone();
        Some(if names.iter().all(is_own) {
            AppEffect::Release(node, names)
        } else {
            AppEffect::Take(node, names)
        })
    }

    /// Handles a key while a note is being typed; returns its effect, if it has one.
    pub(crate) fn write(&mut self, typed: Typed) -> Option<AppEffect> {
        let text = self.writing.as_mut()?;
        match typed {
            Typed::Text(more) => text.extend(more.chars().filter(|of| !of.is_control())),
            Typed::Backspace => drop(text.pop()),
            Typed::Escape => self.writing = None,
            Typed::Enter => return self.writing.take().map(AppEffect::Note),
        }
        None
    }

    fn step(&mut self, by: isize) {
        let rows = self.overview.rows(|_| true);
        self.selected = neighbour(&rows, self.selected.as_ref(), by);
        self.is_chosen = true;
    }
}

fn is_visualization(view: &NodeView) -> bool {
    view.role == Role::Visualization
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hana_protocol::message::{Override, Ownership, OwnershipKind, Priority, ProcessState};

    use super::*;
    use crate::model::toasts::tests::{id, view};

    fn desk(views: Vec<NodeView>) -> (AppModel, Instant) {
        let now = Instant::now();
        let mut desk = AppModel::default();
        desk.see(views, now);
        (desk, now)
    }

    fn show() -> Vec<NodeView> {
        let running = ProcessState::Running;
        vec![view("h1", running), view("a", running), view("b", running)]
    }

    fn deed(deed: Option<AppEffect>) -> String {
        match deed {
            None => "nothing".into(),
            Some(AppEffect::Do(remedy, view)) => format!("{} {}", remedy.name(), view.node),
            Some(AppEffect::ForAll(remedy, views)) => {
                let all: Vec<&str> = views.iter().map(|view| view.node.as_str()).collect();
                format!("{} {}", remedy.name(), all.join(" "))
            },
            Some(AppEffect::Take(node, names)) => format!("take {node} {names:?}"),
            Some(AppEffect::Release(node, names)) => format!("release {node} {names:?}"),
            Some(AppEffect::TakeOver(apps)) => format!("take over {apps:?}"),
            Some(AppEffect::Note(text)) => format!("note {text}"),
        }
    }

    #[test]
    fn keys_are_for_what_has_failed_before_what_is_selected() {
        let (mut desk, now) = desk(show());
        desk.select(&id("a"));
        let mut views = show();
        views[2].state = ProcessState::Unresponsive;
        desk.see(views, now);
        assert_eq!(desk.focus().unwrap().node, id("b"));
        assert_eq!(deed(desk.press(Key::Letter('r'), now)), "restart b");
        // Once the toast is dismissed, the keys act on the selected node.
        desk.press(Key::Escape, now);
        assert_eq!(desk.focus().unwrap().node, id("a"));
        assert_eq!(deed(desk.press(Key::Letter('h'), now)), "freeze a");
    }

    #[test]
    fn what_runs_is_interrupted_only_after_a_yes() {
        let (mut desk, now) = desk(show());
        desk.select(&id("a"));
        assert_eq!(deed(desk.press(Key::Letter('s'), now)), "nothing");
        assert_eq!(desk.question, Some((OperatorAction::Stop, id("a"))));
        assert_eq!(deed(desk.press(Key::Letter('r'), now)), "nothing");
        assert_eq!(desk.noticed(), Some("left as it is"));
        desk.press(Key::Letter('s'), now);
        assert_eq!(deed(desk.press(Key::Letter('y'), now)), "stop a");
    }

    #[test]
    fn a_key_takes_what_is_selected_and_lets_it_go_again() {
        let name = |of| ParameterName::new(of).unwrap();
        let with = |by: &str| {
            let mut views = show();
            views[1].parameters = Some([(name("hue"), 0.0), (name("zoom"), 0.0)].into());
            views[1].owners = ["hue", "zoom"]
                .map(|of| Ownership {
                    parameter: name(of),
                    by: id(by),
                    how: OwnershipKind::Claimed,
                    priority: Priority::default(),
                    stamp: None,
                })
                .into();
            views
        };
        let (mut desk, now) = desk(with("other"));
        desk.operators.own = Some(id("own"));
        desk.select(&id("a"));
        assert_eq!(deed(desk.press(Key::Letter('t'), now)), "take a [hue, zoom]");
        desk.see(with("own"), now);
        assert_eq!(deed(desk.press(Key::Letter('t'), now)), "release a [hue, zoom]");
        desk.select(&id("h1"));
        assert_eq!(deed(desk.press(Key::Letter('t'), now)), "nothing");
    }

    #[test]
    fn a_key_takes_over_from_who_has_vanished_and_nobody_else() {
        let (mut desk, now) = desk(show());
        assert_eq!(deed(desk.press(Key::Letter('o'), now)), "nothing");
        assert!(desk.noticed().unwrap().contains("nobody"));
        desk.operators.left = [(id("foh"), 3)].into();
        assert_eq!(deed(desk.press(Key::Letter('o'), now)), "take over [foh]");
    }

    #[test]
    fn a_note_is_typed_and_told_and_its_letters_do_nothing_else() {
        let (mut desk, now) = desk(show());
        assert_eq!(deed(desk.press(Key::Letter('n'), now)), "nothing");
        for typed in ["c", "u", "x", "\n"] {
            desk.write(Typed::Text(typed.into()));
        }
        desk.write(Typed::Backspace);
        desk.write(Typed::Text("e".into()));
        assert_eq!(desk.writing.as_deref(), Some("cue"));
        assert_eq!(deed(desk.write(Typed::Enter)), "note cue");
        desk.press(Key::Letter('n'), now);
        assert_eq!(deed(desk.write(Typed::Escape)), "nothing");
        assert_eq!(desk.writing, None);
    }

    #[test]
    fn panic_keys_are_for_all_who_are_not_so_already() {
        let mut views = show();
        views[1].in_force = Some(Override::Blackout);
        let (mut desk, now) = desk(views);
        assert_eq!(deed(desk.press(Key::ForAll('b'), now)), "blackout b");
        assert_eq!(deed(desk.press(Key::ForAll('u'), now)), "resume a");
        assert_eq!(deed(desk.press(Key::ForAll('s'), now)), "nothing", "stop is for one");
        let (mut empty, now) = self::desk(vec![]);
        assert_eq!(deed(empty.press(Key::ForAll('h'), now)), "nothing");
        assert!(empty.noticed().unwrap().contains("nobody"));
    }

    #[test]
    fn the_log_opens_for_whom_the_key_was_and_escape_closes_it_first() {
        let (mut desk, now) = desk(show());
        let mut views = show();
        views[2].state = ProcessState::Crashed;
        desk.see(views, now);
        desk.press(Key::Letter('l'), now);
        assert!(desk.is_log_open);
        assert_eq!(desk.selected().unwrap().node, id("b"));
        desk.press(Key::Escape, now);
        assert!(!desk.is_log_open);
        assert_eq!(desk.toasts.all().len(), 1);
    }

    #[test]
    fn a_visualization_is_before_the_operator_until_he_chooses() {
        let (mut desk, now) = desk(vec![view("h1", ProcessState::Running)]);
        assert_eq!(desk.selected().unwrap().node, id("h1"));
        desk.see(show(), now);
        assert_eq!(desk.selected().unwrap().node, id("a"));
        let mut views = show();
        views[2].state = ProcessState::Crashed;
        desk.see(views, now);
        assert_eq!(desk.selected().unwrap().node, id("a"), "what he looks at stays");
        desk.press(Key::Step(isize::MIN), now);
        desk.see(show(), now);
        assert_eq!(desk.selected().unwrap().node, id("h1"), "he chose it");
    }

    #[test]
    fn what_is_of_no_use_is_said_and_nobody_at_all_is_no_trouble() {
        let (mut desk, now) = desk(show());
        desk.select(&id("a"));
        assert_eq!(deed(desk.press(Key::Letter('i'), now)), "nothing");
        assert!(desk.noticed().unwrap().contains("of no use"));
        let (mut empty, now) = self::desk(vec![]);
        for key in [Key::Letter('r'), Key::Step(1), Key::Escape, Key::Letter('l')] {
            assert_eq!(deed(empty.press(key, now)), "nothing");
        }
    }
}
