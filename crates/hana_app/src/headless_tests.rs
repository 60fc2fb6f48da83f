//! The window without a screen: the model, the input and the panels in a Bevy app that draws nothing.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::time::Instant;

use bevy::ecs::message::Messages;
use bevy::input::keyboard::{Key, KeyCode, KeyboardInput};
use bevy::input::{ButtonState, InputPlugin};
use bevy::prelude::*;
use hana_console::OperatorAction;
use hana_engine::roster::NodeView;
use hana_protocol::message::{Override, Ownership, OwnershipKind, Priority, ProcessState};
use hana_protocol::parameter::{Parameter, ParameterName};

use crate::input::mouse::OnClick;
use crate::mesh::logs::Logs;
use crate::mesh::nodes::SelectedParameters;
use crate::mesh::status::MeshStatus;
use crate::model::app_model::AppModel;
use crate::model::effect::AppEffect;
use crate::panels::details::DetailsView;
use crate::panels::footer::FooterView;
use crate::panels::header::HeaderView;
use crate::panels::node_list::NodeListView;
use crate::panels::panel::Panel;
use crate::panels::toast_stack::ToastStackView;
use crate::test_views::{id, view};
use crate::{app_systems, input, model, panels};

struct HeadlessWindow {
    app: App,
    now: Instant,
}

impl HeadlessWindow {
    fn open(views: Vec<NodeView>) -> Self {
        let mut app = App::new();
        app.add_plugins((MinimalPlugins, InputPlugin))
            .add_plugins((
                app_systems::plugin,
                model::app_model::plugin,
                input::keyboard::plugin,
                input::mouse::plugin,
                input::slider::plugin,
                panels::layout::plugin,
            ))
            .init_resource::<MeshStatus>()
            .init_resource::<SelectedParameters>()
            .init_resource::<Logs>();
        let mut window = Self { app, now: Instant::now() };
        window.show(views);
        window
    }

    fn model(&mut self) -> Mut<'_, AppModel> {
        self.app.world_mut().resource_mut()
    }

    fn show(&mut self, views: Vec<NodeView>) {
        let now = self.now;
        self.model().update(views, now);
        self.app.update();
    }

    fn press(&mut self, logical_key: Key) {
        self.app.world_mut().write_message(KeyboardInput {
            key_code: KeyCode::Unidentified(bevy::input::keyboard::NativeKeyCode::Unidentified),
            logical_key,
            state: ButtonState::Pressed,
            text: None,
            repeat: false,
            window: Entity::PLACEHOLDER,
        });
        self.app.update();
    }

    fn type_text(&mut self, letters: &str) {
        for letter in letters.chars() {
            self.press(Key::Character(letter.to_string().into()));
        }
    }

    #[track_caller]
    fn click(&mut self, target: &OnClick) {
        let world = self.app.world_mut();
        let mut buttons = world.query::<(Entity, &OnClick)>();
        let found = buttons.iter(world).find(|(_, on_click)| *on_click == target);
        let (button, _) = found.unwrap_or_else(|| panic!("no button {target:?}"));
        world.entity_mut(button).insert(Interaction::Pressed);
        self.app.update();
    }

    /// Returns the texts of a panel, in the order in which they are laid out.
    fn texts<V: Send + Sync + 'static>(&mut self) -> Vec<String> {
        let world = self.app.world_mut();
        let panel = world.query_filtered::<Entity, With<Panel<V>>>().single(world).unwrap();
        let mut texts = vec![];
        collect_texts(world, panel, &mut texts);
        texts
    }

    fn take_effects(&mut self) -> Vec<AppEffect> {
        self.app.world_mut().resource_mut::<Messages<AppEffect>>().drain().collect()
    }
}

fn collect_texts(world: &World, entity: Entity, texts: &mut Vec<String>) {
    if let Some(text) = world.get::<Text>(entity) {
        texts.push(text.0.clone());
    }
    for child in world.get::<Children>(entity).into_iter().flatten() {
        collect_texts(world, *child, texts);
    }
}

fn show() -> Vec<NodeView> {
    let running = ProcessState::Running;
    vec![view("h1", running), view("a", running), view("b", running)]
}

fn with_fault() -> Vec<NodeView> {
    let mut views = show();
    views[2].state = ProcessState::Unresponsive;
    views
}

#[test]
fn empty_list_says_how_to_start() {
    let mut window = HeadlessWindow::open(vec![]);
    let texts = window.texts::<NodeListView>();
    assert_eq!(texts, ["No nodes yet. Start a daemon with `hanad` on each machine of the show."]);
    assert!(window.texts::<DetailsView>().is_empty());
}

#[test]
fn list_shows_hosts_nodes_states_and_remarks() {
    let mut views = show();
    views[1].in_force = Some(Override::Freeze);
    views[2].restarts = 2;
    let mut window = HeadlessWindow::open(views);
    let texts = window.texts::<NodeListView>();
    let row = |name: &str| {
        let start = texts.iter().position(|text| text == name).unwrap();
        texts[start..].iter().take(6).map(String::as_str).collect::<Vec<_>>()
    };
    assert_eq!(row("h1")[..2], ["h1", "running"]);
    assert_eq!([row("a")[1], row("a")[3], row("a")[4]], ["running", "60 fps", "freeze"]);
    assert_eq!([row("b")[1], row("b")[4]], ["running", "restarted 2 times"]);
}

