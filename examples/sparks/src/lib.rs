//! Message types of its own between visualizations, on one machine or several: published, sent to all of a kind,
//! sent to one.

use std::io::IsTerminal;
use std::time::Duration;

use bevy_app::{App, ScheduleRunnerPlugin, TaskPoolPlugin, TerminalCtrlCHandlerPlugin};
use bevy_reflect::Reflect;
use hana_protocol::custom_message;
use hana_protocol::wire::Lane;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// A spark flew off. Published, for whoever hears it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spark {
    /// How many flew before it.
    pub number: u64,
    /// Where to, in radians.
    pub angle: f32,
    /// How bright, 0 to 1.
    pub energy: f32,
}

custom_message!(Spark, topic: "spark", lane: Lane::UnreliableUnordered, version: 2);

/// A bright one. Sent to all catchers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Flare {
    /// How many flew before it.
    pub number: u64,
    /// What it burns with.
    pub colour: Colour,
}

custom_message!(Flare, topic: "flare", lane: Lane::ReliableOrdered);

/// What a [`Flare`] burns with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Colour {
    /// Strontium.
    Red,
    /// Barium.
    Green,
}

/// A flare was caught. Sent to whoever threw it, who hears whether it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Caught {
    /// The number of the flare.
    pub number: u64,
}

custom_message!(Caught, topic: "caught", lane: Lane::ReliableUnordered);

/// The kind of all catchers, whatever ids they run under.
pub const CATCHER: &str = "spark-catcher";

/// What can be played of thrower and catcher.
#[derive(bevy_ecs::prelude::Resource, Reflect, Default)]
pub struct Sparks {
    /// How bright the sparks are.
    pub energy: f32,
}

/// Prints a line. Not `println`, which ends the program when the disk that its output goes to is full.
#[macro_export]
macro_rules! say {
    ($($words:tt)*) => {{
        use ::std::io::Write;
        ::std::writeln!(::std::io::stdout(), $($words)*).ok();
    }};
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
