use std::time::Instant;

use bevy::prelude::*;
use hana_console::{
    ActionRequest, CANCELLED, Dashboard, OperatorAction, TimedNotice, adjacent_row,
};
use hana_engine::roster::NodeView;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::parameter::ParameterName;

use crate::model::effect::AppEffect;
use crate::model::key::{AppKey, NoteKey};
use crate::model::operators::Operators;
use crate::model::toasts::Toasts;

/// The operator's view: nodes, faults, the selection, and a pending question. Pure.
///
/// Its input is the list of nodes, the pressed key and the time.
#[derive(Resource, Default)]
pub(crate) struct AppModel {
    pub(crate) dashboard: Dashboard,
    pub(crate) toasts: Toasts,
    pub(crate) operators: Operators,
    /// The note that is being typed.
    pub(crate) note_draft: Option<String>,
    selected: Option<NodeId>,
    /// Whether the operator selected the node, rather than the app.
    is_selected_by_operator: bool,
    /// An action that would interrupt the picture, so the operator must confirm it first.
    unconfirmed: Option<(OperatorAction, NodeId)>,
    /// Whether the log fills the details area.
    pub(crate) is_log_open: bool,
    notice: TimedNotice,
}

pub(crate) fn plugin(app: &mut App) {
    app.init_resource::<AppModel>().add_message::<AppEffect>();
}

impl AppModel {
    /// Updates the list of nodes.
    pub(crate) fn update(&mut self, views: Vec<NodeView>, now: Instant) {
        self.dashboard.update(views, now);
        self.toasts.update(&self.dashboard, now);
        self.notice.expire(now);
        let is_kept = self.is_selected_by_operator && self.selected().is_some();
        if !is_kept && !self.selected().is_some_and(is_visualization) {
            self.is_selected_by_operator = false;
            let views = self.dashboard.views();
            let first = views.iter().find(|view| is_visualization(view)).or_else(|| views.first());
            self.selected = first.map(|view| view.node.clone());
        }
    }

    /// Shows a notice for a few seconds.
    pub(crate) fn notify(&mut self, text: impl Into<String>, now: Instant) {
        self.notice.show(text.into(), now);
    }

    /// Returns the notice that is shown.
    pub(crate) fn notice(&self) -> Option<&str> {
        self.notice.text()
    }

    /// Returns the question that the operator has to answer, if there is one.
    pub(crate) fn question(&self) -> Option<String> {
        self.unconfirmed.as_ref().map(|(action, node)| action.question(node))
    }

    /// Returns the selected node, if it is still known.
    pub(crate) fn selected(&self) -> Option<&NodeView> {
        self.dashboard.view(self.selected.as_ref()?)
    }

    /// Selects a node, as by a click.
    pub(crate) fn select(&mut self, node: &NodeId) {
        self.selected = Some(node.clone());
        self.is_selected_by_operator = true;
    }

    /// Returns the node that the keys act on: the node of the newest active toast, else the selected node.
    fn target(&self) -> Option<&NodeView> {
        let failed = self.toasts.active().and_then(|toast| self.dashboard.view(&toast.node));
        failed.or_else(|| self.selected())
    }

    /// Handles a key.
    pub(crate) fn handle_key(&mut self, key: AppKey, now: Instant) -> Option<AppEffect> {
        if let Some((action, node)) = self.unconfirmed.take() {
            if key == AppKey::Letter('y') {
                let view = self.dashboard.view(&node)?.clone();
                return Some(AppEffect::Act(action, Box::new(view)));
            }
            self.notify(CANCELLED, now);
            return None;
        }
        match key {
            AppKey::Step(by) => self.move_selection(by),
            AppKey::Escape if self.is_log_open => self.is_log_open = false,
            AppKey::Escape => self.toasts.dismiss(&self.dashboard),
            AppKey::Letter('t') => return self.claim_or_release(now),
            AppKey::Letter('o') => return self.take_over(now),
            AppKey::Letter('n') => self.note_draft = Some(String::new()),
            AppKey::Letter(letter) => {
                let action = OperatorAction::from_key(letter)?;
                let view = self.target()?.clone();
                return self.request(action, view, now);
            },
            AppKey::ForAll(letter) => return self.act_on_all(letter, now),
        }
        None
    }

    /// Handles a request for an action, by key or click.
    pub(crate) fn request(
        &mut self,
        action: OperatorAction,
        view: NodeView,
        now: Instant,
    ) -> Option<AppEffect> {
        match action.request(&view) {
            ActionRequest::Rejected(reason) => self.notify(reason, now),
            ActionRequest::ShowLog => {
                self.select(&view.node);
                self.is_log_open = !self.is_log_open;
            },
            ActionRequest::Confirm => self.unconfirmed = Some((action, view.node)),
            ActionRequest::Dispatch => return Some(AppEffect::Act(action, Box::new(view))),
        }
        None
    }

