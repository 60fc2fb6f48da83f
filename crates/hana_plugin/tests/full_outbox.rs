//! A program that sends more in a frame than the network accepts is notified of the exact number of dropped messages,
//! and its frame does not block.
#![allow(clippy::unwrap_used, missing_docs)]

use std::thread;
use std::time::{Duration, Instant};

use bevy_app::App;
use bevy_ecs::prelude::*;
use bevy_reflect::Reflect;
use hana_lab::is_alone;
use hana_network::QueueKind;
use hana_plugin::{HanaAppExt, MeshSession, MessageDropped, TopicWriter, VisualizationPlugin};
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
struct DroppedMessages(Vec<MessageDropped>);

const SOON: Duration = Duration::from_secs(30);
/// More than any queue holds.
const FLOOD: u64 = 20_000;

#[test]
fn dropped_messages_are_counted_exactly_and_raise_events() {
    let name = "dropped_messages_are_counted_exactly_and_raise_events";
    if !is_alone(name, "multicast = false\n") {
        return;
    }
    let mut app = App::new();
    app.add_plugins(VisualizationPlugin::<Sky>::new("flood"))
        .publish::<Spark>()
        .init_resource::<DroppedMessages>()
        .add_observer(
            |dropped: On<MessageDropped>, mut dropped_messages: ResMut<DroppedMessages>| {
                dropped_messages.0.push(dropped.event().clone());
            },
        );
    let deadline = Instant::now() + SOON;
    while app.world().resource::<MeshSession<role::Visualization>>().node().is_none() {
        app.update();
        assert!(Instant::now() < deadline, "the program does not join");
        thread::sleep(Duration::from_millis(5));
    }
    // The writer receives its node one frame after the join.
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
    let dropped_messages = &app.world().resource::<DroppedMessages>().0;
    assert!(
        dropped_messages
            .iter()
            .all(|of| of.queue == QueueKind::Outbox && of.key.ends_with("/topic/spark"))
    );
    assert_eq!(
        dropped_messages.iter().map(|of| of.count).sum::<u64>(),
        dropped,
        "{dropped_messages:?}"
    );
}
