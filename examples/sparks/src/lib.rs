//! A message type of its own, published by one visualization and heard by another, on this machine or on
//! another one.

use std::io::IsTerminal;
use std::time::Duration;

use bevy_app::App;
use bevy_app::ScheduleRunnerPlugin;
use bevy_app::TaskPoolPlugin;
use bevy_app::TerminalCtrlCHandlerPlugin;
use bevy_reflect::Reflect;
use hana_protocol::Lane;
use hana_protocol::custom_message;
use serde::Deserialize;
use serde::Serialize;
use tracing_subscriber::EnvFilter;

/// A spark flew off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spark {
    /// How many flew before it.
    pub number: u64,
    /// Where to, in radians.
    pub angle: f32,
    /// How bright, 0 to 1.
    pub energy: f32,
}

custom_message!(Spark, topic: "spark", lane: Lane::UnreliableUnordered);

/// What can be played of thrower and catcher.
#[derive(bevy_ecs::prelude::Resource, Reflect, Default)]
pub struct Sparks {
    /// How bright the sparks are.
    pub energy: f32,
}

/// A program without a window, sixty frames a second.
pub fn headless_app() -> App {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(EnvFilter::new("info,zenoh=warn,zenoh::net::routing=error"))
        // A disk that its output cannot be written to shall not end it.
        .log_internal_errors(false)
        .init();
    let mut app = App::new();
    app.add_plugins((
        TaskPoolPlugin::default(),
        TerminalCtrlCHandlerPlugin,
        ScheduleRunnerPlugin::run_loop(Duration::from_micros(16_667)),
    ));
    app
}
