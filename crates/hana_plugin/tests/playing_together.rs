//! Two apps play one visualization over direct links, one of them a Bevy app: the values of a parameter's owner are
//! shown and those of the other app are not, `take` reverses that immediately, and the Bevy app receives events about
//! it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::float_cmp, missing_docs)]

use std::thread;
use std::time::{Duration, Instant};

use bevy_app::App;
use bevy_ecs::prelude::*;
use bevy_ecs::system::RunSystemOnce;
use hana_lab::Lab;
use hana_lab::show::Show;
use hana_network::{MeshObserver, Node, NodeConfig, OwnershipClient, PlaySession};
use hana_plugin::{ClaimLost, ControllerPlugin, MeshCommands, NoteReceived, OwnerChanged};
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{OwnershipKind, PlayPath};
use hana_protocol::parameter::{Parameter, ParameterName};

const SOON: Duration = Duration::from_secs(30);
const FRAME: Duration = Duration::from_millis(5);

fn id(text: &str) -> NodeId {
    NodeId::new(text).unwrap()
}

fn zoom() -> ParameterName {
    ParameterName::new("zoom").unwrap()
}

/// The events of the Bevy app.
#[derive(Resource, Default)]
struct Received {
    owners: Vec<OwnerChanged>,
    taken: Vec<ClaimLost>,
    notes: Vec<NoteReceived>,
}

/// The visualization, the Bevy app, and the other app.
struct Together {
    stage: Node<role::Visualization>,
    desk: App,
    rival: Node<role::App>,
    watch: MeshObserver,
    operator: OwnershipClient,
    session: PlaySession,
}

impl Together {
    fn start() -> Self {
        let of = |name| NodeConfig::from_environment(id(name)).unwrap();
        let parameters = vec![Parameter::new(zoom(), 0.0)];
        let stage = Node::join(of("stage").with_parameters(parameters));
        let rival = Node::<role::App>::join(of("rival"));
        let stage = stage.wait(SOON).unwrap().unwrap();
        let rival = rival.wait(SOON).unwrap().unwrap();
        let (watch, operator) = (rival.watch_mesh(), rival.ownership_client());
        let session = rival.play_session(&id("stage"));
        let mut desk = App::new();
        desk.add_plugins(ControllerPlugin::new("desk")).init_resource::<Received>();
        desk.add_observer(|of: On<OwnerChanged>, mut received: ResMut<Received>| {
            received.owners.push(of.event().clone());
        });
        desk.add_observer(|of: On<ClaimLost>, mut received: ResMut<Received>| {
            received.taken.push(of.event().clone());
        });
        desk.add_observer(|of: On<NoteReceived>, mut received: ResMut<Received>| {
            received.notes.push(of.event().clone());
        });
        Self { stage, desk, rival, watch, operator, session }
    }

    /// Runs both apps and the visualization until `is_so` holds; calls `each` in every frame.
    #[track_caller]
    fn run_until(
        &mut self,
        awaited: &str,
        mut each: impl FnMut(&mut Self),
        mut is_so: impl FnMut(&mut Self) -> bool,
    ) {
        let deadline = Instant::now() + SOON;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "waited too long for {awaited}: {}", self.state());
            each(self);
            self.desk.update();
            self.stage.frames().tick();
            self.watch.poll();
            self.operator.poll(self.watch.roster());
            thread::sleep(FRAME);
        }
    }

    fn state(&self) -> String {
        let (values, owners) = (self.stage.parameters().values(), self.stage.parameters().owners());
        format!("{values:?} {owners:?} {:?}", self.received().owners)
    }

    /// The operator of the Bevy app does something.
    fn at_desk(&mut self, act: impl Fn(MeshCommands) + Send + Sync + 'static) {
        self.desk.world_mut().run_system_once(move |mesh: MeshCommands| act(mesh)).unwrap();
    }

    fn desk_plays(&mut self, value: f32) {
        self.at_desk(move |mut mesh| mesh.play(&id("stage"), &zoom(), value));
    }

    fn desk_is_direct(&mut self) -> bool {
        let query = |mesh: MeshCommands| mesh.play_session(&id("stage")).map(|status| status.path);
        self.desk.world_mut().run_system_once(query).unwrap() == Some(PlayPath::Direct)
    }

    fn shown(&self) -> f32 {
        self.stage.parameters().values()[0]
    }

    fn received(&self) -> &Received {
        self.desk.world().resource::<Received>()
    }

    /// Whether this is the last change of the owner that the Bevy app has received.
    fn has_received(&self, before: Option<&str>, now: Option<(&str, OwnershipKind)>) -> bool {
        let expected = OwnerChanged {
            node: id("stage"),
            parameter: zoom(),
            before: before.map(id),
            now: now.map(|(by, how)| (id(by), how)),
        };
        self.received().owners.last() == Some(&expected)
    }
}