    fn act_on_all(&mut self, letter: char, now: Instant) -> Option<AppEffect> {
        let action = OperatorAction::from_key(letter).filter(|action| action.is_for_all())?;
        let views = self.dashboard.views().iter();
        let views: Vec<NodeView> =
            views.filter(|view| action.is_available(view)).cloned().collect();
        if views.is_empty() {
            self.notify(format!("{}: no matching visualization", action.name()), now);
            return None;
        }
        Some(AppEffect::ActOnAll(action, views))
    }

    fn take_over(&mut self, now: Instant) -> Option<AppEffect> {
        let apps: Vec<NodeId> = self.operators.abandoned.keys().cloned().collect();
        if apps.is_empty() {
            self.notify("nothing to take over: no controller has disconnected", now);
            return None;
        }
        let names: Vec<&str> = apps.iter().map(NodeId::as_str).collect();
        self.notify(format!("taking over from {}", names.join(", ")), now);
        Some(AppEffect::TakeOver(apps))
    }

    /// Claims all parameters of the selected visualization, or releases them if this app already owns them all.
    fn claim_or_release(&mut self, now: Instant) -> Option<AppEffect> {
        let view = self.selected().filter(|view| is_visualization(view) && view.state.is_alive());
        let Some(view) = view else {
            self.notify("cannot claim parameters: select a running visualization first", now);
            return None;
        };
        let names = view.parameters.iter().flatten().map(|(name, _)| name);
        let names: Vec<ParameterName> =
            names.filter(|name| !view.mixed.contains_key(name)).cloned().collect();
        let own_id = self.operators.own_id.as_ref();
        let is_own = |name: &ParameterName| own_id.is_some() && view.taken_by(name) == own_id;
        let node = view.node.clone();
        Some(if names.iter().all(is_own) {
            AppEffect::Release(node, names)
        } else {
            AppEffect::Claim(node, names)
        })
    }

    /// Handles a key while a note is being typed; returns its effect, if it has one.
    pub(crate) fn edit_note(&mut self, key: NoteKey) -> Option<AppEffect> {
        let text = self.note_draft.as_mut()?;
        match key {
            NoteKey::Text(more) => text.extend(more.chars().filter(|letter| !letter.is_control())),
            NoteKey::Backspace => drop(text.pop()),
            NoteKey::Escape => self.note_draft = None,
            NoteKey::Enter => return self.note_draft.take().map(AppEffect::PublishNote),
        }
        None
    }

