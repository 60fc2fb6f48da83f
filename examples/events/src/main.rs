//! A visualization with a parameter of each kind, which reports everything that happens between it and the mesh.
//!
//! It writes every event of the plugin as a line of JSON to standard output, and displays current problems in a
//! corner of its window. L leaves the mesh, J rejoins, F sends more than the network can carry, and H freezes the
//! main loop for a second, during which the program reads no messages.

use std::io::Write;
use std::time::{Duration, Instant};

use bevy::log::{DEFAULT_FILTER, LogPlugin};
use bevy::prelude::*;
use bevy::window::{PresentMode, WindowResolution};
use hana::prelude::*;
use hana::serde_json::{Value, json};

/// Parameters of every kind.
#[derive(Resource, Reflect)]
struct Sea {
    #[reflect(@Description("colour of the ground, around the wheel"))]
    hue: f32,
    #[reflect(@0.0..=100.0, @Description("windows that the bar crosses in a minute"))]
    speed: f32,
    #[reflect(@Description("whether the bar is seen"))]
    lit: bool,
    #[reflect(@Description("where the bar goes"))]
    course: Course,
    #[reflect(@Description("colour of the bar"))]
    tint: Color,
}

impl Default for Sea {
    fn default() -> Self {
        Self { hue: 0.0, speed: 12.0, lit: true, course: Course::Along, tint: Color::WHITE }
    }
}

/// The movement of the bar.
#[derive(Reflect, Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// Across the window, then again from the start.
    Along,
    /// Back and forth.
    ToAndFro,
    /// The bar does not move.
    Still,
}

/// A knock, which this program both sends and receives.
#[hana::message(lane = ReliableOrdered)]
#[derive(Debug, Clone)]
struct Knock {
    number: u64,
}

/// A spark of the former version, whose energy was a word. It cannot be decoded from the sparks of `spark_thrower`.
#[hana::message(lane = UnreliableUnordered, version = 1)]
#[derive(Debug, Clone)]
struct Spark {
    number: u64,
    energy: String,
}

/// Interval between two reports of the frame count.
const TELL_FRAMES: Duration = Duration::from_millis(250);
/// How long the main loop freezes.
const HANG: Duration = Duration::from_secs(1);
/// Number of messages in a flood: more than any queue can hold.
const FLOOD: u64 = 100_000;
const SIZE: (u32, u32) = (640, 360);

fn main() -> AppExit {
    let mut app = App::new();
    app.add_plugins((
        DefaultPlugins.set(window_plugin()).set(LogPlugin {
            filter: format!("{DEFAULT_FILTER},winit=error,bevy_render::renderer=error,zenoh=error"),
            ..default()
        }),
        VisualizationPlugin::<Sea>::new("events"),
    ))
    .publish::<Knock>()
    .subscribe::<Knock>()
    .subscribe::<Spark>()
    .add_systems(Startup, set_up)
    .add_systems(
        Update,
        (
            draw,
            count_frames,
            leave_and_join,
            flood,
            hang,
            receive,
            (|| tell("condition", &json!({"is": "just_connected"})))
                .run_if(just_connected::<role::Visualization>),
            (|| tell("condition", &json!({"is": "just_disconnected"})))
                .run_if(just_disconnected::<role::Visualization>),
            tell_of_daemon,
        ),
    );
    tell_events(&mut app);
    app.run()
}

/// Reports every event of the plugin.
fn tell_events(app: &mut App) {
    app.add_observer(|of: On<Connected>| {
        tell(
            "connected",
            &json!({"node": of.node, "attach_mode": format!("{:?}", of.attach_mode)}),
        );
    })
    .add_observer(|_: On<DaemonLost>| tell("daemon_lost", &json!({})))
    .add_observer(|of: On<Disconnected>| {
        tell("disconnected", &json!({"by": format!("{:?}", of.by), "reason": of.reason}));
    })
    .add_observer(|of: On<JoinFailed>| {
        tell("join_failed", &json!({"reason": of.reason, "tries_again": of.retries}));
    })
    .add_observer(|of: On<IdTaken>| {
        tell("id_taken", &json!({"node": of.node, "holder": of.holder}));
    })
    .add_observer(|of: On<DecodeFailed>| {
        tell(
            "decode_failed",
            &json!({
                "key": of.key, "sender": of.sender, "message": of.message, "field": of.field,
                "reason": of.reason,
            }),
        );
    })
    .add_observer(|of: On<MessageRefused>| {
        tell(
            "message_refused",
            &json!({"key": of.key, "sender": of.sender, "problem": of.problem.to_string()}),
        );
    })
    .add_observer(|of: On<MessageDropped>| {
        tell(
            "message_dropped",
            &json!({"queue": of.queue.to_string(), "key": of.key, "count": of.count}),
        );
    })
    .add_observer(|of: On<QueueFull>| {
        tell("queue_full", &json!({"key": of.key, "count": of.count}));
    })
    .add_observer(|of: On<PeerIncompatible>| {
        tell("peer_incompatible", &json!({"sender": of.0.sender, "text": of.0.text}));
    });
}

