//! A program that sends more in a frame than the network accepts receives the exact number of dropped messages, and
//! its frame waits for nothing.
#![allow(clippy::unwrap_used, missing_docs)]

use std::thread;
use std::time::{Duration, Instant};

use bevy_app::App;
use bevy_ecs::prelude::*;
use bevy_reflect::Reflect;
use hana_lab::is_alone;
use hana_network::QueueKind;
use hana_plugin::{MeshSession, MessageDropped, TopicWriter, VisualizationPlugin};
use hana_protocol::custom_message;
use hana_protocol::id::role;
use hana_protocol::wire::Lane;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Resource, Reflect, Default)]
struct Sky {
    brightness: f32,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Spark {
    number: u64,
}

custom_message!(Spark, topic: "spark", lane: Lane::UnreliableUnordered);

#[derive(Resource, Default)]
struct Told(Vec<MessageDropped>);

const SOON: Duration = Duration::from_secs(30);
/// More than any queue holds.
const FLOOD: u64 = 20_000;

#[test]
fn what_is_thrown_away_before_it_is_sent_is_told_and_counted_to_the_message() {
    let name = "what_is_thrown_away_before_it_is_sent_is_told_and_counted_to_the_message";
    if !is_alone(name, "multicast = false\n") {
        return;
    }
    let mut app = App::new();
    app.add_plugins(VisualizationPlugin::<Sky>::new("flood").publishes::<Spark>())
        .init_resource::<Told>()
        .add_observer(|dropped: On<MessageDropped>, mut told: ResMut<Told>| {
            told.0.push(dropped.event().clone());
        });
    let deadline = Instant::now() + SOON;
    while app.world().resource::<MeshSession<role::Visualization>>().node().is_none() {
        app.update();
        assert!(Instant::now() < deadline, "the program does not join");
        thread::sleep(Duration::from_millis(5));
    }
    // The writer has its node one frame later.
    app.update();
    let writer = app.world().resource::<TopicWriter<Spark>>();
    for number in 0..FLOOD {
        // The call does not block, and this lane returns no errors.
        writer.publish(&Spark { number }).unwrap();
    }
    let traffic = |app: &App| {
        let node = app.world().resource::<MeshSession<role::Visualization>>().node().unwrap();
        node.lane(Lane::UnreliableUnordered)
    };
    while traffic(&app).sent + traffic(&app).dropped < FLOOD {
        app.update();
        assert!(Instant::now() < deadline, "{:?}", traffic(&app));
        thread::sleep(Duration::from_millis(5));
    }
    app.update();
    let (sent, dropped) = (traffic(&app).sent, traffic(&app).dropped);
    assert_eq!(sent + dropped, FLOOD);
    assert!(dropped > 0, "the queue holds a thousand, and the thread that sends takes longer");
    let told = &app.world().resource::<Told>().0;
    assert!(
        told.iter().all(|of| of.queue == QueueKind::Outbox && of.key.ends_with("/topic/spark"))
    );
    assert_eq!(told.iter().map(|of| of.count).sum::<u64>(), dropped, "{told:?}");
}
