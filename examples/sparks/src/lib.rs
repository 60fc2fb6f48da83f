//! Custom message types between visualizations, on one machine or several: published, sent to all of a kind,
//! sent to one.

use std::io::IsTerminal;
use std::time::Duration;

use bevy_app::{App, ScheduleRunnerPlugin, TaskPoolPlugin, TerminalCtrlCHandlerPlugin};
use bevy_reflect::Reflect;
use tracing_subscriber::EnvFilter;

/// A spark flew off. Published to all subscribers.
#[hana::message(lane = UnreliableUnordered, version = 2)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spark {
    /// How many flew before it.
    pub number: u64,
    /// Where to, in radians.
    pub angle: f32,
    /// How bright, 0 to 1.
    pub energy: f32,
}

/// A bright flare. Sent to all catchers.
#[hana::message(lane = ReliableOrdered)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flare {
    /// How many flew before it.
    pub number: u64,
    /// The element that burns in it.
    pub colour: Colour,
}

/// The element that burns in a [`Flare`].
#[hana::data]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Colour {
    /// Strontium.
    Red,
    /// Barium.
    Green,
}

/// A flare was caught. Sent to its thrower, with acknowledgement.
#[hana::message(lane = ReliableUnordered)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caught {
    /// The number of the flare.
    pub number: u64,
}

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