/// Writes a line of JSON. Unlike `println`, this does not end the program if writing fails.
fn tell(event: &str, what: &Value) {
    writeln!(std::io::stdout(), "{}", json!({"event": event, "of": what})).ok();
}

fn tell_of_daemon(connectivity: Res<NodeConnectivity<role::Visualization>>, mut had: Local<bool>) {
    let has = has_daemon(Some(connectivity));
    if std::mem::replace(&mut *had, has) != has {
        tell("condition", &json!({"is": if has { "daemon" } else { "no daemon" }}));
    }
}

fn set_up(mut commands: Commands) {
    commands.spawn(Camera2d);
    // The moving bar shows that the program draws.
    commands.spawn((
        Node { position_type: PositionType::Absolute, width: px(24), height: px(120), ..default() },
        BackgroundColor(Color::WHITE),
    ));
}

fn draw(
    sea: Res<Sea>,
    time: Res<Time>,
    mut ground: ResMut<ClearColor>,
    bar: Single<(&mut Node, &mut BackgroundColor)>,
    mut way: Local<f32>,
) {
    ground.0 = Color::hsv(sea.hue.mul_add(180.0, 200.0), 0.6, 0.3);
    *way = (sea.speed / 60.0).mul_add(time.delta_secs(), *way) % 2.0;
    let place = match sea.course {
        Course::Along => *way % 1.0,
        Course::ToAndFro => 1.0 - (*way - 1.0).abs(),
        Course::Still => 0.5,
    };
    let (mut node, mut colour) = bar.into_inner();
    node.left = percent(place * 100.0);
    colour.set_if_neq(BackgroundColor(if sea.lit { sea.tint } else { Color::NONE }));
}

/// Counts the frames of each quarter of a second, and reports the longest frame time.
fn count_frames(
    mut since: Local<Option<Instant>>,
    mut seen: Local<(u32, Duration)>,
    time: Res<Time>,
) {
    let begun = *since.get_or_insert_with(Instant::now);
    seen.0 += 1;
    seen.1 = seen.1.max(time.delta());
    if begun.elapsed() >= TELL_FRAMES {
        let (count, longest) = std::mem::take(&mut *seen);
        let took = begun.elapsed().as_millis();
        *since = Some(Instant::now());
        let longest = longest.as_millis();
        tell("frames", &json!({"count": count, "ms": took, "longest_ms": longest}));
    }
}

fn leave_and_join(
    keys: Res<ButtonInput<KeyCode>>,
    mut link: ResMut<MeshSession<role::Visualization>>,
) {
    if keys.just_pressed(KeyCode::KeyL) {
        link.leave();
    }
    if keys.just_pressed(KeyCode::KeyJ) {
        link.rejoin();
    }
}

fn flood(keys: Res<ButtonInput<KeyCode>>, knocks: Res<TopicWriter<Knock>>) {
    if keys.just_pressed(KeyCode::KeyF) {
        let all_sent = (0..FLOOD).all(|number| knocks.publish(&Knock { number }).is_ok());
        tell("flood", &json!({"all_sent": all_sent}));
    }
}

fn hang(keys: Res<ButtonInput<KeyCode>>) {
    if keys.just_pressed(KeyCode::KeyH) {
        tell("hang", &json!({}));
        std::thread::sleep(HANG);
    }
}

fn receive(mut knocks: MessageReader<FromMesh<Knock>>, mut sparks: MessageReader<FromMesh<Spark>>) {
    if let Some(last) = knocks.read().last() {
        tell("knock", &json!({"number": last.message.number}));
    }
    if let Some(last) = sparks.read().last() {
        tell("spark", &json!({"energy": last.message.energy}));
    }
}

fn window_plugin() -> WindowPlugin {
    let (width, height) = SIZE;
    WindowPlugin {
        primary_window: Some(Window {
            title: "events".into(),
            name: Some("events".into()),
            resolution: WindowResolution::new(width, height),
            present_mode: PresentMode::AutoVsync,
            ..default()
        }),
        ..default()
    }
}
