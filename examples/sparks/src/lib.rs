//! Custom message types between visualizations, on one machine or several: published, sent to all of a kind,
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

/// A spark flew off. Published to all subscribers.
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

/// A bright flare. Sent to all catchers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Flare {
    /// How many flew before it.
    pub number: u64,
    /// The element that burns in it.
    pub colour: Colour,
}

custom_message!(Flare, topic: "flare", lane: Lane::ReliableOrdered);

/// The element that burns in a [`Flare`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Colour {
    /// Strontium.
    Red,
    /// Barium.
    Green,
}

/// A flare was caught. Sent to its thrower, with acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Caught {
    /// The number of the flare.
    pub number: u64,
}

custom_message!(Caught, topic: "caught", lane: Lane::ReliableUnordered);

/// The kind of all catchers, whatever their ids.
pub const CATCHER: &str = "spark-catcher";

/// The parameters of thrower and catcher.
#[derive(bevy_ecs::prelude::Resource, Reflect, Default)]
pub struct Sparks {
    /// The brightness of the sparks.
    pub energy: f32,
}

/// Prints a line. Not `println`, which ends the program when the disk of its output is full.
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
        // A full disk must not end the program.
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