#[test]
#[ignore = "it is run by the other test, on a host of its own"]
fn two_apps_play_one_visualization() {
    let mut all = Together::start();
    // The other app plays first, and owns the parameter.
    all.run_until(
        "the other app to play directly",
        |all| all.session.set(&zoom(), 0.25).unwrap(),
        |all| all.session.status().path == PlayPath::Direct && all.shown() == 0.25,
    );
    all.run_until(
        "the event at the desk",
        |all| all.session.set(&zoom(), 0.25).unwrap(),
        |all| {
            all.received()
                .owners
                .last()
                .is_some_and(|received| received.now == Some((id("rival"), OwnershipKind::Active)))
        },
    );
    // While the other app owns the parameter, values of the desk are not shown, not even over its direct link.
    let both = |all: &mut Together| {
        all.session.set(&zoom(), 0.25).unwrap();
        all.desk_plays(0.75);
    };
    all.run_until("the desk's link", both, Together::desk_is_direct);
    for _ in 0..50 {
        let (mut frames, mut seen) = (0, vec![]);
        all.run_until("a few frames", both, |all| {
            seen.push(all.shown());
            frames += 1;
            frames > 2
        });
        assert!(seen.iter().all(|shown| *shown == 0.25), "{seen:?}");
    }
    // The desk takes the parameter.
    all.at_desk(|mut mesh| mesh.claim(&id("stage"), [zoom()]));
    all.run_until("the desk's value", both, |all| all.shown() == 0.75);
    all.run_until("the event that the desk owns it", both, |all| {
        all.has_received(Some("rival"), Some(("desk", OwnershipKind::Claimed)))
    });
    let mut frames = 0;
    all.run_until("a few frames", both, |all| {
        assert_eq!(all.shown(), 0.75, "the other app keeps playing, and is not shown");
        frames += 1;
        frames > 50
    });
    // The other app takes the parameter back, and the desk receives an event with its id.
    assert!(all.received().taken.is_empty());
    all.operator.take(&id("stage"), [zoom()]);
    all.run_until("the event about the lost claim", both, |all| !all.received().taken.is_empty());
    let taken = ClaimLost { node: id("stage"), parameter: zoom(), by: id("rival"), apart: false };
    assert_eq!(all.received().taken, [taken]);
    all.run_until("the value of the other app", both, |all| all.shown() == 0.25);
    all.run_until("the event with the new owner", both, |all| {
        all.has_received(Some("desk"), Some(("rival", OwnershipKind::Claimed)))
    });
    all.operator.note("the left screen flickers");
    all.run_until("the note", |_| {}, |all| !all.received().notes.is_empty());
    let NoteReceived { app, text } = &all.received().notes[0];
    assert_eq!((app.as_str(), text.as_str()), ("rival", "the left screen flickers"));
    // The other app releases the parameter. A last value of the desk may arrive just afterwards, so that the desk
    // owns the parameter for a moment.
    all.operator.release(&id("stage"), [zoom()]);
    all.run_until(
        "the parameter to be free",
        |_| {},
        |all| all.received().owners.last().is_some_and(|received| received.now.is_none()),
    );
    let Together { stage, rival, .. } = all;
    stage.leave().wait(SOON).ok();
    rival.leave().wait(SOON).ok();
}

#[test]
fn take_changes_the_owner_and_a_bevy_app_gets_the_events() {
    let Some(lab) = Lab::new("together") else { return };
    let show = Show::of(&lab, &["h1"]);
    let host = show.host("h1");
    let mut command = host.command(std::env::current_exe().unwrap());
    command.args(["--exact", "two_apps_play_one_visualization", "--ignored", "--nocapture"]);
    host.run_within(Duration::from_mins(2), command).ok();
}