    fn move_selection(&mut self, by: isize) {
        let rows = self.dashboard.rows(|_| true);
        self.selected = adjacent_row(&rows, self.selected.as_ref(), by);
        self.is_selected_by_operator = true;
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
    use crate::test_views::{id, view};

    fn model(views: Vec<NodeView>) -> (AppModel, Instant) {
        let now = Instant::now();
        let mut model = AppModel::default();
        model.update(views, now);
        (model, now)
    }

    fn show() -> Vec<NodeView> {
        let running = ProcessState::Running;
        vec![view("h1", running), view("a", running), view("b", running)]
    }

    fn describe(effect: Option<AppEffect>) -> String {
        match effect {
            None => "nothing".into(),
            Some(AppEffect::Act(action, view)) => format!("{} {}", action.name(), view.node),
            Some(AppEffect::ActOnAll(action, views)) => {
                let all: Vec<&str> = views.iter().map(|view| view.node.as_str()).collect();
                format!("{} {}", action.name(), all.join(" "))
            },
            Some(AppEffect::Claim(node, names)) => format!("claim {node} {names:?}"),
            Some(AppEffect::Play(node, name, value)) => format!("play {node} {name} {value}"),
            Some(AppEffect::Release(node, names)) => format!("release {node} {names:?}"),
            Some(AppEffect::TakeOver(apps)) => format!("take over {apps:?}"),
            Some(AppEffect::PublishNote(text)) => format!("note {text}"),
        }
    }

    #[test]
    fn keys_act_on_the_failed_node_before_the_selected_one() {
        let (mut model, now) = model(show());
        model.select(&id("a"));
        let mut views = show();
        views[2].state = ProcessState::Unresponsive;
        model.update(views, now);
        assert_eq!(model.target().unwrap().node, id("b"));
        assert_eq!(describe(model.handle_key(AppKey::Letter('r'), now)), "restart b");
        // Once the toast is dismissed, the keys act on the selected node.
        model.handle_key(AppKey::Escape, now);
        assert_eq!(model.target().unwrap().node, id("a"));
        assert_eq!(describe(model.handle_key(AppKey::Letter('h'), now)), "freeze a");
    }

    #[test]
    fn running_nodes_are_interrupted_only_after_confirmation() {
        let (mut model, now) = model(show());
        model.select(&id("a"));
        assert_eq!(describe(model.handle_key(AppKey::Letter('s'), now)), "nothing");
        assert_eq!(model.question().as_deref(), Some("stop a? It is running."));
        assert_eq!(describe(model.handle_key(AppKey::Letter('r'), now)), "nothing");
        assert_eq!(model.notice(), Some(CANCELLED));
        model.handle_key(AppKey::Letter('s'), now);
        assert_eq!(describe(model.handle_key(AppKey::Letter('y'), now)), "stop a");
    }

    #[test]
    fn claim_key_claims_and_then_releases_all_parameters() {
        let name = |name| ParameterName::new(name).unwrap();
        let with = |by: &str| {
            let mut views = show();
            views[1].parameters = Some([(name("hue"), 0.0), (name("zoom"), 0.0)].into());
            views[1].owners = ["hue", "zoom"]
                .map(|parameter| Ownership {
                    parameter: name(parameter),
                    by: id(by),
                    how: OwnershipKind::Claimed,
                    priority: Priority::default(),
                    stamp: None,
                })
                .into();
            views
        };
        let (mut model, now) = model(with("other"));
        model.operators.own_id = Some(id("own"));
        model.select(&id("a"));
        assert_eq!(describe(model.handle_key(AppKey::Letter('t'), now)), "claim a [hue, zoom]");
        model.update(with("own"), now);
        assert_eq!(describe(model.handle_key(AppKey::Letter('t'), now)), "release a [hue, zoom]");
        model.select(&id("h1"));
        assert_eq!(describe(model.handle_key(AppKey::Letter('t'), now)), "nothing");
    }

    #[test]
    fn take_over_key_claims_from_disconnected_controllers() {
        let (mut model, now) = model(show());
        assert_eq!(describe(model.handle_key(AppKey::Letter('o'), now)), "nothing");
        assert_eq!(model.notice(), Some("nothing to take over: no controller has disconnected"));
        model.operators.abandoned = [(id("foh"), 3)].into();
        assert_eq!(describe(model.handle_key(AppKey::Letter('o'), now)), "take over [foh]");
    }

    #[test]
    fn keys_edit_the_note_while_it_is_typed() {
        let (mut model, now) = model(show());
        assert_eq!(describe(model.handle_key(AppKey::Letter('n'), now)), "nothing");
        for text in ["c", "u", "x", "\n"] {
            model.edit_note(NoteKey::Text(text.into()));
        }
        model.edit_note(NoteKey::Backspace);
        model.edit_note(NoteKey::Text("e".into()));
        assert_eq!(model.note_draft.as_deref(), Some("cue"));
        assert_eq!(describe(model.edit_note(NoteKey::Enter)), "note cue");
        model.handle_key(AppKey::Letter('n'), now);
        assert_eq!(describe(model.edit_note(NoteKey::Escape)), "nothing");
        assert_eq!(model.note_draft, None);
    }

    #[test]
    fn panic_keys_skip_nodes_already_overridden() {
        let mut views = show();
        views[1].in_force = Some(Override::Blackout);
        let (mut model, now) = model(views);
        assert_eq!(describe(model.handle_key(AppKey::ForAll('b'), now)), "blackout b");
        assert_eq!(describe(model.handle_key(AppKey::ForAll('u'), now)), "resume a");
        assert_eq!(
            describe(model.handle_key(AppKey::ForAll('s'), now)),
            "nothing",
            "stop is for one"
        );
        let (mut empty, now) = self::model(vec![]);
        assert_eq!(describe(empty.handle_key(AppKey::ForAll('h'), now)), "nothing");
        assert_eq!(empty.notice(), Some("freeze: no matching visualization"));
    }

    #[test]
    fn log_key_opens_log_and_escape_closes_it_first() {
        let (mut model, now) = model(show());
        let mut views = show();
        views[2].state = ProcessState::Crashed;
        model.update(views, now);
        model.handle_key(AppKey::Letter('l'), now);
        assert!(model.is_log_open);
        assert_eq!(model.selected().unwrap().node, id("b"));
        model.handle_key(AppKey::Escape, now);
        assert!(!model.is_log_open);
        assert_eq!(model.toasts.all().len(), 1);
    }

    #[test]
    fn first_visualization_is_selected_by_default() {
        let (mut model, now) = model(vec![view("h1", ProcessState::Running)]);
        assert_eq!(model.selected().unwrap().node, id("h1"));
        model.update(show(), now);
        assert_eq!(model.selected().unwrap().node, id("a"));
        let mut views = show();
        views[2].state = ProcessState::Crashed;
        model.update(views, now);
        assert_eq!(model.selected().unwrap().node, id("a"), "the selection does not follow faults");
        model.handle_key(AppKey::Step(isize::MIN), now);
        model.update(show(), now);
        assert_eq!(model.selected().unwrap().node, id("h1"), "the operator selected it");
    }

    #[test]
    fn unavailable_actions_are_explained() {
        let (mut model, now) = model(show());
        model.select(&id("a"));
        assert_eq!(describe(model.handle_key(AppKey::Letter('i'), now)), "nothing");
        assert_eq!(model.notice(), Some("cannot acknowledge a: it is running"));
        let (mut empty, now) = self::model(vec![]);
        for key in [AppKey::Letter('r'), AppKey::Step(1), AppKey::Escape, AppKey::Letter('l')] {
            assert_eq!(describe(empty.handle_key(key, now)), "nothing");
        }
    }
}
