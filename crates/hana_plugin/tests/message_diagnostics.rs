//! Message counters of a program are Bevy diagnostics.
#![allow(clippy::unwrap_used, missing_docs)]

use std::thread;
use std::time::{Duration, Instant};

use bevy_app::App;
use bevy_diagnostic::DiagnosticsStore;
use bevy_ecs::prelude::*;
use bevy_reflect::Reflect;
use hana_lab::is_alone;
use hana_plugin::{LaneCounter, MessageDiagnosticsPlugin, VisualizationPlugin};
use hana_protocol::id::role;
use hana_protocol::wire::Lane;

#[derive(Resource, Reflect, Default)]
struct Sky {
    brightness: f32,
}

type Diagnostics = MessageDiagnosticsPlugin<role::Visualization>;

const SOON: Duration = Duration::from_secs(30);

#[test]
fn sent_messages_per_second_are_a_diagnostic_of_their_lane() {
    if !is_alone("sent_messages_per_second_are_a_diagnostic_of_their_lane", "multicast = false\n") {
        return;
    }
    let mut app = App::new();
    app.add_plugins((VisualizationPlugin::<Sky>::new("counted"), Diagnostics::default()));
    let value = |app: &App, lane, counted| {
        let store = app.world().resource::<DiagnosticsStore>();
        store.get(&Diagnostics::path(lane, counted)).unwrap().value()
    };
    let deadline = Instant::now() + SOON;
    // The program publishes its health ten times a second on that lane.
    let rate = loop {
        app.update();
        if let Some(rate) = value(&app, Lane::UnreliableSequenced, LaneCounter::Sent) {
            break rate;
        }
        assert!(Instant::now() < deadline, "there is no diagnostic");
        thread::sleep(Duration::from_millis(10));
    };
    assert!((2.0..=20.0).contains(&rate), "{rate} a second");
    assert_eq!(value(&app, Lane::ReliableUnordered, LaneCounter::Missed), Some(0.0));
}