#[test]
fn header_shows_connection_faults_and_beat() {
    let mut window = HeadlessWindow::open(show());
    assert_eq!(window.texts::<HeaderView>(), ["hana", "3 nodes", "all is well"]);
    *window.app.world_mut().resource_mut::<MeshStatus>() = MeshStatus {
        show: Some("gala".into()),
        problem: None,
        beat: Some(("120.0 bpm".into(), "from h1".into())),
    };
    window.show(with_fault());
    assert_eq!(
        window.texts::<HeaderView>(),
        ["hana", "show gala", "3 nodes", "1 in trouble", "120.0 bpm", "from h1"]
    );
    window.app.world_mut().resource_mut::<MeshStatus>().problem = Some("joining the mesh".into());
    window.app.update();
    assert_eq!(window.texts::<HeaderView>(), ["hana", "show gala", "joining the mesh"]);
}

#[test]
fn details_show_fault_advice_and_actions() {
    let mut window = HeadlessWindow::open(with_fault());
    window.click(&OnClick::Select(id("b")));
    let texts = window.texts::<DetailsView>();
    assert_eq!(texts[0], "b");
    assert!(texts[1].starts_with("unresponsive for "), "{texts:?}");
    assert_eq!(texts[2..4], ["because", ProcessState::Unresponsive.advice()]);
    for text in ["visualization on h1, process 1", "not played", "R", "restart", "acknowledge"] {
        assert!(texts.iter().any(|shown| shown == text), "{text}: {texts:?}");
    }
}

#[test]
fn details_show_parameters_with_owners() {
    let zoom = ParameterName::new("zoom").unwrap();
    let mut views = show();
    views[1].parameters = Some([(zoom.clone(), 0.5)].into());
    let mut window = HeadlessWindow::open(views.clone());
    window.app.insert_resource(SelectedParameters(vec![Parameter::new(zoom.clone(), 0.0)]));
    window.app.update();
    let texts = window.texts::<DetailsView>();
    assert_eq!(texts[texts.len() - 3..], ["zoom", "+0.50", "claim"]);

    let claim = AppEffect::Claim(id("a"), vec![zoom.clone()]);
    window.click(&OnClick::Apply(claim.clone()));
    assert_eq!(window.take_effects(), [claim]);

    views[1].owners = vec![Ownership {
        parameter: zoom.clone(),
        by: id("foh"),
        how: OwnershipKind::Claimed,
        priority: Priority::default(),
        stamp: None,
    }];
    window.show(views.clone());
    assert_eq!(window.texts::<DetailsView>().last().unwrap(), "foh");
    window.model().operators.own_id = Some(id("foh"));
    window.show(views);
    assert_eq!(window.texts::<DetailsView>().last().unwrap(), "yours");
    let release = AppEffect::Release(id("a"), vec![zoom]);
    window.click(&OnClick::Apply(release.clone()));
    assert_eq!(window.take_effects(), [release]);
}

#[test]
fn toasts_show_the_newest_fault_with_its_actions() {
    let mut window = HeadlessWindow::open(show());
    assert!(window.texts::<ToastStackView>().is_empty());
    window.show(with_fault());
    let texts = window.texts::<ToastStackView>();
    assert_eq!(texts[..2], ["b is unresponsive: because", ProcessState::Unresponsive.advice()]);
    assert!(texts.contains(&"restart".to_owned()), "{texts:?}");
    assert_eq!(texts.last().unwrap(), "Esc: dismiss");

    window.click(&OnClick::Request(OperatorAction::Restart, id("b")));
    let effects = window.take_effects();
    assert!(
        matches!(&effects[..], [AppEffect::Act(OperatorAction::Restart, view)] if view.node == id("b"))
    );
    window.press(Key::Escape);
    assert!(window.texts::<ToastStackView>().is_empty());
}

#[test]
fn toasts_beyond_three_are_counted() {
    let views: Vec<NodeView> =
        ["a", "b", "c", "d", "e"].map(|node| view(node, ProcessState::Slow)).into();
    let mut window = HeadlessWindow::open(views);
    assert_eq!(window.texts::<ToastStackView>()[0], "and 2 more in the list");
}

#[test]
fn footer_shows_keys_questions_notes_and_notices() {
    let mut window = HeadlessWindow::open(show());
    let keys = window.texts::<FooterView>();
    assert_eq!(keys[..4], ["Up Down", "select", "T", "claim, release"]);

    window.type_text("s");
    assert_eq!(window.texts::<FooterView>(), ["stop a? It is running.", "Y  yes", "N  no"]);
    window.type_text("n");
    assert_eq!(window.texts::<FooterView>(), ["cancelled"]);

    window.type_text("ncue");
    let draft = ["note to all:", "cue_", "Enter: send   Esc: cancel"];
    assert_eq!(window.texts::<FooterView>(), draft);
    window.press(Key::Enter);
    assert_eq!(window.take_effects(), [AppEffect::PublishNote("cue".into())]);

    window.type_text("i");
    assert_eq!(window.texts::<FooterView>(), ["cannot acknowledge a: it is running"]);
}

#[test]
fn footer_offers_to_take_over_abandoned_parameters() {
    let mut window = HeadlessWindow::open(show());
    window.model().operators.abandoned = [(id("foh"), 1)].into();
    window.app.update();
    assert_eq!(window.texts::<FooterView>()[..2], ["O", "take over 1 parameter of foh"]);
    window.model().operators.abandoned = [(id("foh"), 1), (id("osc"), 2)].into();
    window.app.update();
    assert_eq!(window.texts::<FooterView>()[1], "take over 3 parameters of foh and 1 more");
    window.type_text("o");
    assert_eq!(window.take_effects(), [AppEffect::TakeOver(vec![id("foh"), id("osc")])]);
}

#[test]
fn capital_letters_act_on_all_visualizations() {
    let mut window = HeadlessWindow::open(show());
    window.type_text("B");
    let effects = window.take_effects();
    assert!(
        matches!(&effects[..], [AppEffect::ActOnAll(OperatorAction::Blackout, views)] if views.len() == 2)
    );
}
